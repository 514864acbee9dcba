"""Endpoints for organisations: ``/api/customers/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from ipaddress import ip_network
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import ColumnElement, and_, func, select, true

from collegium.access import queries as access_queries
from collegium.access.queries import is_active, scopes_with_permission, visible_scopes
from collegium.access.rules import Permission, ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Related, Resource, ResourceList, constant, field, link
from collegium.api.waldur import admission, filters, lists
from collegium.api.waldur.accounts import SLUG
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import (
    BOOLEAN,
    CONTAINS,
    EXACT,
    actor_has_one_of,
    actor_owns,
    fixed,
)
from collegium.api.waldur.memberships import team_routes
from collegium.db.database import ReadTransaction
from collegium.db.tables import accounts, grants, organisations, scopes
from collegium.lists.filters import is_equal
from collegium.lists.listing import Filter
from collegium.lists.sql_hints import in_subquery
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.organisations.queries import OrganisationRow
from collegium.values import (
    Boolean,
    DateTime,
    Decimal,
    Email,
    Integer,
    InvalidValueError,
    Name,
    Problem,
    Text,
)


class Subnets(Text):
    """Networks, separated by commas."""

    def parse(self, raw: Any) -> str:
        """Return the networks in CIDR notation, separated by commas."""
        networks, problems = [], []
        for part in filter(None, map(str.strip, super().parse(raw).split(","))):
            try:
                networks.append(str(ip_network(part, strict=False)))
            except ValueError:
                problems.append(Problem("network", {"value": part[:50]}))
        if problems:
            raise InvalidValueError(*problems)
        # The canonical form may be longer, so the length is checked again.
        return self.check(",".join(networks))


class ProjectOfCustomer(Resource, frozen=True, gc=False):
    """A project, within its organisation."""

    url: str = link("/api/projects/{}/", "uuid")
    uuid: str = field()
    name: str = field()
    image: str | None = constant(None)
    resource_count: int = constant(0)
    end_date: date | None = field()


def _load_projects(
    context: RequestContext, tx: ReadTransaction, rows: Sequence[OrganisationRow]
) -> dict[int, list[ProjectOfCustomer]]:
    found = organisation_queries.projects_of(tx, context.actor, [row.id for row in rows])
    projects: dict[int, list[ProjectOfCustomer]] = {}
    for row, project in zip(found, ProjectOfCustomer.fill(context, tx, found), strict=True):
        projects.setdefault(row.parent_id, []).append(project)
    return projects


_PROJECTS: Final = Related(_load_projects, default=[])
_PEOPLE: Final = Related(
    lambda _context, tx, rows: organisation_queries.count_people(tx, [row.id for row in rows]),
    default=0,
)
_SHORT: Final = Text(max=160)
_PART: Final = Text(max=255)


class Customer(Resource, frozen=True, gc=False):
    """An organisation. Fields of billing and marketplaces are present but empty."""

    sparse: ClassVar = True

    url: str = link("/api/customers/{}/", "uuid")
    uuid: str = field()
    created: datetime = field("created_at", order=True)
    name: str = field(
        write=Name(required=True, blank=False, max=150),
        filter={"name": CONTAINS, "name_exact": EXACT},
        order=scopes.c.name_sort,
    )
    slug: str = field(write=SLUG, filter=EXACT)
    native_name: str = field(
        write=Name(max=160), filter=CONTAINS, order=organisations.c.native_name_sort
    )
    abbreviation: str = field(
        write=Name(max=12), filter=CONTAINS, order=organisations.c.abbreviation_sort
    )
    description: str = field(write=Text(max=4000))
    contact_details: str = field(write=Text(max=500), filter=CONTAINS, order=True)
    agreement_number: str = field(write=_SHORT, filter=EXACT, order=True)
    email: str = field(write=Email(blank=True, max=75))
    phone_number: str = field(write=Text(max=255))
    access_subnets: str = field(write=Subnets(max=140))
    registration_code: str = field(write=_SHORT, filter=EXACT, order=True)
    homepage: str = field(
        write=Text(
            max=255, pattern=re.compile(r"https?://[^\s<>\"]+"), message="Enter a valid URL."
        )
    )
    domain: str = field(write=Text(max=255))
    vat_code: str = field(write=Text(max=20))
    postal: str = field(write=Text(max=20))
    address: str = field(write=Text(max=300))
    city: str = field(write=_PART)
    state: str = field(write=_PART)
    parish: str = field(write=_PART)
    street: str = field(write=_PART)
    house_nr: str = field(write=_PART)
    apartment_nr: str = field(write=_PART)
    household: str = field(write=_PART)
    bank_name: str = field(write=Name(max=150))
    bank_account: str = field(write=Text(max=50))
    latitude: float | None = field(write=Decimal(null=True, min=-90, max=90))
    longitude: float | None = field(write=Decimal(null=True, min=-180, max=180))
    country: str = field(write=Text(max=2))
    country_name: str = field("country")
    backend_id: str = field(write=Text(max=255), filter=EXACT)
    blocked: bool = field(write=Boolean())
    archived: bool = field(write=Boolean(), filter=BOOLEAN)
    default_tax_percent: str = field(
        write=Text(
            max=8,
            blank=False,
            pattern=re.compile(r"\d{1,3}(\.\d{1,2})?", re.ASCII),
            message="A valid number is required.",
        )
    )
    accounting_start_date: datetime = field(
        "accounting_started_at",
        "created_at",
        get=lambda started_at, created_at: started_at or created_at,
        write=DateTime(),
        order=True,
    )
    sponsor_number: int | None = field(write=Integer(null=True))
    max_service_accounts: int | None = field(write=Integer(null=True))
    grace_period_days: int | None = field(write=Integer(null=True))
    notification_emails: str = field(write=Text(max=2000))
    display_billing_info_in_projects: bool = field(write=Boolean())
    user_email_patterns: list[str] = field("email_patterns", write=admission.EMAIL_PATTERNS)
    user_affiliations: list[str] = field("affiliations", write=admission.AFFILIATIONS)
    user_identity_sources: list[str] = field("identity_sources", write=admission.IDENTITY_SOURCES)
    display_name: str = field(
        "abbreviation",
        "name",
        "domain",
        get=lambda short, name, domain: short or (f"{name} ({domain})" if domain else name),
    )
    projects: list[ProjectOfCustomer] = field(_PROJECTS)
    projects_count: int = field(_PROJECTS, get=len)
    users_count: int = field(_PEOPLE)
    organization_groups: list[str] = msgspec.field(default_factory=list)
    payment_profiles: list[str] = msgspec.field(default_factory=list)
    image: str | None = None
    project_metadata_checklist: str | None = None
    customer_credit: float | None = None
    customer_unallocated_credit: float | None = None
    is_service_provider: bool = False
    service_provider: str | None = None
    service_provider_uuid: str | None = None
    call_managing_organization_uuid: str | None = None


_inner_scope = scopes.alias("scope")
_member_grant = grants.alias("member_grant")


def _has_member(_variant: str, sees_all: bool) -> ColumnElement[bool]:
    """Return the condition that an organisation, or one of its projects, has a person as a member.

    Actors who do not see all learn nothing about scopes that they cannot see.
    """
    scope_ids = (
        select(func.coalesce(_inner_scope.c.parent_id, _inner_scope.c.id))
        .select_from(_member_grant)
        .join(accounts, accounts.c.id == _member_grant.c.account_id)
        .join(_inner_scope, _inner_scope.c.id == _member_grant.c.scope_id)
        .where(
            is_equal("user_uuid", accounts.c.uuid),
            is_active(_member_grant),
            _inner_scope.c.deleted_at.is_(None),
            true()
            if sees_all
            # Like lists of members, which show only active accounts.
            else and_(accounts.c.is_active, _member_grant.c.scope_id.in_(visible_scopes())),
        )
    )
    return in_subquery(scopes.c.id, scope_ids)


LIST: Final = ResourceList(
    Customer,
    organisation_queries.listing,
    filters={
        "current_user_has_project_create_permission": fixed(
            filters.OptIn(),
            scopes.c.id.in_(
                scopes_with_permission((ScopeKind.ORGANISATION, Permission.PROJECT_CREATE))
            ),
        ),
        "current_user_has_role": actor_has_one_of("current_user_has_role", scopes.c.id),
        "owned_by_current_user": fixed(filters.OptIn(), actor_owns(scopes.c.id)),
        "query": fixed(filters.Exact(), organisation_queries.listing.filters["query"]),
        "user_uuid": fixed(
            filters.Uuid(), Filter(lambda value: ("", {"user_uuid": value}), _has_member)
        ),
    },
)
BODY: Final = Customer.body()
"""The fields that bodies may contain, by name; their values have the names of the columns."""


class CustomerContact(Resource, frozen=True, gc=False):
    """How to reach an organisation."""

    contact_details: str = field(write=BODY["contact_details"])
    email: str = field(write=BODY["email"])
    phone_number: str = field(write=BODY["phone_number"])
    homepage: str = field(write=BODY["homepage"])
    notification_emails: str = field(write=BODY["notification_emails"])


_CONTACT: Final = CustomerContact.body()


def _form(context: RequestContext, *, partial: bool = False) -> Form:
    form = read(context, BODY, partial=partial)
    form.drop_blank("slug")
    admission.check_form(form)
    country = form.values.get("country")
    if country and country not in context.settings.countries:
        form.reject("country", f'"{country}" is not a valid choice.')
    return form


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    values = lists.read(context, LIST)
    if context.actor.is_staff:
        # Staff may create projects in every organisation, so the filter changes nothing for them.
        values.pop("current_user_has_project_create_permission", None)
    return lists.respond(context, tx, LIST, values)


def _detail(context: RequestContext, tx: ReadTransaction, uuid: str, status: int = 200) -> Response:
    row = organisation_queries.get_visible(tx, context.actor, uuid)
    return lists.detail(context, tx, Customer, row, status)


def _create(context: RequestContext) -> Response:
    form = _form(context)
    form.check()
    with context.write() as tx:
        values = {"domain": organisation_actions.default_domain(tx, context.actor)} | form.values
        uuid = organisation_actions.create(tx, context.actor, context.settings, values)
        return _detail(context, tx, uuid, 201)


def _update(context: RequestContext) -> Response:
    uuid = context.uuid("organisation")
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.ORGANISATION, uuid, Permission.ORGANISATION_UPDATE
        )
        form = _form(context, partial=context.method == "PATCH")
        form.check()
        organisation_actions.update(tx, context.actor, access, form.values)
        return _detail(context, tx, uuid)


def _change_contact(context: RequestContext) -> Response:
    with context.write() as tx:
        access = access_queries.get_visible(
            tx,
            context.actor,
            ScopeKind.ORGANISATION,
            context.uuid("organisation"),
            Permission.ORGANISATION_UPDATE,
        )
        form = read(context, _CONTACT, partial=True)
        form.check()
        organisation_actions.update(tx, context.actor, access, form.values)
        row = organisation_queries.get_visible(tx, context.actor, access.scope.uuid)
        return lists.detail(context, tx, CustomerContact, row)


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
        "GET": lists.endpoint(LIST, "List the organisations that you can see.", _list),
        "POST": Endpoint(
            _create, "Create an organisation.", body=BODY, response_type=Customer, status=201
        ),
    },
    "/api/customers/{uuid}/": {
        "GET": lists.retrieve(
            Customer, organisation_queries.get_visible, "organisation", "Show an organisation."
        ),
        **lists.updates(
            _update,
            "Change an organisation.",
            "Change some fields of an organisation.",
            body=BODY,
            response_type=Customer,
        ),
        "DELETE": Endpoint(_delete, "Delete an organisation.", status=204),
    },
    "/api/customers/{uuid}/contact/": {
        "POST": Endpoint(
            _change_contact,
            "Change how to reach an organisation.",
            body=_CONTACT,
            response_type=CustomerContact,
            partial=True,
        ),
    },
    **team_routes("/api/customers/{uuid}/", ScopeKind.ORGANISATION),
}
