"""Map our kinds of event to the event types and messages of this API.

A message uses only keys of the context that the reader is shown, so it never reveals more than the
context. A part in square brackets is left out if one of its keys is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final


class Guard(Enum):
    """Readers who see the restricted facts of an event, besides those who see everything."""

    NOBODY = auto()
    PERSON = auto()
    """The account that the event is about."""
    INVITATIONS = auto()
    """Accounts that may read the invitations of the scope."""
    REQUESTS = auto()
    """Accounts that may read the join requests of the scope, and the requester.

    The requester's name is shown to nobody else.
    """


@dataclass(frozen=True, slots=True)
class Type:
    """An event type of this API.

    Args:
        group: the group under which ``event_groups`` lists it.
        template: template of the message.
        open: our facts and their keys in the context.
        name: its name in this API; empty: our kind, with underscores for dots.
        closed: as ``open``, for the readers that the guard names.
        guard: readers of the ``closed`` facts.
    """

    group: str
    template: str
    open: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    closed: Mapping[str, str] = field(default_factory=dict)
    guard: Guard = Guard.NOBODY


_IN: Final = "[ in {scope_name}]"
_BY: Final = "[ by {user_full_name}]"
_USER: Final = {"username": "affected_user_username"}
_NAMED: Final = {"name": "scope_name"}
_CHANGED: Final = {"name": "scope_name", "fields": "fields"}
_GRANT: Final = {
    "role": "role_name",
    "scope_name": "scope_name",
    "username": "affected_user_username",
    "until": "expiration_time",
    "request_uuid": "permission_request_uuid",
}
_INVITED: Final = {
    "invitation": "invitation_uuid",
    "email": "invitation_email",
    "because": "because_of_invitation_uuid",
}
_REQUESTED: Final = {
    "username": "affected_user_username",
    "request_uuid": "permission_request_uuid",
}
_ROLE_IN_SCOPE: Final = {"role": "role_name", "scope_name": "scope_name"}
_KEY: Final = {"key": "ssh_key_uuid", "name": "ssh_key_name", "fingerprint": "ssh_key_fingerprint"}
_ROLE: Final = {"role": "role_name", "role_uuid": "role_uuid"}


def _user(text: str, name: str = "", /, **closed: str) -> Type:
    template = f"User {{affected_user_username}} {text}."
    return Type("users", template, _USER | {"by": "identity_source"}, name, closed, Guard.PERSON)


def _token(text: str) -> Type:
    return Type("auth", f"The token of user {{affected_user_username}} {text}{_BY}.")


def _factor(text: str) -> Type:
    return Type("auth", f"The second factor of user {{affected_user_username}} {text}{_BY}.", _USER)


def _device(text: str) -> Type:
    template = f"A program[, {{device_name}},] of user {{affected_user_username}} {text}{_BY}."
    return Type("auth", template, closed={"name": "device_name"}, guard=Guard.PERSON)


def _key(text: str, name: str) -> Type:
    template = "[ {ssh_key_name}][ of user {affected_user_username}]"
    return Type("ssh", f"SSH key{template} {text}{_BY}.", {}, name, _KEY, Guard.PERSON)


def _scope(group: str, noun: str, text: str, name: str, payload_keys: dict[str, str]) -> Type:
    changed = "[: {fields}]" if "fields" in payload_keys else ""
    return Type(group, f"{noun}[ {{scope_name}}] {text}{_BY}{changed}.", payload_keys, name)


def _grant(text: str) -> Type:
    return Type("permissions", f"{text}{_BY}.", _GRANT)


def _mail(text: str) -> Type:
    template = "Mail[ of kind {mail_kind}][ to {mail_recipient}][, {mails} in number,]"
    payload_keys = {"mail": "mail_kind", "recipient": "mail_recipient", "mails": "mails"}
    return Type("mails", f"{template} {text}{_BY}.", closed=payload_keys)


def _role(text: str, name: str = "", payload_keys: dict[str, str] = _ROLE) -> Type:
    return Type("permissions", f"Role {{role_name}} {text}{_BY}.", payload_keys, name)


def _invitation(text: str, noun: str = "An invitation") -> Type:
    template = f"{noun}[ of {{invitation_email}}][ to {{scope_name}}] {text}{_BY}."
    return Type("invitations", template, {"role": "role_name"}, "", _INVITED, Guard.INVITATIONS)


def _request(text: str) -> Type:
    template = f"The request[ of user {{affected_user_username}}][ for the role {{role_name}}]{_IN}"
    return Type(
        "invitations", f"{template} {text}{_BY}.", _ROLE_IN_SCOPE, "", _REQUESTED, Guard.REQUESTS
    )


_ORGANISATION: Final = ("customers", "Organization")
_PROJECT: Final = ("projects", "Project")

TYPES: Final = {
    "account.created": _user(f"has been created{_BY}", "user_creation_succeeded"),
    "account.updated": _user(
        f"has been updated{_BY}[: {{fields}}]", "user_update_succeeded", changes="changes"
    ),
    "account.profile_changed": _user(
        "has changed personal details[: {fields}]", "user_profile_changed", changes="changes"
    ),
    "account.activated": _user(f"has been activated{_BY}", "user_activated"),
    "account.deactivated": _user(f"has been deactivated{_BY}", "user_deactivated"),
    "account.deleted": _user(
        f"has been deleted{_BY}", "user_deletion_succeeded", name="affected_user_full_name"
    ),
    "account.impersonated": _user(f"has been read or acted for{_BY} with their rights"),
    "account.made_staff": _user(f"has been made staff{_BY}"),
    "account.password_changed": _user(
        f"has been given another password{_BY}", "user_password_updated", address="ip_address"
    ),
    "account.password_reset_asked": Type(
        "users",
        "A new password[ for user {affected_user_username}] has been asked for"
        "[ from {ip_address}].",
        closed={"address": "ip_address"},
    ),
    "account.address_change_asked": _user(
        "asked for another e-mail address[, {requested_email}]", email="requested_email"
    ),
    "account.address_change_canceled": _user(
        "took back the wish for another e-mail address", address="ip_address"
    ),
    "account.address_changed": _user(
        "has another e-mail address[: {new_email}]", old="old_email", new="new_email"
    ),
    "token.created": _token("has been created"),
    "token.read": _token("has been read"),
    "token.revoked": _token("has been revoked"),
    "token.reused": _token("has been shown again after it was spent, so its successors ended"),
    "login.succeeded": Type(
        "auth",
        "User {affected_user_username} has logged in[ with a {login_method}].",
        {"method": "login_method"},
        "auth_logged_in_with_username",
    ),
    "login.failed": Type(
        "auth",
        "User {affected_user_username} failed to log in[ from {ip_address}].",
        _USER,
        "auth_login_failed_with_username",
        {"address": "ip_address"},
    ),
    "logout": Type("auth", "User {affected_user_username} has logged out.", {}, "auth_logged_out"),
    **{
        f"second_factor.{what}": _factor(text)
        for what, text in (
            ("enabled", "has been turned on"),
            ("disabled", "has been turned off"),
            ("recovered", "has been replaced by a recovery code"),
            ("codes_renewed", "has been given other recovery codes"),
        )
    },
    **{
        f"second_factor.{what}": Type(
            "auth",
            "Wrong codes of the second factor were given for user {affected_user_username}, "
            f"after the right password[, {{codes}} in a row][ from {{ip_address}}]{text}.",
            _USER | {"codes": "codes"},
            closed={"address": "ip_address"},
        )
        for what, text in (
            ("failed", ""),
            ("locked", "; only a recovery code is accepted now"),
        )
    },
    "device.approved": _device("has been let in"),
    "device.denied": _device("has been turned away"),
    "key.created": _key("has been added", "ssh_key_creation_succeeded"),
    "key.deleted": _key("has been deleted", "ssh_key_deletion_succeeded"),
    "organisation.created": _scope(
        *_ORGANISATION, "has been created", "customer_creation_succeeded", _NAMED
    ),
    "organisation.updated": _scope(
        *_ORGANISATION, "has been updated", "customer_update_succeeded", _CHANGED
    ),
    "organisation.deleted": _scope(
        *_ORGANISATION, "has been deleted", "customer_deletion_succeeded", _NAMED
    ),
    "project.created": _scope(*_PROJECT, "has been created", "project_creation_succeeded", _NAMED),
    "project.updated": _scope(*_PROJECT, "has been updated", "project_update_succeeded", _CHANGED),
    "project.deleted": _scope(*_PROJECT, "has been deleted", "project_deletion_succeeded", _NAMED),
    "role.granted": _grant(
        f"User {{affected_user_username}} has been given the role {{role_name}}{_IN}"
    ),
    "role.updated": _grant(
        f"The role {{role_name}}{_IN} of user {{affected_user_username}} has another end"
        "[, {expiration_time}]"
    ),
    "role.revoked": _grant(
        f"The role {{role_name}}{_IN} of user {{affected_user_username}} has been taken away"
    ),
    "role.expired": _grant(
        f"The role {{role_name}}{_IN} of user {{affected_user_username}} has run out"
    ),
    "role.created": _role(
        "has been created", "role_definition_created", _ROLE | {"permissions": "permissions"}
    ),
    "role.changed": _role(
        "has been changed",
        "role_definition_updated",
        _ROLE | {name: name for name in ("changes", "permissions_added", "permissions_removed")},
    ),
    "role.deleted": _role("has been deleted", "role_definition_deleted"),
    "role.enabled": _role("has been enabled"),
    "role.disabled": _role("has been disabled"),
    "invitation.created": _invitation("has been made"),
    "invitation.sent": _invitation("has been sent again"),
    "invitation.accepted": _invitation("has been accepted"),
    "invitation.declined": _invitation("has been declined"),
    "invitation.canceled": _invitation("has been canceled"),
    "invitation.deleted": _invitation("has been deleted"),
    "invitation.approved": _invitation("has been approved"),
    "invitation.rejected": _invitation("has been rejected"),
    "invitation.released": _invitation("has gone out, for its project begins"),
    "invitation.expired": _invitation("has expired"),
    "invitation.invitee_deactivated": _invitation("was not accepted: its account is deactivated"),
    "invitation.renewal_requested": _invitation("is wished for anew"),
    "invite_link.created": _invitation("has been made", "An open invitation"),
    "invite_link.updated": _invitation("has been changed", "An open invitation"),
    "invite_link.canceled": _invitation("has been canceled", "An open invitation"),
    "mail.retried": _mail("is queued again"),
    "mail.dropped": _mail("is not sent any more"),
    "request.submitted": _request("has been made"),
    "request.approved": _request("has been approved"),
    "request.rejected": _request("has been rejected"),
    "request.canceled": _request("has been taken back"),
}
"""Every recorded kind of event, except those of groups, which this API does not have."""


def name_of(kind: str) -> str:
    """Return this API's name of a kind of event."""
    known = TYPES.get(kind)
    return (known.name if known else "") or kind.replace(".", "_")


