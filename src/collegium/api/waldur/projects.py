"""Endpoints for projects: ``/api/projects/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import ColumnElement, bindparam, func, not_, or_, select, true
from sqlalchemy import Date as SqlDate

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess, ScopeRow, is_active, organisation
from collegium.access.rules import Permission, ScopeKind, require_staff
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import (
    Given,
    Lookup,
    Private,
    Resource,
    ResourceList,
    Source,
    constant,
    field,
    link,
)
from collegium.api.waldur import admission, filters, lists, schemas
from collegium.api.waldur.accounts import SLUG
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import (
    BEFORE,
    CONTAINS,
    EXACT,
    SINCE,
    actor_has_one_of,
    actor_has_role,
    actor_owns,
    fixed,
)
from collegium.api.waldur.memberships import team_routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import UtcDateTime, any_of
from collegium.db.tables import accounts, events, grants, organisations, projects, scopes
from collegium.lists.filters import is_equal, text_filter
from collegium.lists.listing import Filter
from collegium.lists.sql_hints import in_subquery
from collegium.memberships.queries import FormerMember
from collegium.refusals import Invalid, NotFound
from collegium.scopes.projects import actions as project_actions
from collegium.scopes.projects import queries as project_queries
from collegium.scopes.projects import recovery
from collegium.scopes.projects.rules import effective_end, is_in_grace_period
from collegium.values import Boolean, Choice, Date, Integer, Name, Text, hex_uuid

OECD_CODES: Final = tuple(
    f"{area}.{field}"
    for area, fields in ((1, 7), (2, 12), (3, 5), (4, 5), (5, 9), (6, 5))
    for field in range(1, fields + 1)
)
"""Fields of science (OECD, 2007). The official clients know these codes and fail on any other."""


def scope_of(url: str) -> tuple[ScopeKind, str] | None:
    """Return the kind and the UUID (32 hex digits) that the URL of a customer or project names.

    The path before ``api`` is ignored. The result is None for any other URL.
    """
    try:
        parts = urlsplit(url).path.strip("/").split("/")
    except ValueError:
        return None
    match parts:
        case [*_, "api", "customers", text]:
            kind = ScopeKind.ORGANISATION
        case [*_, "api", "projects", text]:
            kind = ScopeKind.PROJECT
        case _:
            return None
    uuid = hex_uuid(text)
    return None if uuid is None else (kind, uuid)


def _clean_values(form: Form) -> Form:
    form.drop_blank("slug")
    admission.check_form(form)
    if form.values.get("description"):
        import nh3  # noqa: PLC0415 - takes memory, and few workers need it

        form.values["description"] = nh3.clean(form.values["description"])
    if "oecd_fos_2007_code" in form.values:
        form.values["oecd_fos_2007_code"] = form.values["oecd_fos_2007_code"] or ""
    return form


def _check_dates(form: Form, now: datetime, present: ScopeRow | None = None) -> None:
    """Reject new dates in the past.

    A project that has started keeps its start, so that is not checked, nor is the end that it has.

    Args:
        present: the project as it is; None for a new one.
    """
    start, end = (present.start_date, present.end_date) if present else (None, None)
    for name in ("start_date", "end_date"):
        if name == "start_date" and start is not None and start <= now.date():
            continue
        if name == "end_date" and end is not None and form.values.get(name) == end:
            continue
        try:
            project_actions.check_dates(now, {name: form.values.get(name)})
        except Invalid as refusal:
            form.refuse(refusal)


def _load_parent(tx: WriteTransaction, context: RequestContext, form: Form) -> ScopeAccess | None:
    kind_and_uuid = scope_of(form.values.get("customer", ""))
    if kind_and_uuid is None or kind_and_uuid[0] is not ScopeKind.ORGANISATION:
        if "customer" in form.values:
            form.reject("customer", "Invalid hyperlink - No URL match.")
        return None
    try:
        return access_queries.get_visible(
            tx, context.actor, ScopeKind.ORGANISATION, kind_and_uuid[1]
        )
    except NotFound:
        form.reject("customer", "Invalid hyperlink - Object does not exist.")
        return None


class RestoredUser(Struct, frozen=True):
    """A person who has a role again."""

    user_uuid: str
    username: str
    role: str


class SentInvitation(Struct, frozen=True):
    """An invitation to a person who had a role."""

    invitation_uuid: str
    email: str
    role: str


class RecoveryInfo(Struct, frozen=True):
    """Whom the recovery of a project concerned."""

    restored_users_count: int
    restored_users: list[RestoredUser]
    sent_invitations_count: int
    sent_invitations: list[SentInvitation]


_ENDS: Final = ("end_date", "grace_period_days", "organisation_grace_period_days")


class Project(Resource, frozen=True, gc=False):
    """A project. Fields of billing and marketplaces are present but empty."""

    sparse: ClassVar = True

    url: str = link("/api/projects/{}/", "uuid")
    uuid: str = field()
    name: str = field(
        write=Name(required=True, blank=False, max=500),
        filter={"name": CONTAINS, "name_exact": EXACT},
        order=scopes.c.name_sort,
    )
    slug: str = field(write=SLUG, filter=EXACT)
    customer: str = link("/api/customers/{}/", "organisation_uuid")
    customer_uuid: str = field(
        "organisation_uuid",
        filter={"customer": Lookup(filters.Uuids(), lambda name, column: any_of(column, name))},
    )
    customer_name: str = field("organisation_name", filter=CONTAINS, order=organisation.c.name_sort)
    customer_slug: str = field("organisation_slug")
    customer_native_name: str = field(
        "organisation_native_name", filter=CONTAINS, order=organisations.c.native_name_sort
    )
    customer_abbreviation: str = field(
        "organisation_abbreviation", filter=CONTAINS, order=organisations.c.abbreviation_sort
    )
    customer_display_billing_info_in_projects: bool = field("display_billing_info_in_projects")
    description: str = field(write=Text(max=20000), filter=CONTAINS)
    created: datetime = field(
        "created_at", filter={"created": SINCE, "created_before": BEFORE}, order=True
    )
    backend_id: str = field(write=Text(max=255), filter=EXACT)
    start_date: date | None = field(write=Date(null=True), order=True)
    end_date: date | None = field(write=Date(null=True), order=True)
    end_date_requested_by: str | None = link("/api/users/{}/", "end_date_requested_by")
    end_date_updated_at: datetime | None = field("end_date_changed_at")
    oecd_fos_2007_code: str | None = field(
        "oecd_fos_2007_code",
        get=lambda code: code or None,
        write=Choice(of=("", *OECD_CODES), null=True),
    )
    oecd_fos_2007_label: str = constant("")
    is_industry: bool = field(write=Boolean())
    kind: str = field(write=Choice(of=("default", "course", "public")))
    is_removed: bool = field(
        "deleted_at",
        get=bool,
        filter=fixed(filters.BooleanFilter(), project_queries.history.filters["is_removed"]),
    )
    max_service_accounts: int | None = field(write=Integer(null=True))
    grace_period_days: int | None = field(write=Integer(null=True))
    customer_grace_period_days: int | None = field("organisation_grace_period_days")
    effective_end_date: date | None = field(*_ENDS, get=effective_end)
    is_in_grace_period: bool = field(
        Source.NOW,
        *_ENDS,
        get=lambda now, end, *days: end is not None and is_in_grace_period(now.date(), end, *days),
    )
    user_email_patterns: list[str] = field("email_patterns", write=admission.EMAIL_PATTERNS)
    user_affiliations: list[str] = field("affiliations", write=admission.AFFILIATIONS)
    user_identity_sources: list[str] = field("identity_sources", write=admission.IDENTITY_SOURCES)
    staff_notes: str | UnsetType = field(write=Text(max=4000), private=Private("sees_all"))
    recovery_info: RecoveryInfo | UnsetType = field(
        Given("recovery_info", default=UNSET), default=UNSET
    )
    type: str | None = None
    type_name: str | None = None
    type_uuid: str | None = None
    image: str | None = None
    resources_count: int = 0
    project_credit: float | None = None
    termination_metadata: None = None
    marketplace_resource_count: dict[str, int] = msgspec.field(default_factory=dict)


_CHANGES: Final = ("updated", "deleted", "recovered", "moved")


def _changed_since(name: str) -> ColumnElement[bool]:
    """Return the condition that a project was created, changed or deleted at a time or later.

    Args:
        name: parameter with the time.
    """
    modified = bindparam(name, type_=UtcDateTime)
    changed_ids = select(events.c.scope_id).where(
        or_(*(events.c.kind == f"project.{action}" for action in _CHANGES)),
        events.c.created_at >= modified,
        events.c.scope_id.is_not(None),
    )
    return or_(scopes.c.created_at >= modified, scopes.c.id.in_(changed_ids))


_member_grant = grants.alias("member_grant")


def _has_member(name: str, *columns: ColumnElement[int]) -> Lookup:
    """Return a lookup by a person who has a role in a project.

    People who see a project also see its members and those of its organisation, but only active
    accounts.

    Args:
        name: name of the filter.
        columns: the ids of the scopes, in one of which the person has the role.
    """

    def condition(_variant: str, sees_all: bool) -> ColumnElement[bool]:
        scope_ids = (
            select(_member_grant.c.scope_id)
            .join(accounts, accounts.c.id == _member_grant.c.account_id)
            .where(
                is_equal(name, accounts.c.uuid),
                is_active(_member_grant),
                true() if sees_all else accounts.c.is_active,
            )
        )
        return or_(*(in_subquery(column, scope_ids) for column in columns))

    return fixed(filters.Uuid(), Filter(lambda value: ("", {name: value}), condition))


_NOW: Final = bindparam("now", type_=UtcDateTime)
LIST: Final = ResourceList(
    Project,
    project_queries.history,
    filters={
        "can_admin": fixed(filters.OptIn(), actor_has_role(scopes.c.id, "PROJECT.ADMIN")),
        "can_manage": fixed(
            filters.OptIn(),
            or_(actor_has_role(scopes.c.id, "PROJECT.MANAGER"), actor_owns(scopes.c.parent_id)),
        ),
        "conceal_finished_projects": fixed(
            filters.OptIn(),
            or_(
                projects.c.end_date.is_(None),
                projects.c.end_date >= func.date(_NOW, type_=SqlDate()),
            ),
        ),
        "current_user_has_role": actor_has_one_of("current_user_has_role", scopes.c.id),
        "include_terminated": fixed(filters.OptIn(), true()),
        "modified": fixed(filters.GreaterOrEqual(), _changed_since("modified")),
        "modified_before": fixed(filters.Before(), not_(_changed_since("modified_before"))),
        "query": fixed(
            filters.Exact(), text_filter((scopes.c.name, scopes.c.slug), (projects.c.backend_id,))
        ),
        "user_uuid": _has_member("user_uuid", scopes.c.id, scopes.c.parent_id),
        "user_uuid_with_active_role": _has_member("user_uuid_with_active_role", scopes.c.id),
    },
    # Collegium has no costs, so all projects are equal in this order.
    orders={"estimated_cost": ()},
)
_WITHOUT_DELETED: Final = LIST.of(project_queries.listing)
_CHANGE: Final = Project.body()
_NEW: Final = {"customer": Text(required=True, blank=False, max=2000), **_CHANGE}
_RECOVERY: Final = {
    "restore_team_members": Boolean(),
    "send_invitations_to_previous_members": Boolean(),
    "end_date": Date(null=True),
}
_MOVE: Final = {
    "customer": _NEW["customer"],
    "preserve_permissions": Boolean(required=True),
}
_SLUG: Final = {"slug": replace(SLUG, required=True, blank=False)}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    values = lists.read(context, LIST)
    with_removed = values.pop("include_terminated", False)
    if with_removed or values.get("is_removed"):
        return lists.respond(context, tx, LIST, values)
    values.pop("is_removed", None)
    return lists.respond(context, tx, _WITHOUT_DELETED, values)


def _detail(
    context: RequestContext, tx: ReadTransaction, uuid: str, status: int = 200, **given: Any
) -> Response:
    row = project_queries.get_visible(tx, context.actor, uuid)
    return lists.detail(context, tx, Project, row, status, **given)


def _create(context: RequestContext) -> Response:
    form = _clean_values(read(context, _NEW))
    with context.write() as tx:
        parent = _load_parent(tx, context, form)
        _check_dates(form, tx.now)
        parent = form.checked(parent)
        form.values.pop("customer")
        uuid = project_actions.create(
            tx, context.actor, parent, form.values, settings=context.settings
        )
        return _detail(context, tx, uuid, 201)


def _update(context: RequestContext) -> Response:
    uuid = context.uuid("project")
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.PROJECT, uuid, Permission.PROJECT_UPDATE
        )
        form = _clean_values(read(context, _CHANGE, partial=context.method == "PATCH"))
        _check_dates(form, tx.now, access.scope)
        form.check()
        project_actions.update(tx, context.actor, access, form.values)
        return _detail(context, tx, uuid)


def _recover(context: RequestContext) -> Response:
    uuid = context.uuid("project")
    with context.write() as tx:
        project = project_queries.get_visible_any(tx, context.actor, uuid)
        # The permission comes before the errors of the body.
        access_queries.get_visible_by_id(
            tx, context.actor, project.organisation_id, Permission.PROJECT_CREATE
        )
        form = read(context, _RECOVERY)
        _check_dates(form, tx.now)
        form.check()
        found = recovery.recover(
            tx,
            context.actor,
            context.settings,
            uuid,
            recovery.Wishes(
                restores_members=bool(form.values.get("restore_team_members")),
                invites_members=bool(form.values.get("send_invitations_to_previous_members")),
                end=form.values.get("end_date"),
            ),
        )
        if not found.to_invite:
            return _detail(context, tx, uuid, recovery_info=_recovery_info(found.restored, ()))
    invited = recovery.invite_all(context.write, context.actor, context.settings, found)
    with context.read() as tx:
        return _detail(context, tx, uuid, recovery_info=_recovery_info(found.restored, invited))


def _recovery_info(
    restored: Sequence[FormerMember], invited: Sequence[tuple[str, FormerMember]]
) -> RecoveryInfo | UnsetType:
    if not restored and not invited:
        return UNSET
    return RecoveryInfo(
        restored_users_count=len(restored),
        restored_users=[
            RestoredUser(user_uuid=one.account_uuid, username=one.username, role=one.role_name)
            for one in restored
        ],
        sent_invitations_count=len(invited),
        sent_invitations=[
            SentInvitation(invitation_uuid=uuid, email=one.email, role=one.role_name)
            for uuid, one in invited
        ],
    )


def _move(context: RequestContext) -> Response:
    uuid = context.uuid("project")
    with context.write() as tx:
        access = access_queries.get_visible(tx, context.actor, ScopeKind.PROJECT, uuid)
        require_staff(context.actor)
        form = read(context, _MOVE)
        target = form.checked(_load_parent(tx, context, form))
        recovery.move(
            tx,
            context.actor,
            access,
            target,
            keeps_members=form.values["preserve_permissions"],
        )
        return _detail(context, tx, uuid)


def _set_slug(context: RequestContext) -> Response:
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.PROJECT, context.uuid("project")
        )
        require_staff(context.actor)
        form = read(context, _SLUG)
        form.check()
        project_actions.update(tx, context.actor, access, form.values)
    return Response(200, schemas.encode(schemas.Status("slug has been updated")))


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.PROJECT, context.uuid("project")
        )
        project_actions.delete(tx, context.actor, access)
    return Response(204)


ROUTES: Routes = {
    "/api/projects/": {
        "GET": lists.endpoint(LIST, "List the projects that you can see.", _list),
        "POST": Endpoint(
            _create, "Create a project.", body=_NEW, response_type=Project, status=201
        ),
    },
    "/api/projects/{uuid}/": {
        "GET": lists.retrieve(Project, project_queries.get_visible, "project", "Show a project."),
        **lists.updates(
            _update,
            "Change a project.",
            "Change some fields of a project.",
            body=_CHANGE,
            response_type=Project,
        ),
        "DELETE": Endpoint(_delete, "Delete a project.", status=204),
    },
    "/api/projects/{uuid}/recover/": {
        "POST": Endpoint(
            _recover,
            "Bring a deleted project back.",
            body=_RECOVERY,
            response_type=Project,
        ),
    },
    "/api/projects/{uuid}/move_project/": {
        "POST": Endpoint(
            _move,
            "Move a project to another organisation, for staff.",
            body=_MOVE,
            response_type=Project,
        ),
    },
    "/api/projects/{uuid}/set_slug/": {
        "POST": Endpoint(
            _set_slug,
            "Change the slug of a project, for staff.",
            body=_SLUG,
            response_type=schemas.Status,
        ),
    },
    **team_routes("/api/projects/{uuid}/", ScopeKind.PROJECT),
}
