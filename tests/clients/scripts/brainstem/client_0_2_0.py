"""A group, its members and requests, with client 0.2.0.

Usage: client_0_2_0.py BASE_URL ACCOUNTS, a JSON object; prints one JSON object at the end.
"""

import builtins
import getpass
import json
import sys

import brainstem_api_tools.brainstem_api_client as module
from brainstem_api_tools import BrainstemClient

base, accounts = sys.argv[1], json.loads(sys.argv[2])


def log_in(person):
    """Sign in; only the address of the server, which is fixed in the client, is replaced."""

    class Client(BrainstemClient):
        def __setattr__(self, name, value):
            super().__setattr__(name, f"{base}/api/" if name == "_address" else value)

    builtins.input = lambda _prompt: person["email"]
    module.getpass = getpass.getpass = lambda _prompt: person["password"]
    return Client()


def body(response, status=200):
    assert response.status_code == status, (response.status_code, response.text)
    return response.json()


olga, mia, alice, zoe = (log_in(accounts[name]) for name in ("olga", "mia", "alice", "zoe"))

created = body(olga.save_model("group", data={"name": "NewGroup"}), 201)["group"]
group = str(created["id"])
lead = {"is_manager": True, "is_owner": True}
assert created["users"] == {accounts["olga"]["email"]: lead}

# An invited manager accepts.
people = {accounts["mia"]["email"]: {"is_manager": True, "is_owner": False}}
body(olga.save_model("group", id=group, data={"users": people}))
(invitation,) = body(mia.load_model("groupmembershipinvitation"))["group_membership_invitations"]
assert invitation["new_manager"] is True
body(mia.load_model("groupmembershipinvitation", id=invitation["id"], options="accept"))

# The examples of the document, as printed.


def ask():
    return body(alice.load_model("group", id=group, options="join"))["group_membership_request"]


client = mia
request = ask()
resp = client.load_model("groupmembershiprequest")
assert body(resp)["group_membership_requests"] == [request]
assert body(resp)["meta"]["total_results"] == 1
resp = client.load_model("groupmembershiprequest", id=request["id"])
assert body(resp) == {"group_membership_request": request}
resp = client.load_model("groupmembershiprequest", id=request["id"], options="reject")
assert body(resp) == {"group_membership_request": request}
request = ask()
client = alice
resp = client.load_model("groupmembershiprequest", id=request["id"], options="cancel")
assert body(resp) == {"group_membership_request": request}
request = ask()
client = mia
resp = client.load_model("groupmembershiprequest", id=request["id"], options="accept")
assert body(resp) == {"group_membership_request": request}
assert body(client.load_model("groupmembershiprequest"))["count"] == 0
assert client.load_model("groupmembershiprequest", id=request["id"]).status_code == 404

# Filters, order and embedding as this client writes them.
query = {"filters": {"authgroup": group}, "sort": ["-id"], "include": ["authgroup"]}
assert body(mia.load_model("groupmembershiprequest", **query))["count"] == 0
groups = body(mia.load_model("group", filters={"name.icontains": "newGR"}, sort=["name"]))
assert [row["id"] for row in groups["groups"]] == [int(group)]
assert mia.load_model("group", filters={"nosuch": "1"}).status_code == 400

# Leave, remove a member, delete the group; PATCH works like GET.
assert body(alice.load_model("group", id=group, options="leave"))["group"]["id"] == int(group)
assert alice.load_model("group", id=group, options="leave").status_code == 400
request = ask()
body(mia.save_model("groupmembershiprequest", id=request["id"], options="accept"))
change = {"users": {accounts["alice"]["email"]: {"remove": True}}}
users = body(mia.save_model("group", id=group, data=change))["group"]["users"]
assert accounts["alice"]["email"] not in users
assert mia.save_model("group", id=group, data={"name": "x"}).status_code == 403
assert mia.delete_model("group", id=group).status_code == 403
assert olga.delete_model("group", id=group).status_code == 204
assert olga.load_model("group", id=group).status_code == 404

# This client reads the first page only.
page = body(zoe.load_model("groupmembershiprequest"))
assert len(page["group_membership_requests"]) == 20
assert page["count"] == 250
print(json.dumps({"token": mia._token}))