NAMES: Final = {name_of(kind): kind for kind in TYPES}
"""This API's name to our kind of event."""

GROUPS: Final = {
    group: sorted(name_of(kind) for kind, one in TYPES.items() if one.group == group)
    for group in sorted({one.group for one in TYPES.values()})
}

UNKNOWN: Final = Type("", f"Something has been done{_BY}.")
"""Fallback for kinds that an earlier or later release has recorded."""

_SAME: Final = (
    "username slug email first_name last_name native_name job_title phone_number organization "
    "registration_method identity_source notifications_enabled preferred_language affiliations "
    "civil_number birth_date description is_staff is_support is_active token_lifetime"
)
ACCOUNT_FIELDS: Final = {
    **{name: name for name in _SAME.split()},
    "agreed_at": "agreement_date",
    "picture": "image",
}
"""Columns of an account whose changes are shown, with their names in this API."""

HIDDEN_FIELDS: Final = frozenset({"token_lifetime", "picture"})
"""Columns among these whose values are never shown."""

PRIVILEGED: Final = frozenset({"description", "is_staff", "is_support", "is_active"})
"""Columns among these that people do not see on their own account either."""

SCOPE_FIELDS: Final = {
    "accounting_started_at": "accounting_start_date",
}
"""Columns of an organisation or a project that have other names in this API."""
