"""``/api/private/users/groupmembershiprequest/``: requests to be let in to a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.api.brainstem import query, schemas
from collegium.api.brainstem.paths import deed, spelled
from collegium.api.request import Answer, Operation, Routes
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.rules import State
from collegium.refusals import NotFound

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row

_TABLE: Final = query.Table(
    join_request_queries.group_listing,
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
    (shown,) = schemas.requests(tx, actor, [row])
    return Answer(200, schemas.encode(schemas.OneMembershipRequest(shown)))


def _list(call: Call, tx: Read) -> Answer:
    found = query.find(call, tx, call.actor, _TABLE)
    shown = schemas.requests(tx, call.actor, found.rows, found.embedded)
    page = schemas.MembershipRequestPage(shown, found.meta, found.count, found.next, found.previous)
    return Answer(200, schemas.encode(page))


def _retrieve(call: Call, tx: Read) -> Answer:
    row = join_request_queries.reach(tx, call.actor, call.uuid("request"), groups=True)
    if row.state != State.PENDING:
        # What was decided stays in the history, and is gone from here.
        raise NotFound("request.unknown")
    return _one(tx, call.actor, row)


def _accept(call: Call) -> Answer:
    with call.write() as tx:
        uuid = call.uuid("request")
        return _one(
            tx,
            call.actor,
            join_request_actions.approve(tx, call.actor, call.settings, uuid, None, groups=True),
        )


def _reject(call: Call) -> Answer:
    with call.write() as tx:
        uuid = call.uuid("request")
        return _one(
            tx, call.actor, join_request_actions.reject(tx, call.actor, uuid, None, groups=True)
        )


def _cancel(call: Call) -> Answer:
    with call.write() as tx:
        return _one(
            tx,
            call.actor,
            join_request_actions.cancel(tx, call.actor, call.uuid("request"), groups=True),
        )


def _routes(base: str) -> Routes:
    return {
        base: {
            "GET": Operation(
                _list,
                "List what waits to be decided: your own requests, and those to your groups.",
                answers=schemas.MembershipRequestPage,
                filters=_TABLE.described(),
            )
        },
        f"{base}{{uuid}}/": {
            "GET": Operation(_retrieve, "Show a request.", answers=schemas.OneMembershipRequest)
        },
        **deed(
            f"{base}{{uuid}}/accept/", _accept, "Let somebody in.", schemas.OneMembershipRequest
        ),
        **deed(
            f"{base}{{uuid}}/reject/", _reject, "Turn somebody down.", schemas.OneMembershipRequest
        ),
        **deed(
            f"{base}{{uuid}}/cancel/", _cancel, "Take a request back.", schemas.OneMembershipRequest
        ),
    }


DESCRIBED, ROUTES = spelled(
    _routes,
    "/api/private/users/groupmembershiprequest/",
    "/api/private/users/group_membership_request/",
)
