"""A group, its members and requests, with client 2.0.0.

Usage: client_2_0_0.py BASE_URL ACCOUNTS, a JSON object; prints one JSON object at the end.
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

base, accounts = sys.argv[1], json.loads(sys.argv[2])


def log_in_from_a_browser(approve):
    """Sign in by the device flow; a thread reads the short code from the output."""
    screen = io.StringIO()

    def approve_when_shown():
        while "enter:" not in screen.getvalue():
            time.sleep(0.05)
        approve(screen.getvalue().split("enter:")[1].split()[0])

    other = threading.Thread(target=approve_when_shown)
    other.start()
    with contextlib.redirect_stdout(screen):
        client = BrainstemClient(url=base, headless=True)
    other.join()
    return client


def approve(code):
    """Tell the test to approve the code, in place of a browser."""
    sys.stderr.write(f"code {code}\n")
    sys.stderr.flush()


def body(response, status=200):
    assert response.status_code == status, (response.status_code, response.text)
    return response.json()


olga = log_in_from_a_browser(approve)
mia, alice, zoe = (
    BrainstemClient(token=accounts[name]["token"], url=base) for name in ("mia", "alice", "zoe")
)

created = body(olga.save("group", data={"name": "Newer Group"}), 201)["group"]
group = created["id"]
people = {accounts["mia"]["email"]: {"is_manager": True}}
body(olga.save("group", id=group, data={"users": people}))
(invitation,) = mia.load("group_membership_invitation", load_all=True)[
    "group_membership_invitations"
]
assert (invitation["authgroup"], invitation["new_manager"]) == (group, True)
body(mia.load("group_membership_invitation", id=invitation["id"], options="accept"))


def ask():
    return body(alice.load("group", id=group, options="join"))["group_membership_request"]


def decide(client, request, decision):
    response = client.load("group_membership_request", id=request["id"], options=decision)
    assert body(response) == {"group_membership_request": request}


first = ask()
assert ask() == first
decide(mia, first, "reject")
second = ask()
decide(alice, second, "cancel")
third = ask()
rows = body(
    mia.load(
        "group_membership_request",
        filters={"authgroup.id": group, "user_account_request.id": accounts["alice"]["id"]},
        sort=["-id"],
        include=["authgroup", "user_account_request"],
        limit=20,
        offset=0,
    )
)["group_membership_requests"]
(row,) = rows
assert row["id"] == third["id"]
assert row["authgroup"]["name"] == "Newer Group"
assert row["user_account_request"]["email"] == accounts["alice"]["email"]
decide(mia, third, "accept")
# A repeated decision has no further effect.
decide(mia, third, "accept")
late = mia.load("group_membership_request", id=third["id"], options="reject")
assert late.status_code == 400
assert mia.load("group_membership_request", options="accept").status_code == 404
assert body(alice.load("group", id=group, options="leave"))["group"]["id"] == group
fourth = ask()
response = mia.save("group_membership_request", id=fourth["id"], options="accept")
assert body(response) == {"group_membership_request": fourth}

# 250 membership requests in three HTTP requests.
sent = []
send = requests.Session.send


def counting(self, *args, **kwargs):
    sent.append(args)
    return send(self, *args, **kwargs)


requests.Session.send = counting
rows = zoe.load("group_membership_request", load_all=True)["group_membership_requests"]
assert len(sent) == 3, sent
assert len({row["id"] for row in rows}) == 250
assert mia.load("group_membership_request", limit=101).status_code == 400
assert BrainstemClient(token="stale", url=base).load("group", portal="public").status_code == 200
try:
    BrainstemClient(token="stale", url=base).load("group", load_all=True)
except AuthenticationError:
    pass
else:
    raise AssertionError("a stale token was accepted")
assert olga.delete("group", id=group).status_code == 204
# The token of the device flow works in the Waldur API too.
own = requests.get(
    f"{base}/api/users/me/", headers={"Authorization": f"Token {olga._token}"}, timeout=20
)
assert body(own)["email"] == accounts["olga"]["email"]
print(json.dumps({"token": olga._token}))
