"""Confusable characters: reserved user names and mixed scripts."""

from __future__ import annotations

import pytest

from collegium.text import confusables
from collegium.text.confusables import BIDI_CONTROLS, is_reserved_username, is_single_script

RESERVED = ("admin", "administrator", "collegium", "operator", "root", "staff", "support", "system")


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_user_names_are_recognised(name: str) -> None:
    assert is_reserved_username(name)
    assert is_reserved_username(f"_{name}-")
    assert not is_reserved_username(f"x{name}")
    assert not is_reserved_username(f"{name}x")


@pytest.mark.parametrize(
    "name",
    [
        *("adm1n", "admln", "adrnin", "r00t", "ro0t", "5taff", "sta.ff", "supp0rt", "5y5tem"),
        *("systern", "co11egium", "c0llegiurn", "a_d.m@i+n-", "0perator", "adrnlni5trat0r"),
    ],
)
def test_user_names_that_look_reserved_are_recognised(name: str) -> None:
    assert is_reserved_username(name)


def test_letter_pairs_that_look_like_one_letter_are_equal() -> None:
    assert confusables._skeleton("vvide") == confusables._skeleton("wide")
    assert confusables._skeleton("barn") == confusables._skeleton("bam")
    assert confusables._skeleton("wide") != confusables._skeleton("vide")


@pytest.mark.parametrize("name", ["", "ada", "minad", "admiral", "stafford", "rooter", "admin-2"])
def test_user_names_that_contain_reserved_letters_are_free(name: str) -> None:
    assert not is_reserved_username(name)


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org",
        "zo\u00eb@example.org",
        # One script per word.
        "\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
        "\u0438\u0432\u0430\u043d.petrov@example.org",
        "\u0438\u0432\u0430\u043d_petrov@example.org",
        "petrov-\u0438\u0432\u0430\u043d@example.org",
        # Scripts without similar letters may share a word; digits have no script.
        "\u7528\u6237ada@\u4f8b\u5b50.\u4e2d\u56fd",
        "\u0438\u0432\u0430\u043d7@example.org",
        "\u00e9\u00e8@example.org",
        # Letters without a known name, such as Tangut.
        "\U00017000ada@example.org",
    ],
)
def test_address_with_one_script_per_word_is_accepted(address: str) -> None:
    assert is_single_script(address)


@pytest.mark.parametrize(
    "address",
    [
        "\u0430da@example.org",  # Cyrillic a
        "ada@ex\u0430mple.org",
        "ad\u03b1@example.org",  # Greek alpha
        "\u0585da@example.org",  # Armenian o
        "\u13aada@example.org",  # Cherokee go
        "\u03b1\u0430@example.org",  # neither is Latin
        "\uff41da@example.org",  # full-width letter
        "ada@\uff45xample.org",
        "zoe\u0301@example.org",  # combining accent
        "\ufb01ona@example.org",  # ligature
    ],
)
def test_address_with_mixed_scripts_is_recognised(address: str) -> None:
    assert not is_single_script(address)


def test_unassigned_character_has_no_script() -> None:
    assert is_single_script("\u00e9\ue000@example.org")
    assert confusables._scripts("a\u0430\u7528\ue0001") == {"LATIN", "CYRILLIC"}


def test_bidi_controls_are_complete() -> None:
    assert {f"{ord(character):x}" for character in BIDI_CONTROLS} == {
        *("202a", "202b", "202c", "202d", "202e"),
        *("2066", "2067", "2068", "2069"),
    }
