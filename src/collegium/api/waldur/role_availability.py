"""Endpoints that say where roles exist and are used, and what is odd about roles.

``/api/role-availabilities/``, ``/api/customer-role-concealments/`` and
``/api/roles/hygiene_report/``.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import false, true

from collegium.access.rules import ScopeKind, require_reader, require_staff
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Resource, ResourceList, constant, field
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import read
from collegium.api.waldur.lookups import EXACT, UUID, fixed
from collegium.api.waldur.roles import load_organisation
from collegium.db.database import ReadTransaction
from collegium.db.tables import roles, scopes
from collegium.lists.listing import Filter
from collegium.roles import queries as role_queries
from collegium.roles.availability import actions as availability_actions
from collegium.roles.availability import queries as availability_queries
from collegium.roles.availability.hygiene import find
from collegium.values import Uuid


class RoleAvailability(Resource, frozen=True, gc=False):
    """The organisation in which alone a role exists."""

    uuid: str = field()
    role_uuid: str = field(filter=UUID)
    role_name: str = field(filter=EXACT)
    role_content_type: str = field("role_kind", get=schemas.KINDS.__getitem__)
    scope_type: str = constant("customer")
    scope_uuid: str = field("organisation_uuid")
    scope_name: str = field("organisation_name")
    is_profile_managed: bool = constant(False)
    profile_uuid: str | None = constant(None)
    profile_name: str | None = constant(None)


class CustomerRoleConcealment(Resource, frozen=True, gc=False):
    """A role that an organisation does not use."""

    uuid: str = field()
    role: str = field("role_uuid")
    role_name: str = field()
    customer_uuid: str = field("organisation_uuid")
    customer_name: str = field("organisation_name")


class Finding(Struct, frozen=True):
    """Something odd about a role."""

    check: str
    severity: str
    role_uuid: str
    role_name: str
    role_description: str
    scope_type: str | None
    is_system_role: bool
    message: str
    details: dict[str, Any]


class HygieneReport(Struct, frozen=True):
    """What is odd about the roles."""

    roles_checked: int
    roles_with_findings: int
    error_count: int
    warning_count: int
    info_count: int
    findings: list[Finding]


AVAILABILITIES: Final = ResourceList(
    RoleAvailability,
    availability_queries.availabilities,
    filters={
        # Only organisations have roles of their own.
        "scope_type": fixed(
            filters.SCOPE_TYPE,
            Filter(
                lambda kind: ("all" if kind == ScopeKind.ORGANISATION else "none", {}),
                lambda variant, _sees_all: true() if variant == "all" else false(),
            ),
        ),
    },
)
CONCEALMENTS: Final = ResourceList(
    CustomerRoleConcealment,
    availability_queries.concealments,
    filters={"role_uuid": UUID.on(roles.c.uuid), "scope_uuid": UUID.on(scopes.c.uuid)},
)
_BODY: Final = {"role": Uuid(required=True), "customer": Uuid(required=True)}


def _list(context: RequestContext, tx: ReadTransaction, resources: ResourceList) -> Response:
    require_reader(context.actor)
    return lists.respond(context, tx, resources)


def _availability(context: RequestContext, tx: ReadTransaction) -> Response:
    require_reader(context.actor)
    row = availability_queries.get_availability(tx, context.actor, context.uuid("availability"))
    return lists.detail(context, tx, RoleAvailability, row)


def _concealment(context: RequestContext, tx: ReadTransaction) -> Response:
    require_reader(context.actor)
    row = availability_queries.get_concealment(tx, context.actor, context.uuid("concealment"))
    return lists.detail(context, tx, CustomerRoleConcealment, row)


def _conceal(context: RequestContext) -> Response:
    require_staff(context.actor)
    with context.write() as tx:
        form = read(context, _BODY)
        role = form.values.get("role")
        if role is not None and role_queries.by_name_or_uuid(tx, "", role) is None:
            form.reject("role", f"Object with uuid={role} does not exist.")
        organisation = form.checked(load_organisation(context, tx, form))
        uuid = availability_actions.conceal(tx, context.actor, form.values["role"], organisation)
        row = availability_queries.get_concealment(tx, context.actor, uuid)
        return lists.detail(context, tx, CustomerRoleConcealment, row, 201)


def _report(context: RequestContext, tx: ReadTransaction) -> Response:
    require_reader(context.actor)
    checked, found = find(tx)
    severities = [one.severity for one in found]
    report = HygieneReport(
        roles_checked=checked,
        roles_with_findings=len({one.role.id for one in found}),
        error_count=severities.count("error"),
        warning_count=severities.count("warning"),
        info_count=severities.count("info"),
        findings=[
            Finding(
                check=one.check,
                severity=one.severity,
                role_uuid=one.role.uuid,
                role_name=one.role.name,
                role_description=one.role.description,
                scope_type=schemas.KINDS[ScopeKind(one.role.kind)],
                is_system_role=one.role.is_system,
                message=one.message,
                details=one.details,
            )
            for one in found
        ],
    )
    # The client counts them, although this is no list.
    return Response(200, schemas.encode(report), {"X-Result-Count": str(len(found))})


ROUTES: Routes = {
    "/api/role-availabilities/": {
        "GET": lists.endpoint(
            AVAILABILITIES,
            "List the roles that exist in one organisation only, for staff and support.",
            partial(_list, resources=AVAILABILITIES),
        ),
    },
    "/api/role-availabilities/{uuid}/": {
        "GET": Endpoint(
            _availability,
            "Show the organisation in which alone a role exists, for staff and support.",
            response_type=RoleAvailability,
        ),
        "DELETE": lists.delete(
            availability_actions.release,
            "availability",
            "Let the role of an organisation exist everywhere, for staff.",
        ),
    },
    "/api/customer-role-concealments/": {
        "GET": lists.endpoint(
            CONCEALMENTS,
            "List the roles that organisations do not use, for staff and support.",
            partial(_list, resources=CONCEALMENTS),
        ),
        "POST": Endpoint(
            _conceal,
            "Stop the use of a role in an organisation, for staff. Members keep the role.",
            body=_BODY,
            response_type=CustomerRoleConcealment,
            status=201,
        ),
    },
    "/api/customer-role-concealments/{uuid}/": {
        "GET": Endpoint(
            _concealment,
            "Show a role that an organisation does not use, for staff and support.",
            response_type=CustomerRoleConcealment,
        ),
        "DELETE": lists.delete(
            availability_actions.reveal,
            "concealment",
            "Let an organisation use a role again, for staff.",
        ),
    },
    "/api/roles/hygiene_report/": {
        "GET": Endpoint(
            _report,
            "Show what is odd about roles, for staff and support.",
            response_type=HygieneReport,
        ),
    },
}
