"""Pure rules of OpenID providers and of sign-ins with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from collegium import hosts
from collegium.accounts.rules import PROFILE_FIELDS
from collegium.refusals import Invalid
from collegium.sign_in.providers.values import DISCOVERY_PATH

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
    """To sign in and accept what the pressed button names: what is at ``return_to``, if that is an
    invitation or an invite link; else the pending invitations of a new person."""
    LINK = "link"
    CONFIRM = "confirm"


NAME_MAX: Final = 50
LABEL_MAX: Final = 255
URL_MAX: Final = 2000
LIST_MAX: Final = 100
"""Maximum number of values in a list of a provider, such as its front ends."""

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
_VOUCHED: Final = re.compile(r"(?=.{1,100}\Z)[!-?A-~]+(?:@[!-?A-~]+)?")
_CLAIMS: Final = re.compile(r"[!-~]{1,100}(?: [!-~]{1,100}){0,9}")

USER_FIELDS: Final = frozenset({"username", "civil_number"})
"""Fields of an account by which a provider may recognise it. They are unique.

Not every value counts, because people may have chosen it; see ``linking.account_named``.
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

_PLAIN_USER_CLAIMS: Final = frozenset(claim.replace("_", "") for claim in USER_CLAIMS)

CLAIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "first_name": ("given_name", "first_name"),
    "last_name": ("family_name", "last_name", "surname", "sn"),
    "full_name": ("name", "display_name", "cn"),
    "native_name": ("native_name",),
    "email": ("email", "mail"),
    "job_title": ("job_title", "title"),
    "phone_number": ("phone_number", "telephone_number", "mobile"),
    "organization": ("schac_home_organization", "organization", "org", "institution", "company"),
    "civil_number": ("schac_personal_unique_id", "national_id", "civil_number", "personal_code"),
    "birth_date": ("birthdate", "birth_date", "date_of_birth"),
    "preferred_language": ("locale", "preferred_language"),
    "affiliations": (
        "voperson_external_affiliation",
        "eduperson_scoped_affiliation",
        "affiliations",
        "affiliation",
    ),
    "gender": ("gender", "schac_gender"),
    "personal_title": ("schac_personal_title", "personal_title"),
    "place_of_birth": ("schac_place_of_birth", "place_of_birth", "birthplace"),
    "address": ("address", "postal_address"),
    "country_of_residence": ("schac_country_of_residence", "country_of_residence", "country"),
    "nationality": ("nationality", "citizenship"),
    "nationalities": ("schac_country_of_citizenship", "nationalities", "citizenships"),
    "organization_country": ("schac_home_organization_country", "organization_country"),
    "organization_type": ("schac_home_organization_type", "organization_type"),
    "organization_registry_code": ("organization_registry_code", "org_registry_code"),
    "organization_vat_code": ("organization_vat_code",),
    "organization_address": ("organization_address",),
    "eduperson_assurance": ("eduperson_assurance", "assurance"),
    "uid_number": ("uid_number", "uidnumber"),
    "primary_gid": ("primary_gid", "gid_number", "gidnumber"),
    "identity_source": ("identity_source", "authenticating_authority", "identity_provider", "idp"),
}
"""Fields of an account that claims may fill, with the claims that usually do, the best first.
Other fields are keys or rights, so no claim fills them."""

SCOPES: Final = ("openid", "profile", "email")
"""Scopes that are always requested."""

DEFAULT_MAPPING: Final[Mapping[str, str]] = {
    "first_name": "given_name",
    "last_name": "family_name",
    "email": "email",
}


DEFAULT_VOUCHED: Final = (
    *("eduperson_affiliation", "eduperson_primary_affiliation", "eduperson_scoped_affiliation"),
    *("eduperson_entitlement", "eduperson_unique_id"),
    *("entitlements", "groups", "roles", "is_member_of"),
    *("schac_country_of_citizenship", "schac_home_organization", "schac_home_organization_type"),
    *("voperson_affiliation", "voperson_external_affiliation", "voperson_id"),
    *("voperson_scoped_affiliation", "subject_id", "pairwise_id"),
    *("sub", "oid", "tid", "hd"),
)
"""Claims that every new provider vouches for: institutions assign them, people do not write them.

They are those of eduPerson, SCHAC and voPerson, of RFC 9068, and of Entra ID and Google. Assurance
is not among them: its levels are those of a federation, and staff know who follows it."""

ALWAYS_VOUCHED: Final = ("iss", "acr", "amr")
"""Claims that follow from the protocol."""


_SCOPED: Final = frozenset(
    {
        *("edupersonscopedaffiliation", "vopersonscopedaffiliation", "vopersonexternalaffiliation"),
        *("edupersonuniqueid", "edupersonprincipalname", "subjectid", "pairwiseid"),
    }
)
"""Claims whose values name an institution after an ``@``: its scope."""

