"""User names from addresses, writable fields, policy and token lifetime of accounts."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.accounts.rules import (
    REGISTRATION,
    attribute_sources,
    came_from,
    check_email_not_protected,
    check_lifetime,
    check_policy,
    fields_from,
    issuer_of,
    longest_lifetime,
    missing_fields,
    protected_fields,
    username_from,
    usernames_for,
    writable,
)
from collegium.refusals import Conflict, Invalid
from tests.rules.refusing import refused


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
def test_user_names_are_made_of_the_local_part(address: str, names: list[str]) -> None:
    assert list(islice(usernames_for(address), 3)) == names


@pytest.mark.parametrize(
    "name",
    ["admin", "administrator", "collegium", "operator", "root", "staff", "support", "system"],
)
def test_reserved_user_names_are_not_assigned(name: str) -> None:
    assert next(usernames_for(f"{name}@example.org")) == f"{name}-2"


def test_long_user_name_keeps_its_number() -> None:
    first, second = islice(usernames_for("x" * 300 + "@example.org"), 2)
    assert first == "x" * 128
    assert second == "x" * 126 + "-2"


def test_invalid_user_name_is_empty() -> None:
    assert [username_from(text) for text in ("", "..", "愛@愛", "+@-")] == [""] * 4


@given(st.text(max_size=200))
def test_user_names_of_any_address_are_valid_and_unique(address: str) -> None:
    names = list(islice(usernames_for(address), 20))
    assert len(set(names)) == 20
    for name in names:
        assert re.fullmatch(r"[0-9a-z_.@+-]{1,128}", name)
        assert re.search(r"[0-9a-z]", name)


STAFF_FIELDS = {
    "is_active",
    "is_staff",
    "is_support",
    "description",
    "slug",
    "notifications_enabled",
    *("is_identity_manager", "can_use_personal_access_tokens", "deactivation_reason"),
    *("managed_isds", "active_isds", "affiliations", "eduperson_assurance"),
}
DETAILS = {
    *("gender", "personal_title", "place_of_birth", "address", "country_of_residence"),
    *("nationality", "nationalities", "organization_country", "organization_type"),
    *("organization_registry_code", "organization_vat_code", "organization_address"),
    *("first_name", "last_name", "native_name", "job_title", "email", "phone_number"),
    "organization",
}
DIRECTORY_FIELDS = {"email", "first_name", "last_name"}
LIFETIME = {"token_lifetime"}
CHANGES = dict.fromkeys([*STAFF_FIELDS, *DETAILS, *LIFETIME, "full_name"], "new")


@pytest.mark.parametrize(
    ("options", "protected"),
    [
        ({}, STAFF_FIELDS),
        ({"is_own": False}, STAFF_FIELDS | LIFETIME),
        ({"by_staff": True}, set[str]()),
        ({"by_staff": True, "is_own": False}, set[str]()),
        # Not even staff change fields of a directory.
        ({"method": "eduteams"}, STAFF_FIELDS | DIRECTORY_FIELDS),
        ({"method": "eduteams", "by_staff": True}, DIRECTORY_FIELDS),
        ({"method": "saml2"}, STAFF_FIELDS),
        # The configured fields are those of local accounts, also for staff.
        ({"local_fields": ["email"]}, STAFF_FIELDS | {"email"}),
        ({"local_fields": ["email"], "by_staff": True}, {"email"}),
        ({"local_fields": ["job_title"], "method": "eduteams"}, STAFF_FIELDS | DIRECTORY_FIELDS),
        ({"provider_fields": ["email"], "method": "campus"}, STAFF_FIELDS | {"email"}),
        ({"provider_fields": ["email"]}, STAFF_FIELDS),
        ({"local_fields": ["full_name"]}, STAFF_FIELDS | {"full_name", "first_name", "last_name"}),
        # Registration methods that provide every detail.
        ({"frozen_methods": ["saml2"], "method": "saml2"}, STAFF_FIELDS | DETAILS),
        ({"frozen_methods": ["saml2"], "method": "saml2", "by_staff": True}, set[str]()),
        ({"frozen_methods": ["saml2"]}, STAFF_FIELDS),
    ],
)
def test_only_writable_fields_of_a_change_remain(
    options: dict[str, Any], protected: set[str]
) -> None:
    defaults: dict[str, Any] = {
        "by_staff": False,
        "is_own": True,
        "method": "default",
        "local_fields": (),
        "provider_fields": (),
    }
    remaining = writable(CHANGES, **{"frozen_methods": (), **defaults, **options})
    assert CHANGES.keys() - remaining.keys() == protected
    assert set(remaining.values()) == {"new"}


def test_protected_fields_depend_on_the_registration_method() -> None:
    assert protected_fields("default", ["email", "slug"], ["job_title"]) == ("email", "slug")
    assert protected_fields("eduteams", ["slug"], ()) == ("email", "first_name", "last_name")
    assert protected_fields("campus", ["slug"], ["job_title"]) == ("job_title",)


@pytest.mark.parametrize("exempt", [False, True])
@pytest.mark.parametrize("agrees", [False, True])
@pytest.mark.parametrize("has_agreed", [False, True])
def test_account_must_agree_with_the_policy_once(
    *, has_agreed: bool, agrees: bool, exempt: bool
) -> None:
    expected = refused(Invalid, "account.policy", {"field": "agree_with_policy"})
    with nullcontext() if has_agreed or agrees or exempt else expected:
        check_policy(has_agreed=has_agreed, agrees=agrees, exempt=exempt)


@pytest.mark.parametrize(
    ("seconds", "longest", "valid"),
    [(None, None, True), (10**9, None, True), (60, 60, True), (61, 60, False), (None, 60, False)],
)
def test_token_lifetime_has_a_maximum(
    seconds: int | None, longest: int | None, *, valid: bool
) -> None:
    facts = {"field": "token_lifetime", "longest": longest}
    with nullcontext() if valid else refused(Invalid, "account.lifetime", facts):
        check_lifetime(seconds, longest)


def test_protected_address_cannot_be_changed() -> None:
    check_email_not_protected(email_is_protected=False)
    with refused(Conflict, "account.address_protected"):
        check_email_not_protected(email_is_protected=True)


@pytest.mark.parametrize(
    ("is_own", "max_age", "longest"),
    [(True, None, 60), (True, 90, 60), (True, 30, 30), (False, None, None), (False, 90, 90)],
)
def test_longest_lifetime_depends_on_who_sets_it(
    *, is_own: bool, max_age: int | None, longest: int | None
) -> None:
    assert longest_lifetime(is_own=is_own, own_limit=60, max_age=max_age) == longest


def test_mandatory_fields_without_a_value_are_missing() -> None:
    values = {"a": "", "b": None, "c": [], "d": "x", "e": 0, "f": False, "g": ["x"], "h": ""}
    assert missing_fields("abcdefg", values) == ["a", "b", "c"]


AT = datetime(2026, 11, 29, tzinfo=UTC)
CAMPUS = {"source": "isd:campus", "timestamp": "2026-11-29T00:00:00+00:00"}
SAID: dict[str, dict[str, str]] = {
    **attribute_sources(["email", "organization"], "campus", AT, "https://a.example"),
    **attribute_sources(["job_title"], "campus", AT),
    **attribute_sources(["gender"], "campus", AT, "https://b.example"),
    **attribute_sources(["address"], "other", AT),
}


def test_source_of_a_field_has_a_name_and_an_issuer() -> None:
    assert attribute_sources(["job_title"], "campus", AT) == {"job_title": CAMPUS}
    said = {**CAMPUS, "issuer": "https://a.example"}
    found = attribute_sources(["email", "slug"], "campus", AT, "https://a.example")
    assert found == {"email": said, "slug": said}


@pytest.mark.parametrize(
    ("provider", "issuer", "fields"),
    [
        ("campus", "", "email organization job_title gender"),
        ("other", "", "address"),
        # Fields whose source has no issuer are those of the name.
        ("campus", "https://a.example", "email organization job_title"),
        ("renamed", "https://b.example", "gender"),
        ("other", "https://c.example", "address"),
        ("x", "", ""),
    ],
)
def test_fields_of_a_provider_are_those_of_its_issuer(
    provider: str, issuer: str, fields: str
) -> None:
    issuers = [issuer] if issuer else []
    assert fields_from({**SAID, "slug": {}}, provider, *issuers) == fields.split()


def test_account_came_from_the_issuer_that_is_recorded() -> None:
    first, second = "https://a.example", "https://b.example"
    assert issuer_of("campus", SAID) == first
    recorded = attribute_sources([REGISTRATION], "campus", AT, second)
    assert issuer_of("campus", {**SAID, **recorded}) == second
    assert issuer_of("other", SAID) == ""
    assert issuer_of("campus", {}) == ""
    for provider in ("campus", "renamed"):
        assert came_from("campus", SAID, provider, first)
        assert not came_from("campus", SAID, provider, second)
    # Without a recorded issuer, the name decides.
    assert came_from("other", SAID, "other", first)
    assert not came_from("other", SAID, "campus", first)
    assert REGISTRATION == "registration_method"
