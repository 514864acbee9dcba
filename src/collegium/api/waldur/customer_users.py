"""``/api/customers/{uuid}/users/`` and ``/api/customers/countries/``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from collegium.access.rules import Kind
from collegium.accounts import organisation_users
from collegium.accounts.queries import full_name
from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.countries import NAMES
from collegium.memberships.rules import may_list_people
from collegium.scopes.organisations import queries as organisation_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row


class NestedProjectPermission(Struct, frozen=True):
    """A role in a project, as it shows on somebody of its organisation."""

    url: str
    uuid: str
    name: str
    role_name: str
    expiration_time: datetime | None


class CustomerUser(Struct, frozen=True):
    """Somebody with a role in an organisation or in one of its projects."""

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
    **dict.fromkeys(("agreement_date", "date_joined", "modified"), filters.Since()),
    "is_active": filters.Truth(),
    **dict.fromkeys(("organization_role", "project_role"), filters.Many()),
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


def _shown(call: Call, row: Row, held: Sequence[Row]) -> CustomerUser:
    direct = next((one for one in held if one.kind == Kind.ORGANISATION), None)
    return CustomerUser(
        url=f"{call.base}/api/users/{row.uuid}/",
        uuid=row.uuid,
        username=row.username,
        full_name=full_name(row),
        email=row.email,
        role_name=direct.role_name if direct else None,
        projects=[
            NestedProjectPermission(
                url=f"{call.base}/api/projects/{one.uuid}/",
                uuid=one.uuid,
                name=one.name,
                role_name=one.role_name,
                expiration_time=one.until,
            )
            for one in held
            if one.kind == Kind.PROJECT
        ],
        expiration_time=direct.until if direct else None,
        image=schemas.picture_url(call, row.picture),
    )


def _list(call: Call, tx: Read) -> Answer:
    scope = organisation_queries.find(tx, call.actor, call.uuid("organisation")).id
    if not call.actor.sees_all and not may_list_people(
        organisation_users.role_names(tx, call.actor, scope)
    ):
        return Answer(403)

    def render(rows: Sequence[Row]) -> list[CustomerUser]:
        held = organisation_users.roles_of(tx, scope, [row.id for row in rows])
        return [_shown(call, row, held.get(row.id, ())) for row in rows]

    wanted = filters.read(call, _FILTERS, organisation_users.listing.orders) | {"scope": scope}
    return lists.answer(call, tx, organisation_users.listing, render, filters=wanted, sparse=True)


def _countries(call: Call, _tx: Read) -> Answer:
    # All of them on one page: whoever fills a menu from them asks once.
    found = [Country(NAMES.get(code, code), code) for code in call.settings.countries]
    return Answer(200, schemas.encode(found), {"X-Result-Count": str(len(found))})


ROUTES: Routes = {
    "/api/customers/{uuid}/users/": {
        "GET": Operation(
            _list,
            "List the people of an organisation and its projects; for its owners and support.",
            answers=CustomerUser,
            many=True,
            filters=_FILTERS,
            orders=organisation_users.listing.orders,
            sparse=True,
        ),
    },
    "/api/customers/countries/": {
        "GET": Operation(
            _countries,
            "List the countries that an organisation can be in.",
            answers=Country,
            many=True,
            whole=True,
        ),
    },
}