_DOMAINS: Final = frozenset({"schachomeorganization", "hd"})
"""Claims whose values are the domain of an institution: the whole value is the scope."""

ANY_SCOPE: Final = "*"
"""Scope of an entry of ``vouched_claims`` for a proxy, which speaks for every institution."""


AFFILIATIONS_MAX: Final = 50
"""Maximum number of affiliations that a provider gives an account."""

CUT: Final = "cut claims"
"""Key among stored claims: the names of those of which values are missing. No claim has a space."""


class Vouches(Protocol):
    """A provider, as far as it says for what it vouches.

    An entry of ``vouched_claims`` is a claim, or ``claim@scope``: a scope of that claim for which
    the provider speaks besides its ``trusted_domains``.
    """

    vouched_claims: list[str]
    trusted_domains: list[str]


def is_vouched(claim: str, vouched: Collection[str]) -> bool:
    """Return whether a provider vouches for a claim, however it is written.

    Claim rules compare no other claim: at many providers people write some claims themselves.

    Args:
        vouched: the list ``vouched_claims`` of the provider.
    """
    return _plain(claim) in _plain_names(vouched)


def vouched_claims(claims: Mapping[str, Any], provider: Vouches) -> dict[str, Any]:
    """Return the claims for which a provider vouches, without its word about other institutions.

    See ``is_vouched`` and ``vouched_values``. The names of those with missing values are among
    them, see ``CUT``.
    """
    names = _plain_names(provider.vouched_claims)
    cut = [name for name in claims.get(CUT, ()) if _plain(name) in names]
    return {**({CUT: cut} if cut else {})} | {
        claim: vouched_values(claim, value, provider)
        if _plain(claim) in _SCOPED | _DOMAINS
        else value
        for claim, value in claims.items()
        if _plain(claim) in names
    }


def vouched_values(claim: str, value: Any, provider: Vouches) -> list[str]:
    """Return the texts of a claim whose scope the provider speaks for.

    Otherwise each provider could make somebody a professor of each institution. A text without a
    scope names none.
    """
    values = value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    scopes = {scope for name, scope in _entries_with_scope(provider) if name == _plain(claim)}
    if ANY_SCOPE in scopes:
        return texts
    scopes |= {"", *provider.trusted_domains}
    is_domain = _plain(claim) in _DOMAINS
    return [text for text in texts if (text.lower() if is_domain else _scope(text)) in scopes]


def _entries_with_scope(provider: Vouches) -> set[tuple[str, str]]:
    """Return claim and scope, in comparable forms, of the entries ``claim@scope``."""
    entries = (entry.partition("@") for entry in provider.vouched_claims)
    return {(_plain(name), scope.lower()) for name, at, scope in entries if at}


def speaks_for_all(provider: Vouches) -> list[str]:
    """Return the claims of which a provider may state every institution's values."""
    suffix = f"@{ANY_SCOPE}"
    return [
        entry.removesuffix(suffix) for entry in provider.vouched_claims if entry.endswith(suffix)
    ]


def void_claims(used: Collection[str], provider: Vouches) -> list[str]:
    """Return the claims whose values count nowhere, since the provider speaks for no institution.

    Args:
        used: claims that fill affiliations, or that claim rules compare.
    """
    if provider.trusted_domains:
        return []
    spoken_for = {name for name, _scope in _entries_with_scope(provider)}
    return [
        claim
        for claim in dict.fromkeys(used)
        if _plain(claim) in _SCOPED | _DOMAINS and _plain(claim) not in spoken_for
    ]


def _scope(text: str) -> str:
    # The first ``@`` ends the value (eduPerson, "scoped attributes"), so what a person may have put
    # before a later one names no institution.
    return text.partition("@")[2].lower()


def _plain_names(vouched: Collection[str]) -> set[str]:
    names = (entry.partition("@")[0] for entry in vouched)
    return set(map(_plain, (*ALWAYS_VOUCHED, *names)))


def suggested_claims(field: str, supported: Collection[str]) -> list[str]:
    """Return the claims of a provider that fit a field, the best first, in its spelling.

    Args:
        supported: the claims that the provider names in its metadata.
    """
    spellings = {_plain(claim): claim for claim in supported}
    return [spellings[_plain(claim)] for claim in CLAIMS[field] if _plain(claim) in spellings]


_CHOSEN: Final = frozenset({"civil_number", "identity_source"})
"""Fields that only staff map: invitations and restrictions compare them."""


