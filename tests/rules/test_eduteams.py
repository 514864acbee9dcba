"""Claims of a remote directory are validated, then taken unchanged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.integrations.eduteams.rules import (
    NAME,
    Claims,
    Grant,
    KeyFeed,
    Person,
    decode,
    invalid_field,
    parse_keys,
    validate_person,
)
from collegium.refusals import Conflict, Invalid
from collegium.ssh_keys.rules import parse
from tests.rules.refusing import refused
from tests.rules.test_ssh_keys import LINE

CLAIMS: dict[str, Any] = {
    "sub": "ada@acc.example.org",
    "mail": ["ada@example.org"],
    "given_name": "Ada",
    "family_name": "Lovelace",
}
# 254 characters, the maximum of an address.
LONGEST = f"{'x' * 62}@{'x' * 62}.{'x' * 62}.{'x' * 61}.org"
ALL_CLAIMS = CLAIMS | {
    "voperson_id": "0000@acc.example.org",
    "voperson_external_affiliation": ["member@example.org", "staff@example.org"],
    "eduperson_assurance": ["https://refeds.org/assurance/IAP/low"],
    "ssh_public_key": [LINE],
}


def read(claims: dict[str, Any], *, speaks_of_keys: bool = True) -> Person:
    """Read a valid response with these changes."""
    body = msgspec.json.encode(CLAIMS | claims)
    return validate_person(decode(body, Claims, "any.code"), keys_are_complete=speaks_of_keys)


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b'{"sub": "a"', b'{"sub": "\xff"}', b'{"sub": "\\ud800"}', b"\xef\xbb\xbf{}"],
)
def test_invalid_json_is_refused_with_the_given_code(body: bytes) -> None:
    with refused(Conflict, "any.code", {}):
        decode(body, Claims, "any.code")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "body"),
        (b"null", "body"),
        (b"[" * 100_000, "body"),
        (b'{"given_name": 5}', "given_name"),
        (b'{"mail": 5}', "mail"),
        (b'{"eduperson_assurance": ["low", 5]}', "eduperson_assurance"),
    ],
    ids=["list", "null", "deep", "number", "text_or_list", "item"],
)
def test_json_of_another_shape_is_refused_with_its_field(body: bytes, field: str) -> None:
    with refused(Invalid, "directory.invalid", {"field": field}):
        decode(body, Claims, "any.code")


def test_too_deep_json_is_refused_with_the_given_code() -> None:
    with refused(Conflict, "any.code"):
        decode(b'{"data": {"a": ' + b"[" * 100_000, KeyFeed, "any.code")


def test_three_types_of_responses_are_decoded() -> None:
    assert decode(b'{"access_token": "x", "more": 1}', Grant, "any.code").access_token == "x"
    assert decode(b'{"data": {"ada": [1]}}', KeyFeed, "any.code").data == {"ada": [1]}
    assert decode(b"{}", Claims, "any.code").sub is None


def test_all_claims_are_taken() -> None:
    assert read(ALL_CLAIMS) == Person(
        username="ada@acc.example.org",
        others=frozenset({"0000@acc.example.org"}),
        email="ada@example.org",
        first_name="Ada",
        last_name="Lovelace",
        affiliations=["member@example.org", "staff@example.org"],
        assurance=["https://refeds.org/assurance/IAP/low"],
        keys=(parse(LINE),),
    )


def test_person_is_immutable() -> None:
    ada, name = read({}), "username"
    with pytest.raises(AttributeError):
        setattr(ada, name, "root")


@pytest.mark.parametrize(
    ("claims", "username", "others"),
    [
        ({"sub": "ada"}, "ada", set()),
        ({"sub": "ada", "voperson_id": "lovelace"}, "ada", {"lovelace"}),
        ({"sub": None, "voperson_id": "lovelace"}, "lovelace", set()),
        ({"sub": "", "voperson_id": "lovelace"}, "lovelace", set()),
        ({"sub": "a.b_c@d-e+f", "voperson_id": ""}, "a.b_c@d-e+f", set()),
        ({"sub": "x" * 128}, "x" * 128, set()),
        ({"sub": ".x"}, ".x", set()),
    ],
)
def test_user_name_is_the_first_identifier(
    claims: dict[str, Any], username: str, others: set[str]
) -> None:
    person = read(claims)
    assert (person.username, {*person.others}) == (username, others)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": None},
        {"sub": "", "voperson_id": ""},
        {"sub": "Ada"},
        {"sub": "ada lovelace"},
        {"sub": "ada\n"},
        {"sub": "..."},
        {"sub": "x" * 129},
        # Only the first is used, although the second is valid.
        {"sub": "Ada", "voperson_id": "ada"},
    ],
)
def test_invalid_user_name_is_refused(claims: dict[str, Any]) -> None:
    with refused(Invalid, "directory.invalid", {"field": "sub"}):
        read(claims)


@given(st.from_regex(NAME, fullmatch=True))
def test_user_names_are_lower_case_ascii(name: str) -> None:
    assert name.isascii()
    assert name == name.lower()
    assert name.strip(".")
    assert len(name) <= 128


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({"mail": ["ada@example.org", "other@example.org"]}, "ada@example.org"),
        ({"mail": " ada@example.org "}, "ada@example.org"),
        ({"mail": [" Ada@Example.org "]}, "Ada@Example.org"),
        ({"mail": None, "email": "ada@example.org"}, "ada@example.org"),
        ({"mail": [], "email": ["ada@example.org"]}, "ada@example.org"),
        ({"mail": "", "email": "ada@example.org"}, "ada@example.org"),
        ({"mail": "ada@example.org", "email": "no address"}, "ada@example.org"),
        # A directory may use internal domains.
        ({"mail": "ada@intern"}, "ada@intern"),
        ({"mail": LONGEST}, LONGEST),
        ({"mail": None}, ""),
        ({"mail": [], "email": ""}, ""),
    ],
)
def test_first_address_is_taken(claims: dict[str, Any], email: str) -> None:
    assert read(claims).email == email


@pytest.mark.parametrize(
    "claims",
    [
        {"mail": "no address"},
        {"mail": ["no address", "ada@example.org"]},
        {"mail": None, "email": "no address"},
        {"mail": "ada@example.org\nBcc: all@example.org"},
        {"mail": " "},
        {"mail": f"x{LONGEST}"},
    ],
)
def test_invalid_address_is_refused(claims: dict[str, Any]) -> None:
    with refused(Invalid, "directory.invalid", {"field": "mail"}):
        read(claims)


@pytest.mark.parametrize("field", ["given_name", "family_name"])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Ada", "Ada"),
        ("  Ada  Augusta ", "Ada  Augusta"),
        ("Zoë", "Zoë"),
        ("X", "X"),
        ("x" * 100, "x" * 100),
        (" " + "x" * 100 + " ", "x" * 100),
        ("愛", "愛"),
        # With a joiner.
        ("علی‌رضا", "علی‌رضا"),
        (" " * 999 + "A", "A"),
    ],
)
def test_name_is_stripped(field: str, value: str, name: str) -> None:
    person = read({field: value})
    assert {"given_name": person.first_name, "family_name": person.last_name}[field] == name


@pytest.mark.parametrize("field", ["given_name", "family_name"])
@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "  ", "x" * 101, " " * 1000 + "A", "A\nda", "A\0da"),
        *("A\N{LINE SEPARATOR}da", "A\N{PARAGRAPH SEPARATOR}da"),
    ],
)
def test_invalid_name_is_refused(field: str, value: str | None) -> None:
    with refused(Invalid, "directory.invalid", {"field": field}):
        read({field: value})


def test_surrogate_in_a_name_is_refused() -> None:
    claims = Claims(**CLAIMS | {"given_name": "A\ud800da"})
    with refused(Invalid, "directory.invalid", {"field": "given_name"}):
        validate_person(claims, keys_are_complete=True)


@pytest.mark.parametrize("field", ["voperson_external_affiliation", "eduperson_assurance"])
def test_lists_of_claims_are_taken_whole_or_refused(field: str) -> None:
    def stored(values: list[str] | None) -> list[str]:
        person = read({field: values})
        is_affiliation = field == "voperson_external_affiliation"
        return person.affiliations if is_affiliation else person.assurance

    assert stored(None) == []
    for values in ([], ["", "b", " a "], ["x" * 1000]):
        assert stored(values) == values
    for invalid in ("x" * 1001, "a\nb"):
        with refused(Invalid, "directory.invalid", {"field": field}):
            stored(["good", invalid])


@pytest.mark.parametrize(
    ("lines", "speaks_of_keys", "number"),
    [
        ([LINE], True, 1),
        ([LINE], False, 1),
        ([], True, 0),
        ([], False, 0),
        (None, True, 0),
        (None, False, None),
    ],
)
def test_missing_keys_mean_none_only_if_the_directory_manages_keys(
    lines: list[str] | None, number: int | None, *, speaks_of_keys: bool
) -> None:
    keys = read({"ssh_public_key": lines}, speaks_of_keys=speaks_of_keys).keys
    assert (None if keys is None else len(keys)) == number


def test_invalid_keys_are_skipped() -> None:
    lines = [5, None, "no key", f"{LINE} a\0b", f" {LINE}\n", f"{LINE}\n{LINE}", f"{LINE} last"]
    assert [key.text for key in parse_keys(lines)] == [LINE, f"{LINE} last"]


def test_refusal_names_the_field() -> None:
    refusal = invalid_field("sub")
    assert isinstance(refusal, Invalid)
    assert (refusal.code, refusal.facts) == ("directory.invalid", {"field": "sub"})
