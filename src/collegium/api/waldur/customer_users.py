"""Endpoints ``/api/customers/{uuid}/users/`` and ``/api/customers/countries/``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from collegium.access.rules import ScopeKind
from collegium.accounts import organisation_users
from collegium.accounts.queries import full_name
from collegium.api.request import Answer, Endpoint, RequestContext, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.countries import NAMES
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


def _shown(context: RequestContext, row: Row, held: Sequence[Row]) -> CustomerUser:
    direct = next((one for one in held if one.kind == ScopeKind.ORGANISATION), None)
    return CustomerUser(
        url=f"{context.base}/api/users/{row.uuid}/",
        uuid=row.uuid,
        username=row.username,
        full_name=full_name(row),
        email=row.email,
        role_name=direct.role_name if direct else None,
        projects=[
            NestedProjectPermission(
                url=f"{context.base}/api/projects/{one.uuid}/",
                uuid=one.uuid,
                name=one.name,
                role_name=one.role_name,
                expiration_time=one.valid_until,
            )
            for one in held
            if one.kind == ScopeKind.PROJECT
        ],
        expiration_time=direct.valid_until if direct else None,
        image=schemas.picture_url(context, row.picture),
    )


def _list(context: RequestContext, tx: ReadTransaction) -> Answer:
    scope = organisation_queries.get_visible(tx, context.actor, context.uuid("organisation")).id
    if not context.actor.sees_all and not may_list_people(
        organisation_users.role_names(tx, context.actor, scope)
    ):
        return Answer(403)

    def render(rows: Sequence[Row]) -> list[CustomerUser]:
        held = organisation_users.roles_of(tx, scope, [row.id for row in rows])
        return [_shown(context, row, held.get(row.id, ())) for row in rows]

    wanted = filters.read(context, _FILTERS, organisation_users.listing.orders) | {"scope": scope}
    return lists.answer(
        context, tx, organisation_users.listing, render, filters=wanted, sparse=True
    )


def _countries(context: RequestContext, _tx: ReadTransaction) -> Answer:
    # All countries are on one page, because clients that fill a menu send a single request.
    found = [Country(NAMES.get(code, code), code) for code in context.settings.countries]
    return Answer(200, schemas.encode(found), {"X-Result-Count": str(len(found))})


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
