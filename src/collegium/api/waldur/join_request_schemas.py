"""Structs of invite links and join requests in this API, and functions that build them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from collegium.accounts.queries import full_name
from collegium.api.request import RequestContext
from collegium.api.waldur.schemas import KINDS, picture_url
from collegium.db.statements import Row
from collegium.invite_links.rules import is_active
from collegium.join_requests.rules import State


class GroupInvitation(Struct, frozen=True, gc=False):
    """An invite link, which many people can use."""

    url: str
    uuid: str
    role: str
    created: datetime
    expires: datetime
    is_active: bool
    is_public: bool
    auto_create_project: bool
    auto_approve: bool
    project_name_template: str | None
    project_role: str | None
    user_affiliations: list[str]
    user_email_patterns: list[str]
    custom_text: str
    allow_multiple_requests: bool
    scope_uuid: str
    scope_name: str
    scope_description: str
    scope_type: str
    scope_image: str | None
    customer_uuid: str
    customer_name: str
    role_name: str
    role_description: str
    created_by_full_name: str
    created_by_username: str
    created_by_image: str | None


class PermissionRequest(Struct, frozen=True, gc=False):
    """A join request."""

    url: str
    uuid: str
    invitation: str
    state: str
    created: datetime
    created_by_full_name: str
    created_by_username: str
    created_by_email: str
    reviewed_by_full_name: str | None
    reviewed_by_username: str | None
    reviewed_at: datetime | None
    review_comment: str | None
    scope_uuid: str
    scope_name: str
    customer_uuid: str
    customer_name: str
    role_name: str
    role_description: str
    project_name_template: str


class ProjectLink(Struct, frozen=True, gc=False):
    """The URL of a project."""

    uuid: str
    url: str


class Submitted(Struct, frozen=True, gc=False):
    """The result of a join request."""

    uuid: str
    scope_name: str
    scope_uuid: str
    scope_type: str
    auto_approved: bool
    project_uuid: str | None
    project_created: bool


class Canceled(Struct, frozen=True, gc=False):
    """A join request that was withdrawn."""

    uuid: str
    scope_name: str
    scope_uuid: str


def group_invitation(context: RequestContext, row: Row, now: datetime) -> GroupInvitation:
    """Return an invite link as this API shows it, including its restrictions."""
    creator = f"{row.creator_first_name or ''} {row.creator_last_name or ''}".strip()
    return GroupInvitation(
        url=_link_url(context, row.uuid),
        uuid=row.uuid,
        role=row.role_uuid,
        created=row.created_at,
        expires=row.expires_at,
        is_active=is_active(row.canceled_at, row.expires_at, now),
        is_public=row.is_public,
        auto_create_project=row.auto_create_project,
        auto_approve=row.auto_approve,
        project_name_template=row.template,
        project_role=row.project_role_uuid,
        user_affiliations=row.affiliations,
        user_email_patterns=row.email_patterns,
        custom_text=row.custom_text,
        allow_multiple_requests=row.allow_multiple_requests,
        scope_uuid=row.scope_uuid,
        scope_name=row.scope_name,
        scope_description=row.scope_description,
        scope_type=KINDS[row.scope_kind],
        scope_image=None,
        customer_uuid=row.organisation_uuid,
        customer_name=row.organisation_name,
        role_name=row.role_name,
        role_description=row.role_description,
        created_by_full_name=creator,
        created_by_username=row.creator_username or "",
        created_by_image=picture_url(context, row.creator_picture),
    )


def permission_requests(context: RequestContext, rows: Sequence[Row]) -> list[PermissionRequest]:
    """Return join requests as this API shows them.

    An invite link admits people. Its URL is therefore shown only to the requester and to callers
    who may list the link. Other members of the organisation see the request without it.
    """
    username, sees_all = context.actor.username, context.actor.sees_all
    return [
        _permission_request(
            context,
            row,
            shows_link=sees_all or row.link_is_visible or row.username == username,
        )
        for row in rows
    ]


def _permission_request(
    context: RequestContext, row: Row, *, shows_link: bool
) -> PermissionRequest:
    """Return one join request; a withdrawn request has no reviewer."""
    decider = f"{row.decider_first_name or ''} {row.decider_last_name or ''}".strip()
    is_reviewed = row.state != State.CANCELED
    has_decider = is_reviewed and row.decider_username is not None
    # The arguments are positional: with keywords this takes twice as long.
    return PermissionRequest(
        f"{context.base}/api/user-permission-requests/{row.uuid}/",
        row.uuid,
        _link_url(context, row.invite_link_uuid) if row.invite_link_uuid and shows_link else "",
        row.state,
        row.created_at,
        full_name(row),
        row.username,
        row.email,
        decider if has_decider else None,
        row.decider_username if has_decider else None,
        row.decided_at if is_reviewed else None,
        row.comment,
        row.scope_uuid,
        row.scope_name,
        row.organisation_uuid,
        row.organisation_name,
        row.role_name,
        row.role_description,
        row.template or "",
    )


def submitted(row: Row, *, is_approved: bool) -> Submitted:
    """Return the result of a join request as this API shows it."""
    return Submitted(
        uuid=row.uuid,
        scope_name=row.scope_name,
        scope_uuid=row.scope_uuid,
        scope_type=KINDS[row.scope_kind],
        auto_approved=is_approved,
        project_uuid=row.project_uuid,
        project_created=row.project_uuid is not None,
    )


def canceled(row: Row) -> Canceled:
    """Return a withdrawn join request as this API shows it."""
    return Canceled(row.uuid, row.scope_name, row.scope_uuid)


def _link_url(context: RequestContext, uuid: str) -> str:
    return f"{context.base}/api/user-group-invitations/{uuid}/"
