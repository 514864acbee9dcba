"""Endpoints for accounts: ``/api/…/users/user/``."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import ANONYMOUS, require_staff
from collegium.accounts import actions as account_actions
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.profiles import queries as profile_queries
from collegium.accounts.profiles.queries import ProfileRow
from collegium.api import account_views
from collegium.api.brainstem import bodies, query, schemas
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.db.tables import account_texts, accounts
from collegium.values import Kind

_FIELDS: Final = {
    "id": query.integer(accounts.c.id),
    "first_name": query.text(accounts.c.first_name, account_texts.c.first_name),
    "last_name": query.text(accounts.c.last_name, account_texts.c.last_name),
}
_EMAIL: Final = query.address(accounts.c.email, accounts.c.email_comparable, account_texts.c.email)
_ORDERS: Final = ("id", "first_name", "last_name")
_TABLE: Final = query.Table(
    profile_queries.listing, _FIELDS | {"email": _EMAIL}, orders=(*_ORDERS, "email")
)
# No filter by address, because this list does not show addresses.
_PUBLIC: Final = query.Table(profile_queries.public, _FIELDS, orders=_ORDERS)
_NAMES: Final = {"first_name": bodies.Name(max=100), "last_name": bodies.Name(max=100)}
_PROFILE_FIELDS: Final[dict[str, Kind]] = {
    "website": bodies.WebAddress(),
    "google_scholar": bodies.Line(max=200),
    "orcid_id": bodies.Line(max=100),
    "atlas_preference": bodies.Line(max=7),
    "active_projects": bodies.Projects(),
}
_CHANGE: Final = {**_NAMES, **_PROFILE_FIELDS}
_READ_ONLY: Final = frozenset(schemas.Profile.__struct_fields__)


def _profile_response(tx: ReadTransaction, row: ProfileRow, *, with_email: bool = True) -> Response:
    (profile,) = schemas.profiles(tx, [row], with_email=with_email)
    return Response(200, schemas.encode(schemas.OneProfile(profile)))


def _page_response(
    tx: ReadTransaction, result: query.ListResult[ProfileRow], *, with_email: bool
) -> Response:
    profiles = schemas.profiles(tx, result.rows, with_email=with_email)
    page = schemas.ProfilePage(profiles, result.meta, result.count, result.next, result.previous)
    return Response(200, schemas.encode(page))


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return _page_response(tx, query.load_page(context, tx, context.actor, _TABLE), with_email=True)


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = profile_queries.get_visible(tx, context.actor, context.number("account"))
    account_views.record(context, row.id, ("email", "first_name", "last_name", *_PROFILE_FIELDS))
    return _profile_response(tx, row)


def _list_public(context: RequestContext, tx: ReadTransaction) -> Response:
    result = query.load_page(context, tx, ANONYMOUS, _PUBLIC)
    return _page_response(tx, result, with_email=context.settings.brainstem_public_emails)


def _retrieve_public(context: RequestContext, tx: ReadTransaction) -> Response:
    row = profile_queries.get_visible(tx, ANONYMOUS, context.number("account"), is_public=True)
    return _profile_response(tx, row, with_email=context.settings.brainstem_public_emails)


def _change(context: RequestContext) -> Response:
    account = context.number("account")
    with context.write() as tx:
        profile_actions.lock_profile_and_authorise(tx, context.actor, account)
        values = bodies.read(context, _CHANGE, read_only=_READ_ONLY)
        names = {name: values.pop(name) for name in _NAMES if name in values}
        profile_actions.change(tx, context.actor, context.settings, account, names, values)
        return _profile_response(tx, profile_queries.get_visible(tx, context.actor, account))


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        row = profile_queries.get_visible(tx, context.actor, context.number("account"))
        require_staff(context.actor)
        account_actions.delete(tx, context.actor, row.uuid, cancel_requests=True)
    return Response(204)


ROUTES: Routes = {
    "/api/private/users/user/": {
        "GET": Endpoint(
            _list,
            "List the accounts that you can see.",
            response_type=schemas.ProfilePage,
            filters=_TABLE.describe_parameters(),
        )
    },
    "/api/private/users/user/{id}/": {
        "GET": Endpoint(_retrieve, "Show an account.", response_type=schemas.OneProfile),
        "PATCH": Endpoint(
            _change,
            "Change your profile.",
            body=_CHANGE,
            response_type=schemas.OneProfile,
            partial=True,
        ),
        "DELETE": Endpoint(_delete, "Delete an account, as staff.", status=204),
    },
    "/api/public/users/user/": {
        "GET": Endpoint(
            _list_public,
            "List the accounts of the public portal.",
            public=True,
            response_type=schemas.ProfilePage,
            filters=_PUBLIC.describe_parameters(),
            reads_db=True,
        )
    },
    "/api/public/users/user/{id}/": {
        "GET": Endpoint(
            _retrieve_public,
            "Show an account of the public portal.",
            public=True,
            response_type=schemas.OneProfile,
            reads_db=True,
        )
    },
}
DESCRIBED: Final = ROUTES
