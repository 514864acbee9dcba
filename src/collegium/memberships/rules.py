"""Rules of grants: when they may end, and that an owner remains."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from collegium.access.rules import OWNER_ROLES, ScopeKind
from collegium.refusals import Conflict, Invalid


def check_end(until: datetime | None, now: datetime) -> None:
    """Require an end in the future.

    Args:
        until: UTC; None for no end.

    Raises:
        Invalid: ``grant.ends_in_the_past``.
    """
    if until is not None and until <= now:
        raise Invalid("grant.ends_in_the_past", field="until")


def is_owner_role(kind: str, role_name: str) -> bool:
    """Return whether a role is an owner role of this kind of scope."""
    return role_name in OWNER_ROLES[ScopeKind(kind)]


def ensure_owner_remains(kind: str, role_name: str, other_owners: int) -> None:
    """Require that another owner without an end remains when an owner leaves or gets an end.

    Raises:
        Conflict: ``scope.last_owner``.
    """
    if is_owner_role(kind, role_name) and other_owners == 0:
        raise Conflict("scope.last_owner")


def may_list_people(role_names: Collection[str]) -> bool:
    """Return whether an account with these roles in an organisation may list all its people."""
    readers = OWNER_ROLES[ScopeKind.ORGANISATION] | {"CUSTOMER.SUPPORT"}
    return not readers.isdisjoint(role_names)
