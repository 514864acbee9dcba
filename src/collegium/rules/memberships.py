"""What holds of grants: when one lives, and what must not happen to the last owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.rules.access import OWNER_ROLE, Kind
from collegium.rules.refusals import Conflict, Invalid

if TYPE_CHECKING:
    from datetime import datetime


def check_end(until: datetime | None, now: datetime) -> None:
    """Let a grant end in the future only.

    Refuses: Invalid ``grant.ends_in_the_past``.
    """
    if until is not None and until <= now:
        raise Invalid("grant.ends_in_the_past", field="until")


def is_owner_role(kind: str, role_name: str) -> bool:
    """Tell whether the role is the one without which nobody is in charge."""
    return OWNER_ROLE.get(Kind(kind)) == role_name


def keep_an_owner(kind: str, role_name: str, other_owners: int) -> None:
    """Let an owner go, or be given an end, only while another lasting owner stays.

    Refuses: Conflict ``scope.last_owner``.
    """
    if is_owner_role(kind, role_name) and other_owners == 0:
        raise Conflict("scope.last_owner")
