"""What is kept of a name, when two are the same, and how lists sort them."""

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
    sort_key,
    trim,
    typed_username,
)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
UNSEEN = {
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
    "accent_without_letter": "\u0301",
    "controls": "\x01\x1b\x7f\x85",
    "separators": "\u2028\u2029",
    "mixed": " \u200b\u3164\u2800\ufe0f ",
}


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
def test_a_name_of_which_nothing_can_be_seen_is_none(text: str) -> None:
    assert clean_name(text) == ""


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
def test_what_cannot_be_seen_is_removed_at_the_ends_of_a_name(text: str) -> None:
    if text != UNSEEN["accent_without_letter"]:
        assert clean_name(f"{text}Ada{text}") == "Ada"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Ada\nLovelace", "Ada Lovelace"),
        ("Ada\r\nLovelace\x07", "Ada Lovelace"),
        ("Rene\u0301", "Ren\u00e9"),
        ("a\u202eb\u2069c", "abc"),
        # Scripts that need a joiner keep it, and so do pictures.
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,
        ("\u2764\ufe0f Lab", "\u2764\ufe0f Lab"),
        ("O'Brien-Smith, Jr.", "O'Brien-Smith, Jr."),
        ("  Ada  Lovelace ", "Ada  Lovelace"),
        ("\u738b\u5c0f\u660e\u3000", "\u738b\u5c0f\u660e"),
        ("!", "!"),
        ("7", "7"),
    ],
)
def test_the_rest_of_a_name_is_kept(typed: str, kept: str) -> None:
    assert clean_name(typed) == kept


@given(_texts)
def test_a_name_that_was_cleaned_stays_as_it_is(text: str) -> None:
    assert clean_name(clean_name(text)) == clean_name(text)
    assert not any(sign in clean_name(text) for sign in "\n\r\x1b\u202e\u2066\u2069")


@pytest.mark.parametrize(
    "name",
    [
        "http://a.example",
        "Visit https://a.example",
        "x://y",
        "a:\u200b//b",
        "http\uff1a\uff0f\uff0fa",
    ],
)
def test_a_name_that_mail_programs_would_link_is_found(name: str) -> None:
    assert holds_link(name)


@pytest.mark.parametrize("name", ["Ada", "a: /b", "Dept. A/B: C", "//", "a:b"])
def test_a_name_that_is_no_link_is_none(name: str) -> None:
    assert not holds_link(name)


@pytest.mark.parametrize("other", ["lab  one", " Lab One ", "LAB ONE", "L\u200bab\u00a0One"])
def test_names_that_look_alike_are_one_name(other: str) -> None:
    assert comparable_name("Lab One") == comparable_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Caf\u00e9", "CAFE\u0301"),
        ("\u00dcbung", "\u00fcbung"),
    ],
)
def test_names_in_two_encodings_are_one_name(one: str, other: str) -> None:
    assert comparable_name(one) == comparable_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Lab One", "Lab 0ne"),
        ("Strasse", "Stra\u00dfe"),
        ("Kim", "\u212aim"),
        ("bill", "b\u0130ll"),
        ("fi", "\ufb01"),
    ],
)
def test_names_of_other_letters_are_others(one: str, other: str) -> None:
    assert comparable_name(one) != comparable_name(other)


@given(_texts)
def test_a_name_as_it_is_compared_is_kept_so(text: str) -> None:
    assert comparable_name(comparable_name(text)) == comparable_name(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Anna", "anna"), ("anna ", "anna"), ("\ufeffANNA\u200b", "anna"), ("a.b@C", "a.b@c")],
)
def test_a_user_name_is_understood_as_a_phone_writes_it(typed: str, meant: str) -> None:
    assert typed_username(typed) == meant


@pytest.mark.parametrize("typed", ["\u212aim", "b\u0130ll", "\uff41nna", "st\ufb01"])
def test_no_other_letter_becomes_one_of_a_user_name(typed: str) -> None:
    assert not typed_username(typed).isascii()


def test_names_are_sorted_as_people_look_for_them() -> None:
    expected = [
        "\u00c5ngstr\u00f6m",
        "anna",
        "Anna B",
        "\u00c9mile",
        "emilia",
        "Lukas",
        "\u0141ukasz",
        "lulu",
        "O'Brien",
        "\u00d8rsted",
        "Oz",
        "stra\u00dfe",
        "Strata",
        "\u017belazny",
        "zeta",
        "\u0416\u0443\u043a",
    ]
    shuffled = expected[7:] + expected[:7]
    assert sorted(shuffled, key=sort_key) == expected


def test_case_and_accents_make_no_difference_to_the_order() -> None:
    assert sort_key("RENE\u0301") == sort_key("ren\u00e9") == sort_key(" Rene ")


@given(_texts)
def test_a_sort_key_is_short_and_sorts_alike_as_text_and_as_bytes(text: str) -> None:
    key = sort_key(text)
    assert len(key) <= SORT_KEY_MAX
    assert unicodedata.is_normalized("NFC", key)


@given(st.lists(_texts, max_size=8))
def test_code_points_and_bytes_give_the_same_order(texts: list[str]) -> None:
    keys = list(map(sort_key, texts))
    assert sorted(keys) == sorted(keys, key=str.encode)


@given(_texts)
def test_trimming_twice_changes_nothing(text: str) -> None:
    assert trim(trim(text)) == trim(text)


@pytest.mark.parametrize("sign", "a \u200b\u0301:/\u3164\n")
def test_long_names_take_no_time(sign: str) -> None:
    text = sign * 200_000
    began = time.process_time()
    for judge in (clean_name, holds_link, comparable_name, sort_key, trim, typed_username):
        judge(text)
    assert time.process_time() - began < 2
