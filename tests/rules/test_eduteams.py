"""What a remote directory says of a person is taken as it is, or refused; without a database."""

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
    keys,
    person,
    why_invalid,
)
from collegium.refusals import Conflict, Invalid
from collegium.ssh_keys.rules import parse
from tests.rules.test_ssh_keys import LINE

SAID: dict[str, Any] = {
    "sub": "ada@acc.example.org",
    "mail": ["ada@example.org"],
    "given_name": "Ada",
    "family_name": "Lovelace",
}
# 254 signs, which is all that mail knows to carry.
LONGEST = f"{'x' * 62}@{'x' * 62}.{'x' * 62}.{'x' * 61}.org"
EVERYTHING = SAID | {
    "voperson_id": "0000@acc.example.org",
    "voperson_external_affiliation": ["member@example.org", "staff@example.org"],
    "eduperson_assurance": ["https://refeds.org/assurance/IAP/low"],
    "ssh_public_key": [LINE],
}


def judged(said: dict[str, Any], *, speaks_of_keys: bool = True) -> Person:
    """What becomes of an answer that is good but for what is said here."""
    body = msgspec.json.encode(SAID | said)
    return person(decode(body, Claims, "any.code"), speaks_of_keys=speaks_of_keys)


# Reading.


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b'{"sub": "a"', b'{"sub": "\xff"}', b'{"sub": "\\ud800"}', b"\xef\xbb\xbf{}"],
    ids=["nothing", "words", "half", "bytes", "half_a_sign", "byte_order_mark"],
)
def test_what_is_no_json_is_refused_with_the_code_of_whoever_asked(body: bytes) -> None:
    with pytest.raises(Conflict) as refused:
        decode(body, Claims, "any.code")
    assert (refused.value.code, refused.value.facts) == ("any.code", {})


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
    ids=["list", "null", "deep", "number", "neither_of_two", "within_a_list"],
)
def test_json_of_another_shape_is_refused_with_the_place_of_the_fault(
    body: bytes, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        decode(body, Claims, "any.code")
    assert refused.value.code == "directory.invalid"
    assert refused.value.facts == {"field": field}


def test_json_too_deep_to_read_is_no_answer() -> None:
    with pytest.raises(Conflict) as refused:
        decode(b'{"data": {"a": ' + b"[" * 100_000, KeyFeed, "any.code")
    assert refused.value.code == "any.code"


def test_answers_are_read_in_three_shapes() -> None:
    assert decode(b'{"access_token": "x", "more": 1}', Grant, "any.code").access_token == "x"
    assert decode(b'{"data": {"ada": [1]}}', KeyFeed, "any.code").data == {"ada": [1]}
    assert decode(b"{}", Claims, "any.code").sub is None


# Judging.


def test_everything_that_is_said_is_taken_as_it_is() -> None:
    assert judged(EVERYTHING) == Person(
        username="ada@acc.example.org",
        others=frozenset({"0000@acc.example.org"}),
        email="ada@example.org",
        first_name="Ada",
        last_name="Lovelace",
        affiliations=["member@example.org", "staff@example.org"],
        assurance=["https://refeds.org/assurance/IAP/low"],
        keys=(parse(LINE),),
    )


def test_a_person_who_was_found_fit_does_not_change() -> None:
    ada, name = judged({}), "username"
    with pytest.raises(AttributeError):
        setattr(ada, name, "root")


@pytest.mark.parametrize(
    ("said", "username", "others"),
    [
        ({"sub": "ada"}, "ada", set()),
        ({"sub": "ada", "voperson_id": "lovelace"}, "ada", {"lovelace"}),
        ({"sub": None, "voperson_id": "lovelace"}, "lovelace", set()),
        ({"sub": "", "voperson_id": "lovelace"}, "lovelace", set()),
        ({"sub": "a.b_c@d-e+f", "voperson_id": ""}, "a.b_c@d-e+f", set()),
        ({"sub": "x" * 128}, "x" * 128, set()),
        ({"sub": ".x"}, ".x", set()),
    ],
    ids=["one", "two", "second", "first_empty", "signs", "long", "dot"],
)
def test_a_person_goes_by_the_first_name_that_the_directory_uses(
    said: dict[str, Any], username: str, others: set[str]
) -> None:
    found = judged(said)
    assert (found.username, {*found.others}) == (username, others)


@pytest.mark.parametrize(
    "said",
    [
        {"sub": None},
        {"sub": "", "voperson_id": ""},
        {"sub": "Ada"},
        {"sub": "ada lovelace"},
        {"sub": "ada\n"},
        {"sub": "..."},
        {"sub": "x" * 129},
        # Of two the first is used; that the second would do is no help.
        {"sub": "Ada", "voperson_id": "ada"},
    ],
    ids=["none", "empty", "capital", "space", "line", "dots", "long", "only_the_second"],
)
def test_what_cannot_be_a_user_name_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        judged(said)
    assert refused.value.facts == {"field": "sub"}


@given(st.from_regex(NAME, fullmatch=True))
def test_every_user_name_is_plain_and_a_part_of_an_address(name: str) -> None:
    assert name.isascii()
    assert name == name.lower()
    assert name.strip(".")
    assert len(name) <= 128


@pytest.mark.parametrize(
    ("said", "email"),
    [
        ({"mail": ["ada@example.org", "other@example.org"]}, "ada@example.org"),
        ({"mail": " ada@example.org "}, "ada@example.org"),
        ({"mail": [" Ada@Example.org "]}, "Ada@Example.org"),
        ({"mail": None, "email": "ada@example.org"}, "ada@example.org"),
        ({"mail": [], "email": ["ada@example.org"]}, "ada@example.org"),
        ({"mail": "", "email": "ada@example.org"}, "ada@example.org"),
        ({"mail": "ada@example.org", "email": "no address"}, "ada@example.org"),
        # A directory of the house may use names that the world does not know.
        ({"mail": "ada@intern"}, "ada@intern"),
        ({"mail": LONGEST}, LONGEST),
        ({"mail": None}, ""),
        ({"mail": [], "email": ""}, ""),
    ],
    ids=[
        "first",
        "text",
        "spaces",
        "second",
        "second_list",
        "second_after_empty",
        "second_not_looked_at",
        "one_word",
        "long",
        "none",
        "empty",
    ],
)
def test_of_the_addresses_the_first_is_taken(said: dict[str, Any], email: str) -> None:
    assert judged(said).email == email


@pytest.mark.parametrize(
    "said",
    [
        {"mail": "no address"},
        {"mail": ["no address", "ada@example.org"]},
        {"mail": None, "email": "no address"},
        {"mail": "ada@example.org\nBcc: all@example.org"},
        {"mail": " "},
        {"mail": f"x{LONGEST}"},
    ],
    ids=["words", "first", "other", "two_lines", "space", "long"],
)
def test_what_is_no_address_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        judged(said)
    assert refused.value.code == "directory.invalid"
    assert refused.value.facts == {"field": "mail"}


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
        # People who write from right to left, and families of signs, need the joiners.
        ("علی‌رضا", "علی‌رضا"),
    ],
    ids=["plain", "spaces", "accent", "short", "long", "long_and_spaces", "han", "joiner"],
)
def test_a_name_is_taken_but_for_the_spaces_around_it(field: str, value: str, name: str) -> None:
    found = judged({field: value})
    assert {"given_name": found.first_name, "family_name": found.last_name}[field] == name


