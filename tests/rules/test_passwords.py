"""Which passwords are refused, and with which words."""

from __future__ import annotations

import time

import pytest

from collegium.security.passwords import password_errors

ADA = ("ada.lovelace", "countess@analytical.example", "Ada", "Lovelace", "")

SHORT = "This password is too short. It must contain at least 8 characters."
NUMERIC = "This password is entirely numeric."
COMMON = "This password is too common."
SIMILAR = "This password is too similar to what is known of you."


@pytest.mark.parametrize(
    "password",
    [
        "purple-tram-lifts-9",
        "correct horse battery",
        "x7!kQ92m",
        "Zwölf Boxkämpfer",
        "a-lucky-lovelace-walks-home",
        "\N{SNOWMAN}" + "tundra-41-okapi",
    ],
)
def test_good_ones_pass(password: str) -> None:
    assert password_errors(password, ADA) == []


@pytest.mark.parametrize("password", ["", "x7!kQ92"], ids=["empty", "seven"])
def test_too_short(password: str) -> None:
    assert password_errors(password, ADA) == [SHORT]


@pytest.mark.parametrize("password", ["8391750264", "\N{ARABIC-INDIC DIGIT FIVE}7193046280"])
def test_numeric(password: str) -> None:
    assert NUMERIC in password_errors(password, ADA)


@pytest.mark.parametrize(
    "password",
    ["password", "PASSWORD", "p@ssw0rd", "drowssap", "iloveyou1", "aaaaaaaa", "abcdefgh"],
)
def test_common(password: str) -> None:
    assert password_errors(password, ADA) == [COMMON]


@pytest.mark.parametrize(
    "password",
    [
        "ada.lovelace",
        "ADA.LOVELACE",
        "Ada Lovelace",
        "adalovelace",
        "lovelace1",
        "10v3l4c3",
        "ecalevol",
        "countess@analytical.example",
        "countess",
        "analytical",
    ],
)
def test_similar_to_the_person(password: str) -> None:
    assert SIMILAR in password_errors(password, ADA)


def test_what_is_known_of_one_person_says_nothing_of_another() -> None:
    assert password_errors("lovelace1", ADA) == [SIMILAR]
    assert password_errors("lovelace1", ("bob", "bob@example.org")) == []


def test_a_short_name_does_not_forbid_its_letters() -> None:
    assert password_errors("zq-al-vx-al", ("al", "al@e.io", "Al", "")) == []
    assert password_errors("lee#lee!lee", ("Lee",)) == [SIMILAR]


@pytest.mark.parametrize(
    ("password", "about", "too_much"),
    [
        ("Qgilbert#7", "gilbert", True),
        ("Qgilbert#7w", "gilbert", False),
        ("zq!-lovelace", "lovelace", False),
        ("lovelace-!qz", "lovelace", False),
        # A name with digits in it is found as it is written, and backwards.
        ("#x0r4t7k9", "x0r4t7k9", True),
        ("#9k7t4r0x", "x0r4t7k9", True),
    ],
    ids=["seven_of_ten", "seven_of_eleven", "at_the_end", "at_the_start", "digits", "backwards"],
)
def test_seven_tenths_of_a_password_may_not_be_known_of_the_person(
    password: str, about: str, *, too_much: bool
) -> None:
    assert password_errors(password, (about,)) == ([SIMILAR] if too_much else [])


def test_everything_wrong_is_said_at_once() -> None:
    assert password_errors("123456", ()) == [SHORT, NUMERIC, COMMON]


@pytest.mark.parametrize(
    "unit", ["a", "ab1!", "password", "\N{SNOWMAN}", "9"], ids=["a", "mix", "word", "snow", "digit"]
)
def test_ten_thousand_characters_are_judged_at_once(unit: str) -> None:
    password_errors("warm the dictionaries up", ())
    long = (unit * 10_000)[:10_000]
    begun = time.thread_time()
    password_errors(long, ADA)
    assert time.thread_time() - begun < 1
