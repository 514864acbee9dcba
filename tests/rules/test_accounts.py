"""What a person may be called, from nothing but an address."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.rules.accounts import username_from, usernames_for


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("Bob@example.org", ["bob", "bob-2", "bob-3"]),
        ("bob.o'brien+x@example.org", ["bob.obrien+x", "bob.obrien+x-2", "bob.obrien+x-3"]),
        ("Jörg@example.org", ["jorg", "jorg-2", "jorg-3"]),
        ('"a b"@example.org', ["ab", "ab-2", "ab-3"]),
        ("愛.愛@example.org", ["user", "user-2", "user-3"]),
        ("Admin@example.org", ["admin-2", "admin-3", "admin-4"]),
    ],
)
def test_names_are_made_of_what_stands_before_the_sign(address: str, names: list[str]) -> None:
    assert list(islice(usernames_for(address), 3)) == names


def test_a_long_name_keeps_its_number() -> None:
    first, second = islice(usernames_for("x" * 300 + "@example.org"), 2)
    assert first == "x" * 128
    assert second == "x" * 126 + "-2"


def test_what_cannot_be_a_name_is_none() -> None:
    assert [username_from(text) for text in ("", "..", "愛@愛", "+@-")] == [""] * 4


@given(st.text(max_size=200))
def test_whatever_the_address_every_name_can_be_one_and_they_differ(address: str) -> None:
    names = list(islice(usernames_for(address), 20))
    assert len(set(names)) == 20
    for name in names:
        assert re.fullmatch(r"[0-9a-z_.@+-]{1,128}", name)
        assert re.search(r"[0-9a-z]", name)
