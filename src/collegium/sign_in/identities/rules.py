"""Pure rules of identities: which claims count, and what they say about a person."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from itertools import chain
from typing import Any, Final, Protocol

from collegium.accounts.rules import username_from, usernames_for
from collegium.sign_in.providers.rules import (
    AFFILIATIONS_MAX,
    ALWAYS_VOUCHED,
    CUT,
    Vouches,
    is_vouched,
    vouched_values,
)
from collegium.sign_in.providers.values import Claims
from collegium.text.confusables import is_reserved_username
from collegium.text.email_addresses import (
    address_error,
    canonical_address,
    comparable_address,
)
from collegium.text.names import clean_name, holds_link

KEPT: Final = (
    *("email", "email_verified", "name", "preferred_username"),
    *("eduperson_assurance", "eduperson_scoped_affiliation", "voperson_external_affiliation"),
    *("voperson_id", "schac_home_organization", "schac_home_organization_type"),
)
"""Claims that are stored with an identity, besides how the person was authenticated and the
``extra_fields`` of its provider."""

RIGHTS_DEPEND: Final = frozenset({"affiliations", "eduperson_assurance", "identity_source"})
"""Columns that claim rules and the restrictions of places compare."""


class Rights(Protocol):
    """An account, as far as it says what it may do."""

    is_staff: bool
    is_support: bool
    is_identity_manager: bool


def has_rights(account: Rights) -> bool:
    """Return whether an account is that of staff, support or an identity manager."""
    return account.is_staff or account.is_support or account.is_identity_manager


_COUNTRIES: Final = ("country_of_residence", "nationality", "organization_country")
_NUMBERS: Final = ("uid_number", "primary_gid")
_NUMBER_MAX: Final = 2**53 - 1
_GENDERS: Final = {
    "male": "male",
    "female": "female",
    "unknown": "unknown",
    # ISO/IEC 5218, which schacGender uses.
    "0": "unknown",
    "1": "male",
    "2": "female",
    "9": "unknown",
}
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_TEXT_MAX: Final = 500
_ITEMS_MAX: Final = AFFILIATIONS_MAX
_COUNTRIES_MAX: Final = 20
_KEPT_ITEMS_MAX: Final = 200
_AFFILIATION_MAX: Final = 255
_ADDRESS_MAX: Final = 255

_LENGTHS: Final = {
    "first_name": 100,
    "last_name": 100,
    "native_name": 100,
    "job_title": 120,
    "phone_number": 255,
    "organization": 255,
    "identity_source": 50,
    "preferred_language": 10,
    "civil_number": 50,
    "personal_title": 50,
    "place_of_birth": 255,
    "organization_type": 255,
    "organization_registry_code": 255,
    "organization_vat_code": 20,
    "organization_address": 255,
}
"""Text fields of an account that a claim may fill, with their lengths in characters."""


IDENTITIES_MAX: Final = 20
"""Maximum number of identities of an account; each sign-in reads the claims of all of them."""


class KeepsClaims(Protocol):
    """A provider, as far as it says which claims are stored, and for which it vouches."""

    extra_fields: str
    vouched_claims: list[str]


def comparable_claims(providers: Iterable[KeepsClaims]) -> frozenset[str]:
    """Return the claims that claim rules compare, at one of these providers or another.

    They are stored, and the provider vouches for them.
    """
    return frozenset(ALWAYS_VOUCHED) | {
        name
        for provider in providers
        for name in (*KEPT, *provider.extra_fields.split())
        if is_vouched(name, provider.vouched_claims)
    }


def kept_claims(claims: Claims, extra_fields: str) -> dict[str, Any]:
    """Return the claims that are stored, without values of other types or great length.

    Claims of which values are missing for that reason are named by ``CUT``, so that nobody loses a
    role because of a value that was not stored. They are also those that the provider does not send
    itself (OpenID Connect Core 1.0, section 5.6.2): Entra ID does that with more than 200 groups.

    Args:
        extra_fields: further names of claims, separated by spaces.
    """
    names = dict.fromkeys((*KEPT, *extra_fields.split()))
    values = {name: _storable(claims.claims[name]) for name in names if name in claims.claims}
    values |= {"acr": _item(claims.acr) or None, "amr": _storable(list(claims.amr)) or None}
    if claims.authenticated_at is not None:
        values["auth_time"] = int(claims.authenticated_at.timestamp())
    elsewhere = claims.claims.get("_claim_names")
    cut = [
        name
        for name in names
        if _is_cut(claims.claims.get(name))
        or (isinstance(elsewhere, Mapping) and name in elsewhere and name not in claims.claims)
    ]
    if cut:
        values[CUT] = cut
    return {name: value for name, value in values.items() if value is not None}


def cut_claims(stored: Mapping[str, Any]) -> list[str]:
    """Return the names of the stored claims of which values are missing."""
    return list(stored.get(CUT, ()))


def _is_cut(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > _KEPT_ITEMS_MAX or any(map(_is_cut, value))
    return isinstance(value, str) and len(value) > _TEXT_MAX


def _storable(value: Any) -> Any:
    if isinstance(value, (bool, int)):
        return value if abs(value) < 2**53 else None
    if isinstance(value, str):
        return _text(value, _TEXT_MAX) or None
    if isinstance(value, list):
        return [text for text in map(_item, value[:_KEPT_ITEMS_MAX]) if text]
    return None


def _item(value: Any) -> str:
    return _text(value, _TEXT_MAX) if isinstance(value, str) else ""


def _text(value: str, length: int) -> str:
    """Return a text as a name; empty if it is too long or would be a link in an e-mail."""
    if len(value) > length:
        return ""
    with suppress(UnicodeError):
        value.encode()
        return clean_name(value)
    return ""


def trusted_email(claims: Claims, domains: Collection[str]) -> str:
    """Return the address that the provider proves, as it is stored; empty if there is none.

    Accounts get and are recognised by no other address: people can enter an unverified one, and a
    provider that is not trusted for a domain can state any address of it as verified.

    Args:
        domains: the trusted domains of the provider.
    """
    email = _storable_email(claims.verified_email)
    return email if comparable_address(email).rpartition("@")[2] in domains else ""


def stated_email(claims: Claims) -> str:
    """Return the address that the provider states, trusted or not; empty if there is none.

    It proves nothing. An e-mail to it does.
    """
    email = claims.claims.get("email")
    return _storable_email(email) if isinstance(email, str) else ""


def _storable_email(text: str) -> str:
    email = text.strip()
    return "" if address_error(email) else canonical_address(email)


def second_factor_used(claims: Claims, values: Collection[str]) -> bool:
    """Return whether ``acr`` or ``amr`` (RFC 8176) show a second factor.

    Args:
        values: the values of the provider that mean one.
    """
    return not {claims.acr, *claims.amr}.isdisjoint(values)


class MapsClaims(Vouches, Protocol):
    """A provider, as far as it says which claims fill the profile."""

    attribute_mapping: dict[str, str]


def profile(claims: Mapping[str, Any], provider: MapsClaims) -> dict[str, Any]:
    """Return the columns of an account that claims fill. Unfit values are left out.

    The address is not among them; see ``trusted_email``.

    Args:
        provider: its mapping leads from a field of an account to a claim, or to several claims with
            spaces between them: the first one that was sent counts.
    """
    mapping = defaultdict(str, provider.attribute_mapping)
    columns: dict[str, Any] = {}
    if "full_name" in mapping and (names := _single(claims, mapping["full_name"], _TEXT_MAX)):
        first, _, last = names.partition(" ")
        columns = {"first_name": first[:100], "last_name": last[:100]}
    for field, length in _LENGTHS.items():
        if field in mapping and (text := _single(claims, mapping[field], length)):
            columns[field] = text
    mapping["eduperson_assurance"] = " ".join(
        name
        for name in mapping["eduperson_assurance"].split()
        if is_vouched(name, provider.vouched_claims)
    )
    columns |= _facts(claims, mapping)
    if "birth_date" in mapping:
        with suppress(ValueError):
            columns["birth_date"] = date.fromisoformat(_single(claims, mapping["birth_date"], 10))
    names = mapping["affiliations"]
    ours = {
        name: vouched_values(name, claims[name], provider)
        for name in names.split()
        if name in claims
    }
    if affiliations := _list(ours, names, _AFFILIATION_MAX):
        columns["affiliations"] = affiliations
    return columns


_LISTS: Final = ("affiliations", "nationalities", "eduperson_assurance")
_MISSING: Final = ("birth_date", "gender", *_NUMBERS)
_KEPT_ONCE_STATED: Final = frozenset({"first_name", "last_name", "civil_number"})
"""Columns that stay when the provider does not state them any more: they say who it is."""

_EMPTY: Final[Mapping[str, Any]] = {
    **dict.fromkeys((*_LENGTHS, *_COUNTRIES, "address"), ""),
    **dict.fromkeys(_MISSING),
}


def withdrawn(stated: Collection[str], columns: Collection[str]) -> dict[str, Any]:
    """Return empty values for what a provider has stated earlier and does not state any more.

    Args:
        stated: the columns that it has filled so far.
        columns: those that it fills now.
    """
    gone = {name for name in stated if name not in columns} - _KEPT_ONCE_STATED
    empty = {name: _EMPTY[name] for name in gone if name in _EMPTY}
    return empty | {name: [] for name in gone if name in _LISTS}


def _facts(claims: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns whose values have a form of their own.

    Args:
        mapping: claims by field; empty for a field that none fills.
    """
    columns: dict[str, Any] = {}
    for field in _COUNTRIES:
        country = _single(claims, mapping[field], 2)
        if _COUNTRY.fullmatch(country):
            columns[field] = country.upper()
    gender = _scalar(_first(claims, mapping["gender"])).lower()
    if gender in _GENDERS:
        columns["gender"] = _GENDERS[gender]
    for field in _NUMBERS:
        number = _scalar(_first(claims, mapping[field]))
        if _NUMBER.fullmatch(number) and int(number) <= _NUMBER_MAX:
            columns[field] = int(number)
    address = _first(claims, mapping["address"])
    if isinstance(address, Mapping):  # OpenID Connect Core 1.0, section 5.1.1
        address = address.get("formatted")
    if text := _line(address, _ADDRESS_MAX):
        columns["address"] = text
    codes = _list(claims, mapping["nationalities"], 2)
    countries = dict.fromkeys(code.upper() for code in codes if _COUNTRY.fullmatch(code))
    if countries:
        columns["nationalities"] = list(countries)[:_COUNTRIES_MAX]
    if assurance := _list(claims, mapping["eduperson_assurance"], _TEXT_MAX):
        columns["eduperson_assurance"] = assurance
    return columns


