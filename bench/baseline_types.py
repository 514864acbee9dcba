"""Response types of the baseline; it shares none with the service."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct


class Permission(Struct, gc=False):
    """A grant."""

    user_uuid: str
    user_name: str
    user_slug: str
    created: Any
    expiration_time: Any
    role_name: str
    role_description: str
    role_uuid: str
    scope_type: str
    scope_uuid: str
    scope_name: str
    customer_uuid: str
    customer_name: str
    created_by_full_name: Any = UNSET
    created_by_username: Any = UNSET


class User(Struct):
    """An account."""

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
    date_joined: Any
    agreement_date: Any
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
    token_expires_at: Any = None
    image: str | None = None
    civil_number: Any = UNSET
    birth_date: Any = UNSET
    requested_email: Any = UNSET
    description: Any = UNSET
    is_staff: Any = UNSET
    is_active: Any = UNSET
    is_support: Any = UNSET
    has_active_session: Any = UNSET
    token: Any = UNSET
    token_lifetime: Any = UNSET
    ip_address: str | None = None


class Invitation(Struct, gc=False):
    """An invitation."""

    url: str
    uuid: str
    role: str
    created: Any
    expires: Any
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


class Request(Struct, gc=False):
    """A join request."""

    url: str
    uuid: str
    invitation: str
    state: str
    created: Any
    created_by_full_name: str
    created_by_username: str
    created_by_email: str
    reviewed_by_full_name: str | None
    reviewed_by_username: str | None
    reviewed_at: Any
    review_comment: str | None
    scope_uuid: str
    scope_name: str
    customer_uuid: str
    customer_name: str
    role_name: str
    role_description: str
    project_name_template: str
