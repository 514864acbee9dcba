"""What holds of grants: when one lives, and what must not happen to the last owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.access.rules import OWNER_ROLES, ScopeKind
from collegium.refusals import Conflict, Invalid

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime


def check_end(until: datetime | None, now: datetime) -> None:
    """Let a grant end in the future only.

    Refuses: Invalid ``grant.ends_in_the_past``.
    """
    if until is not None and until <= now:
        raise Invalid("grant.ends_in_the_past", field="until")


def is_owner_role(kind: str, role_name: str) -> bool:
    """Tell whether the role is one without which nobody is in charge."""
    return role_name in OWNER_ROLES[ScopeKind(kind)]


def ensure_owner_remains(kind: str, role_name: str, other_owners: int) -> None:
    """Let an owner go, or be given an end, only while another lasting owner stays.

    Refuses: Conflict ``scope.last_owner``.
    """
    if is_owner_role(kind, role_name) and other_owners == 0:
        raise Conflict("scope.last_owner")


def may_list_people(role_names: Collection[str]) -> bool:
    """Tell whether somebody with these roles in an organisation may list all its people."""
    readers = OWNER_ROLES[ScopeKind.ORGANISATION] | {"CUSTOMER.SUPPORT"}
    return not readers.isdisjoint(role_names)
