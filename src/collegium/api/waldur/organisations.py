"""``/api/customers/``: organisations."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from collegium.access import queries as access_queries
from collegium.access.rules import Kind, Permission
from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.accounts import SLUG
from collegium.api.waldur.fields import (
    Boolean,
    Decimal,
    Email,
    Field,
    Form,
    Integer,
    Moment,
    Name,
    Text,
    Wrong,
    read,
)
from collegium.api.waldur.memberships import team_routes
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row


class Subnets(Text):
    """Networks, separated by commas."""

    def read(self, raw: Any, *, form: bool) -> str:
        """Read networks in CIDR notation."""
        text = super().read(raw, form=form)
        found, wrong = [], []
        for part in filter(None, map(str.strip, text.split(","))):
            try:
                found.append(str(ip_network(part, strict=False)))
            except ValueError:
                wrong.append(f'"{part[:50]}" is not a valid network.')
        if wrong:
            raise Wrong(*wrong)
        # Written out, they may have become longer.
        return super().read(",".join(found), form=form)


_SHORT: Final = Text(max=160)
FIELDS: Final[dict[str, Field]] = {
    "name": Name(required=True, blank=False, max=150),
    "slug": SLUG,
    "description": Text(max=4000),
    "native_name": Name(max=160),
    "abbreviation": Name(max=12),
    "contact_details": Text(max=500),
    "agreement_number": _SHORT,
    "registration_code": _SHORT,
    "email": Email(blank=True, max=75),
    "phone_number": Text(max=255),
    "access_subnets": Subnets(max=140),
    "homepage": Text(
        max=255, pattern=re.compile(r"https?://[^\s<>\"]+"), message="Enter a valid URL."
    ),
    "domain": Text(max=255),
    "vat_code": Text(max=20),
    "postal": Text(max=20),
    "address": Text(max=300),
    "bank_name": Text(max=150),
    "bank_account": Text(max=50),
    "latitude": Decimal(null=True, min=-90, max=90),
    "longitude": Decimal(null=True, min=-180, max=180),
    "backend_id": Text(max=255),
    "blocked": Boolean(),
    "archived": Boolean(),
    "default_tax_percent": Text(
        max=8,
        blank=False,
        pattern=re.compile(r"\d{1,3}(\.\d{1,2})?", re.ASCII),
        message="A valid number is required.",
    ),
    "accounting_start_date": Moment(to="accounting_started"),
    "sponsor_number": Integer(null=True),
    "max_service_accounts": Integer(null=True),
    "grace_period_days": Integer(null=True),
    "notification_emails": Text(max=2000),
    "display_billing_info_in_projects": Boolean(),
    "country": Text(max=2),
}


def _form(call: Call, *, partial: bool = False) -> Form:
    form = read(call, FIELDS, partial=partial)
    form.drop_blank("slug")
    country = form.values.get("country")
    if country and country not in call.settings.countries:
        form.reject("country", f'"{country}" is not a valid choice.')
    return form


def _shown(call: Call, tx: Read, rows: Sequence[Row]) -> list[schemas.Customer]:
    ids = [row.id for row in rows]
    below: dict[int, list[Row]] = {}
    for project in organisation_queries.projects_of(tx, call.actor, ids):
        below.setdefault(project.parent_id, []).append(project)
    people = organisation_queries.people_in(tx, ids)
    return [schemas.customer(call, row, below.get(row.id, ()), people) for row in rows]


def _one(call: Call, tx: Read, uuid: str) -> schemas.Customer:
    return _shown(call, tx, [organisation_queries.find(tx, call.actor, uuid)])[0]


FILTERS: Final = {
    **dict.fromkeys(("abbreviation", "contact_details", "name", "native_name"), filters.Contains()),
    **dict.fromkeys(
        (
            "agreement_number",
            "backend_id",
            "name_exact",
            "query",
            "registration_code",
            "slug",
        ),
        filters.Exact(),
    ),
    "archived": filters.Truth(),
    "current_user_has_project_create_permission": filters.Wish(),
    "owned_by_current_user": filters.Wish(),
    "user_uuid": filters.Uuid(),
}


def _list(call: Call, tx: Read) -> Answer:
    wanted = filters.read(call, FILTERS, organisation_queries.listing.orders)
    if call.actor.is_staff:
        # Staff may create projects everywhere.
        wanted.pop("current_user_has_project_create_permission", None)
    return lists.answer(
        call,
        tx,
        organisation_queries.listing,
        lambda rows: _shown(call, tx, rows),
        filters=wanted,
        sparse=True,
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    shown = _one(call, tx, call.uuid("organisation"))
    return Answer(200, schemas.encode(lists.fields(call, shown)))


def _create(call: Call) -> Answer:
    form = _form(call)
    form.check()
    with call.write() as tx:
        own = {"domain": organisation_actions.home_of(tx, call.actor)} | form.values
        uuid = organisation_actions.create(tx, call.actor, call.settings, own)
        return Answer(201, schemas.encode(_one(call, tx, uuid)))


def _update(call: Call) -> Answer:
    uuid = call.uuid("organisation")
    with call.write() as tx:
        reached = access_queries.reach(
            tx, call.actor, Kind.ORGANISATION, uuid, Permission.ORGANISATION_UPDATE
        )
        form = _form(call, partial=call.method == "PATCH")
        form.check()
        organisation_actions.update(tx, call.actor, reached, form.values)
        return Answer(200, schemas.encode(_one(call, tx, uuid)))


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        reached = access_queries.reach(
            tx,
            call.actor,
            Kind.ORGANISATION,
            call.uuid("organisation"),
            Permission.ORGANISATION_DELETE,
        )
        organisation_actions.delete(tx, call.actor, reached)
    return Answer(204)


ROUTES: Routes = {
    "/api/customers/": {
        "GET": Operation(
            _list,
            "List the organisations that you can see.",
            answers=schemas.Customer,
            many=True,
            filters=FILTERS,
            orders=organisation_queries.listing.orders,
            sparse=True,
        ),
        "POST": Operation(
            _create, "Create an organisation.", form=FIELDS, answers=schemas.Customer, status=201
        ),
    },
    "/api/customers/{uuid}/": {
        "GET": Operation(_retrieve, "Show an organisation.", answers=schemas.Customer, sparse=True),
        "PUT": Operation(_update, "Change an organisation.", form=FIELDS, answers=schemas.Customer),
        "PATCH": Operation(
            _update,
            "Change some fields of an organisation.",
            form=FIELDS,
            answers=schemas.Customer,
            partial=True,
        ),
        "DELETE": Operation(_delete, "Remove an organisation.", status=204),
    },
    **team_routes("/api/customers/{uuid}/", Kind.ORGANISATION),
}
