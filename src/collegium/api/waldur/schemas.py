"""Structs of the responses of this API, and functions that build them from rows.

The field names are those of Waldur. ``UNSET`` leaves a key out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from collegium.access.rules import ScopeKind
from collegium.accounts.queries import full_name
from collegium.accounts.rules import protected_fields
from collegium.api.request import RequestContext
from collegium.db.statements import Row
from collegium.invitations.rules import (
    DeliveryStatus,
    State,
    delivery_status,
    effective_state,
    mail_state,
)
from collegium.sign_in.tokens.rules import expiry

encode = msgspec.json.Encoder().encode

KINDS: Final = {ScopeKind.ORGANISATION: "customer", ScopeKind.PROJECT: "project"}
"""Our kinds of scope to their names in this API."""

STATES: Final = {state: ("project" if state is State.HELD else state.value) for state in State}
"""Our states of an invitation to their names in this API."""

LANGUAGES: Final = tuple("en et lt lv ru it de da sv es fr nb ar cs".split())  # noqa: SIM905 - one line instead of fourteen


class Permission(Struct, frozen=True, gc=False):
    """A grant, within its account."""

    user_uuid: str
    user_name: str
    user_slug: str
    created: datetime
    expiration_time: datetime | None
    role_name: str
    role_description: str
    role_uuid: str
    scope_type: str
    scope_uuid: str
    scope_name: str
    customer_uuid: str
    customer_name: str
    created_by_full_name: str | UnsetType = UNSET
    created_by_username: str | UnsetType = UNSET


class TeamMember(Struct, frozen=True, gc=False):
    """A grant, within the team of a scope."""

    uuid: str
    created: datetime
    expiration_time: datetime | None
    role_name: str
    role_uuid: str
    user_email: str
    user_full_name: str
    user_username: str
    user_uuid: str
    user_image: str | None
    created_by_full_name: str | None
    created_by_uuid: str | UnsetType = UNSET


class User(Struct, frozen=True, gc=False):
    """An account. Fields that the viewer may not see are left out."""

    write_only: ClassVar = frozenset({"agree_with_policy"})

    url: str
    uuid: str
    username: str
    slug: str
    full_name: str
    native_name: str
    job_title: str
    email: str
    phone_number: str
    organization: str
    registration_method: str
    identity_source: str
    date_joined: datetime
    agreement_date: datetime | None
    notifications_enabled: bool
    preferred_language: str
    permissions: list[Permission]
    affiliations: list[str]
    first_name: str
    last_name: str
    identity_provider_name: str
    identity_provider_label: str
    identity_provider_management_url: str
    identity_provider_fields: list[str]
    token_expires_at: datetime | None = None
    image: str | None = None
    civil_number: str | UnsetType | None = UNSET
    birth_date: date | UnsetType | None = UNSET
    requested_email: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    is_staff: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    is_support: bool | UnsetType = UNSET
    has_active_session: bool | UnsetType = UNSET
    token: str | UnsetType = UNSET
    token_lifetime: int | UnsetType | None = UNSET
    ip_address: str | None = None


class Project(Struct, frozen=True, gc=False):
    """A project. Fields of billing and marketplaces are present but empty."""

    url: str
    uuid: str
    name: str
    slug: str
    customer: str
    customer_uuid: str
    customer_name: str
    customer_slug: str
    customer_native_name: str
    customer_abbreviation: str
    customer_display_billing_info_in_projects: bool
    description: str
    created: datetime
    backend_id: str
    start_date: date | None
    end_date: date | None
    end_date_requested_by: str | None
    oecd_fos_2007_code: str | None
    oecd_fos_2007_label: str
    is_industry: bool
    kind: str
    is_removed: bool
    max_service_accounts: int | None
    grace_period_days: int | None
    staff_notes: str | UnsetType = UNSET
    type: str | None = None
    type_name: str | None = None
    type_uuid: str | None = None
    image: str | None = None
    resources_count: int = 0
    project_credit: float | None = None
    termination_metadata: None = None
    marketplace_resource_count: dict[str, int] = {}


class Invitation(Struct, frozen=True, gc=False):
    """An invitation, for people who may manage or read it."""

    url: str
    uuid: str
    role: str
    created: datetime
    expires: datetime
    full_name: str
    native_name: str
    phone_number: str
    organization: str
    job_title: str
    civil_number: str
    extra_invitation_text: str
    email: str
    state: str
    execution_state: str
    error_message: str
    scope_uuid: str
    scope_name: str
    scope_description: str
    scope_type: str
    customer_uuid: str
    customer_name: str
    role_name: str
    role_description: str
    created_by_full_name: str
    created_by_username: str
    created_by_image: str | None


class InvitationDetails(Struct, frozen=True, gc=False):
    """An invitation, for the invitee."""

    email: str
    state: str
    execution_state: str
    error_message: str
    scope_uuid: str
    scope_name: str
    scope_description: str
    scope_type: str
    customer_uuid: str
    customer_name: str
    role_name: str
    role_description: str
    created_by_full_name: str
    created_by_username: str
    created_by_image: str | None


class InvitationCheck(Struct, frozen=True, gc=False):
    """The part of an invitation that is shown for its UUID before sign-in."""

    email: str
    civil_number_required: bool | UnsetType = UNSET


class Role(Struct, frozen=True, gc=False):
    """A role, with its description in every language of this API."""

    uuid: str
    name: str
    description: str
    permissions: list[str]
    is_system_role: bool
    is_active: bool
    content_type: str
    users_count: int | UnsetType = UNSET
    description_en: str | None = None
    description_et: str | None = None
    description_lt: str | None = None
    description_lv: str | None = None
    description_ru: str | None = None
    description_it: str | None = None
    description_de: str | None = None
    description_da: str | None = None
    description_sv: str | None = None
    description_es: str | None = None
    description_fr: str | None = None
    description_nb: str | None = None
    description_ar: str | None = None
    description_cs: str | None = None


class RoleDescription(Struct, frozen=True, gc=False):
    """The description of a role, in every language of this API."""

    description: str
    description_en: str | None = None
    description_et: str | None = None
    description_lt: str | None = None
    description_lv: str | None = None
    description_ru: str | None = None
    description_it: str | None = None
    description_de: str | None = None
    description_da: str | None = None
    description_sv: str | None = None
    description_es: str | None = None
    description_fr: str | None = None
    description_nb: str | None = None
    description_ar: str | None = None
    description_cs: str | None = None


class Detail(Struct, frozen=True, gc=False):
    """One sentence."""

    detail: str


class Status(Struct, frozen=True, gc=False):
    """The result of an action, in a few words."""

    status: str


class Token(Struct, frozen=True, gc=False):
    """A new token."""

    token: str


class UserToken(Struct, frozen=True, gc=False):
    """A token and its owner."""

    created: datetime
    user_first_name: str
    user_last_name: str
    user_username: str
    user_is_active: bool
    user_token_lifetime: int | None
    token: str


class Expiry(Struct, frozen=True, gc=False):
    """The end of a grant."""

    expiration_time: datetime | None


def picture_url(context: RequestContext, uuid: str | None) -> str | None:
    """Return the URL of a picture; None if there is no picture."""
    return None if uuid is None else f"{context.base}/api/media/{uuid}/"


def user_token(row: Row, token: str) -> UserToken:
    """Return a token and its owner as this API shows them."""
    return UserToken(
        created=row.token_last_used_at,
        user_first_name=row.first_name,
        user_last_name=row.last_name,
        user_username=row.username,
        user_is_active=row.is_active,
        user_token_lifetime=row.token_lifetime,
        token=token,
    )


def permission(row: Row, uuid: str, name: str, slug: str) -> Permission:
    """Return a grant as its account shows it.

    Args:
        uuid: UUID of the account; ``name`` and ``slug`` are those of the account too.
    """
    has_granter = row.granted_by_username is not None
    # The arguments are positional: with keywords this takes twice as long.
    return Permission(
        uuid,
        name,
        slug,
        row.valid_from,
        row.valid_until,
        row.role_name,
        row.role_description,
        row.role_uuid,
        KINDS[row.scope_kind],
        row.scope_uuid,
        row.scope_name,
        row.organisation_uuid,
        row.organisation_name,
        _granted_by(row) if has_granter else UNSET,
        row.granted_by_username if has_granter else UNSET,
    )


def team_member(context: RequestContext, row: Row) -> TeamMember:
    """Return a grant as the team of its scope shows it."""
    return TeamMember(
        uuid=row.uuid,
        created=row.valid_from,
        expiration_time=row.valid_until,
        role_name=row.role_name,
        role_uuid=row.role_uuid,
        user_email=row.email,
        user_full_name=full_name(row),
        user_username=row.username,
        user_uuid=row.account_uuid,
        user_image=picture_url(context, row.picture),
        created_by_full_name=_granted_by(row) if row.granted_by_uuid else None,
        created_by_uuid=row.granted_by_uuid or UNSET,
    )


def _granted_by(row: Row) -> str:
    return f"{row.granted_by_first_name} {row.granted_by_last_name}".strip()


def user(
    context: RequestContext,
    row: Row,
    grants: Sequence[Row],
    *,
    token: str | UnsetType = UNSET,
    ip_address: str | None = None,
    listed: bool = False,
) -> User:
    """Return an account as the caller may see it.

    Args:
        token: the account's own token, if the response includes it.
        ip_address: the caller's own IP address, if the response includes it.
        listed: whether the account is part of a list; ``token_lifetime`` is then left out.
    """
    viewer = context.actor
    is_own = row.id == viewer.id
    privileged = viewer.sees_all
    settings = context.settings
    is_local = row.registration_method == "default"
    name = full_name(row)
    return User(
        url=f"{context.base}/api/users/{row.uuid}/",
        uuid=row.uuid,
        username=row.username,
        slug=row.slug,
        full_name=name,
        native_name=row.native_name,
        job_title=row.job_title,
        email=row.email,
        phone_number=row.phone_number,
        organization=row.organization,
        registration_method=row.registration_method,
        identity_source=row.identity_source,
        date_joined=row.joined_at,
        agreement_date=row.agreed_at,
        notifications_enabled=row.notifications_enabled,
        preferred_language=row.preferred_language,
        permissions=[permission(grant, row.uuid, name, row.slug) for grant in grants],
        affiliations=row.affiliations,
        first_name=row.first_name,
        last_name=row.last_name,
        identity_provider_name=settings.local_idp_name if is_local else "",
        identity_provider_label=settings.local_idp_label if is_local else "",
        identity_provider_management_url=settings.local_idp_management_url if is_local else "",
        identity_provider_fields=list(
            protected_fields(row.registration_method, settings.local_idp_protected_fields)
        ),
        token_expires_at=expiry(
            row.token_created_at, row.token_last_used_at, row.token_lifetime, settings.token_max_age
        )
        if (is_own or privileged) and row.token_last_used_at is not None
        else None,
        civil_number=row.civil_number if is_own or privileged else UNSET,
        birth_date=row.birth_date if is_own or privileged else UNSET,
        requested_email=row.requested_email if is_own or privileged else UNSET,
        image=picture_url(context, row.picture),
        description=row.description if privileged else UNSET,
        is_staff=row.is_staff if privileged else UNSET,
        is_active=row.is_active if privileged else UNSET,
        is_support=row.is_support if privileged else UNSET,
        has_active_session=row.token_last_used_at is not None if privileged else UNSET,
        token=token,
        token_lifetime=row.token_lifetime
        if is_own and context.impersonator is None and not listed
        else UNSET,
        ip_address=ip_address,
    )


def project(context: RequestContext, row: Row) -> Project:
    """Return a project; the notes of staff only for callers who see everything."""
    return Project(
        url=f"{context.base}/api/projects/{row.uuid}/",
        uuid=row.uuid,
        name=row.name,
        slug=row.slug,
        customer=f"{context.base}/api/customers/{row.organisation_uuid}/",
        customer_uuid=row.organisation_uuid,
        customer_name=row.organisation_name,
        customer_slug=row.organisation_slug,
        customer_native_name=row.organisation_native_name,
        customer_abbreviation=row.organisation_abbreviation,
        customer_display_billing_info_in_projects=row.display_billing_info_in_projects,
        description=row.description,
        created=row.created_at,
        backend_id=row.backend_id,
        start_date=row.start_date,
        end_date=row.end_date,
        end_date_requested_by=f"{context.base}/api/users/{row.end_date_requested_by}/"
        if row.end_date_requested_by
        else None,
        oecd_fos_2007_code=row.oecd_fos_2007_code or None,
        oecd_fos_2007_label="",
        is_industry=row.is_industry,
        kind=row.kind,
        is_removed=row.deleted_at is not None,
        max_service_accounts=row.max_service_accounts,
        grace_period_days=row.grace_period_days,
        staff_notes=row.staff_notes if context.actor.sees_all else UNSET,
    )


def execution(row: Row, now: datetime) -> tuple[str, str]:
    """Return the delivery status of an invitation's e-mail, and the error message or ``""``."""
    state = mail_state(row.mail_state, row.mailed_at, row.created_at)
    delivery = delivery_status(state, row.mail_locked_until, row.mail_error, now)
    return delivery, row.mail_error if delivery is DeliveryStatus.ERRED else ""


