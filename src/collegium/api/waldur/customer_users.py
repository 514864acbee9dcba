"""Endpoints for the people of organisations, and the list of countries.

``/api/customers/{uuid}/users/``, ``/api/projects/{uuid}/other_users/`` and
``/api/customers/countries/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final

from msgspec import Struct

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.accounts import organisation_users
from collegium.accounts.organisation_users import OrganisationUser, UserRole
from collegium.accounts.queries import join_names
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Given, Lookup, Resource, ResourceList, field, link
from collegium.api.waldur import accounts as accounts_api
from collegium.api.waldur import countries, filters, lists, schemas
from collegium.api.waldur.lookups import fixed
from collegium.db.database import ReadTransaction
from collegium.lists import account_search
from collegium.lists.listing import restricted
from collegium.memberships.rules import may_list_people
from collegium.scopes.organisations import queries as organisation_queries


class NestedProjectPermission(Resource, frozen=True):
    """A role in a project, within the entry of a person of its organisation."""

    url: str = link("/api/projects/{}/", "uuid")
    uuid: str = field()
    name: str = field()
    role_name: str = field()
    expiration_time: datetime | None = field("valid_until")


# The entry of each account: its own grant in the organisation, and its projects.
_ENTRIES: Final = Given("entries", default=None)


class CustomerUser(Resource, frozen=True):
    """A person with a role in an organisation or in one of its projects."""

    sparse: ClassVar = True

    url: str = link("/api/users/{}/", "uuid")
    uuid: str = field()
    username: str = field()
    full_name: str = field(
        "first_name",
        "last_name",
        get=join_names,
    )
    email: str = field()
    role_name: str | None = field(
        _ENTRIES, "id", get=lambda entries, account: getattr(entries[account][0], "role_name", None)
    )
    projects: list[NestedProjectPermission] = field(
        _ENTRIES, "id", get=lambda entries, account: entries[account][1]
    )
    expiration_time: datetime | None = field(
        _ENTRIES,
        "id",
        get=lambda entries, account: getattr(entries[account][0], "valid_until", None),
    )
    image: str | None = link("/api/media/{}/", "picture")


class BasicUser(Resource, frozen=True):
    """A person of another project of the same organisation."""

    url: str = link("/api/users/{}/", "uuid")
    uuid: str = field()
    username: str = field()
    full_name: str = field("first_name", "last_name", get=join_names)
    native_name: str = field()
    email: str = field()
    image: str | None = link("/api/media/{}/", "picture")


class Country(Struct, frozen=True):
    """A country that an organisation can be in."""

    label: str
    value: str


def _as_for_accounts(*shown: str) -> dict[str, Lookup]:
    """Return the filters of accounts; on a field that a list does not show they find no staff.

    Args:
        shown: the fields that the list shows besides address and name.
    """
    lookups = {}
    for name in (
        *("agreement_date", "civil_number", "date_joined", "description", "email"),
        *("full_name", "is_active", "job_title", "modified", "native_name"),
        *("organization", "phone_number", "registration_method", "user_keyword"),
        "username",
    ):
        condition = accounts_api.LIST.listing.filters[name]
        if name not in {"email", "full_name", "user_keyword", "username", *shown}:
            condition = restricted(name, condition, account_search.shown_to_members)
        lookups[name] = fixed(accounts_api.LIST.parameters[name], condition)
    return lookups


LIST: Final = ResourceList(
    CustomerUser,
    organisation_users.listing,
    filters={
        **_as_for_accounts(),
        **{
            name: fixed(filters.MultipleFilter(), organisation_users.listing.filters[name])
            for name in ("organization_role", "project_role")
        },
    },
    orders=organisation_users.listing.orders,
)


OTHERS: Final = ResourceList(
    BasicUser,
    organisation_users.of_other_projects,
    filters=_as_for_accounts("native_name"),
    orders=organisation_users.listing.orders,
)


def _entries(
    context: RequestContext, tx: ReadTransaction, scope: int, rows: Sequence[OrganisationUser]
) -> dict[int, tuple[UserRole | None, list[NestedProjectPermission]]]:
    grants = organisation_users.roles_of(tx, scope, [row.id for row in rows])
    entries = {}
    for row in rows:
        held = grants.get(row.id, ())
        own = next((grant for grant in held if grant.kind == ScopeKind.ORGANISATION), None)
        in_projects = [grant for grant in held if grant.kind == ScopeKind.PROJECT]
        entries[row.id] = own, NestedProjectPermission.fill(context, tx, in_projects)
    return entries


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    scope = organisation_queries.get_visible(tx, context.actor, context.uuid("organisation")).id
    if not context.actor.sees_all and not may_list_people(
        organisation_users.role_names(tx, context.actor, scope)
    ):
        return Response(403)

    return lists.respond_page(
        context,
        tx,
        LIST.listing,
        lambda rows: CustomerUser.fill(
            context, tx, rows, entries=_entries(context, tx, scope, rows)
        ),
        filters={**lists.read(context, LIST), "scope": scope},
        sparse=True,
    )


def _others(context: RequestContext, tx: ReadTransaction) -> Response:
    project = access_queries.get_visible(
        tx, context.actor, ScopeKind.PROJECT, context.uuid("project")
    ).scope
    ids = (project.parent_id, project.id)
    return lists.respond(
        context, tx, OTHERS, {**lists.read(context, OTHERS), "other_projects": ids}
    )


def _countries(context: RequestContext, _tx: ReadTransaction) -> Response:
    # All countries are on one page, because clients that fill a menu send a single request.
    names = countries.names(context.settings.countries)
    shown = [Country(name, code) for code, name in names.items()]
    return Response(200, schemas.encode(shown), {"X-Result-Count": str(len(shown))})


ROUTES: Routes = {
    "/api/customers/{uuid}/users/": {
        "GET": lists.endpoint(
            LIST,
            "List the members of an organisation and its projects, for owners and support.",
            _list,
        ),
    },
    "/api/projects/{uuid}/other_users/": {
        "GET": lists.endpoint(
            OTHERS, "List the members of the other projects of the organisation.", _others
        ),
    },
    "/api/customers/countries/": {
        "GET": Endpoint(
            _countries,
            "List the countries.",
            response_type=Country,
            is_list=True,
            unpaginated=True,
        ),
    },
}