def _scalar(value: Any) -> str:
    return str(value) if type(value) is int and abs(value) <= _NUMBER_MAX else _item(value)


def _single(claims: Mapping[str, Any], names: str, length: int) -> str:
    return _line(_first(claims, names), length)


def _first(claims: Mapping[str, Any], names: str) -> Any:
    value = next((claims[name] for name in names.split() if name in claims), None)
    return value[0] if isinstance(value, list) and value else value


def _line(value: Any, length: int) -> str:
    text = _text(value, length) if isinstance(value, str) else ""
    return "" if holds_link(text) else text


def _list(claims: Mapping[str, Any], names: str, length: int) -> list[str]:
    """Return the texts of the first claim that has some."""
    for name in names.split():
        value = claims.get(name)
        values = value if isinstance(value, list) else [value]
        texts = (_text(item, length) for item in values if isinstance(item, str))
        if found := list(dict.fromkeys(text for text in texts if text))[:_ITEMS_MAX]:
            return found
    return []


def usernames(claims: Mapping[str, Any], email: str) -> Iterator[str]:
    """Yield user names for a new account, the best first.

    They are suggestions: nobody is recognised by a name that people choose.
    """
    preferred = claims.get("preferred_username")
    name = username_from(preferred.partition("@")[0]) if isinstance(preferred, str) else ""
    suggested = (name,) if name and not is_reserved_username(name) else ()
    return chain(suggested, usernames_for(f"{name}@" if name and not email else email))
