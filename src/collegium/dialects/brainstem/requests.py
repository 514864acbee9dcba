"""``/api/private/users/groupmembershiprequest/``: requests to be let in to a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.actions import requests as actions
from collegium.dialects.brainstem import query, wire
from collegium.dialects.brainstem.paths import deed, spelled
from collegium.dialects.http import Answer, Operation, Routes
from collegium.rules.refusals import NotFound
from collegium.rules.requests import State
from collegium.store import requests

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.rules.access import Actor
    from collegium.store.db import Read
    from collegium.store.statements import Row

_TABLE: Final = query.Table(
    requests.group_listing,
    {
        "id": query.Uuid(),
        "authgroup": query.Number(),
        "authgroup.name": query.Text(),
        "user_account_request": query.Number(),
        "user_account_request.email": query.Text(),
    },
    orders=("id", "authgroup", "user_account_request"),
    includes=("authgroup", "user_account_request"),
)


def _one(tx: Read, actor: Actor, row: Row) -> Answer:
    (shown,) = wire.requests(tx, actor, [row])
    return Answer(200, wire.encode(wire.OneMembershipRequest(shown)))


def _list(call: Call, tx: Read) -> Answer:
    found = query.find(call, tx, call.actor, _TABLE)
    shown = wire.requests(tx, call.actor, found.rows, found.embedded)
    page = wire.MembershipRequestPage(shown, found.meta, found.count, found.next, found.previous)
    return Answer(200, wire.encode(page))


def _retrieve(call: Call, tx: Read) -> Answer:
    row = requests.reach(tx, call.actor, call.uuid("request"), groups=True)
    if row.state != State.PENDING:
        # What was decided stays in the history, and is gone from here.
        raise NotFound("request.unknown")
    return _one(tx, call.actor, row)


def _accept(call: Call) -> Answer:
    with call.write() as tx:
        uuid = call.uuid("request")
        return _one(
            tx, call.actor, actions.approve(tx, call.actor, call.settings, uuid, None, groups=True)
        )


def _reject(call: Call) -> Answer:
    with call.write() as tx:
        uuid = call.uuid("request")
        return _one(tx, call.actor, actions.reject(tx, call.actor, uuid, None, groups=True))


def _cancel(call: Call) -> Answer:
    with call.write() as tx:
        return _one(
            tx, call.actor, actions.cancel(tx, call.actor, call.uuid("request"), groups=True)
        )


def _routes(base: str) -> Routes:
    return {
        base: {
            "GET": Operation(
                _list,
                "List what waits to be decided: your own requests, and those to your groups.",
                answers=wire.MembershipRequestPage,
                filters=_TABLE.described(),
            )
        },
        f"{base}{{uuid}}/": {
            "GET": Operation(_retrieve, "Show a request.", answers=wire.OneMembershipRequest)
        },
        **deed(f"{base}{{uuid}}/accept/", _accept, "Let somebody in.", wire.OneMembershipRequest),
        **deed(
            f"{base}{{uuid}}/reject/", _reject, "Turn somebody down.", wire.OneMembershipRequest
        ),
        **deed(
            f"{base}{{uuid}}/cancel/", _cancel, "Take a request back.", wire.OneMembershipRequest
        ),
    }


DESCRIBED, ROUTES = spelled(
    _routes,
    "/api/private/users/groupmembershiprequest/",
    "/api/private/users/group_membership_request/",
)
