"""Endpoints for invite links: ``/api/user-group-invitations/``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.accounts.queries import join_names
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Given, Resource, ResourceList, Source, constant, field, link
from collegium.api.waldur import admission, filters, lists, schemas
from collegium.api.waldur.fields import read
from collegium.api.waldur.invitations import (
    detail_response,
    named_role,
    named_scope,
    remap_conflicts,
)
from collegium.api.waldur.lookups import fixed, role_lookups, scope_lookups
from collegium.api.waldur.schemas import or_empty
from collegium.db.database import ReadTransaction
from collegium.db.tables import invite_links
from collegium.invite_links import actions as invite_link_actions
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links.rules import PROJECT_NAME_MAX, is_active
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests.actions import ProjectDetails
from collegium.lists.listing import choice
from collegium.refusals import Invalid, NotFound
from collegium.scopes.organisations import queries as organisation_queries
from collegium.security.rate_limits.rules import ASK
from collegium.values import Boolean, Kind, Name, Text, Uuid


class GroupInvitation(Resource, frozen=True, gc=False):
    """An invite link, which many people can use."""

    url: str = link("/api/user-group-invitations/{}/", "uuid")
    uuid: str = field()
    role: str = field("role_uuid")
    created: datetime = field("created_at", order=True)
    expires: datetime = field("expires_at")
    is_active: bool = field(
        "canceled_at",
        "expires_at",
        Source.NOW,
        get=is_active,
        filter=fixed(
            filters.BooleanFilter(),
            choice(invite_link_queries.is_active(), ~invite_link_queries.is_active()),
        ),
    )
    is_public: bool = field(
        write=Boolean(),
        filter=fixed(
            filters.BooleanFilter(), choice(invite_links.c.is_public, ~invite_links.c.is_public)
        ),
    )
    auto_create_project: bool = field(write=Boolean())
    auto_approve: bool = field(write=Boolean())
    project_name_template: str | None = field("template", write=Name(null=True, max=255))
    project_role: str | None = field("project_role_uuid")
    user_affiliations: list[str] = field("affiliations", write=admission.AFFILIATIONS)
    user_email_patterns: list[str] = field("email_patterns", write=admission.EMAIL_PATTERNS)
    user_identity_sources: list[str] = field("identity_sources", write=admission.IDENTITY_SOURCES)
    custom_text: str = field(write=Text(max=4000))
    allow_multiple_requests: bool = field(write=Boolean())
    allow_custom_project_details: bool = field(write=Boolean())
    scope_uuid: str = field()
    scope_name: str = field()
    scope_description: str = field()
    scope_type: str = field("scope_kind", get=schemas.KINDS.__getitem__)
    scope_image: str | None = constant(None)
    customer_uuid: str = field("organisation_uuid")
    customer_name: str = field("organisation_name")
    role_name: str = field()
    role_description: str = field()
    created_by_full_name: str = field("creator_first_name", "creator_last_name", get=join_names)
    created_by_username: str = field("creator_username", get=or_empty)
    created_by_image: str | None = link("/api/media/{}/", "creator_picture")


class GroupInvitationUpdate(Resource, frozen=True, gc=False):
    """What can be changed of an invite link."""

    is_public: bool = field()
    role: str = field("role_uuid")
    scope: str = field(
        *(Source.CONTEXT, "scope_kind", "scope_uuid"),
        get=lambda context, kind, uuid: f"{context.base}/api/{schemas.KINDS[kind]}s/{uuid}/",
    )
    auto_create_project: bool = field()
    auto_approve: bool = field()
    project_name_template: str | None = field("template")
    project_role: str | None = field("project_role_uuid")
    user_affiliations: list[str] = field("affiliations")
    user_email_patterns: list[str] = field("email_patterns")
    user_identity_sources: list[str] = field("identity_sources")
    custom_text: str = field()
    allow_multiple_requests: bool = field()
    allow_custom_project_details: bool = field()


class ProjectLink(Resource, frozen=True, gc=False):
    """The URL of a project."""

    uuid: str = field()
    url: str = link("/api/projects/{}/", "uuid")


class Submitted(Resource, frozen=True, gc=False):
    """The result of a join request."""

    uuid: str = field()
    scope_name: str = field()
    scope_uuid: str = field()
    scope_type: str = field("scope_kind", get=schemas.KINDS.__getitem__)
    auto_approved: bool = field(Given("is_approved", default=False))
    project_uuid: str | None = field()
    project_created: bool = field("project_uuid", get=lambda uuid: uuid is not None)


LIST: Final = ResourceList(
    GroupInvitation,
    invite_link_queries.listing,
    filters={
        **scope_lookups(invite_links.c.scope_id, "customer_uuid", "scope", "scope_type"),
        **role_lookups(invite_links.c.role_id),
    },
)
_BODY: Final[dict[str, Kind]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    "project_role": Uuid(null=True),
    **GroupInvitation.body(),
}
_CHANGE: Final[dict[str, Kind]] = {
    "scope": Text(blank=False, max=2000),
    "role": Uuid(),
    "project_role": Uuid(null=True),
    **GroupInvitation.body(),
}
_PROJECT: Final[dict[str, Kind]] = {
    "project_name": Name(max=PROJECT_NAME_MAX),
    "project_description": Text(max=2000),
}


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.detail(context, tx, GroupInvitation, _load_link(context, tx))


def _load_link(context: RequestContext, tx: ReadTransaction) -> Any:
    row = invite_link_queries.get_by_uuid(tx, context.actor, context.uuid("invite_link"))
    if row.scope_kind == ScopeKind.GROUP:
        raise NotFound("invite_link.unknown")
    return row


def _create(context: RequestContext) -> Response:
    form = read(context, _BODY)
    form.drop_blank("template")
    with context.write() as tx:
        access = named_scope(tx, context, form)
        role = named_role(tx, form)
        project_role = named_role(tx, form, "project_role", ScopeKind.PROJECT)
        kind = None if access is None else access.scope.kind
        for problem in invite_link_actions.problems(
            context.actor, kind, role, project_role, form.values
        ):
            form.refuse(problem)
        access, role = form.checked(access), form.checked(role)
        uuid = invite_link_actions.create(
            tx, context.actor, context.settings, access, role, project_role, form.values
        )
        row = invite_link_queries.get_by_uuid(tx, context.actor, uuid)
        return lists.detail(context, tx, GroupInvitation, row, 201)


def _projects(context: RequestContext, tx: ReadTransaction) -> Response:
    """List the organisation's projects that the caller may see anyway.

    An invite link does not reveal the names of other projects.
    """
    row = _load_link(context, tx)
    if row.scope_kind != ScopeKind.ORGANISATION:
        return Response(404, media="text/plain")
    found = organisation_queries.projects_of(tx, context.actor, [row.scope_id])
    return Response(200, schemas.encode(ProjectLink.fill(context, tx, found)))


def _cancel(context: RequestContext) -> Response:
    with context.write() as tx:
        invite_link_actions.cancel(tx, context.actor, _load_link(context, tx).uuid)
    return detail_response("Invitation has been successfully canceled.")


def _update(context: RequestContext) -> Response:
    form = read(context, _CHANGE, partial=True)
    form.drop_blank("template")
    with remap_conflicts(closed="invite_link.not_editable"), context.write() as tx:
        uuid = _load_link(context, tx).uuid
        row, _access = invite_link_actions.lock_to_change(tx, context.actor, uuid)
        access = named_scope(tx, context, form)
        if access is not None and access.scope.id != row.scope_id:
            form.refuse(Invalid("invite_link.scope"))
        role = named_role(tx, form)
        has_no_project_role = form.values.get("project_role", "") is None
        project_role = named_role(tx, form, "project_role", ScopeKind.PROJECT)
        if has_no_project_role:
            form.values["project_role_id"] = None
        for problem in invite_link_actions.problems_of_change(
            context.actor, row, form.values, role, project_role
        ):
            form.refuse(problem)
        form.check()
        invite_link_actions.change(
            tx, context.actor, context.settings, uuid, form.values, role, project_role
        )
        changed = invite_link_queries.get_by_uuid(tx, context.actor, uuid)
        return lists.detail(context, tx, GroupInvitationUpdate, changed)


def _delete(context: RequestContext) -> Response:
    with remap_conflicts(closed="invite_link.not_deletable"), context.write() as tx:
        invite_link_actions.delete(tx, context.actor, _load_link(context, tx).uuid)
    return Response(204)


def _submit(context: RequestContext) -> Response:
    uuid = context.uuid("invite_link")
    form = read(context, _PROJECT)
    with context.write() as tx:
        _load_link(context, tx)
        form.check()
        project = ProjectDetails(
            form.values.get("project_name", ""), form.values.get("project_description", "")
        )
        result = join_request_actions.submit(
            tx, context.actor, context.settings, uuid, project=project
        )
        # Each join request e-mails people who did not ask for it.
        context.count_attempts(tx, ASK)
        return lists.detail(context, tx, Submitted, result.request, is_approved=result.is_approved)


_ONE: Final = "/api/user-group-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-group-invitations/": {
        "GET": lists.endpoint(LIST, "List the invite links that you can see.", public=True),
        "POST": Endpoint(
            _create,
            "Create an invite link.",
            body=_BODY,
            response_type=GroupInvitation,
            status=201,
        ),
    },
    _ONE: {
        "GET": Endpoint(
            _retrieve,
            "Show an invite link.",
            public=True,
            reads_db=True,
            response_type=GroupInvitation,
        ),
        **lists.updates(
            _update,
            "Change an active invite link.",
            "Change some settings of an active invite link.",
            body=_CHANGE,
            response_type=GroupInvitationUpdate,
        ),
        "DELETE": Endpoint(
            _delete, "Delete an invite link that is closed and was not used.", status=204
        ),
    },
    f"{_ONE}projects/": {
        "GET": Endpoint(
            _projects,
            "List the organisation's projects that you can see.",
            response_type=ProjectLink,
            is_list=True,
            unpaginated=True,
        ),
    },
    f"{_ONE}cancel/": {
        "POST": Endpoint(_cancel, "Close an invite link.", response_type=schemas.Detail),
    },
    f"{_ONE}submit_request/": {
        "POST": Endpoint(
            _submit, "Ask to join.", body=_PROJECT, response_type=Submitted, limits=(ASK,)
        ),
    },
}
