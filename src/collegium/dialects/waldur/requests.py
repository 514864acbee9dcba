"""``/api/user-permission-requests/``: requests to be let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.actions import requests as actions
from collegium.dialects.http import Answer, Operation, Routes
from collegium.dialects.waldur import filters, lists, wire, wire_requests
from collegium.dialects.waldur.fields import Field, Text, read
from collegium.dialects.waldur.invitations import saying
from collegium.rules.requests import Act, State
from collegium.store import requests

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.store.db import Read

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
        requests.listing,
        lambda rows: wire_requests.permission_requests(call, tx, rows),
        filters=filters.read(call, FILTERS, requests.listing.orders),
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = requests.reach(tx, call.actor, call.uuid("request"))
    (shown,) = wire_requests.permission_requests(call, tx, [row])
    return Answer(200, wire.encode(shown))


def _approve(call: Call) -> Answer:
    uuid = call.uuid("request")
    form = read(call, FIELDS)
    with call.write() as tx:
        if form.errors:
            actions.check_may_decide(tx, call.actor, uuid, Act.APPROVE)
            form.check()
        actions.approve(tx, call.actor, call.settings, uuid, form.values.get("comment"))
    return Answer(200)


def _reject(call: Call) -> Answer:
    uuid = call.uuid("request")
    form = read(call, FIELDS)
    with call.write() as tx:
        if form.errors:
            actions.check_may_decide(tx, call.actor, uuid, Act.REJECT)
            form.check()
        actions.reject(tx, call.actor, uuid, form.values.get("comment"))
    return Answer(200)


def _cancel(call: Call) -> Answer:
    with saying(wrong_state="request.not_cancelable"), call.write() as tx:
        row = actions.cancel(tx, call.actor, call.uuid("request"))
        shown = wire_requests.canceled(row)
    return Answer(200, wire.encode(shown))


_ONE: Final = "/api/user-permission-requests/{uuid}/"

ROUTES: Routes = {
    "/api/user-permission-requests/": {
        "GET": Operation(
            _list,
            "List the requests that you can see.",
            answers=wire_requests.PermissionRequest,
            many=True,
            filters=FILTERS,
            orders=requests.listing.orders,
        ),
    },
    _ONE: {
        "GET": Operation(_retrieve, "Show a request.", answers=wire_requests.PermissionRequest),
    },
    f"{_ONE}approve/": {
        "POST": Operation(_approve, "Let somebody in who asked.", form=FIELDS),
    },
    f"{_ONE}reject/": {
        "POST": Operation(_reject, "Turn somebody down who asked.", form=FIELDS),
    },
    f"{_ONE}cancel_request/": {
        "POST": Operation(_cancel, "Take a request back.", answers=wire_requests.Canceled),
    },
}
