"""Decide which fields of an account may be changed, by whom, and on which conditions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import Any, Final

from collegium.refusals import Conflict, Invalid
from collegium.text.confusables import is_reserved_username

STAFF_ONLY: Final = frozenset(
    {"is_active", "is_staff", "is_support", "description", "slug", "notifications_enabled"}
)
"""Fields that only staff can change. Changes by others are ignored."""

OWN_ONLY: Final = frozenset({"token_lifetime"})
"""Fields that people change on their own account only, and staff on every account."""

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
"""Fields that can be reserved to a registration method as their only source."""

SYNCHRONISED: Final = {"eduteams": ("email", "first_name", "last_name")}
"""The fields that a remote directory provides, by registration method. They are read-only here."""


_USERNAME_MAX: Final = 128
_NOT_IN_USERNAMES: Final = re.compile(r"[^0-9a-z_.@+-]+")


def username_from(text: str) -> str:
    """Return the part of a text that may be a user name; "" if there is none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    left = _NOT_IN_USERNAMES.sub("", plain)[:_USERNAME_MAX]
    return left if any(sign.isalnum() for sign in left) else ""


def usernames_for(address: str) -> Iterator[str]:
    """Yield user names for an address, the best first. The same address gives the same names."""
    name = username_from(address.rpartition("@")[0]) or "user"
    if not is_reserved_username(name):
        yield name
    for number in count(2):
        tail = f"-{number}"
        yield name[: _USERNAME_MAX - len(tail)] + tail


def protected_fields(method: str, local: Collection[str]) -> tuple[str, ...]:
    """Return the fields that only the identity provider of an account decides.

    Args:
        method: the registration method.
        local: the fields that the operator protects on local accounts.
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
    """Return the changes that are allowed. The others are ignored without an error.

    Args:
        own: whether people change their own account.
        local: the fields that the operator protects on local accounts.
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
    """Check that the person has agreed to the policy.

    Args:
        exempt: it is an account of staff, staff edits somebody else's account, or the account is
            being deactivated.

    Raises:
        Invalid: ``account.policy``.
    """
    if not (has_agreed or agrees or exempt):
        raise Invalid("account.policy", field="agree_with_policy")


def longest_lifetime(*, own: bool, bound: int, max_age: int | None) -> int | None:
    """Return the maximum lifetime of a token in seconds; None if there is no limit.

    Args:
        own: whether people set it on their own account. Staff choose freely for others.
        bound: maximum that people may set, in seconds.
        max_age: maximum for every token in seconds, whether people or staff set it; None for no
            limit.
    """
    if not own:
        return max_age
    return bound if max_age is None else min(bound, max_age)


def check_lifetime(seconds: int | None, longest: int | None) -> None:
    """Check the chosen lifetime of a token against the limit.

    Args:
        seconds: the chosen lifetime; None for ever.
        longest: the maximum in seconds; None for no limit.

    Raises:
        Invalid: ``account.lifetime``.
    """
    if longest is not None and (seconds is None or seconds > longest):
        raise Invalid("account.lifetime", field="token_lifetime", longest=longest)


def check_address_free(*, email_is_protected: bool) -> None:
    """Check that no identity provider decides the address.

    Raises:
        Conflict: ``account.address_protected``.
    """
    if email_is_protected:
        raise Conflict("account.address_protected")
