"""Pure rules of OpenID providers and of sign-ins with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from collegium import hosts
from collegium.refusals import Invalid

SIGN_IN_SECONDS: Final = 10 * 60
"""Time from the start of a sign-in at a provider until its return, in seconds."""

EXCHANGE_SECONDS: Final = 60
"""Lifetime of the code that a front end exchanges for a token, in seconds."""


class Registration(StrEnum):
    """Who gets a new account at the first sign-in with a provider."""

    OFF = "off"
    INVITED = "invited"
    OPEN = "open"


class Purpose(StrEnum):
    """What a browser went to a provider for."""

    SIGN_IN = "sign_in"
    ACCEPT = "accept"
    """To sign in and accept the invitation at ``return_to``."""
    LINK = "link"
    CONFIRM = "confirm"


NAME_MAX: Final = 50
LABEL_MAX: Final = 255
URL_MAX: Final = 2000
LIST_MAX: Final = 100
"""Maximum number of values in a list of a provider, such as its front ends."""

WELL_KNOWN: Final = "/.well-known/openid-configuration"

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,48}[a-z0-9])?")
_RESERVED: Final = frozenset(
    {
        "default",
        "password",
        "logout",
        "token-exchange",
        "backchannel-logout",
        "discover_metadata",
        "generate-mapping",
    }
)
"""Names that stand for something else: paths below ``/api-auth/`` and of the Waldur API, and the
registration method of accounts with a password."""

_DOMAIN: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
)
_CREDENTIAL: Final = re.compile(r"[\x20-\x7e]*")  # RFC 6749, appendix A: VSCHAR
_SCOPES: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_CLAIM: Final = re.compile(r"[!-~]{1,100}")

USER_FIELDS: Final = frozenset({"username", "civil_number"})
"""Fields of an account by which a provider may recognise it: unique, and set by staff.

An e-mail address is not one: ``trusted_domains`` says whose addresses are believed, and then the
provider must have verified the address.
"""

USER_CLAIMS: Final = frozenset(
    {
        "sub",
        "oid",
        "voperson_id",
        "eduperson_unique_id",
        "subject_id",
        "pairwise_id",
        "schac_personal_unique_code",
        "schac_personal_unique_id",
        "cuid",
        "civil_number",
        "national_id",
        "personal_code",
    }
)
"""Claims that recognise a person: providers assign them, people cannot choose them, and nobody
else gets them later. ``preferred_username``, ``name``, ``email`` and ``upn`` are chosen by people;
``eduperson_principal_name`` may be given to somebody else."""

MAPPED: Final = frozenset(
    {
        "first_name",
        "last_name",
        "full_name",
        "native_name",
        "email",
        "job_title",
        "phone_number",
        "organization",
        "civil_number",
        "birth_date",
        "preferred_language",
        "affiliations",
        "identity_source",
    }
)
"""Fields of an account that a claim may fill. The others are keys or rights."""

PROTECTED: Final = frozenset(
    {
        "first_name",
        "last_name",
        "full_name",
        "native_name",
        "email",
        "job_title",
        "phone_number",
        "organization",
        "birth_date",
        "preferred_language",
    }
)
"""Fields of an account that people may be kept from changing here."""

DEFAULT_MAPPING: Final[Mapping[str, str]] = {
    "first_name": "given_name",
    "last_name": "family_name",
    "email": "email",
}


def discovery_url(text: str) -> str:
    """Return the address of a provider's metadata, also for its issuer without the path."""
    address = text.strip()
    if not address or address.endswith(WELL_KNOWN):
        return address
    return address.rstrip("/") + WELL_KNOWN


def is_web_address(text: str) -> bool:
    """Return whether a text is an exact https address; http is enough on this machine."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = hosts.host(parts.netloc)
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(' \\#*"<>')
    if host is None or "@" in parts.netloc or port == 0 or not is_plain:
        return False
    is_near = host.name in hosts.LOOPBACK or hosts.is_loopback(host.name)
    return parts.scheme == "https" or (parts.scheme == "http" and is_near)


def check(values: Mapping[str, Any]) -> None:
    """Check all values of a provider.

    Args:
        values: columns of the provider, with ``client_secret`` in plain text.

    Raises:
        Invalid: with the first problem; see ``problems``.
    """
    for refusal in problems(values):
        raise refusal


def problems(values: Mapping[str, Any]) -> list[Invalid]:
    """Return everything that is wrong with values of a provider, one refusal for each field.

    Args:
        values: columns of the provider, with ``client_secret`` in plain text. Columns that are
            missing are not checked.
    """
    found = [
        Invalid(code, field=field)
        for field, (code, is_valid) in _CHECKS.items()
        if field in values and not is_valid(values[field])
    ]
    if bool(values.get("user_field")) != bool(values.get("user_claim")):
        missing = "user_claim" if values.get("user_field") else "user_field"
        found.append(Invalid("provider.user_pair", field=missing))
    mapping = values.get("attribute_mapping") or {}
    if mapping.get("civil_number", "sub") not in USER_CLAIMS:
        found.append(Invalid("provider.user_claim", field="attribute_mapping"))
    return found


def check_same_name(before: str, after: str) -> None:
    """Require that a provider keeps its name, which is part of its redirect URI.

    Raises:
        Invalid: ``provider.name_is_fixed``.
    """
    if before != after:
        raise Invalid("provider.name_is_fixed", field="name")


def _each(is_valid: Callable[[str], object]) -> Callable[[Collection[str]], bool]:
    return lambda items: len(items) <= LIST_MAX and all(map(is_valid, items))


def _is_mapping(mapping: Mapping[str, str]) -> bool:
    return mapping.keys() <= MAPPED and all(map(_CLAIM.fullmatch, mapping.values()))


def _is_domain(text: str) -> bool:
    return len(text) <= 253 and _DOMAIN.fullmatch(text) is not None  # noqa: PLR2004 - RFC 1035


_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "name": (
        "provider.name",
        lambda name: _NAME.fullmatch(name) and name not in _RESERVED,
    ),
    "label": ("provider.label", str.strip),
    "client_id": (
        "provider.client_id",
        lambda text: text and _CREDENTIAL.fullmatch(text),
    ),
    "client_secret": ("provider.client_secret", _CREDENTIAL.fullmatch),
    "discovery_url": (
        "provider.discovery_url",
        lambda url: is_web_address(url) and url.endswith(WELL_KNOWN),
    ),
    "management_url": ("provider.url", lambda url: not url or is_web_address(url)),
    "extra_scope": ("provider.scope", lambda text: not text or _SCOPES.fullmatch(text)),
    "extra_fields": ("provider.scope", lambda text: not text or _SCOPES.fullmatch(text)),
    "user_field": ("provider.user_field", lambda name: not name or name in USER_FIELDS),
    "user_claim": ("provider.user_claim", lambda name: not name or name in USER_CLAIMS),
    "attribute_mapping": ("provider.mapping", _is_mapping),
    "protected_fields": ("provider.protected_fields", _each(PROTECTED.__contains__)),
    "allowed_redirects": ("provider.redirect", _each(is_web_address)),
    "trusted_domains": ("provider.domain", _each(_is_domain)),
    "second_factor_values": ("provider.factor_value", _each(_CLAIM.fullmatch)),
    "registration": ("provider.registration", lambda word: word in list(Registration)),
}
