"""``/api/…/users/user/``: people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access.rules import NOBODY
from collegium.accounts import actions as account_actions
from collegium.accounts.actions import check_staff
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.profiles import queries as profile_queries
from collegium.api.brainstem import bodies, query, schemas
from collegium.api.brainstem.paths import number
from collegium.api.request import Answer, Operation, Routes

if TYPE_CHECKING:
    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row

_FIELDS: Final[dict[str, query.Kind]] = {
    "id": query.Number(),
    "first_name": query.Text(),
    "last_name": query.Text(),
}
_ORDERS: Final = ("id", "first_name", "last_name")
_TABLE: Final = query.Table(
    profile_queries.listing, _FIELDS | {"email": query.Text()}, orders=(*_ORDERS, "email")
)
_PUBLIC: Final = query.Table(profile_queries.public, _FIELDS, orders=_ORDERS)
_NAMES: Final = {"first_name": bodies.Name(max=100), "last_name": bodies.Name(max=100)}
_SHOWN: Final[dict[str, bodies.Field]] = {
    "website": bodies.WebAddress(),
    "google_scholar": bodies.Line(max=200),
    "orcid_id": bodies.Line(max=100),
    "atlas_preference": bodies.Line(max=7),
    "active_projects": bodies.Projects(),
}
_CHANGE: Final = {**_NAMES, **_SHOWN}
_READ_ONLY: Final = frozenset(schemas.Profile.__struct_fields__)


def _one(tx: Read, row: Row, *, with_email: bool = True) -> Answer:
    (shown,) = schemas.profiles(tx, [row], with_email=with_email)
    return Answer(200, schemas.encode(schemas.OneProfile(shown)))


def _page(tx: Read, found: query.Found, *, with_email: bool) -> Answer:
    shown = schemas.profiles(tx, found.rows, with_email=with_email)
    page = schemas.ProfilePage(shown, found.meta, found.count, found.next, found.previous)
    return Answer(200, schemas.encode(page))


def _list(call: Call, tx: Read) -> Answer:
    return _page(tx, query.find(call, tx, call.actor, _TABLE), with_email=True)


def _retrieve(call: Call, tx: Read) -> Answer:
    return _one(tx, profile_queries.reach(tx, call.actor, number(call, "account")))


def _list_public(call: Call, tx: Read) -> Answer:
    found = query.find(call, tx, NOBODY, _PUBLIC)
    return _page(tx, found, with_email=call.settings.brainstem_public_emails)


def _retrieve_public(call: Call, tx: Read) -> Answer:
    row = profile_queries.reach(tx, NOBODY, number(call, "account"), is_public=True)
    return _one(tx, row, with_email=call.settings.brainstem_public_emails)


def _change(call: Call) -> Answer:
    account = number(call, "account")
    with call.write() as tx:
        profile_actions.hold(tx, call.actor, account)
        values = bodies.read(call, _CHANGE, read_only=_READ_ONLY)
        names = {name: values.pop(name) for name in _NAMES if name in values}
        profile_actions.change(tx, call.actor, call.settings, account, names, values)
        return _one(tx, profile_queries.reach(tx, call.actor, account))


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        row = profile_queries.reach(tx, call.actor, number(call, "account"))
        check_staff(call.actor)
        account_actions.delete(tx, call.actor, row.uuid, closes=True)
    return Answer(204)


ROUTES: Routes = {
    "/api/private/users/user/": {
        "GET": Operation(
            _list,
            "List the people of groups, and those whom you see anyway.",
            answers=schemas.ProfilePage,
            filters=_TABLE.described(),
        )
    },
    "/api/private/users/user/{id}/": {
        "GET": Operation(_retrieve, "Show a person.", answers=schemas.OneProfile),
        "PATCH": Operation(
            _change,
            "Change your profile.",
            form=_CHANGE,
            answers=schemas.OneProfile,
            partial=True,
        ),
        "DELETE": Operation(_delete, "Delete an account, as staff.", status=204),
    },
    "/api/public/users/user/": {
        "GET": Operation(
            _list_public,
            "List the people of groups, for everybody.",
            open=True,
            answers=schemas.ProfilePage,
            filters=_PUBLIC.described(),
            asks=True,
        )
    },
    "/api/public/users/user/{id}/": {
        "GET": Operation(
            _retrieve_public,
            "Show a person of a group to everybody.",
            open=True,
            answers=schemas.OneProfile,
            asks=True,
        )
    },
}
DESCRIBED: Final = ROUTES
