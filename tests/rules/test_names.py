"""Clean, comparable and sortable forms of names."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.text.names import (
    SORT_KEY_MAX,
    clean_name,
    comparable_name,
    holds_link,
    isolated,
    keep_isolates,
    sort_key,
    trim,
    typed_username,
)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
INVISIBLE = {
    "nothing": "",
    "spaces": "  \t\n",
    "no_break_space": "\u00a0",
    "ideographic_space": "\u3000",
    "zero_width": "\u200b\u200c\u200d\ufeff",
    "word_joiner": "\u2060",
    "soft_hyphen": "\u00ad",
    "hangul_filler": "\u3164",
    "hangul_choseong_filler": "\u115f\u1160",
    "halfwidth_filler": "\uffa0",
    "braille_blank": "\u2800",
    "mongolian_separator": "\u180e",
    "tags": "\U000e0041\U000e007f",
    "variation_selectors": "\ufe0f\U000e0100",
    "khmer_inherent_vowels": "\u17b4\u17b5",
    "musical_controls": "\U0001d173",
    "empty_note": "\U0001d159",
    "directions": "\u202e\u2066\u200f\u061c",
    "controls": "\x01\x1b\x7f\x85",
    "separators": "\u2028\u2029",
    "mixed": " \u200b\u3164\u2800\ufe0f ",
}


@pytest.mark.parametrize("text", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_characters_are_removed(text: str) -> None:
    assert clean_name(text) == ""
    assert clean_name(f"{text}Ada{text}") == "Ada"


@pytest.mark.parametrize("character", ["\u0301", "\u20dd", "\u0600", "\0", "\ud800"])
def test_name_of_marks_alone_is_invisible(character: str) -> None:
    assert clean_name(character) == ""
    assert clean_name(f"q{character}") == f"q{character}"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Ada\nLovelace", "Ada Lovelace"),
        ("Ada\r\nLovelace\x07", "Ada Lovelace"),
        ("Rene\u0301", "Ren\u00e9"),
        ("a\u202eb\u2069c", "abc"),
        # Joiners of scripts and emoji are kept.
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,
        ("\u2764\ufe0f Lab", "\u2764\ufe0f Lab"),
        ("O'Brien-Smith, Jr.", "O'Brien-Smith, Jr."),
        ("  Ada  Lovelace ", "Ada  Lovelace"),
        ("\u738b\u5c0f\u660e\u3000", "\u738b\u5c0f\u660e"),
        ("!", "!"),
        ("7", "7"),
    ],
)
def test_visible_parts_of_a_name_are_kept(typed: str, kept: str) -> None:
    assert clean_name(typed) == kept


@given(_texts)
def test_cleaning_a_name_twice_changes_nothing(text: str) -> None:
    assert clean_name(clean_name(text)) == clean_name(text)
    assert not any(character in clean_name(text) for character in "\n\r\x1b\u202e\u2066\u2069")


LINKS = ("http://a.example", "Visit https://a.example", "x://y", "a:\u200b//b")


@pytest.mark.parametrize("name", [*LINKS, "http\uff1a\uff0f\uff0fa"])
def test_name_with_a_link_is_recognised(name: str) -> None:
    assert holds_link(name)


@pytest.mark.parametrize("name", ["Ada", "a: /b", "Dept. A/B: C", "//", "a:b"])
def test_name_without_a_link_is_recognised(name: str) -> None:
    assert not holds_link(name)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        *(("Lab One", text, True) for text in ("lab  one", " Lab One ", "LAB ONE")),
        ("Lab One", "L\u200bab\u00a0One", True),
        ("Caf\u00e9", "CAFE\u0301", True),
        ("\u00dcbung", "\u00fcbung", True),
        ("Lab One", "Lab 0ne", False),
        ("Strasse", "Stra\u00dfe", False),
        ("Kim", "\u212aim", False),
        ("bill", "b\u0130ll", False),
        ("fi", "\ufb01", False),
    ],
)
def test_names_are_equal_if_only_case_spaces_or_normalisation_differ(
    one: str, other: str, *, equal: bool
) -> None:
    assert (comparable_name(one) == comparable_name(other)) is equal


@given(_texts)
def test_comparable_name_is_idempotent(text: str) -> None:
    assert comparable_name(comparable_name(text)) == comparable_name(text)


@pytest.mark.parametrize(
    ("typed", "username"),
    [("Anna", "anna"), ("anna ", "anna"), ("\ufeffANNA\u200b", "anna"), ("a.b@C", "a.b@c")],
)
def test_typed_user_name_is_normalised(typed: str, username: str) -> None:
    assert typed_username(typed) == username


@pytest.mark.parametrize("typed", ["\u212aim", "b\u0130ll", "\uff41nna", "st\ufb01"])
def test_similar_letters_do_not_become_ascii_in_user_names(typed: str) -> None:
    assert not typed_username(typed).isascii()


def test_names_are_sorted_without_regard_to_case_and_accents() -> None:
    expected = [
        *("\u00c5ngstr\u00f6m", "anna", "Anna B", "\u00c9mile", "emilia", "Lukas", "\u0141ukasz"),
        *("lulu", "O'Brien", "\u00d8rsted", "Oz", "stra\u00dfe", "Strata", "\u017belazny", "zeta"),
        "\u0416\u0443\u043a",
    ]
    shuffled = expected[7:] + expected[:7]
    assert sorted(shuffled, key=sort_key) == expected


def test_sort_key_has_at_most_200_characters() -> None:
    assert sort_key("a" * 201) == "a" * 200
    # Only the first 500 characters are read.
    assert [sort_key("\u0301" * marks + "a") for marks in (499, 500)] == ["a", ""]


def test_letters_without_an_accent_are_sorted_under_similar_ones() -> None:
    letters = "\u00e6\u0153\u00f8\u0142\u0111\u00f0\u00fe\u0127\u0131\u0167\u014b\u0259"
    assert " ".join(map(sort_key, letters)) == "ae oe o l d d th h i t n e"


def test_case_and_accents_do_not_affect_the_sort_key() -> None:
    assert sort_key("  REN\u00c9\t\u200b\u00c5b ") == "rene ab"
    assert sort_key("RENE\u0301") == sort_key("ren\u00e9") == sort_key(" Rene ")


@given(_texts)
def test_sort_key_is_short_and_normalised(text: str) -> None:
    key = sort_key(text)
    assert len(key) <= SORT_KEY_MAX
    assert unicodedata.is_normalized("NFC", key)


@given(st.lists(_texts, max_size=8))
def test_sort_keys_have_the_same_order_as_text_and_as_bytes(texts: list[str]) -> None:
    keys = list(map(sort_key, texts))
    assert sorted(keys) == sorted(keys, key=str.encode)


@given(_texts)
def test_trimming_twice_changes_nothing(text: str) -> None:
    assert trim(trim(text)) == trim(text)


@pytest.mark.parametrize("character", "a \u200b\u0301:/\u3164\n")
def test_long_names_are_processed_quickly(character: str) -> None:
    text = character * 200_000
    start = time.process_time()
    for function in (clean_name, holds_link, comparable_name, sort_key, trim, typed_username):
        function(text)
    assert time.process_time() - start < 10  # quadratic: minutes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ada", "Ada"),
        ("Ren\u00e9", "Ren\u00e9"),
        ("\u05d0b", "\u2068\u05d0b\u2069"),  # Hebrew
        ("a\u0628", "\u2068a\u0628\u2069"),  # Arabic
        ("a\u0661", "\u2068a\u0661\u2069"),  # Arabic digit
        ("\u202e\u05d0\u2069", "\u2068\u05d0\u2069"),
        ("\u05d0\u2068b", "\u2068\u05d0b\u2069"),
    ],
)
def test_text_from_right_to_left_is_isolated(text: str, shown: str) -> None:
    assert isolated(text) == shown


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Ada", "Ada"),
        ("\u2068\u05d0\u2069", "\u2068\u05d0\u2069"),
        ("\u2068\u05d0\u2068b\u2069\u2069 \u2068c\u2069", None),
        ("\u202e\u2068\u05d0\u2069", "\u2068\u05d0\u2069"),
        ("\u05d0\u2068", "\u05d0"),
        ("\u05d0\u2069", "\u05d0"),
        ("\u05d0\u2069\u2068", "\u05d0"),
        ("\u2068\u2068\u05d0\u2069", "\u05d0"),
    ],
)
def test_only_paired_isolates_are_kept(text: str, kept: str | None) -> None:
    assert keep_isolates(text) == (text if kept is None else kept)
