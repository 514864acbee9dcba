"""Endpoints for join requests: ``/api/private/users/groupmembershiprequest/``."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import BRAINSTEM_KINDS, Actor
from collegium.api.brainstem import query, schemas
from collegium.api.brainstem.paths import mutating_route, with_aliases
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.db.tables import account_texts, accounts, groups, join_requests, scopes
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.queries import GroupRequest
from collegium.join_requests.rules import State
from collegium.refusals import NotFound

_TABLE: Final = query.Table(
    join_request_queries.group_listing,
    {
        "id": query.key(join_requests.c.uuid),
        "authgroup": query.integer(join_requests.c.scope_id),
        "authgroup.name": query.name(scopes.c.name, groups.c.name_casefolded),
        "user_account_request": query.integer(join_requests.c.account_id),
        "user_account_request.email": query.address(
            accounts.c.email, accounts.c.email_comparable, account_texts.c.email
        ),
    },
    orders=("id", "authgroup", "user_account_request"),
    includes=("authgroup", "user_account_request"),
)


def _request_response(tx: ReadTransaction, actor: Actor, row: GroupRequest) -> Response:
    (request,) = schemas.requests(tx, actor, [row])
    return Response(200, schemas.encode(schemas.OneMembershipRequest(request)))


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    result = query.load_page(context, tx, context.actor, _TABLE)
    requests = schemas.requests(tx, context.actor, result.rows, result.embedded)
    page = schemas.MembershipRequestPage(
        requests, result.meta, result.count, result.next, result.previous
    )
    return Response(200, schemas.encode(page))


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = join_request_queries.get_visible(
        tx, context.actor, context.uuid("request"), BRAINSTEM_KINDS
    )
    if row.state != State.PENDING:
        # Decided requests stay in the audit log, but this API no longer shows them.
        raise NotFound("request.unknown")
    return _request_response(tx, context.actor, row)


def _accept(context: RequestContext) -> Response:
    with context.write() as tx:
        row = join_request_actions.approve(
            tx, context.actor, context.settings, context.uuid("request"), None, BRAINSTEM_KINDS
        )
        return _request_response(tx, context.actor, row)


def _reject(context: RequestContext) -> Response:
    with context.write() as tx:
        row = join_request_actions.reject(
            tx, context.actor, context.uuid("request"), None, BRAINSTEM_KINDS
        )
        return _request_response(tx, context.actor, row)


def _cancel(context: RequestContext) -> Response:
    with context.write() as tx:
        row = join_request_actions.cancel(
            tx, context.actor, context.uuid("request"), BRAINSTEM_KINDS
        )
        return _request_response(tx, context.actor, row)


def _routes(base: str) -> Routes:
    path, response_type = f"{base}{{uuid}}/", schemas.OneMembershipRequest
    return {
        base: {
            "GET": Endpoint(
                _list,
                "List pending join requests: your own and those to your groups.",
                response_type=schemas.MembershipRequestPage,
                filters=_TABLE.describe_parameters(),
            )
        },
        path: {"GET": Endpoint(_retrieve, "Show a join request.", response_type=response_type)},
        **mutating_route(f"{path}accept/", _accept, "Approve a join request.", response_type),
        **mutating_route(f"{path}reject/", _reject, "Reject a join request.", response_type),
        **mutating_route(f"{path}cancel/", _cancel, "Withdraw a join request.", response_type),
    }


DESCRIBED, ROUTES = with_aliases(
    _routes,
    "/api/private/users/groupmembershiprequest/",
    "/api/private/users/group_membership_request/",
)
