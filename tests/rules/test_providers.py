"""What a provider may be set to; wrong choices would let strangers in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import pytest

from collegium.refusals import Invalid
from collegium.sign_in.providers.rules import (
    DEFAULT_VOUCHED,
    USER_CLAIMS,
    check,
    check_same_name,
    is_web_address,
    problems,
    suggested_mapping,
    vouched_claims,
)
from tests.rules.refusing import refused


@dataclass
class Provider:
    """What a provider vouches for."""

    vouched_claims: list[str]
    trusted_domains: list[str] = field(default_factory=list)


VALID: dict[str, Any] = {
    "name": "campus",
    "label": "Campus",
    "client_id": "collegium",
    "client_secret": "a secret",
    "discovery_url": "https://login.example.org/realms/a/.well-known/openid-configuration",
    "management_url": "",
    "extra_scope": "groups https://example.org/scope",
    "extra_fields": "eduperson_assurance schac_home_organization",
    "user_field": "username",
    "user_claim": "voperson_id",
    "attribute_mapping": {"first_name": "given_name", "civil_number": "national_id"},
    "protected_fields": ["email", "full_name"],
    "allowed_redirects": ["https://portal.example.org/login_completed/", "http://localhost:8001/"],
    "trusted_domains": ["example.org", "cs.example.org"],
    "second_factor_values": ["mfa", "https://refeds.org/profile/mfa"],
    "vouched_claims": ["groups", "https://example.org/claims/department"],
    "registration": "invited",
}


def test_valid_values_are_accepted() -> None:
    check(VALID)


@pytest.mark.parametrize(
    ("code", "field", "values"),
    [
        ("name", "name", ["", "Campus", "a/b", "-a", "a-", "a" * 51, "a\n", "default", "logout"]),
        ("label", "label", ["", " "]),
        ("client_id", "client_id", ["", "é", "a\nb"]),
        ("client_secret", "client_secret", ["é", "a\nb"]),
        (
            "discovery_url",
            "discovery_url",
            [
                "",
                "https://login.example.org/",
                "http://login.example.org/.well-known/openid-configuration",
                "https://a:b@login.example.org/.well-known/openid-configuration",
                "https://login.example.org/?a#/.well-known/openid-configuration",
            ],
        ),
        ("url", "management_url", ["javascript:alert(1)", "//example.org", "http://example.org"]),
        ("scope", "extra_scope", ['a"b', "a  b", " a", "a\nb"]),
        ("scope", "extra_fields", ["a\\b"]),
        ("user_field", "user_field", ["email", "first_name", "is_staff", "slug"]),
        (
            "user_claim",
            "user_claim",
            ["email", "preferred_username", "name", "upn", "eduperson_principal_name", "x"],
        ),
        ("mapping", "attribute_mapping", [{"is_staff": "a"}, {"username": "sub"}, {"email": ""}]),
        ("user_claim", "attribute_mapping", [{"civil_number": "nickname"}]),
        ("protected_fields", "protected_fields", [["is_staff"], ["token_lifetime"]]),
        (
            "redirect",
            "allowed_redirects",
            [
                ["https://*.example.org/"],
                ["https://portal.example.org/#x"],
                ["http://portal.example.org/"],
                ["https://portal.example.org\\@evil.example/"],
                ["https://user@portal.example.org/"],
                ["/login"],
                ["https://portal.example.org/"] * 101,
            ],
        ),
        ("domain", "trusted_domains", [["example"], ["@example.org"], ["*.org"], ["Example.org"]]),
        ("factor_value", "second_factor_values", [[""], ["a b"]]),
        (
            "claim",
            "vouched_claims",
            [[""], ["a b"], ["é"], ["a" * 101], ["a"] * 101, ["a@b@c"], ["@b"], ["a@"]],
        ),
        ("registration", "registration", ["", "everybody"]),
    ],
)
def test_wrong_values_are_refused(code: str, field: str, values: list[Any]) -> None:
    for value in values:
        with refused(Invalid, f"provider.{code}", {"field": field}):
            check({**VALID, field: value})


@pytest.mark.parametrize("claim", ["isMemberOf", "is_member_of", "eduPersonEntitlement", "iss"])
def test_provider_vouches_for_a_claim_in_every_spelling(claim: str) -> None:
    said = {claim: "x", "nickname": "y"}
    assert vouched_claims(said, Provider([*DEFAULT_VOUCHED])) == {claim: "x"}


def test_provider_vouches_for_what_its_list_names_and_for_nothing_else() -> None:
    said = {"iss": "i", "acr": "a", "groups": ["g"], "department": "d", "Department2": "e"}
    assert vouched_claims(said, Provider(["department"])) == {
        "iss": "i",
        "acr": "a",
        "department": "d",
    }
    # What people usually write themselves is on no list unless staff put it there.
    chosen = ["email", "name", "nickname", "preferred_username", "profile", "website", "locale"]
    assert vouched_claims(dict.fromkeys(chosen, "x"), Provider([*DEFAULT_VOUCHED])) == {}


SAID = [
    *("member@uni.example", "staff", "x@LAB.example", "faculty@other.example", "y@"),
    # The first one ends the value: a person may have put the rest there.
    "me@other.example@uni.example",
]


@pytest.mark.parametrize(
    ("entries", "counted"),
    [
        ([], {"member@uni.example", "staff", "y@"}),
        (["voperson_external_affiliation@*"], {"member@uni.example", "staff", "y@"}),
        (
            ["edu_person_scoped_affiliation@lab.example"],
            {"member@uni.example", "staff", "y@", "x@LAB.example"},
        ),
        (["eduperson_scoped_affiliation@*"], SAID),
    ],
)
def test_provider_speaks_for_the_affiliations_of_its_own_scopes(
    entries: list[str], counted: Collection[str]
) -> None:
    provider = Provider([*DEFAULT_VOUCHED, *entries], ["uni.example"])
    (found,) = vouched_claims({"eduPersonScopedAffiliation": SAID}, provider).values()
    assert [text for text in SAID if text in counted] == found


def test_provider_speaks_for_the_institutions_of_its_own_scopes() -> None:
    said = {
        "schac_home_organization": ["uni.example", "Lab.example", "other.example"],
        "hd": "other.example",
        "eduperson_unique_id": "1@other.example",
        "pairwise_id": "1@uni.example",
        "schac_home_organization_type": "urn:x",
    }
    own = Provider([*DEFAULT_VOUCHED, "schacHomeOrganization@lab.example"], ["uni.example"])
    assert vouched_claims(said, own) == said | {
        "schac_home_organization": ["uni.example", "Lab.example"],
        "hd": [],
        "eduperson_unique_id": [],
        "pairwise_id": ["1@uni.example"],
    }
    proxy = Provider([*DEFAULT_VOUCHED, "schac_home_organization@*", "hd@*"])
    for name, values in vouched_claims(said, proxy).items():
        if name in {"schac_home_organization", "hd"}:
            assert values == ([said[name]] if isinstance(said[name], str) else said[name])


def test_assurance_counts_only_where_staff_have_named_it() -> None:
    said = {"eduperson_assurance": ["https://refeds.org/assurance/IAP/high"]}
    assert vouched_claims(said, Provider([*DEFAULT_VOUCHED])) == {}
    assert vouched_claims(said, Provider(["eduPersonAssurance"])) == said


def test_what_opens_invitations_and_places_is_never_suggested() -> None:
    """An untrusted provider would open invitations with a civil number."""
    named = ["sub", "email", "personal_code", "national_id", "idp", "identity_source", "title"]
    mapping = suggested_mapping(named)
    assert mapping["email"] == "email"
    assert not {"civil_number", "identity_source"} & mapping.keys()


def test_field_and_claim_belong_together() -> None:
    for missing in ("user_claim", "user_field"):
        with refused(Invalid, "provider.user_pair", {"field": missing}):
            check({**VALID, missing: ""})
    assert problems({**VALID, "user_field": "", "user_claim": ""}) == []
    assert "email" not in USER_CLAIMS


def test_name_is_part_of_the_redirect_uri_and_stays() -> None:
    check_same_name("campus", "campus")
    with refused(Invalid, "provider.name_is_fixed"):
        check_same_name("campus", "other")


def test_plain_http_is_for_this_machine_only() -> None:
    assert is_web_address("http://127.0.0.1:8080/x")
    assert is_web_address("http://[::1]/")
    assert not is_web_address("http://127.0.0.1.example.org/")
    assert not is_web_address("https://example.org:0/")
    assert not is_web_address("https://example.org:99999999/")
