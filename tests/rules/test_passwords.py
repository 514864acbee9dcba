"""Password errors."""

from __future__ import annotations

import time

import pytest

from collegium.security.passwords import password_errors, spellings
from collegium.text import languages

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
def test_strong_password_is_accepted(password: str) -> None:
    assert password_errors(password, ADA) == []


@pytest.mark.parametrize("password", ["", "x7!kQ92"], ids=["empty", "seven"])
def test_short_password_is_refused(password: str) -> None:
    assert password_errors(password, ADA) == [SHORT]


@pytest.mark.parametrize("password", ["8391750264", "\N{ARABIC-INDIC DIGIT FIVE}7193046280"])
def test_numeric_password_is_refused(password: str) -> None:
    assert NUMERIC in password_errors(password, ADA)


@pytest.mark.parametrize(
    "password",
    ["password", "PASSWORD", "p@ssw0rd", "drowssap", "iloveyou1", "aaaaaaaa", "abcdefgh"],
)
def test_common_password_is_refused(password: str) -> None:
    assert password_errors(password, ADA) == [COMMON]


@pytest.mark.parametrize(
    "password",
    [
        *("ada.lovelace", "ADA.LOVELACE", "Ada Lovelace", "adalovelace", "lovelace1", "10v3l4c3"),
        *("ecalevol", "countess@analytical.example", "countess", "analytical"),
    ],
)
def test_password_similar_to_personal_data_is_refused(password: str) -> None:
    assert SIMILAR in password_errors(password, ADA)


def test_personal_data_of_others_do_not_matter() -> None:
    assert password_errors("lovelace1", ADA) == [SIMILAR]
    assert password_errors("lovelace1", ("bob", "bob@example.org")) == []


def test_short_names_do_not_forbid_their_letters() -> None:
    assert password_errors("zq-al-vx-al", ("al", "al@e.io", "Al", "")) == []
    assert password_errors("lee#lee!lee", ("Lee",)) == [SIMILAR]


@pytest.mark.parametrize(
    ("password", "about", "is_similar"),
    [
        ("Qgilbert#7", "gilbert", True),
        ("Qgilbert#7w", "gilbert", False),
        ("zq!-lovelace", "lovelace", False),
        ("lovelace-!qz", "lovelace", False),
        ("#x0r4t7k9", "x0r4t7k9", True),
        ("#9k7t4r0x", "x0r4t7k9", True),
    ],
)
def test_password_may_be_similar_up_to_seven_tenths(
    password: str, about: str, *, is_similar: bool
) -> None:
    assert password_errors(password, (about,)) == ([SIMILAR] if is_similar else [])


def test_all_password_errors_are_returned_at_once() -> None:
    assert password_errors("123456", ()) == [SHORT, NUMERIC, COMMON]


def test_password_errors_are_in_the_language_of_the_page() -> None:
    with languages.using("de"):
        errors = password_errors("123456", ())
    assert len(errors) == 3
    assert not {SHORT, NUMERIC, COMMON} & set(errors)


@pytest.mark.parametrize(
    "unit", ["a", "ab1!", "password", "\N{SNOWMAN}", "9"], ids=["a", "mix", "word", "snow", "digit"]
)
def test_long_password_is_checked_quickly(unit: str) -> None:
    password_errors("warm the dictionaries up", ())
    long = (unit * 10_000)[:10_000]
    start = time.thread_time()
    password_errors(long, ADA)
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    ("typed", "forms"),
    [
        ("plain", ("plain",)),
        ("caf\u00e9", ("caf\u00e9", "cafe\u0301")),
        ("cafe\u0301", ("caf\u00e9", "cafe\u0301")),
        ("e\u0301\u00e9", ("\u00e9\u00e9", "e\u0301\u00e9", "e\u0301e\u0301")),
    ],
)
def test_password_is_compared_in_every_form_and_the_current_one_first(
    typed: str, forms: tuple[str, ...]
) -> None:
    assert spellings(typed) == forms
