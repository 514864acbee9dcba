"""Endpoints for accounts: ``/api/users/``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, UnsetType

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.pictures.rules import BYTES, InvalidImageError
from collegium.api import pictures
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.filters import BooleanFilter, Exact, GreaterOrEqual, MultipleFilter, Uuid
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.memberships import queries as membership_queries
from collegium.refusals import Invalid
from collegium.security import crypto
from collegium.security.passwords import password_errors
from collegium.sign_in.tokens.rules import TokenKind
from collegium.values import Boolean, Date, Email, File, Integer, Kind, Name, Text

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
    "birth_date": Date(null=True),
    "image": File(null=True, max=BYTES, source="picture"),
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
    **dict.fromkeys(("agreement_date", "date_joined", "modified"), GreaterOrEqual()),
    **dict.fromkeys(("customer_uuid", "project_uuid"), Uuid()),
    **dict.fromkeys(("is_active", "is_staff", "is_support"), BooleanFilter()),
    **dict.fromkeys(("organization_roles", "project_roles", "username_list"), MultipleFilter()),
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


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    if context.actor.is_identity_manager and not context.actor.sees_all:
        return Response(403, schemas.encode("Identity manager is not allowed to list users."))

    def render(rows: Sequence[Row]) -> list[schemas.User]:
        grants = membership_queries.by_account(tx, context.actor, [row.id for row in rows])
        return [schemas.user(context, row, grants.get(row.id, ()), listed=True) for row in rows]

    filter_values = filters.read(context, FILTERS, account_queries.listing.orders)
    return lists.respond_page(
        context, tx, account_queries.listing, render, filters=filter_values, sparse=True
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = account_queries.get_visible(tx, context.actor, context.uuid("account"))
    shown = _render_user(context, tx, row)
    return Response(200, schemas.encode(lists.fields(context, shown)))


def _me(context: RequestContext, tx: ReadTransaction) -> Response:
    row = context.account or account_queries.own(tx, context.actor)
    shown = _render_user(context, tx, row, ip_address=context.ip_address or None)
    # This is not a list, but the official client reads the count anyway.
    return Response(200, schemas.encode(lists.fields(context, shown)), {"X-Result-Count": "1"})


def _render_user(
    context: RequestContext, tx: ReadTransaction, row: Row, *, ip_address: str | None = None
) -> schemas.User:
    grants = membership_queries.by_account(tx, context.actor, [row.id]).get(row.id, ())
    token: str | UnsetType = UNSET
    is_own = row.id == context.actor.id and context.impersonator is None
    if is_own and context.actor.token_kind == TokenKind.API and row.token_encrypted is not None:
        token = context.app.vault.decrypt(row.token_encrypted, row.token_hash)
    return schemas.user(context, row, grants, token=token, ip_address=ip_address)


def _read_profile(context: RequestContext, definitions: Mapping[str, Kind]) -> Form:
    """Validate a body that may contain a picture.

    The picture is re-encoded here, before any transaction is open.
    """
    form = read(context, definitions)
    if form.values.get("picture") is not None:
        try:
            form.values["picture"] = pictures.sanitise(form.values["picture"])
        except InvalidImageError:
            form.reject(
                "image",
                "Upload a valid image. The file you uploaded was either not an image or a "
                "corrupted image.",
            )
    return form


def _create(context: RequestContext) -> Response:
    account_actions.require_staff(context.actor)
    form = _read_profile(context, NEW)
    values: dict[str, Any] = form.values
    for name in ("agree_with_policy", "token_lifetime"):
        values.pop(name, None)
    with context.write() as tx:
        if account_queries.is_username_taken(tx, username=values.get("username")):
            form.reject("username", "user with this username already exists.")
        if form.values.get("slug") and account_queries.is_slug_taken(tx, form.values["slug"]):
            form.refuse(Invalid("account.slug_taken", field="slug"))
        form.check()
        account_id = account_actions.create(
            tx, context.actor, context.settings, context.app.vault, values
        )
        row = account_queries.by_id(tx, account_id)
        return Response(201, schemas.encode(schemas.user(context, row, ())))


def _update(context: RequestContext) -> Response:
    uuid = context.uuid("account")
    with context.read() as tx:
        # Authorisation comes before validation: callers who may not change the account get that
        # refusal, whatever body they have sent.
        account_actions.require_self_or_staff(
            context.actor, account_queries.get_visible(tx, context.actor, uuid)
        )
    form = _read_profile(context, CHANGE)
    form.check()
    agrees = bool(form.values.pop("agree_with_policy", False))
    with context.write() as tx:
        account_actions.update(
            tx, context.actor, context.settings, uuid, form.values, agrees_to_policy=agrees
        )
        row = account_queries.get_visible(tx, context.actor, uuid)
        return Response(200, schemas.encode(_render_user(context, tx, row)))


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        account_actions.delete(tx, context.actor, context.uuid("account"))
    return Response(204)


def _change_password(context: RequestContext) -> Response:
    with context.read() as tx:
        target = account_queries.get_visible(tx, context.actor, context.uuid("account"))
    account_actions.require_staff(context.actor)
    form = read(context, _PASSWORD)
    password = form.values.get("new_password", "")
    if password:
        personal_data = (target.username, target.email, target.first_name, target.last_name)
        for error in password_errors(password, personal_data):
            form.reject("new_password", error)
    form.check()
    password_hash = crypto.hash_password(password)
    with context.write() as tx:
        account_actions.set_password(tx, context.actor, target.id, password_hash)
    return Response(200, schemas.encode(schemas.Status("password set")))


def _token(context: RequestContext, _tx: ReadTransaction) -> Response:
    # Reading a token is recorded in the audit log, so it needs a write transaction.
    with context.write() as tx:
        row, token = account_actions.read_token(
            tx, context.actor, context.app.vault, context.uuid("account")
        )
    return Response(200, schemas.encode(schemas.user_token(row, token)))


def _refresh_token(context: RequestContext) -> Response:
    with context.write() as tx:
        row, token = account_actions.refresh_token(
            tx, context.actor, context.app.vault, context.uuid("account")
        )
    return Response(200, schemas.encode(schemas.user_token(row, token)))


ROUTES: Routes = {
    "/api/users/": {
        "GET": Endpoint(
            _list,
            "List the accounts that you can see.",
            response_type=schemas.User,
            is_list=True,
            filters=FILTERS,
            orders=account_queries.listing.orders,
            sparse_fields=True,
        ),
        "POST": Endpoint(
            _create, "Create an account.", body=NEW, response_type=schemas.User, status=201
        ),
    },
    "/api/users/me/": {
        "GET": Endpoint(
            _me,
            "Show your own account.",
            response_type=schemas.User,
            sparse_fields=True,
            returns_self=True,
        ),
    },
    "/api/users/{uuid}/": {
        "GET": Endpoint(
            _retrieve, "Show an account.", response_type=schemas.User, sparse_fields=True
        ),
        "PUT": Endpoint(_update, "Change an account.", body=CHANGE, response_type=schemas.User),
        "PATCH": Endpoint(
            _update,
            "Change some fields of an account.",
            body=CHANGE,
            response_type=schemas.User,
            partial=True,
        ),
        "DELETE": Endpoint(_delete, "Delete an account and its personal data.", status=204),
    },
    "/api/users/{uuid}/token/": {
        "GET": Endpoint(
            _token, "Show the token of an account, for staff.", response_type=schemas.UserToken
        ),
    },
    "/api/users/{uuid}/refresh_token/": {
        "POST": Endpoint(
            _refresh_token, "Replace the token of an account.", response_type=schemas.UserToken
        ),
    },
    "/api/users/{uuid}/change_password/": {
        "POST": Endpoint(
            _change_password,
            "Set the password of an account and revoke its token.",
            body=_PASSWORD,
            response_type=schemas.Status,
        ),
    },
}
