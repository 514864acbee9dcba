"""Which parts of an account may be changed, by whom, and on what condition."""

from __future__ import annotations

import re
import unicodedata
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from collegium.refusals import Conflict, Invalid
from collegium.text.confusables import is_reserved_username

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

STAFF_ONLY: Final = frozenset(
    {"is_active", "is_staff", "is_support", "description", "slug", "notifications_enabled"}
)
"""What only staff change; sent by others it is passed over."""

OWN_ONLY: Final = frozenset({"token_lifetime"})
"""What people change on their own account alone, and staff on every one."""

DETAILS: Final = frozenset(
    {
        "first_name",
        "last_name",
        "native_name",
        "job_title",
        "email",
        "phone_number",
        "organization",
    }
)
"""What a registration method can be declared to be the only source of."""

SYNCHRONISED: Final = {"eduteams": ("email", "first_name", "last_name")}
"""Registration method to what its directory says of a person, so that nobody here need."""


_USERNAME_MAX: Final = 128
_NOT_IN_USERNAMES: Final = re.compile(r"[^0-9a-z_.@+-]+")


def username_from(text: str) -> str:
    """Leave of a text what a user name may hold; nothing, where nothing of it can be one."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    left = _NOT_IN_USERNAMES.sub("", plain)[:_USERNAME_MAX]
    return left if any(sign.isalnum() for sign in left) else ""


def usernames_for(address: str) -> Iterator[str]:
    """Give user names for whoever has that address, the best first, the same ones every time."""
    name = username_from(address.rpartition("@")[0]) or "user"
    if not is_reserved_username(name):
        yield name
    for number in count(2):
        tail = f"-{number}"
        yield name[: _USERNAME_MAX - len(tail)] + tail


def protected_fields(method: str, local: Collection[str]) -> tuple[str, ...]:
    """Give the fields that the account's provider alone decides.

    Args:
        method: how the account was registered.
        local: what the operator protects on accounts of our own.
    """
    return tuple(local) if method == "default" else SYNCHRONISED.get(method, ())


def writable(
    changes: Mapping[str, Any],
    *,
    by_staff: bool,
    own: bool,
    method: str,
    local: Collection[str],
    frozen_methods: Collection[str],
) -> dict[str, Any]:
    """Leave of the changes what may be written; the rest is passed over in silence.

    Args:
        own: whether somebody changes their own account.
        frozen_methods: registration methods whose details only staff may change.
    """
    closed = set(protected_fields(method, local))
    if "full_name" in closed:
        closed |= {"first_name", "last_name"}
    if not by_staff:
        closed |= STAFF_ONLY
        if method in frozen_methods:
            closed |= DETAILS
    if not (own or by_staff):
        closed |= OWN_ONLY
    return {name: value for name, value in changes.items() if name not in closed}


def check_policy(*, has_agreed: bool, agrees: bool, exempt: bool) -> None:
    """Let nobody go on who has not agreed to the policy.

    Args:
        exempt: the account is staff's, staff edits somebody else's, or it is switched off.

    Refuses: Invalid ``account.policy``.
    """
    if not (has_agreed or agrees or exempt):
        raise Invalid("account.policy", field="agree_with_policy")


def longest_lifetime(*, own: bool, bound: int, max_age: int | None) -> int | None:
    """Return the longest lifetime that a token may be given, in seconds; None: it may be endless.

    Args:
        own: whether people set it on their own account; staff set that of others as they like.
        bound: what people may set at most.
        max_age: what holds for every token, whoever set it; None: no limit.
    """
    if not own:
        return max_age
    return bound if max_age is None else min(bound, max_age)


def check_lifetime(seconds: int | None, longest: int | None) -> None:
    """Keep a token's chosen lifetime under the operator's limit.

    Args:
        longest: seconds, or None without a limit.

    Refuses: Invalid ``account.lifetime``.
    """
    if longest is not None and (seconds is None or seconds > longest):
        raise Invalid("account.lifetime", field="token_lifetime", longest=longest)


def check_address_free(*, email_is_protected: bool) -> None:
    """Let an address be changed only where no provider decides it.

    Refuses: Conflict ``account.address_protected``.
    """
    if email_is_protected:
        raise Conflict("account.address_protected")
