"""Decide what events keep of a person whose account is deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collegium.events.types import BY_KIND

KEPT_FIELDS: Final = frozenset(
    {
        *(name for event in BY_KIND.values() for name, fact in event.facts.items() if fact.kept),
        *("impersonated_by", "impersonator"),
    }
)
"""Facts of an event that reveal nothing about the affected person. All others are removed."""


def neutral_name(account: int) -> str:
    """Return the name of a deleted account in the audit log."""
    return f"Deleted account {account}"


def neutral_username(account: int) -> str:
    """Return the user name of a deleted account. Nobody can choose such a name."""
    return f"~deleted-{account}"


def without_personal_data(payload: Mapping[str, Any], account: int) -> dict[str, Any]:
    """Return the facts of an event about a deleted account without personal data.

    The names of changed fields stay, so that the audit log still shows what was changed.
    """
    result = {name: value for name, value in payload.items() if name in KEPT_FIELDS}
    if "username" in payload:
        result["username"] = neutral_username(account)
    if isinstance(payload.get("changes"), dict):
        result["changes"] = {name: [None, None] for name in payload["changes"]}
    return result
