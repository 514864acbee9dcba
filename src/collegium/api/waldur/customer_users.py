"""Endpoints ``/api/customers/{uuid}/users/`` and ``/api/customers/countries/``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from collegium.access.rules import ScopeKind
from collegium.accounts import organisation_users
from collegium.accounts.queries import full_name
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import countries, filters, lists, schemas
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.memberships.rules import may_list_people
from collegium.scopes.organisations import queries as organisation_queries


class NestedProjectPermission(Struct, frozen=True):
    """A role in a project, within the entry of a person of its organisation."""

    url: str
    uuid: str
    name: str
    role_name: str
    expiration_time: datetime | None


class CustomerUser(Struct, frozen=True):
    """A person with a role in an organisation or in one of its projects."""

    url: str
    uuid: str
    username: str
    full_name: str
    email: str
    role_name: str | None
    projects: list[NestedProjectPermission]
    expiration_time: datetime | None
    image: str | None


class Country(Struct, frozen=True):
    """A country that an organisation can be in."""

    label: str
    value: str


_FILTERS: Final = {
    **dict.fromkeys(("agreement_date", "date_joined", "modified"), filters.GreaterOrEqual()),
    "is_active": filters.BooleanFilter(),
    **dict.fromkeys(("organization_role", "project_role"), filters.MultipleFilter()),
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
            "registration_method",
            "user_keyword",
            "username",
        ),
        filters.Exact(),
    ),
}


def _render_user(context: RequestContext, row: Row, grants: Sequence[Row]) -> CustomerUser:
    own = next((grant for grant in grants if grant.kind == ScopeKind.ORGANISATION), None)
    return CustomerUser(
        url=f"{context.base}/api/users/{row.uuid}/",
        uuid=row.uuid,
        username=row.username,
        full_name=full_name(row),
        email=row.email,
        role_name=own.role_name if own else None,
        projects=[
            NestedProjectPermission(
                url=f"{context.base}/api/projects/{grant.uuid}/",
                uuid=grant.uuid,
                name=grant.name,
                role_name=grant.role_name,
                expiration_time=grant.valid_until,
            )
            for grant in grants
            if grant.kind == ScopeKind.PROJECT
        ],
        expiration_time=own.valid_until if own else None,
        image=schemas.picture_url(context, row.picture),
    )


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    scope = organisation_queries.get_visible(tx, context.actor, context.uuid("organisation")).id
    if not context.actor.sees_all and not may_list_people(
        organisation_users.role_names(tx, context.actor, scope)
    ):
        return Response(403)

    def render(rows: Sequence[Row]) -> list[CustomerUser]:
        grants = organisation_users.roles_of(tx, scope, [row.id for row in rows])
        return [_render_user(context, row, grants.get(row.id, ())) for row in rows]

    filter_values = filters.read(context, _FILTERS, organisation_users.listing.orders) | {
        "scope": scope
    }
    return lists.respond_page(
        context, tx, organisation_users.listing, render, filters=filter_values, sparse=True
    )


def _countries(context: RequestContext, _tx: ReadTransaction) -> Response:
    # All countries are on one page, because clients that fill a menu send a single request.
    names = countries.names(context.settings.countries)
    shown = [Country(name, code) for code, name in names.items()]
    return Response(200, schemas.encode(shown), {"X-Result-Count": str(len(shown))})


ROUTES: Routes = {
    "/api/customers/{uuid}/users/": {
        "GET": Endpoint(
            _list,
            "List the members of an organisation and its projects, for owners and support.",
            response_type=CustomerUser,
            is_list=True,
            filters=_FILTERS,
            orders=organisation_users.listing.orders,
            sparse_fields=True,
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
