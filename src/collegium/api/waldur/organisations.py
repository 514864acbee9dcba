"""Endpoints for organisations: ``/api/customers/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any, Final

from collegium.access import queries as access_queries
from collegium.access.rules import Permission, ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.accounts import SLUG
from collegium.api.waldur.fields import (
    Boolean,
    DateTime,
    Decimal,
    Email,
    Field,
    Form,
    Integer,
    Name,
    Text,
    ValidationError,
    read,
)
from collegium.api.waldur.memberships import team_routes
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries


class Subnets(Text):
    """Networks, separated by commas."""

    def read(self, raw: Any, *, form: bool) -> str:
        """Return the networks in CIDR notation, separated by commas."""
        text = super().read(raw, form=form)
        networks, errors = [], []
        for part in filter(None, map(str.strip, text.split(","))):
            try:
                networks.append(str(ip_network(part, strict=False)))
            except ValueError:
                errors.append(f'"{part[:50]}" is not a valid network.')
        if errors:
            raise ValidationError(*errors)
        # The canonical form may be longer, so the length is checked again.
        return super().read(",".join(networks), form=form)


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
    "accounting_start_date": DateTime(source="accounting_started_at"),
    "sponsor_number": Integer(null=True),
    "max_service_accounts": Integer(null=True),
    "grace_period_days": Integer(null=True),
    "notification_emails": Text(max=2000),
    "display_billing_info_in_projects": Boolean(),
    "country": Text(max=2),
}


def _form(context: RequestContext, *, partial: bool = False) -> Form:
    form = read(context, FIELDS, partial=partial)
    form.drop_blank("slug")
    country = form.values.get("country")
    if country and country not in context.settings.countries:
        form.reject("country", f'"{country}" is not a valid choice.')
    return form


def _render_organisations(
    context: RequestContext, tx: ReadTransaction, rows: Sequence[Row]
) -> list[schemas.Customer]:
    ids = [row.id for row in rows]
    projects: dict[int, list[Row]] = {}
    for project in organisation_queries.projects_of(tx, context.actor, ids):
        projects.setdefault(project.parent_id, []).append(project)
    member_counts = organisation_queries.count_people(tx, ids)
    return [schemas.customer(context, row, projects.get(row.id, ()), member_counts) for row in rows]


def _load_organisation(context: RequestContext, tx: ReadTransaction, uuid: str) -> schemas.Customer:
    return _render_organisations(
        context, tx, [organisation_queries.get_visible(tx, context.actor, uuid)]
    )[0]


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
    "archived": filters.BooleanFilter(),
    "current_user_has_project_create_permission": filters.OptIn(),
    "owned_by_current_user": filters.OptIn(),
    "user_uuid": filters.Uuid(),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    filter_values = filters.read(context, FILTERS, organisation_queries.listing.orders)
    if context.actor.is_staff:
        # Staff may create projects in every organisation, so the filter changes nothing for them.
        filter_values.pop("current_user_has_project_create_permission", None)
    return lists.respond(
        context,
        tx,
        organisation_queries.listing,
        lambda rows: _render_organisations(context, tx, rows),
        filters=filter_values,
        sparse=True,
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    struct = _load_organisation(context, tx, context.uuid("organisation"))
    return Response(200, schemas.encode(lists.fields(context, struct)))


def _create(context: RequestContext) -> Response:
    form = _form(context)
    form.check()
    with context.write() as tx:
        values = {"domain": organisation_actions.default_domain(tx, context.actor)} | form.values
        uuid = organisation_actions.create(tx, context.actor, context.settings, values)
        return Response(201, schemas.encode(_load_organisation(context, tx, uuid)))


def _update(context: RequestContext) -> Response:
    uuid = context.uuid("organisation")
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.ORGANISATION, uuid, Permission.ORGANISATION_UPDATE
        )
        form = _form(context, partial=context.method == "PATCH")
        form.check()
        organisation_actions.update(tx, context.actor, access, form.values)
        return Response(200, schemas.encode(_load_organisation(context, tx, uuid)))


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        access = access_queries.get_visible(
            tx,
            context.actor,
            ScopeKind.ORGANISATION,
            context.uuid("organisation"),
            Permission.ORGANISATION_DELETE,
        )
        organisation_actions.delete(tx, context.actor, access)
    return Response(204)


ROUTES: Routes = {
    "/api/customers/": {
        "GET": Endpoint(
            _list,
            "List the organisations that you can see.",
            response_type=schemas.Customer,
            is_list=True,
            filters=FILTERS,
            orders=organisation_queries.listing.orders,
            sparse_fields=True,
        ),
        "POST": Endpoint(
            _create,
            "Create an organisation.",
            body=FIELDS,
            response_type=schemas.Customer,
            status=201,
        ),
    },
    "/api/customers/{uuid}/": {
        "GET": Endpoint(
            _retrieve, "Show an organisation.", response_type=schemas.Customer, sparse_fields=True
        ),
        "PUT": Endpoint(
            _update, "Change an organisation.", body=FIELDS, response_type=schemas.Customer
        ),
        "PATCH": Endpoint(
            _update,
            "Change some fields of an organisation.",
            body=FIELDS,
            response_type=schemas.Customer,
            partial=True,
        ),
        "DELETE": Endpoint(_delete, "Delete an organisation.", status=204),
    },
    **team_routes("/api/customers/{uuid}/", ScopeKind.ORGANISATION),
}