def _common(
    context: RequestContext,
    row: Row,
    now: datetime,
    *,
    lacks_sponsor: bool = False,
    is_invitee_deactivated: bool = False,
) -> tuple[Any, ...]:
    """Return the values at the end of both invitation structs, in the order of their fields."""
    delivery, reason = execution(row, now)
    return (
        row.email,
        STATES[effective_state(row.state, row.expires_at, now)],
        delivery,
        _NO_SPONSOR
        if lacks_sponsor
        else _INVITEE_DEACTIVATED
        if is_invitee_deactivated
        else reason,
        row.scope_uuid,
        row.scope_name,
        row.scope_description,
        KINDS[row.scope_kind],
        row.organisation_uuid,
        row.organisation_name,
        row.role_name,
        row.role_description,
        f"{row.creator_first_name or ''} {row.creator_last_name or ''}".strip(),
        row.creator_username or "",
        picture_url(context, row.creator_picture),
    )


_INVITEE_DEACTIVATED: Final = (
    "The invited person cannot accept, because their account is deactivated. Staff can activate it."
)
_NO_SPONSOR: Final = (
    "Cannot be accepted, because the inviter can no longer assign this role. "
    "Somebody who can assign it can send the invitation again."
)


def invitation(
    context: RequestContext, row: Row, now: datetime, *, lacks_sponsor: bool = False
) -> Invitation:
    """Return an invitation for people who manage it.

    Args:
        lacks_sponsor: whether it cannot be accepted, because its sponsor may not grant the role.
    """
    return Invitation(
        f"{context.base}/api/user-invitations/{row.uuid}/",
        row.uuid,
        row.role_uuid,
        row.created_at,
        row.expires_at,
        row.full_name,
        row.native_name,
        row.phone_number,
        row.organization,
        row.job_title,
        row.civil_number,
        row.extra_text,
        *_common(
            context,
            row,
            now,
            lacks_sponsor=lacks_sponsor,
            is_invitee_deactivated=row.invitee_deactivated_at is not None
            and _is_invitee_deactivated(row, now),
        ),
    )


def _is_invitee_deactivated(row: Row, now: datetime) -> bool:
    return effective_state(row.state, row.expires_at, now) in {State.PENDING, State.EXPIRED}


def invitation_details(context: RequestContext, row: Row, now: datetime) -> InvitationDetails:
    """Return an invitation for the invitee."""
    return InvitationDetails(*_common(context, row, now))


def role(row: Row, permissions: Sequence[str], people: int | None) -> Role:
    """Return a role; the number of people who hold it only if ``people`` is given."""
    return Role(
        uuid=row.uuid,
        name=row.name,
        description=row.description,
        permissions=list(permissions),
        is_system_role=row.is_system,
        is_active=row.is_active,
        content_type=KINDS.get(row.kind, row.kind),
        users_count=UNSET if people is None else people,
        **_in_languages(row),
    )


def role_description(row: Row) -> RoleDescription:
    """Return the descriptions of a role."""
    return RoleDescription(description=row.description, **_in_languages(row))


def _in_languages(row: Row) -> dict[str, str | None]:
    return {f"description_{code}": row.descriptions.get(code) for code in LANGUAGES}
