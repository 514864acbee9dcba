"""``/api/user-permission-requests/``: requests to be let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, join_request_schemas, lists, schemas
from collegium.api.waldur.fields import Field, Text, read
from collegium.api.waldur.invitations import saying
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.rules import Act, State

if TYPE_CHECKING:
    from collegium.api.request import Call
    from collegium.db.database import Read

FIELDS: Final[dict[str, Field]] = {"comment": Text(max=10000, null=True)}
FILTERS: Final = {
    **dict.fromkeys(("created_by", "customer_uuid", "invitation"), filters.Uuid()),
    "scope": filters.SCOPE,
    "state": filters.Words({state.value: state.value for state in State}),
}


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(
        call,
        tx,
        join_request_queries.listing,
        lambda rows: join_request_schemas.permission_requests(call, tx, rows),
        filters=filters.read(call, FILTERS, join_request_queries.listing.orders),
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = join_request_queries.reach(tx, call.actor, call.uuid("request"))
    (shown,) = join_request_schemas.permission_requests(call, tx, [row])
    return Answer(200, schemas.encode(shown))


def _approve(call: Call) -> Answer:
    uuid = call.uuid("request")
    form = read(call, FIELDS)
    with call.write() as tx:
        if form.errors:
            join_request_actions.check_may_decide(tx, call.actor, uuid, Act.APPROVE)
            form.check()
        join_request_actions.approve(
            tx, call.actor, call.settings, uuid, form.values.get("comment")
        )
    return Answer(200)


def _reject(call: Call) -> Answer:
    uuid = call.uuid("request")
    form = read(call, FIELDS)
    with call.write() as tx:
        if form.errors:
            join_request_actions.check_may_decide(tx, call.actor, uuid, Act.REJECT)
            form.check()
        join_request_actions.reject(tx, call.actor, uuid, form.values.get("comment"))
    return Answer(200)


def _cancel(call: Call) -> Answer:
    with saying(wrong_state="request.not_cancelable"), call.write() as tx:
        row = join_request_actions.cancel(tx, call.actor, call.uuid("request"))
        shown = join_request_schemas.canceled(row)
    return Answer(200, schemas.encode(shown))


_ONE: Final = "/api/user-permission-requests/{uuid}/"

ROUTES: Routes = {
    "/api/user-permission-requests/": {
        "GET": Operation(
            _list,
            "List the requests that you can see.",
            answers=join_request_schemas.PermissionRequest,
            many=True,
            filters=FILTERS,
            orders=join_request_queries.listing.orders,
        ),
    },
    _ONE: {
        "GET": Operation(
            _retrieve, "Show a request.", answers=join_request_schemas.PermissionRequest
        ),
    },
    f"{_ONE}approve/": {
        "POST": Operation(_approve, "Let somebody in who asked.", form=FIELDS),
    },
    f"{_ONE}reject/": {
        "POST": Operation(_reject, "Turn somebody down who asked.", form=FIELDS),
    },
    f"{_ONE}cancel_request/": {
        "POST": Operation(_cancel, "Take a request back.", answers=join_request_schemas.Canceled),
    },
}
