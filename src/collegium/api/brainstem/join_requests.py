"""Endpoints for join requests: ``/api/private/users/groupmembershiprequest/``."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import Actor
from collegium.api.brainstem import query, schemas
from collegium.api.brainstem.paths import mutating_route, with_aliases
from collegium.api.request import Answer, Endpoint, RequestContext, Routes
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.rules import State
from collegium.refusals import NotFound

_TABLE: Final = query.Table(
    join_request_queries.group_listing,
    {
        "id": query.UuidFilter(),
        "authgroup": query.IntegerFilter(),
        "authgroup.name": query.TextFilter(),
        "user_account_request": query.IntegerFilter(),
        "user_account_request.email": query.TextFilter(),
    },
    orders=("id", "authgroup", "user_account_request"),
    includes=("authgroup", "user_account_request"),
)


def _one(tx: ReadTransaction, actor: Actor, row: Row) -> Answer:
    (shown,) = schemas.requests(tx, actor, [row])
    return Answer(200, schemas.encode(schemas.OneMembershipRequest(shown)))


def _list(context: RequestContext, tx: ReadTransaction) -> Answer:
    found = query.find(context, tx, context.actor, _TABLE)
    shown = schemas.requests(tx, context.actor, found.rows, found.embedded)
    page = schemas.MembershipRequestPage(shown, found.meta, found.count, found.next, found.previous)
    return Answer(200, schemas.encode(page))


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Answer:
    row = join_request_queries.get_visible(tx, context.actor, context.uuid("request"), groups=True)
    if row.state != State.PENDING:
        # Decided requests stay in the audit log, but this API no longer shows them.
        raise NotFound("request.unknown")
    return _one(tx, context.actor, row)


def _accept(context: RequestContext) -> Answer:
    with context.write() as tx:
        uuid = context.uuid("request")
        return _one(
            tx,
            context.actor,
            join_request_actions.approve(
                tx, context.actor, context.settings, uuid, None, groups=True
            ),
        )


def _reject(context: RequestContext) -> Answer:
    with context.write() as tx:
        uuid = context.uuid("request")
        return _one(
            tx,
            context.actor,
            join_request_actions.reject(tx, context.actor, uuid, None, groups=True),
        )


def _cancel(context: RequestContext) -> Answer:
    with context.write() as tx:
        return _one(
            tx,
            context.actor,
            join_request_actions.cancel(tx, context.actor, context.uuid("request"), groups=True),
        )


def _routes(base: str) -> Routes:
    return {
        base: {
            "GET": Endpoint(
                _list,
                "List pending join requests: your own and those to your groups.",
                response_type=schemas.MembershipRequestPage,
                filters=_TABLE.described(),
            )
        },
        f"{base}{{uuid}}/": {
            "GET": Endpoint(
                _retrieve, "Show a join request.", response_type=schemas.OneMembershipRequest
            )
        },
        **mutating_route(
            f"{base}{{uuid}}/accept/",
            _accept,
            "Approve a join request.",
            schemas.OneMembershipRequest,
        ),
        **mutating_route(
            f"{base}{{uuid}}/reject/",
            _reject,
            "Reject a join request.",
            schemas.OneMembershipRequest,
        ),
        **mutating_route(
            f"{base}{{uuid}}/cancel/",
            _cancel,
            "Withdraw a join request.",
            schemas.OneMembershipRequest,
        ),
    }


DESCRIBED, ROUTES = with_aliases(
    _routes,
    "/api/private/users/groupmembershiprequest/",
    "/api/private/users/group_membership_request/",
)
