"""Open invitations: a link that many may follow, and what keeps it in bounds.

Whoever follows it does not join but asks; somebody who may give the role decides.
"""

from __future__ import annotations

import re
from datetime import timedelta
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

import re2

from collegium.access.rules import ScopeKind
from collegium.refusals import Conflict, Forbidden, Invalid
from collegium.text.email_addresses import has_single_script_labels, spellings
from collegium.text.names import clean_name, without_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

PLACEHOLDERS: Final = ("email", "full_name", "username")
"""What a template for the name of a project may speak of."""

DEFAULT_TEMPLATE: Final = "{username}_project"

PROJECT_NAME_MAX: Final = 500

PATTERN_MAX: Final = 255
PATTERNS_MAX: Final = 50

_SWITCHES: Final = ("auto_approve", "allow_multiple_requests", "is_public")
_RESTRICTIONS: Final = ("affiliations", "email_patterns")
_WORDING: Final = frozenset({"custom_text", "template"})
"""What changes neither who is let in nor what they are given."""

_options = re2.Options()
_options.case_sensitive = False
_options.log_errors = False
# Patterns come from people: an engine without backtracking answers in linear time, and this
# bounds what one of them may cost in memory.
_options.max_mem = 1 << 20

_DOUBLED: Final = re.compile(r"\{\{|\}\}")


def is_active(canceled: datetime | None, expires: datetime, now: datetime) -> bool:
    """Tell whether an open invitation can still be followed."""
    return canceled is None and expires > now


def check_active(canceled: datetime | None, expires: datetime, now: datetime, code: str) -> None:
    """Go on only while an open invitation is active.

    Refuses: Conflict ``code``.
    """
    if not is_active(canceled, expires, now):
        raise Conflict(code)


def check_end(expires: datetime | None, now: datetime, lifetime: int) -> None:
    """Let an open invitation end in the future, and not later than those that nobody gave an end.

    Args:
        expires: None where nobody gave one.
        lifetime: seconds.

    Refuses: Invalid ``open_invitation.end``.
    """
    if expires is not None and not now < expires <= now + timedelta(seconds=lifetime):
        raise Invalid("open_invitation.end", field="expires")


def check_roles(
    kind: str, role_kind: str, project_role_kind: str | None, *, auto_create_project: bool
) -> None:
    """Let an open invitation give only what can be held where it leads.

    A role of projects fits an organisation too, when everybody gets a project made there.

    Refuses: Invalid ``role.other_kind``, ``open_invitation.not_in_organisation``,
    ``open_invitation.project_role``.
    """
    projects = (
        auto_create_project and kind == ScopeKind.ORGANISATION and role_kind == ScopeKind.PROJECT
    )
    if role_kind != kind and not projects:
        raise Invalid("role.other_kind")
    if auto_create_project and kind not in {ScopeKind.ORGANISATION, ScopeKind.PROJECT}:
        raise Invalid("open_invitation.not_in_organisation", field="auto_create_project")
    if project_role_kind not in {None, ScopeKind.PROJECT.value}:
        raise Invalid("open_invitation.project_role", field="project_role")


def check_public(
    *, is_public: bool, is_staff: bool, auto_create_project: bool, role_kind: str
) -> None:
    """Let an invitation be shown to everybody only by staff, and only for projects of one's own.

    Refuses: Invalid ``open_invitation.public_staff``, ``open_invitation.public_auto``,
    ``open_invitation.public_role``.
    """
    if not is_public:
        return
    if not is_staff:
        raise Invalid("open_invitation.public_staff", field="is_public")
    if not auto_create_project:
        raise Invalid("open_invitation.public_auto", field="auto_create_project")
    if role_kind != ScopeKind.PROJECT:
        raise Invalid("open_invitation.public_role", field="role")


def check_may_change(*, is_public: bool, is_staff: bool) -> None:
    """Let only staff change an invite link that everybody is shown.

    Refuses: Forbidden ``open_invitation.public``.
    """
    if is_public and not is_staff:
        raise Forbidden("open_invitation.public")


def is_wider(before: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Tell whether a change lets in more people, gives more, or holds for longer.

    Patterns cannot be compared with each other, so a new one counts as wider even beside the old
    ones; and a column that is not known here counts as soon as it changes.

    Args:
        before: the columns of an invite link, those that change at least.
        changes: columns with their new values.
    """
    changed = {name: value for name, value in changes.items() if value != before[name]}
    if any(changed.get(name) for name in _SWITCHES):
        return True
    if "expires" in changed and changed["expires"] > before["expires"]:
        return True
    if not changed.keys().isdisjoint(_RESTRICTIONS) and _matches_more(before, changed):
        return True
    return not changed.keys() <= {*_SWITCHES, *_RESTRICTIONS, *_WORDING, "expires"}


def _matches_more(before: Mapping[str, Any], changed: Mapping[str, Any]) -> bool:
    old, new = (
        {(name, one) for name in _RESTRICTIONS for one in get(name)}
        for get in (before.__getitem__, lambda name: changed.get(name, before[name]))
    )
    # Without any restriction everybody is let in; beside another one each admits more.
    return bool(old) and (not new or not new <= old)


def check_template(template: str) -> None:
    """Take a template that will give a name whoever asks.

    Refuses: Invalid ``open_invitation.template`` with the placeholders that nobody fills.
    """
    wrong = []
    try:
        for _text, name, form, conversion in Formatter().parse(template):
            if name is not None and (name not in PLACEHOLDERS or form or conversion):
                wrong.append(name + (f"!{conversion}" if conversion else "") or "{}")
    except ValueError:
        # A brace that is opened and not closed, or the other way round.
        wrong.append(_DOUBLED.sub("", template))
    if wrong:
        raise Invalid(
            "open_invitation.template",
            field="template",
            wrong=", ".join(wrong),
            allowed=", ".join(PLACEHOLDERS),
        )


def project_name(template: str, *, username: str, email: str, full_name: str) -> str:
    """Give the name of the project made for somebody."""
    name = (template or DEFAULT_TEMPLATE).format(
        username=username, email=email, full_name=full_name or username
    )
    return clean_name(without_link(" ".join(name.split()))[:PROJECT_NAME_MAX]) or username


def check_patterns(patterns: Iterable[str]) -> None:
    """Take patterns that compile, and that cost little whatever they are matched against.

    Refuses: Invalid ``open_invitation.patterns`` with those that do not.
    """
    wrong = [pattern for pattern in patterns if not _compiles(pattern)]
    if wrong:
        raise Invalid("open_invitation.patterns", field="email_patterns", wrong=wrong)


def _compiles(pattern: str) -> bool:
    try:
        re2.compile(pattern, _options)
    except re2.error:
        return False
    return True


def matches_restrictions(
    affiliations: Sequence[str],
    patterns: Sequence[str],
    *,
    of_account: Iterable[str],
    email: str,
) -> bool:
    """Tell whether somebody is among those that an open invitation is meant for.

    Args:
        affiliations: of which one is enough; letter case counts.
        patterns: of which one must match the whole address in one of its spellings, letter case
            aside.
        of_account: the affiliations of whoever asks.
        email: their address.
    """
    if not affiliations and not patterns:
        return True
    if set(affiliations) & set(of_account):
        return True
    # The engine takes a Kelvin sign for a K where case is no matter; such an address is nobody's.
    return has_single_script_labels(email) and any(
        re2.fullmatch(pattern, spelling, _options)
        for pattern in patterns
        for spelling in spellings(email)
    )
