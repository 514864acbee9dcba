"""``/api/users/`` : accounts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.pictures.rules import BYTES, NoPicture
from collegium.api import pictures
from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Boolean, Day, Email, File, Form, Integer, Name, Text, read
from collegium.api.waldur.filters import Exact, Many, Since, Truth, Uuid
from collegium.memberships import queries as membership_queries
from collegium.refusals import Invalid
from collegium.security import crypto
from collegium.security.passwords import faults
from collegium.sign_in.tokens.rules import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from collegium.api.request import Call
    from collegium.api.waldur.fields import Field
    from collegium.db.database import Read
    from collegium.db.statements import Row

_NAME: Final = Name(max=100)
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
    "image": File(null=True, max=BYTES, to="picture"),
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
CHANGE: Final = {name: kind for name, kind in NEW.items() if name not in {"username", "email"}}
_PASSWORD: Final = {"new_password": Text(required=True, blank=False, max=128, strip=False)}

FILTERS: Final = {
    **dict.fromkeys(("agreement_date", "date_joined", "modified"), Since()),
    **dict.fromkeys(("customer_uuid", "project_uuid"), Uuid()),
    **dict.fromkeys(("is_active", "is_staff", "is_support"), Truth()),
    **dict.fromkeys(("organization_roles", "project_roles", "username_list"), Many()),
    **dict.fromkeys(
        (
            "civil_number",
            "description",
            "email",
            "full_name",
            "job_title",
            "native_name",
            "organization",
            "phone_number",
            "query",
            "registration_method",
            "user_keyword",
            "username",
        ),
        Exact(),
    ),
}


def _list(call: Call, tx: Read) -> Answer:
    if call.actor.is_identity_manager and not call.actor.sees_all:
        return Answer(403, schemas.encode("Identity manager is not allowed to list users."))

    def render(rows: Sequence[Row]) -> list[schemas.User]:
        grants = membership_queries.of_accounts(tx, call.actor, [row.id for row in rows])
        return [schemas.user(call, row, grants.get(row.id, ()), listed=True) for row in rows]

    wanted = filters.read(call, FILTERS, account_queries.listing.orders)
    return lists.answer(call, tx, account_queries.listing, render, filters=wanted, sparse=True)


def _retrieve(call: Call, tx: Read) -> Answer:
    row = account_queries.reach(tx, call.actor, call.uuid("account"))
    shown = _shown(call, tx, row)
    return Answer(200, schemas.encode(lists.fields(call, shown)))


def _me(call: Call, tx: Read) -> Answer:
    row = call.account or account_queries.own(tx, call.actor)
    shown = _shown(call, tx, row, address=call.address or None)
    # Not a list, and yet the official client counts it.
    return Answer(200, schemas.encode(lists.fields(call, shown)), {"X-Result-Count": "1"})


def _shown(call: Call, tx: Read, row: Row, *, address: str | None = None) -> schemas.User:
    grants = membership_queries.of_accounts(tx, call.actor, [row.id]).get(row.id, ())
    token: str | UnsetType = UNSET
    own = row.id == call.actor.id and call.impersonator is None
    if own and call.actor.token_kind == Kind.API and row.token_sealed is not None:
        token = call.house.vault.unseal(row.token_sealed, row.token_digest)
    return schemas.user(call, row, grants, token=token, address=address)


def _profile(call: Call, kinds: Mapping[str, Field]) -> Form:
    """Read a body with a picture in it; the picture is made anew before any transaction."""
    form = read(call, kinds)
    if form.values.get("picture") is not None:
        try:
            form.values["picture"] = pictures.made(form.values["picture"])
        except NoPicture:
            form.reject(
                "image",
                "Upload a valid image. The file you uploaded was either not an image or a "
                "corrupted image.",
            )
    return form


def _create(call: Call) -> Answer:
    account_actions.check_staff(call.actor)
    form = _profile(call, NEW)
    values: dict[str, Any] = form.values
    for ignored in ("agree_with_policy", "token_lifetime"):
        values.pop(ignored, None)
    with call.write() as tx:
        if account_queries.is_taken(tx, username=values.get("username")):
            form.reject("username", "user with this username already exists.")
        if form.values.get("slug") and account_queries.is_slug_taken(tx, form.values["slug"]):
            form.refuse(Invalid("account.slug_taken", field="slug"))
        form.check()
        number = account_actions.create(tx, call.actor, call.settings, call.house.vault, values)
        row = account_queries.by_number(tx, number)
        return Answer(201, schemas.encode(schemas.user(call, row, ())))


def _update(call: Call) -> Answer:
    uuid = call.uuid("account")
    with call.read() as tx:
        # Who may not change it is told so before what is wrong with the body.
        account_actions.check_self_or_staff(call.actor, account_queries.reach(tx, call.actor, uuid))
    form = _profile(call, CHANGE)
    form.check()
    agrees = bool(form.values.pop("agree_with_policy", False))
    with call.write() as tx:
        account_actions.update(tx, call.actor, call.settings, uuid, form.values, agrees=agrees)
        row = account_queries.reach(tx, call.actor, uuid)
        return Answer(200, schemas.encode(_shown(call, tx, row)))


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        account_actions.delete(tx, call.actor, call.uuid("account"))
    return Answer(204)


def _change_password(call: Call) -> Answer:
    with call.read() as tx:
        target = account_queries.reach(tx, call.actor, call.uuid("account"))
    account_actions.check_staff(call.actor)
    form = read(call, _PASSWORD)
    password = form.values.get("new_password", "")
    if password:
        about = (target.username, target.email, target.first_name, target.last_name)
        for fault in faults(password, about):
            form.reject("new_password", fault)
    form.check()
    hashed = crypto.hash_password(password)
    with call.write() as tx:
        account_actions.set_password(tx, call.actor, target.id, hashed)
    return Answer(200, schemas.encode(schemas.Status("password set")))


def _token(call: Call, _tx: Read) -> Answer:
    # A reading that leaves a trace, so it needs a transaction that writes.
    with call.write() as tx:
        row, token = account_actions.read_token(
            tx, call.actor, call.house.vault, call.uuid("account")
        )
    return Answer(200, schemas.encode(schemas.user_token(row, token)))


def _refresh_token(call: Call) -> Answer:
    with call.write() as tx:
        row, token = account_actions.refresh_token(
            tx, call.actor, call.house.vault, call.uuid("account")
        )
    return Answer(200, schemas.encode(schemas.user_token(row, token)))


ROUTES: Routes = {
    "/api/users/": {
        "GET": Operation(
            _list,
            "List the accounts that you can see.",
            answers=schemas.User,
            many=True,
            filters=FILTERS,
            orders=account_queries.listing.orders,
            sparse=True,
        ),
        "POST": Operation(
            _create, "Create an account.", form=NEW, answers=schemas.User, status=201
        ),
    },
    "/api/users/me/": {
        "GET": Operation(
            _me, "Show your own account.", answers=schemas.User, sparse=True, own=True
        ),
    },
    "/api/users/{uuid}/": {
        "GET": Operation(_retrieve, "Show an account.", answers=schemas.User, sparse=True),
        "PUT": Operation(_update, "Change an account.", form=CHANGE, answers=schemas.User),
        "PATCH": Operation(
            _update,
            "Change some fields of an account.",
            form=CHANGE,
            answers=schemas.User,
            partial=True,
        ),
        "DELETE": Operation(_delete, "Delete an account; its history stays readable.", status=204),
    },
    "/api/users/{uuid}/token/": {
        "GET": Operation(
            _token, "Show the token of an account to staff.", answers=schemas.UserToken
        ),
    },
    "/api/users/{uuid}/refresh_token/": {
        "POST": Operation(
            _refresh_token, "Give an account another token.", answers=schemas.UserToken
        ),
    },
    "/api/users/{uuid}/change_password/": {
        "POST": Operation(
            _change_password,
            "Set the password of an account; its token ends.",
            form=_PASSWORD,
            answers=schemas.Status,
        ),
    },
}
