"""What a person may be called, from nothing but an address; and who changes what of an account."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.accounts.rules import (
    check_address_free,
    check_lifetime,
    check_policy,
    protected_fields,
    username_from,
    usernames_for,
    writable,
)
from collegium.refusals import Conflict, Invalid


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("Bob@example.org", ["bob", "bob-2", "bob-3"]),
        ("bob.o'brien+x@example.org", ["bob.obrien+x", "bob.obrien+x-2", "bob.obrien+x-3"]),
        ("Jörg@example.org", ["jorg", "jorg-2", "jorg-3"]),
        ('"a b"@example.org', ["ab", "ab-2", "ab-3"]),
        ("愛.愛@example.org", ["user", "user-2", "user-3"]),
        ('"a@b"@example.org', ["a@b", "a@b-2", "a@b-3"]),
        ("Admin@example.org", ["admin-2", "admin-3", "admin-4"]),
        ("admins@example.org", ["admins", "admins-2", "admins-3"]),
    ],
)
def test_names_are_made_of_what_stands_before_the_sign(address: str, names: list[str]) -> None:
    assert list(islice(usernames_for(address), 3)) == names


@pytest.mark.parametrize(
    "name",
    ["admin", "administrator", "collegium", "operator", "root", "staff", "support", "system"],
)
def test_nobody_is_given_a_name_that_sounds_like_authority(name: str) -> None:
    assert next(usernames_for(f"{name}@example.org")) == f"{name}-2"


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


# Who changes what.

STAFFS = {"is_active", "is_staff", "is_support", "description", "slug", "notifications_enabled"}
DETAILS = {
    *("first_name", "last_name", "native_name", "job_title", "email", "phone_number"),
    "organization",
}
SAID = {"email", "first_name", "last_name"}
LIFETIME = {"token_lifetime"}
EVERYTHING = dict.fromkeys([*STAFFS, *DETAILS, *LIFETIME, "full_name"], "new")


@pytest.mark.parametrize(
    ("how", "closed"),
    [
        ({}, STAFFS),
        ({"own": False}, STAFFS | LIFETIME),
        ({"by_staff": True}, set[str]()),
        ({"by_staff": True, "own": False}, set[str]()),
        # What a directory says of people is nobody's to change, not even staff's.
        ({"method": "eduteams"}, STAFFS | SAID),
        ({"method": "eduteams", "by_staff": True}, SAID),
        ({"method": "saml2"}, STAFFS),
        # The operator's list is of accounts of our own, and binds staff too.
        ({"local": ["email"]}, STAFFS | {"email"}),
        ({"local": ["email"], "by_staff": True}, {"email"}),
        ({"local": ["job_title"], "method": "eduteams"}, STAFFS | SAID),
        ({"local": ["full_name"]}, STAFFS | {"full_name", "first_name", "last_name"}),
        # Methods that the operator trusts with every detail.
        ({"frozen_methods": ["saml2"], "method": "saml2"}, STAFFS | DETAILS),
        ({"frozen_methods": ["saml2"], "method": "saml2", "by_staff": True}, set[str]()),
        ({"frozen_methods": ["saml2"]}, STAFFS),
    ],
    ids=[
        "oneself",
        "somebody_else",
        "staff",
        "staff_on_others",
        "of_a_directory",
        "staff_on_one_of_a_directory",
        "of_another_method",
        "protected",
        "protected_from_staff",
        "protected_here_but_not_there",
        "a_name_is_both_its_parts",
        "frozen",
        "frozen_but_to_staff",
        "frozen_elsewhere",
    ],
)
def test_of_a_change_only_what_is_open_to_the_writer_is_left(
    how: dict[str, Any], closed: set[str]
) -> None:
    who: dict[str, Any] = {
        "by_staff": False,
        "own": True,
        "method": "default",
        "local": (),
        "frozen_methods": (),
    }
    left = writable(EVERYTHING, **who | how)
    assert EVERYTHING.keys() - left.keys() == closed
    assert set(left.values()) == {"new"}


def test_a_provider_decides_on_its_own_fields_alone() -> None:
    assert protected_fields("default", ["email", "slug"]) == ("email", "slug")
    assert protected_fields("eduteams", ["slug"]) == ("email", "first_name", "last_name")
    assert protected_fields("saml2", ["slug"]) == ()


@pytest.mark.parametrize("exempt", [False, True])
@pytest.mark.parametrize("agrees", [False, True])
@pytest.mark.parametrize("has_agreed", [False, True])
def test_nobody_goes_on_without_agreeing_once(
    *, has_agreed: bool, agrees: bool, exempt: bool
) -> None:
    said = {"has_agreed": has_agreed, "agrees": agrees, "exempt": exempt}
    if any(said.values()):
        check_policy(**said)
    else:
        with pytest.raises(Invalid) as refused:
            check_policy(**said)
        assert refused.value.code == "account.policy"
        assert refused.value.facts == {"field": "agree_with_policy"}


@pytest.mark.parametrize(
    ("seconds", "longest", "fits"),
    [(None, None, True), (10**9, None, True), (60, 60, True), (61, 60, False), (None, 60, False)],
    ids=["for_ever", "long", "just_so", "too_long", "for_ever_under_a_limit"],
)
def test_a_token_lives_no_longer_than_the_operator_lets_it(
    seconds: int | None, longest: int | None, *, fits: bool
) -> None:
    if fits:
        check_lifetime(seconds, longest)
    else:
        with pytest.raises(Invalid) as refused:
            check_lifetime(seconds, longest)
        assert refused.value.code == "account.lifetime"
        assert refused.value.facts == {"field": "token_lifetime", "longest": longest}


def test_an_address_that_a_provider_decides_is_not_changed_here() -> None:
    check_address_free(email_is_protected=False)
    with pytest.raises(Conflict) as refused:
        check_address_free(email_is_protected=True)
    assert refused.value.code == "account.address_protected"
