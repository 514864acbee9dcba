"""Decide which fields of an account may be changed, by whom, and on which conditions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import count
from typing import Any, Final

from collegium.refusals import Conflict, Invalid
from collegium.text.confusables import is_reserved_username

STAFF_ONLY: Final = frozenset(
    {
        *("is_active", "is_staff", "is_support", "description", "slug", "notifications_enabled"),
        *("is_identity_manager", "can_use_personal_access_tokens", "deactivation_reason"),
        *("managed_isds", "active_isds"),
        # Rights may depend on these, so people do not choose them.
        *("affiliations", "eduperson_assurance"),
    }
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

ATTRIBUTES: Final = frozenset(
    {
        "gender",
        "personal_title",
        "place_of_birth",
        "address",
        "country_of_residence",
        "nationality",
        "nationalities",
        "organization_country",
        "organization_type",
        "organization_registry_code",
        "organization_vat_code",
        "organization_address",
    }
)
"""Further fields that people fill in themselves, reserved to a registration method in the same
way."""

PROFILE_FIELDS: Final = DETAILS | ATTRIBUTES | {"full_name", "birth_date", "preferred_language"}
"""Fields of a profile that can be mandatory, and that people may be kept from changing here."""

SYNCHRONISED: Final = {"eduteams": ("email", "first_name", "last_name")}
"""The fields that a remote directory provides, by registration method. They are read-only here."""


_USERNAME_MAX: Final = 128
_NOT_IN_USERNAMES: Final = re.compile(r"[^0-9a-z_.@+-]+")


def username_from(text: str) -> str:
    """Return the part of a text that may be a user name; "" if there is none."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    username = _NOT_IN_USERNAMES.sub("", ascii_text)[:_USERNAME_MAX]
    return username if any(character.isalnum() for character in username) else ""


def usernames_for(email: str) -> Iterator[str]:
    """Yield user names for an address, the best first. The same address gives the same names."""
    name = username_from(email.rpartition("@")[0]) or "user"
    if not is_reserved_username(name):
        yield name
    for suffix in count(2):
        tail = f"-{suffix}"
        yield name[: _USERNAME_MAX - len(tail)] + tail


def protected_fields(
    method: str, local_fields: Collection[str], provider_fields: Collection[str]
) -> tuple[str, ...]:
    """Return the fields that only the identity provider of an account decides.

    Args:
        method: the registration method.
        local_fields: the fields that the operator protects on local accounts.
        provider_fields: the fields that the OpenID provider with the name of the method protects.
    """
    if method == "default":
        return tuple(local_fields)
    return tuple(dict.fromkeys([*SYNCHRONISED.get(method, ()), *provider_fields]))


def missing_fields(mandatory: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return the mandatory fields that have no value.

    Args:
        values: field to value.
    """
    return [name for name in mandatory if is_empty(values[name])]


def is_empty(value: object) -> bool:
    """Return whether a column of an account has no value."""
    return value in (None, "", [])


REGISTRATION: Final = "registration_method"
"""The key in ``attribute_sources`` of the provider that an account came from, with its issuer."""


def fields_from(
    sources: Mapping[str, Mapping[str, str]], provider: str, issuer: str = ""
) -> list[str]:
    """Return the fields of an account that a source said last.

    An identity provider is its issuer: its name can be another one by now, or that of another one.

    Args:
        sources: the column ``attribute_sources``.
        provider: the name of the identity provider or remote directory; for fields without issuer.
        issuer: of the identity provider; empty for a directory.
    """
    return [
        name
        for name, said in sources.items()
        if (
            said["issuer"] == issuer
            if issuer and "issuer" in said
            else said.get("source") == _source(provider)
        )
    ]


def issuer_of(method: str, sources: Mapping[str, Mapping[str, str]]) -> str:
    """Return the issuer of the provider that an account came from; empty if it is not recorded.

    Args:
        method: the registration method: the name that the provider had.
        sources: the column ``attribute_sources``.
    """
    # Accounts that have not signed in since the issuer is recorded have it with their fields alone.
    said = (sources.get(REGISTRATION, {}), *sources.values())
    return next(
        (one["issuer"] for one in said if one.get("source") == _source(method) and "issuer" in one),
        "",
    )


def came_from(
    method: str, sources: Mapping[str, Mapping[str, str]], provider: str, issuer: str
) -> bool:
    """Return whether an account came from an identity provider, whatever its name was then.

    Args:
        method: the registration method of the account.
        sources: the column ``attribute_sources`` of the account.
        provider: the name of the provider today.
        issuer: of the provider.
    """
    recorded = issuer_of(method, sources)
    return recorded == issuer if recorded else method == provider


def _source(provider: str) -> str:
    return f"isd:{provider}"


def attribute_sources(
    fields: Iterable[str], provider: str, moment: datetime, issuer: str = ""
) -> dict[str, dict[str, str]]:
    """Return where fields of an account come from, and when their source said so.

    Args:
        fields: the fields that the source has filled.
        provider: the name of the identity provider or remote directory.
        issuer: of the identity provider, since another one can get its name later.
    """
    source = {"source": _source(provider), "timestamp": moment.isoformat()}
    if issuer:
        source["issuer"] = issuer
    return dict.fromkeys(fields, source)


def writable(
    changes: Mapping[str, Any],
    *,
    by_staff: bool,
    is_own: bool,
    method: str,
    local_fields: Collection[str],
    provider_fields: Collection[str],
    frozen_methods: Collection[str],
) -> dict[str, Any]:
    """Return the changes that are allowed. The others are ignored without an error.

    Args:
        is_own: whether people change their own account.
        local_fields: the fields that the operator protects on local accounts.
        provider_fields: the fields that the account's OpenID provider protects.
        frozen_methods: registration methods whose details only staff may change.
    """
    read_only = set(protected_fields(method, local_fields, provider_fields))
    if "full_name" in read_only:
        read_only |= {"first_name", "last_name"}
    if not by_staff:
        read_only |= STAFF_ONLY
        if method in frozen_methods:
            read_only |= DETAILS | ATTRIBUTES
    if not (is_own or by_staff):
        read_only |= OWN_ONLY
    return {name: value for name, value in changes.items() if name not in read_only}


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


def longest_lifetime(*, is_own: bool, own_limit: int, max_age: int | None) -> int | None:
    """Return the maximum lifetime of a token in seconds; None if there is no limit.

    Args:
        is_own: whether people set it on their own account. Staff choose freely for others.
        own_limit: maximum that people may set, in seconds.
        max_age: maximum for every token in seconds, whether people or staff set it; None for no
            limit.
    """
    if not is_own:
        return max_age
    return own_limit if max_age is None else min(own_limit, max_age)


def check_lifetime(seconds: int | None, limit: int | None) -> None:
    """Check the chosen lifetime of a token against the limit.

    Args:
        seconds: the chosen lifetime; None for ever.
        limit: the maximum in seconds; None for no limit.

    Raises:
        Invalid: ``account.lifetime``.
    """
    if limit is not None and (seconds is None or seconds > limit):
        raise Invalid("account.lifetime", field="token_lifetime", longest=limit)


def check_email_not_protected(*, email_is_protected: bool) -> None:
    """Check that no identity provider decides the address.

    Raises:
        Conflict: ``account.address_protected``.
    """
    if email_is_protected:
        raise Conflict("account.address_protected")