@pytest.mark.parametrize("field", ["given_name", "family_name"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        "x" * 101,
        "A\nda",
        "A\0da",
        "A\N{LINE SEPARATOR}da",
        "A\N{PARAGRAPH SEPARATOR}da",
    ],
    ids=["none", "empty", "spaces", "long", "line", "nul", "separator", "paragraph"],
)
def test_what_is_no_name_is_refused(field: str, value: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        judged({field: value})
    assert refused.value.code == "directory.invalid"
    assert refused.value.facts == {"field": field}


def test_half_a_sign_is_no_name() -> None:
    claims = Claims(**SAID | {"given_name": "A\ud800da"})
    with pytest.raises(Invalid) as refused:
        person(claims, speaks_of_keys=True)
    assert refused.value.facts == {"field": "given_name"}


@pytest.mark.parametrize("field", ["voperson_external_affiliation", "eduperson_assurance"])
def test_claims_are_taken_all_or_refused(field: str) -> None:
    def found(values: list[str] | None) -> list[str]:
        said = judged({field: values})
        two = {"voperson_external_affiliation": said.affiliations}
        return two.get(field, said.assurance)

    assert found(None) == []
    assert found([]) == []
    assert found(["", "b", " a "]) == ["", "b", " a "]
    assert found(["x" * 1000]) == ["x" * 1000]
    for bad in ("x" * 1001, "a\nb"):
        with pytest.raises(Invalid) as refused:
            found(["good", bad])
        assert refused.value.code == "directory.invalid"
        assert refused.value.facts == {"field": field}


# Keys.


@pytest.mark.parametrize(
    ("listed", "speaks_of_keys", "kept"),
    [
        ([LINE], True, 1),
        ([LINE], False, 1),
        ([], True, 0),
        ([], False, 0),
        (None, True, 0),
        (None, False, None),
    ],
    ids=["one", "one_unasked", "none", "none_unasked", "silence_says_none", "silence_says_nothing"],
)
def test_silence_about_keys_says_that_there_are_none_where_keys_are_spoken_of(
    listed: list[str] | None, kept: int | None, *, speaks_of_keys: bool
) -> None:
    found = judged({"ssh_public_key": listed}, speaks_of_keys=speaks_of_keys).keys
    assert (None if found is None else len(found)) == kept


def test_among_keys_what_is_none_is_passed_over() -> None:
    listed = [5, None, "no key", f"{LINE} a\0b", f" {LINE}\n", f"{LINE}\n{LINE}", f"{LINE} last"]
    assert [key.text for key in keys(listed)] == [LINE, f"{LINE} last"]


def test_a_refusal_names_the_field() -> None:
    refusal = why_invalid("sub")
    assert isinstance(refusal, Invalid)
    assert (refusal.code, refusal.facts) == ("directory.invalid", {"field": "sub"})
