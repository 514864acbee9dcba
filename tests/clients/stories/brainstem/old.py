"""The story of a group, told by client 0.2.0. Run by that client's own interpreter.

Usage: old.py BASE_URL FACTS, a JSON object; prints one JSON object at the end.
Every step asserts what it sees, so that a failure says which promise is broken.
"""

import builtins
import getpass
import json
import sys

import brainstem_api_tools.brainstem_api_client as module
from brainstem_api_tools import BrainstemClient

base, facts = sys.argv[1], json.loads(sys.argv[2])


def log_in(person):
    """The server is written into the client; all that is changed is where it looks."""
    made = BrainstemClient.__init__

    class Client(BrainstemClient):
        def __setattr__(self, name, value):
            super().__setattr__(name, f"{base}/api/" if name == "_address" else value)

    builtins.input = lambda _prompt: person["email"]
    module.getpass = getpass.getpass = lambda _prompt: person["password"]
    client = Client()
    assert made is BrainstemClient.__init__
    return client


def body(response, status=200):
    assert response.status_code == status, (response.status_code, response.text)
    return response.json()


olga, mia, alice, zoe = (log_in(facts[name]) for name in ("olga", "mia", "alice", "zoe"))

made = body(olga.save_model("group", data={"name": "NewGroup"}), 201)["group"]
group = str(made["id"])
lead = {"is_manager": True, "is_owner": True}
assert made["users"] == {facts["olga"]["email"]: lead}

# Invited as a manager, and a manager once she has accepted.
people = {facts["mia"]["email"]: {"is_manager": True, "is_owner": False}}
body(olga.save_model("group", id=group, data={"users": people}))
listed = body(mia.load_model("groupmembershipinvitation"))["group_membership_invitations"]
assert [one["new_manager"] for one in listed] == [True]
body(mia.load_model("groupmembershipinvitation", id=listed[0]["id"], options="accept"))

# The examples of the document, as they are printed; the client is the manager's.


def ask():
    return body(alice.load_model("group", id=group, options="join"))["group_membership_request"]


client = mia
asked = ask()
resp = client.load_model("groupmembershiprequest")
assert body(resp)["group_membership_requests"] == [asked]
assert body(resp)["meta"]["total_results"] == 1
resp = client.load_model("groupmembershiprequest", id=asked["id"])
assert body(resp) == {"group_membership_request": asked}
resp = client.load_model("groupmembershiprequest", id=asked["id"], options="reject")
assert body(resp) == {"group_membership_request": asked}
asked = ask()
client = alice
resp = client.load_model("groupmembershiprequest", id=asked["id"], options="cancel")
assert body(resp) == {"group_membership_request": asked}
asked = ask()
client = mia
resp = client.load_model("groupmembershiprequest", id=asked["id"], options="accept")
assert body(resp) == {"group_membership_request": asked}
assert body(client.load_model("groupmembershiprequest"))["count"] == 0
assert client.load_model("groupmembershiprequest", id=asked["id"]).status_code == 404

# Filters, order and embedding as this client writes them.
rows = body(
    mia.load_model(
        "groupmembershiprequest",
        filters={"authgroup": group},
        sort=["-id"],
        include=["authgroup"],
    )
)
assert rows["count"] == 0
shown = body(mia.load_model("group", filters={"name.icontains": "newGR"}, sort=["name"]))
assert [one["id"] for one in shown["groups"]] == [int(group)]
assert mia.load_model("group", filters={"nosuch": "1"}).status_code == 400

# Leaving, being removed, giving up; what is called by PATCH does the same.
assert body(alice.load_model("group", id=group, options="leave"))["group"]["id"] == int(group)
assert alice.load_model("group", id=group, options="leave").status_code == 400
asked = ask()
body(mia.save_model("groupmembershiprequest", id=asked["id"], options="accept"))
out = {facts["alice"]["email"]: {"remove": True}}
assert (
    facts["alice"]["email"]
    not in body(mia.save_model("group", id=group, data={"users": out}))["group"]["users"]
)
assert mia.save_model("group", id=group, data={"name": "x"}).status_code == 403
assert mia.delete_model("group", id=group).status_code == 403
assert olga.delete_model("group", id=group).status_code == 204
assert olga.load_model("group", id=group).status_code == 404

# 250 requests in three pages; this client has no paging of its own.
page = body(zoe.load_model("groupmembershiprequest"))
assert len(page["group_membership_requests"]) == 20
assert page["count"] == 250
print(json.dumps({"token": mia._token}))
