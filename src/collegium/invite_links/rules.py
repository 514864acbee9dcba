"""Rules of invite links: how long they are usable, what they may offer, and whom they admit.

Using a link makes a join request. An account that may grant the role decides on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum, unique
from string import Formatter
from typing import Any, Final

import re2

from collegium.access.lifecycles import By, Lifecycle
from collegium.access.rules import ScopeKind
from collegium.events import types as events
from collegium.refusals import Forbidden, Invalid
from collegium.text.email_addresses import is_single_script_address, spellings
from collegium.text.names import clean_name, without_link

PLACEHOLDERS: Final = ("email", "full_name", "username")
"""The placeholders that a template for project names may contain."""

DEFAULT_TEMPLATE: Final = "{username}_project"

PROJECT_NAME_MAX: Final = 500

PATTERN_MAX: Final = 255
PATTERNS_MAX: Final = 50

_FLAGS: Final = (
    *("auto_approve", "allow_multiple_requests", "is_public", "allow_custom_project_details"),
)
_RESTRICTIONS: Final = ("affiliations", "email_patterns", "identity_sources")
_TEXT_COLUMNS: Final = frozenset({"custom_text", "template"})
"""Columns that change neither who is admitted nor what is granted."""

OFFER_COLUMNS: Final = frozenset({"role_id", "project_role_id", "auto_create_project"})
"""Columns that change what is granted, also for requests that were made before."""

_options = re2.Options()
_options.case_sensitive = False
_options.log_errors = False
# Patterns are user input. RE2 has no backtracking and matches in linear time. This bounds the
# memory that one pattern may use, in bytes.
_options.max_mem = 1 << 20

_ESCAPED_BRACES: Final = re.compile(r"\{\{|\}\}")


class State(StrEnum):
    """The states of an invite link; they follow from its columns and the clock."""

    ACTIVE = "active"
    CANCELED = "canceled"
    EXPIRED = "expired"


@unique
class Action(Lifecycle, refusal="invite_link.closed"):
    """The actions on an invite link."""

    USE = ({State.ACTIVE: State.ACTIVE}, By.PERSON)
    """Make a join request, which has its own event."""
    CHANGE = ({State.ACTIVE: State.ACTIVE}, By.GRANTER, events.InviteLinkUpdated)
    CANCEL = ({State.ACTIVE: State.CANCELED}, By.MANAGER, events.InviteLinkCanceled)
    DELETE = (
        {State.CANCELED: State.CANCELED, State.EXPIRED: State.EXPIRED},
        By.MANAGER,
        events.InviteLinkDeleted,
    )
    """The row goes; its events remain."""


def effective_state(canceled_at: datetime | None, expires_at: datetime, now: datetime) -> State:
    """Return the state of an invite link at ``now``."""
    if canceled_at is not None:
        return State.CANCELED
    return State.ACTIVE if expires_at > now else State.EXPIRED


def is_active(canceled_at: datetime | None, expires_at: datetime, now: datetime) -> bool:
    """Return whether an invite link can still be used."""
    return effective_state(canceled_at, expires_at, now) is State.ACTIVE


def check_end(expires_at: datetime | None, now: datetime, lifetime: int) -> None:
    """Require an end in the future, no later than the default lifetime of invite links allows.

    Args:
        expires_at: None if no end was given.
        lifetime: seconds.

    Raises:
        Invalid: ``invite_link.end``.
    """
    if expires_at is not None and not now < expires_at <= now + timedelta(seconds=lifetime):
        raise Invalid("invite_link.end", field="expires")


def check_roles(
    kind: str, role_kind: str, project_role_kind: str | None, *, auto_create_project: bool
) -> None:
    """Require roles that can be granted in the link's scope.

    A project role is also valid in an organisation if each requester gets a project there.

    Args:
        kind: of the scope.
        role_kind: kind of scope that the role belongs to.
        project_role_kind: the same of the project role; None if there is none.

    Raises:
        Invalid: ``role.other_kind``, ``invite_link.not_in_organisation``,
            ``invite_link.project_role``.
    """
    projects = (
        auto_create_project and kind == ScopeKind.ORGANISATION and role_kind == ScopeKind.PROJECT
    )
    if role_kind != kind and not projects:
        raise Invalid("role.other_kind")
    if auto_create_project and kind not in {ScopeKind.ORGANISATION, ScopeKind.PROJECT}:
        raise Invalid("invite_link.not_in_organisation", field="auto_create_project")
    if project_role_kind not in {None, ScopeKind.PROJECT.value}:
        raise Invalid("invite_link.project_role", field="project_role")


def check_public(
    *, is_public: bool, is_staff: bool, auto_create_project: bool, role_kind: str
) -> None:
    """Require that a public link is made by staff, creates projects and grants a project role.

    Raises:
        Invalid: ``invite_link.public_staff``, ``invite_link.public_auto``,
            ``invite_link.public_role``.
    """
    if not is_public:
        return
    if not is_staff:
        raise Invalid("invite_link.public_staff", field="is_public")
    if not auto_create_project:
        raise Invalid("invite_link.public_auto", field="auto_create_project")
    if role_kind != ScopeKind.PROJECT:
        raise Invalid("invite_link.public_role", field="role")


def check_may_change(*, is_public: bool, is_staff: bool) -> None:
    """Allow only staff to change a public invite link.

    Raises:
        Forbidden: ``invite_link.public``.
    """
    if is_public and not is_staff:
        raise Forbidden("invite_link.public")


def is_wider(before: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Return whether a change admits more people, allows more, or makes the link last longer.

    Patterns cannot be compared with each other, so a new pattern counts as wider even if the old
    ones stay. A column that is unknown here counts as wider whenever it changes.

    Args:
        before: columns of the invite link, at least those that change.
        changes: columns with their new values.
    """
    changed = {name: value for name, value in changes.items() if value != before[name]}
    if any(changed.get(name) for name in _FLAGS):
        return True
    if "expires_at" in changes and changes["expires_at"] > before["expires_at"]:
        return True
    if not changed.keys().isdisjoint(_RESTRICTIONS) and _matches_more(before, changed):
        return True
    return not changed.keys() <= {*_FLAGS, *_RESTRICTIONS, *_TEXT_COLUMNS, "expires_at"}


