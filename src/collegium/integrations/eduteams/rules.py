"""Rules of the remote directory: which of its values are valid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from collegium.refusals import Conflict, Invalid
from collegium.ssh_keys.rules import PublicKey, parse
from collegium.text.email_addresses import address_error, canonical_address
from collegium.text.names import clean_name, holds_link, trim

NAME: Final = re.compile(r"(?!\.*\Z)[0-9a-z_.@+-]{1,128}")
"""A valid user name. A name of dots alone is excluded, because it is no usable URL segment."""

_NAME_MAX: Final = 100
_CLAIM_MAX: Final = 1000
_FIELD: Final = re.compile(r"\$\.(\w+)")
_FORBIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no name may contain: control characters, surrogates, line breaks."""

_Shape = TypeVar("_Shape")


class Claims(msgspec.Struct):
    """A person, in the directory's format."""

    sub: str | None = None
    voperson_id: str | None = None
    mail: list[str] | str | None = None
    email: list[str] | str | None = None
    given_name: str | None = None
    family_name: str | None = None
    voperson_external_affiliation: list[str] | None = None
    eduperson_assurance: list[str] | None = None
    ssh_public_key: list[str] | None = None


class Grant(msgspec.Struct):
    """An access token, in the directory's format."""

    access_token: str


class KeyFeed(msgspec.Struct):
    """The SSH keys of all people, in the directory's format."""

    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """A person from the directory, validated.

    Args:
        username: the preferred name; ``others`` are further names of the same person.
        email: empty if the directory has none.
        keys: None if the directory says nothing about keys.
    """

    username: str
    others: frozenset[str]
    email: str
    first_name: str
    last_name: str
    affiliations: list[str]
    assurance: list[str]
    keys: tuple[PublicKey, ...] | None


def decode(body: bytes, shape: type[_Shape], code: str) -> _Shape:
    """Decode a JSON response.

    Args:
        code: code of the refusal for a body that is not JSON.

    Raises:
        Conflict: ``code`` if the body is not JSON.
        Invalid: ``directory.invalid`` if the JSON has another shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        # The error text quotes nothing of the response except the path of the invalid field.
        match = _FIELD.search(str(error))
        raise invalid_field(match[1] if match else "body") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Conflict(code) from None


def invalid_field(field: str) -> Invalid:
    """Return the refusal for an invalid field of a response."""
    return Invalid("directory.invalid", field=field)


def validate_person(claims: Claims, *, keys_are_complete: bool) -> Person:
    """Validate a response field by field; nothing is shortened or repaired.

    Args:
        keys_are_complete: whether a response without keys means that there are none.

    Raises:
        Invalid: ``directory.invalid``.
    """
    names = [name for name in (claims.sub, claims.voperson_id) if name]
    if not names or not NAME.fullmatch(names[0]):
        raise invalid_field("sub")
    texts = [] if claims.ssh_public_key is None and keys_are_complete else claims.ssh_public_key
    return Person(
        username=names[0],
        others=frozenset(names[1:]),
        email=_validate_email(claims),
        first_name=_validate_name("given_name", claims.given_name),
        last_name=_validate_name("family_name", claims.family_name),
        affiliations=_validate_texts(
            "voperson_external_affiliation", claims.voperson_external_affiliation
        ),
        assurance=_validate_texts("eduperson_assurance", claims.eduperson_assurance),
        keys=None if texts is None else tuple(parse_keys(texts)),
    )


def parse_keys(texts: Iterable[Any]) -> Iterator[PublicKey]:
    """Yield the valid keys of a list; skip invalid entries."""
    for text in texts:
        if isinstance(text, str) and _has_no_controls(text.strip()):
            with suppress(Invalid):
                yield parse(text)


def _has_no_controls(text: str) -> bool:
    return not any(unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in text)


def _validate_name(field: str, value: str | None) -> str:
    # The raw value may be longer than the stored name, up to ``_CLAIM_MAX`` characters.
    if value is None or len(value) > _CLAIM_MAX or not _has_no_controls(value.strip()):
        raise invalid_field(field)
    text = clean_name(value)
    if not 0 < len(text) <= _NAME_MAX or holds_link(text):
        raise invalid_field(field)
    return text


def _validate_texts(field: str, values: Sequence[str] | None) -> list[str]:
    for value in values or ():
        if len(value) > _CLAIM_MAX or not _has_no_controls(value):
            raise invalid_field(field)
    return list(values or ())


def _validate_email(claims: Claims) -> str:
    for value in (claims.mail, claims.email):
        if value:
            email = canonical_address(trim(value if isinstance(value, str) else value[0]))
            if address_error(email):
                raise invalid_field("mail")
            return email
    return ""
