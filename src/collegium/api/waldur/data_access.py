"""Who can see a profile, and who has looked at it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, Struct, UnsetType

from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.accounts import views
from collegium.accounts.queries import AccountDetails, full_name, join_names
from collegium.accounts.views import ViewRow, Views
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.db.database import ReadTransaction
from collegium.refusals import Forbidden

if TYPE_CHECKING:
    from collegium.accounts.data_access import Administrator, Colleague


class AdminUser(Struct, frozen=True, gc=False):
    """A member of staff or support."""

    user_uuid: str
    username: str
    full_name: str
    access_type: str


class AdministrativeAccess(Struct, frozen=True):
    """Staff and support, who see every account. Only they see who they are."""

    description: str
    staff_count: int
    support_count: int
    users: list[AdminUser] | UnsetType = UNSET


class OrganizationalUser(Struct, frozen=True, gc=False):
    """Somebody who sees the account because of a scope, with the role there or next to it."""

    user_uuid: str
    username: str
    full_name: str
    role: str | None


class OrganizationalAccess(Struct, frozen=True):
    """A scope of the account, and people who see the account because of it."""

    scope_type: str
    scope_uuid: str
    scope_name: str
    users: list[OrganizationalUser]


class Summary(Struct, frozen=True, gc=False):
    """Numbers of people who can see the account."""

    total_administrative_access: int
    total_organizational_access: int
    total_provider_access: int


class UserDataAccess(Struct, frozen=True):
    """Who can see an account."""

    administrative_access: AdministrativeAccess
    organizational_access: list[OrganizationalAccess]
    service_provider_access: list[dict[str, Any]]
    summary: Summary


class Accessor(Struct, frozen=True, gc=False):
    """Somebody who has looked at an account."""

    uuid: str
    username: str
    full_name: str


class UserDataAccessLog(Struct, frozen=True):
    """Somebody has looked at an account. Only staff and support see who."""

    uuid: str
    timestamp: datetime
    accessor_type: str
    accessed_fields: list[str]
    accessor_category: str
    accessor: Accessor | UnsetType = UNSET
    ip_address: str | UnsetType | None = UNSET
    context: dict[str, Any] | UnsetType = UNSET


_ACCESSORS: Final = {
    views.STAFF: ("staff", "Platform administrator"),
    views.SUPPORT: ("support", "Platform support staff"),
    views.COLLEAGUE: ("organization_member", "User in your organization"),
}
"""Our kinds of viewers to their names and labels in this API."""
_NOBODY: Final = "nobody"
"""Kinds of viewers of this API that the service does not have, or does not record."""

_NAMES: Final = {name: kind for kind, (name, _) in _ACCESSORS.items()}
_PARAMETERS: Final = {
    "accessor_type": filters.ChoiceFilter(
        _NAMES | dict.fromkeys(("self", "service_provider"), _NOBODY)
    ),
    "start_date": filters.Day(),
    "end_date": filters.Day(),
}


def _load(context: RequestContext, tx: ReadTransaction) -> AccountDetails:
    """Load an account for its owner, staff or support."""
    row = account_queries.get_visible(tx, context.actor, context.uuid("account"))
    if not context.actor.sees_all and row.id != context.actor.id:
        raise Forbidden("permission.missing")
    return row


def _access_type(row: Administrator) -> str:
    if row.is_staff:
        return "staff_and_support" if row.is_support else "staff"
    return "support"


def _scopes(rows: Iterable[Colleague]) -> list[OrganizationalAccess]:
    return [
        OrganizationalAccess(
            schemas.KINDS[ScopeKind(kind)],
            uuid,
            name,
            [
                OrganizationalUser(row.uuid, row.username, full_name(row), row.role_name)
                for row in people
            ],
        )
        for (kind, uuid, name), people in groupby(
            rows, lambda row: (row.scope_kind, row.scope_uuid, row.scope_name)
        )
    ]


def _show(context: RequestContext, tx: ReadTransaction) -> Response:
    from collegium.accounts import data_access  # noqa: PLC0415 - takes memory, and few workers need it

    row = _load(context, tx)
    counts = data_access.count_administrators(tx)
    named: list[AdminUser] | UnsetType = UNSET
    if context.actor.sees_all:
        named = [
            AdminUser(one.uuid, one.username, full_name(one), _access_type(one))
            for one in data_access.administrators(tx)
        ]
    shown = UserDataAccess(
        AdministrativeAccess(
            "Staff and support of this service see every account.",
            counts.staff,
            counts.support,
            named,
        ),
        _scopes(data_access.colleagues(tx, context.actor, row)),
        [],
        Summary(counts.people, data_access.count_colleagues(tx, row), 0),
    )
    return Response(200, schemas.encode(shown))


def _log_entry(row: ViewRow, *, names_viewer: bool) -> UserDataAccessLog:
    name, label = _ACCESSORS[row.payload["viewer"]]
    entry = UserDataAccessLog(row.uuid, row.created_at, name, row.payload["fields"], label)
    if not names_viewer:
        return entry
    accessor: Accessor | UnsetType = UNSET
    if row.viewer_uuid is not None and row.viewer_username is not None:
        names = join_names(row.first_name, row.last_name)
        accessor = Accessor(row.viewer_uuid, row.viewer_username, names)
    return UserDataAccessLog(
        row.uuid,
        row.created_at,
        name,
        row.payload["fields"],
        label,
        accessor,
        row.ip_address or None,
        {},
    )


def _history(context: RequestContext, tx: ReadTransaction) -> Response:
    row = _load(context, tx)
    values = filters.read(context, _PARAMETERS, orders=())
    views_asked = Views(row.id)
    if "accessor_type" in values:
        views_asked = views_asked._replace(viewer=values["accessor_type"] or _NOBODY)
    if "start_date" in values:
        views_asked = views_asked._replace(
            since=datetime.combine(values["start_date"], time(), UTC)
        )
    if "end_date" in values:
        # The day itself counts.
        until = datetime.combine(values["end_date"], time.max, UTC)
        views_asked = views_asked._replace(until=until)
    return lists.respond_slice(
        context,
        views.count(tx, views_asked),
        lambda size, skip: [
            _log_entry(view, names_viewer=context.actor.sees_all)
            for view in views.newest(tx, views_asked, size, skip)
        ],
    )


ROUTES: Routes = {
    "/api/users/{uuid}/data_access/": {
        "GET": Endpoint(
            _show,
            "Show who can see an account, to its owner and to staff.",
            response_type=UserDataAccess,
        ),
    },
    "/api/users/{uuid}/data_access_history/": {
        "GET": Endpoint(
            _history,
            "List who has looked at an account, for its owner and for staff.",
            response_type=UserDataAccessLog,
            is_list=True,
            filters=_PARAMETERS,
        ),
    },
}
