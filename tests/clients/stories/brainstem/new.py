"""The story of a group, told by client 2.0.0. Run by that client's own interpreter.

Usage: new.py BASE_URL FACTS, a JSON object; prints one JSON object at the end.
Every step asserts what it sees, so that a failure says which promise is broken.
"""

import contextlib
import io
import json
import sys
import threading
import time

import requests
from brainstem_api_tools import BrainstemClient
from brainstem_api_tools.brainstem_api_client import AuthenticationError

base, facts = sys.argv[1], json.loads(sys.argv[2])


def log_in_from_a_browser(approve):
    """The device flow; whoever reads the short code from the screen is the test's own."""
    screen = io.StringIO()

    def person():
        while "enter:" not in screen.getvalue():
            time.sleep(0.05)
        approve(screen.getvalue().split("enter:")[1].split()[0])

    other = threading.Thread(target=person)
    other.start()
    with contextlib.redirect_stdout(screen):
        client = BrainstemClient(url=base, headless=True)
    other.join()
    return client


def approve(code):
    """Ask the test, which stands in for the browser, to let the code in."""
    sys.stderr.write(f"code {code}\n")
    sys.stderr.flush()


def body(response, status=200):
    assert response.status_code == status, (response.status_code, response.text)
    return response.json()


olga = log_in_from_a_browser(approve)
mia, alice, zoe = (
    BrainstemClient(token=facts[name]["token"], url=base) for name in ("mia", "alice", "zoe")
)

made = body(olga.save("group", data={"name": "Newer Group"}), 201)["group"]
group = made["id"]
people = {facts["mia"]["email"]: {"is_manager": True}}
body(olga.save("group", id=group, data={"users": people}))
listed = mia.load("group_membership_invitation", load_all=True)["group_membership_invitations"]
assert [(one["authgroup"], one["new_manager"]) for one in listed] == [(group, True)]
body(mia.load("group_membership_invitation", id=listed[0]["id"], options="accept"))


def ask():
    return body(alice.load("group", id=group, options="join"))["group_membership_request"]


def decide(client, request, what):
    answer = client.load("group_membership_request", id=request["id"], options=what)
    assert body(answer) == {"group_membership_request": request}


first = ask()
assert ask() == first
decide(mia, first, "reject")
second = ask()
decide(alice, second, "cancel")
third = ask()
found = body(
    mia.load(
        "group_membership_request",
        filters={"authgroup.id": group, "user_account_request.id": facts["alice"]["id"]},
        sort=["-id"],
        include=["authgroup", "user_account_request"],
        limit=20,
        offset=0,
    )
)["group_membership_requests"]
assert [one["id"] for one in found] == [third["id"]]
assert found[0]["authgroup"]["name"] == "Newer Group"
assert found[0]["user_account_request"]["email"] == facts["alice"]["email"]
decide(mia, third, "accept")
# What is sent again after a lost answer is no second action.
decide(mia, third, "accept")
late = mia.load("group_membership_request", id=third["id"], options="reject")
assert late.status_code == 400
assert mia.load("group_membership_request", options="accept").status_code == 404
assert body(alice.load("group", id=group, options="leave"))["group"]["id"] == group
fourth = ask()
answer = mia.save("group_membership_request", id=fourth["id"], options="accept")
assert body(answer) == {"group_membership_request": fourth}

# 250 requests in three requests.
asked = []
send = requests.Session.send


def counting(self, *args, **kwargs):
    asked.append(args)
    return send(self, *args, **kwargs)


requests.Session.send = counting
whole = zoe.load("group_membership_request", load_all=True)
assert len(asked) == 3, asked
assert len({one["id"] for one in whole["group_membership_requests"]}) == 250
assert mia.load("group_membership_request", limit=101).status_code == 400
assert BrainstemClient(token="stale", url=base).load("group", portal="public").status_code == 200
try:
    BrainstemClient(token="stale", url=base).load("group", load_all=True)
except AuthenticationError:
    pass
else:
    raise AssertionError("a stale token was taken")
assert olga.delete("group", id=group).status_code == 204
# What the device flow gave is a token everywhere.
own = requests.get(
    f"{base}/api/users/me/", headers={"Authorization": f"Token {olga._token}"}, timeout=20
)
assert body(own)["email"] == facts["olga"]["email"]
print(json.dumps({"token": olga._token}))
