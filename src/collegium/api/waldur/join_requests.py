"""Endpoints for join requests: ``/api/user-permission-requests/``."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import WALDUR_KINDS
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, join_request_schemas, lists, schemas
from collegium.api.waldur.fields import read
from collegium.api.waldur.invitations import remap_conflicts
from collegium.db.database import ReadTransaction
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.rules import Action, State
from collegium.values import Kind, Text

FIELDS: Final[dict[str, Kind]] = {"comment": Text(max=10000, null=True)}
FILTERS: Final = {
    **dict.fromkeys(("created_by", "customer_uuid", "invitation"), filters.Uuid()),
    "scope": filters.SCOPE,
    "state": filters.ChoicesFilter({state.value: state.value for state in State}),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        context,
        tx,
        join_request_queries.listing,
        lambda rows: join_request_schemas.permission_requests(context, rows),
        filters=filters.read(context, FILTERS, join_request_queries.listing.orders),
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = join_request_queries.get_visible(tx, context.actor, context.uuid("request"), WALDUR_KINDS)
    (struct,) = join_request_schemas.permission_requests(context, [row])
    return Response(200, schemas.encode(struct))


def _approve(context: RequestContext) -> Response:
    uuid = context.uuid("request")
    form = read(context, FIELDS)
    with context.write() as tx:
        if form.errors:
            join_request_actions.check_may_decide(
                tx, context.actor, uuid, Action.APPROVE, WALDUR_KINDS
            )
            form.check()
        join_request_actions.approve(
            tx, context.actor, context.settings, uuid, form.values.get("comment"), WALDUR_KINDS
        )
    return Response(200)


def _reject(context: RequestContext) -> Response:
    uuid = context.uuid("request")
    form = read(context, FIELDS)
    with context.write() as tx:
        if form.errors:
            join_request_actions.check_may_decide(
                tx, context.actor, uuid, Action.REJECT, WALDUR_KINDS
            )
            form.check()
        join_request_actions.reject(
            tx, context.actor, uuid, form.values.get("comment"), WALDUR_KINDS
        )
    return Response(200)


def _cancel(context: RequestContext) -> Response:
    with remap_conflicts(wrong_state="request.not_cancelable"), context.write() as tx:
        row = join_request_actions.cancel(tx, context.actor, context.uuid("request"), WALDUR_KINDS)
        struct = join_request_schemas.canceled(row)
    return Response(200, schemas.encode(struct))


_ONE: Final = "/api/user-permission-requests/{uuid}/"

ROUTES: Routes = {
    "/api/user-permission-requests/": {
        "GET": Endpoint(
            _list,
            "List the join requests that you can see.",
            response_type=join_request_schemas.PermissionRequest,
            is_list=True,
            filters=FILTERS,
            orders=join_request_queries.listing.orders,
        ),
    },
    _ONE: {
        "GET": Endpoint(
            _retrieve, "Show a join request.", response_type=join_request_schemas.PermissionRequest
        ),
    },
    f"{_ONE}approve/": {
        "POST": Endpoint(_approve, "Approve a join request.", body=FIELDS),
    },
    f"{_ONE}reject/": {
        "POST": Endpoint(_reject, "Reject a join request.", body=FIELDS),
    },
    f"{_ONE}cancel_request/": {
        "POST": Endpoint(
            _cancel, "Withdraw a join request.", response_type=join_request_schemas.Canceled
        ),
    },
}
