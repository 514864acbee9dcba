"""``/api/users/`` : accounts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from collegium.actions import accounts as actions
from collegium.dialects.http import Answer, Operation, Routes
from collegium.dialects.waldur import lists, wire
from collegium.dialects.waldur.fields import Boolean, Day, Email, Integer, Text, read
from collegium.rules.passwords import faults
from collegium.rules.refusals import Forbidden
from collegium.store import accounts, memberships, vault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collegium.dialects.http import Call
    from collegium.store.db import Read, Row

_NAME: Final = Text(max=100)
SLUG: Final = Text(
    max=50,
    pattern=re.compile(r"[-a-zA-Z0-9_]+"),
    message="Enter a valid \N{LEFT DOUBLE QUOTATION MARK}slug\N{RIGHT DOUBLE QUOTATION MARK} "
    "consisting of letters, numbers, underscores or hyphens.",
)
PROFILE: Final = {
    "slug": SLUG,
    "native_name": _NAME,
    "job_title": Text(max=120),
    "phone_number": Text(
        max=255,
        pattern=re.compile(r"\+?[\d \-()]+", re.ASCII),
        message="Invalid phone number format.",
    ),
    "organization": Text(max=255),
    "description": Text(max=2000),
    "is_staff": Boolean(),
    "is_active": Boolean(),
    "is_support": Boolean(),
    "notifications_enabled": Boolean(),
    "preferred_language": Text(max=10),
    "first_name": _NAME,
    "last_name": _NAME,
    "birth_date": Day(null=True),
}
NEW: Final = {
    "username": Text(
        required=True,
        blank=False,
        max=128,
        pattern=re.compile(r"[0-9a-z_.@+-]+"),
        message="Enter a valid username.",
    ),
    "email": Email(required=True, max=320),
    **PROFILE,
    "token_lifetime": Integer(null=True, min=60),
    "agree_with_policy": Boolean(),
}
_PASSWORD: Final = {"new_password": Text(required=True, blank=False, max=128, strip=False)}


def _list(call: Call, tx: Read) -> Answer:
    if call.actor.is_identity_manager and not call.actor.sees_all:
        return Answer(403, wire.encode("Identity manager is not allowed to list users."))

    def render(rows: Sequence[Row]) -> list[wire.User]:
        grants = memberships.of_accounts(tx, call.actor, [row.id for row in rows])
        return [wire.user(call, row, grants.get(row.id, ())) for row in rows]

    return lists.answer(call, tx, accounts.listing, render, sparse=True)


def _retrieve(call: Call, tx: Read) -> Answer:
    row = accounts.reach(tx, call.actor, call.uuid("account"))
    shown = _shown(call, tx, row)
    return Answer(200, wire.encode(lists.fields(call, shown)))


def _me(call: Call, tx: Read) -> Answer:
    row = accounts.own(tx, call.actor)
    shown = _shown(call, tx, row, address=call.address or None)
    # Not a list, and yet the official client counts it.
    return Answer(200, wire.encode(lists.fields(call, shown)), {"X-Result-Count": "1"})


def _shown(call: Call, tx: Read, row: Row, *, address: str | UnsetType | None = UNSET) -> wire.User:
    grants = memberships.of_accounts(tx, call.actor, [row.id]).get(row.id, ())
    token: str | UnsetType = UNSET
    if row.id == call.actor.id and call.impersonator is None and row.token_sealed is not None:
        token = call.house.vault.unseal(row.token_sealed, row.token_digest)
    return wire.user(call, row, grants, token=token, address=address)


def _create(call: Call) -> Answer:
    actions.check_staff(call.actor)
    form = read(call, NEW)
    values: dict[str, Any] = form.values
    for ignored in ("agree_with_policy", "token_lifetime"):
        values.pop(ignored, None)
    with call.write() as tx:
        if accounts.is_taken(tx, username=values.get("username")):
            form.reject("username", "user with this username already exists.")
        form.check()
        number = actions.create(tx, call.actor, call.settings, call.house.vault, values)
        row = accounts.by_number(tx, number)
        return Answer(201, wire.encode(wire.user(call, row, ())))


def _change_password(call: Call) -> Answer:
    with call.read() as tx:
        target = accounts.reach(tx, call.actor, call.uuid("account"))
    if not call.actor.is_staff:
        raise Forbidden("permission.missing")
    form = read(call, _PASSWORD)
    password = form.values.get("new_password", "")
    if password:
        about = (target.username, target.email, target.first_name, target.last_name)
        for fault in faults(password, about):
            form.reject("new_password", fault)
    form.check()
    hashed = vault.hash_password(password)
    with call.write() as tx:
        actions.set_password(tx, call.actor, target.id, hashed)
    return Answer(200, wire.encode(wire.Status("password set")))


ROUTES: Routes = {
    "/api/users/": {
        "GET": Operation(
            _list, "List the accounts that you can see.", answers=wire.User, many=True
        ),
        "POST": Operation(_create, "Create an account.", form=NEW, answers=wire.User, status=201),
    },
    "/api/users/me/": {
        "GET": Operation(_me, "Show your own account.", answers=wire.User),
    },
    "/api/users/{uuid}/": {
        "GET": Operation(_retrieve, "Show an account.", answers=wire.User),
    },
    "/api/users/{uuid}/change_password/": {
        "POST": Operation(
            _change_password,
            "Set the password of an account; its token ends.",
            form=_PASSWORD,
            answers=wire.Status,
        ),
    },
}