def suggested_mapping(supported: Collection[str]) -> dict[str, str]:
    """Return which claims should fill which fields.

    A provider need not name its claims; then the mapping is the one of OpenID Connect. What opens
    invitations and restricted places is not suggested: staff trust the provider with it.

    Args:
        supported: the claims that the provider names in its metadata.
    """
    mapping = {
        field: claims[0]
        for field in CLAIMS
        if field not in _CHOSEN and (claims := suggested_claims(field, supported))
    }
    # The parts of a name are better than the whole, which must be split.
    if "first_name" in mapping and "last_name" in mapping:
        mapping.pop("full_name", None)
    return {**(DEFAULT_MAPPING if "full_name" not in mapping else {}), **mapping}


def suggested_scopes(claims: Collection[str], supported: Collection[str]) -> list[str]:
    """Return the scopes to request for claims, ``openid`` first.

    Args:
        claims: the claims that are used.
        supported: the scopes that the provider names in its metadata.
    """
    wanted = ["profile", "email", *("phone" for claim in claims if _plain(claim) == "phonenumber")]
    wanted += [scope for scope in sorted(supported) if scope in claims]
    return ["openid", *(scope for scope in dict.fromkeys(wanted) if scope in supported)]


def extra_scope(claims: Collection[str], supported: Collection[str]) -> str:
    """Return the scopes that claims need besides those that are always requested."""
    scopes = suggested_scopes(claims, supported)
    return " ".join(scope for scope in scopes if scope not in SCOPES)


def _plain(claim: str) -> str:
    """Return a claim's name without the ways to write it: ``givenName`` is ``given_name``."""
    return claim.lower().replace("_", "").replace("-", "")


def is_identifying(claim: str) -> bool:
    """Return whether a claim recognises a person; see ``USER_CLAIMS``."""
    return _plain(claim) in _PLAIN_USER_CLAIMS


def is_web_address(text: str) -> bool:
    """Return whether a text is an exact https address; http is enough on this machine."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = hosts.host(parts.netloc)
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(' \\#*"<>')
    if host is None or port == 0 or not is_plain:
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
    if not all(map(is_identifying, mapping.get("civil_number", "").split())):
        found.append(Invalid("provider.user_claim", field="attribute_mapping"))
    return found


def check_same_name(before: str, after: str) -> None:
    """Require that a provider keeps its name, which is part of its redirect URI.

    Raises:
        Invalid: ``provider.name_is_fixed``.
    """
    if before != after:
        raise Invalid("provider.name_is_fixed", field="name")


def _are_valid(is_valid: Callable[[str], object], items: Collection[str]) -> bool:
    return len(items) <= LIST_MAX and all(map(is_valid, items))


def _is_mapping(mapping: Mapping[str, str]) -> bool:
    return mapping.keys() <= CLAIMS.keys() and all(map(_CLAIMS.fullmatch, mapping.values()))


def is_name(text: str) -> bool:
    """Return whether a text has the form of a name of a provider."""
    return len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None


def _is_domain(text: str) -> bool:
    return len(text) <= 253 and _DOMAIN.fullmatch(text) is not None  # noqa: PLR2004 - RFC 1035


_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "name": (
        "provider.name",
        lambda name: is_name(name) and name not in _RESERVED,
    ),
    "label": ("provider.label", str.strip),
    "client_id": (
        "provider.client_id",
        lambda text: text and _CREDENTIAL.fullmatch(text),
    ),
    "client_secret": ("provider.client_secret", _CREDENTIAL.fullmatch),
    "discovery_url": (
        "provider.discovery_url",
        lambda url: is_web_address(url) and url.endswith(DISCOVERY_PATH),
    ),
    "management_url": ("provider.url", lambda url: not url or is_web_address(url)),
    "extra_scope": ("provider.scope", lambda text: not text or _SCOPES.fullmatch(text)),
    "extra_fields": ("provider.scope", lambda text: not text or _SCOPES.fullmatch(text)),
    "user_field": ("provider.user_field", lambda name: not name or name in USER_FIELDS),
    "user_claim": ("provider.user_claim", lambda name: not name or is_identifying(name)),
    "attribute_mapping": ("provider.mapping", _is_mapping),
    "protected_fields": (
        "provider.protected_fields",
        partial(_are_valid, PROFILE_FIELDS.__contains__),
    ),
    "allowed_redirects": ("provider.redirect", partial(_are_valid, is_web_address)),
    "trusted_domains": ("provider.domain", partial(_are_valid, _is_domain)),
    "second_factor_values": ("provider.factor_value", partial(_are_valid, _CLAIM.fullmatch)),
    "vouched_claims": ("provider.claim", partial(_are_valid, _VOUCHED.fullmatch)),
    "registration": ("provider.registration", lambda word: word in list(Registration)),
}