def _matches_more(before: Mapping[str, Any], changed: Mapping[str, Any]) -> bool:
    old, new = (
        {(name, value) for name in _RESTRICTIONS for value in get(name)}
        for get in (before.__getitem__, lambda name: changed.get(name, before[name]))
    )
    # No restriction admits everybody. Otherwise each additional restriction admits more people,
    # because one match is enough.
    return bool(old) and (not new or not new <= old)


def check_template(template: str) -> None:
    """Require a template that yields a name for every requester.

    Raises:
        Invalid: ``invite_link.template`` with the unknown placeholders.
    """
    invalid = []
    try:
        for _text, name, form, conversion in Formatter().parse(template):
            if name is not None and (name not in PLACEHOLDERS or form or conversion):
                invalid.append(name + (f"!{conversion}" if conversion else "") or "{}")
    except ValueError:
        # A brace without its counterpart.
        invalid.append(_ESCAPED_BRACES.sub("", template))
    if invalid:
        raise Invalid(
            "invite_link.template",
            field="template",
            wrong=", ".join(invalid),
            allowed=", ".join(PLACEHOLDERS),
        )


def project_name(template: str, *, username: str, email: str, full_name: str) -> str:
    """Return the name of the project that is created for a requester."""
    name = (template or DEFAULT_TEMPLATE).format(
        username=username, email=email, full_name=full_name or username
    )
    return clean_name(without_link(" ".join(name.split()))[:PROJECT_NAME_MAX]) or username


def check_patterns(patterns: Iterable[str]) -> None:
    """Require patterns that compile and are cheap to match.

    Raises:
        Invalid: ``invite_link.patterns`` with the other patterns.
    """
    invalid = [pattern for pattern in patterns if not _compiles(pattern)]
    if invalid:
        raise Invalid("invite_link.patterns", field="email_patterns", wrong=invalid)


def _compiles(pattern: str) -> bool:
    try:
        re2.compile(pattern, _options)
    except re2.error:
        return False
    return True


def matches_restrictions(
    affiliations: Sequence[str],
    patterns: Sequence[str],
    sources: Sequence[str],
    *,
    of_account: Iterable[str],
    email: str,
    source: str,
) -> bool:
    """Return whether an invite link admits a person. One match is enough.

    Args:
        affiliations: of the link; case-sensitive.
        patterns: of the link; one must match the whole address in one of its spellings;
            case-insensitive.
        sources: identity sources of the link; case-sensitive.
        of_account: affiliations of the requester.
        email: address of the requester.
        source: identity source of the requester; empty for a local account.
    """
    if not affiliations and not patterns and not sources:
        return True
    if set(affiliations) & set(of_account) or (source and source in sources):
        return True
    return matches_pattern(patterns, email)


def matches_pattern(patterns: Sequence[str], email: str) -> bool:
    """Return whether one of the patterns matches a whole address in one of its spellings."""
    # Without case RE2 takes the Kelvin sign for a K. An address with such a character must not
    # match.
    return is_single_script_address(email) and any(
        re2.fullmatch(pattern, spelling, _options)
        for pattern in patterns
        for spelling in spellings(email)
    )
