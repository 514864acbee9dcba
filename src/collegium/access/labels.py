"""Names of roles and scopes for people, in the current language: on pages and in e-mails."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import SYSTEM_ROLES, ScopeKind
from collegium.text.languages import gettext as _

_BUILT_IN: Final = frozenset(role.description for role in SYSTEM_ROLES)


def role_label(description: str, name: str) -> str:
    """Return the label of a role: its description, else its name; of a built-in role translated."""
    return _(description) if description in _BUILT_IN else description or name


def scope_pattern(kind: str, *, has_organisation: bool = False) -> str:
    """Return the pattern of a phrase that names a scope: ``project {name} of {organisation}``.

    Args:
        kind: Kind of the scope.
        has_organisation: Whether the phrase also names the organisation of a project.
    """
    if has_organisation:
        return _("project {name} of {organisation}")
    patterns = {
        ScopeKind.ORGANISATION.value: _("organisation {name}"),
        ScopeKind.PROJECT.value: _("project {name}"),
        ScopeKind.GROUP.value: _("group {name}"),
    }
    return patterns[kind]
