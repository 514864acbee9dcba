"""What a provider may be set to; wrong choices would let strangers in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import pytest

from collegium.accounts.rules import PROFILE_FIELDS
from collegium.refusals import Invalid
from collegium.sign_in.providers.rules import (
    ALWAYS_VOUCHED,
    CLAIMS,
    DEFAULT_VOUCHED,
    EXCHANGE_SECONDS,
    LABEL_MAX,
    NAME_MAX,
    SCOPES,
    SIGN_IN_SECONDS,
    URL_MAX,
    USER_CLAIMS,
    Purpose,
    Registration,
    check,
    check_same_name,
    extra_scope,
    is_identifying,
    is_name,
    is_vouched,
    is_web_address,
    problems,
    speaks_for_all,
    suggested_claims,
    suggested_mapping,
    suggested_scopes,
    void_claims,
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
    ("field", "values"),
    [
        ("name", ["a", "a" * 50, "a-b_c9"]),
        ("user_field", ["username", "civil_number"]),
        ("management_url", ["https://login.example.org/X"]),
        ("extra_scope", ["", "a"]),
        ("extra_fields", ["", "a b c"]),
        ("client_secret", [""]),
        ("allowed_redirects", [[], ["https://portal.example.org/"] * 100]),
        ("trusted_domains", [[f"{'a.' * 124}aa.io"]]),
        ("registration", ["off", "invited", "open"]),
        ("vouched_claims", [["a" * 100], ["a@b"], ["a@*"]]),
        (
            "attribute_mapping",
            [{}, {"email": " ".join("abcdefghij")}, dict.fromkeys(CLAIMS, "sub")],
        ),
    ],
)
def test_values_up_to_the_limits_are_accepted(field: str, values: list[Any]) -> None:
    for value in values:
        assert problems({**VALID, field: value}) == []
        assert problems({field: value, "user_claim": "sub", "user_field": "username"}) == []


@pytest.mark.parametrize(
    ("code", "field", "values"),
    [
        ("name", "name", ["", "Campus", "a/b", "-a", "a-", "a" * 51, "a\n"]),
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
        (
            "mapping",
            "attribute_mapping",
            [
                {"is_staff": "a"},
                {"username": "sub"},
                {"email": ""},
                {"email": "a b c d e f g h i j k"},
            ],
        ),
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
        (
            "domain",
            "trusted_domains",
            [["example"], ["@example.org"], ["*.org"], ["Example.org"], [f"{'a.' * 124}aaa.io"]],
        ),
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


def test_names_that_stand_for_something_else_are_refused() -> None:
    """They are paths beside those of the providers, or other registration methods."""
    paths = ("logout", "token-exchange", "backchannel-logout")
    actions = ("discover_metadata", "generate-mapping")
    for name in ("default", "password", *paths, *actions):
        with refused(Invalid, "provider.name", {"field": "name"}):
            check({**VALID, "name": name})
        assert is_name(name)


def test_all_wrong_values_are_named_at_once() -> None:
    wrong = {"label": "", "registration": "x", "user_claim": ""}
    assert [str(found.facts["field"]) for found in problems({**VALID, **wrong})] == [
        *("label", "registration", "user_claim")
    ]
    assert problems({}) == []


# A claim that people can choose must not open the account of somebody else.
IDENTIFYING = """
sub oid voperson_id eduperson_unique_id subject_id pairwise_id cuid
schac_personal_unique_code schac_personal_unique_id civil_number national_id personal_code
"""


def test_only_assigned_claims_recognise_people() -> None:
    assert set(IDENTIFYING.split()) == USER_CLAIMS
    for claim in USER_CLAIMS:
        assert is_identifying(claim)
        assert is_identifying(claim.replace("_", "-").upper())
        civil = {"attribute_mapping": {"civil_number": claim}}
        assert problems({**VALID, "user_claim": claim, **civil}) == []


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


SCOPED = """
eduPersonScopedAffiliation voPersonScopedAffiliation voPersonExternalAffiliation
eduPersonUniqueId eduPersonPrincipalName subject-id pairwise-id
"""


@pytest.mark.parametrize("claim", [*SCOPED.split(), "schacHomeOrganization", "hd"])
def test_values_of_other_institutions_count_nowhere(claim: str) -> None:
    """The claims of which each value names an institution."""
    at = "" if claim in {"schacHomeOrganization", "hd"} else "x@"
    said = {claim: [f"{at}uni.example", f"{at}OTHER.example", 1]}
    provider = Provider([claim], ["uni.example"])
    assert vouched_claims(said, provider) == {claim: [f"{at}uni.example"]}
    provider = Provider([f"{claim}@Other.example", "groups@uni.example"])
    assert vouched_claims(said, provider) == {claim: [f"{at}OTHER.example"]}


def test_provider_without_domains_states_values_that_count_nowhere() -> None:
    used = ["hd", "groups", "pairwise_id", "hd", "subject_id"]
    assert void_claims(used, Provider(["subject-id@uni.example"])) == ["hd", "pairwise_id"]
    assert void_claims(used, Provider([], ["uni.example"])) == []


def test_proxy_speaks_for_every_institution() -> None:
    assert speaks_for_all(Provider(["hd@*", "groups", "hd@uni.example", "sub@*"])) == ["hd", "sub"]


def test_claims_with_missing_values_are_named_if_they_count() -> None:
    said = {"groups": ["a"], "cut claims": ["groups", "email"]}
    assert vouched_claims(said, Provider(["groups"])) == said | {"cut claims": ["groups"]}
    assert vouched_claims(said, Provider(["degree"])) == {}


VOUCHED = """
eduperson_affiliation eduperson_primary_affiliation eduperson_scoped_affiliation
eduperson_entitlement eduperson_unique_id entitlements groups roles is_member_of
schac_country_of_citizenship schac_home_organization schac_home_organization_type
voperson_affiliation voperson_external_affiliation voperson_id voperson_scoped_affiliation
subject_id pairwise_id sub oid tid hd
"""


def test_new_provider_vouches_for_what_institutions_assign() -> None:
    assert " ".join(DEFAULT_VOUCHED).split() == VOUCHED.split()
    assert ALWAYS_VOUCHED == ("iss", "acr", "amr")
    for claim in ALWAYS_VOUCHED:
        assert is_vouched(claim, ())
    assert is_vouched("IS-member_of", ["isMemberOf@uni.example"])
    assert not is_vouched("groups", ["roles"])


def test_assurance_counts_only_where_staff_have_named_it() -> None:
    said = {"eduperson_assurance": ["https://refeds.org/assurance/IAP/high"]}
    assert vouched_claims(said, Provider([*DEFAULT_VOUCHED])) == {}
    assert vouched_claims(said, Provider(["eduPersonAssurance"])) == said


def test_what_opens_invitations_and_places_is_never_suggested() -> None:
    """An untrusted provider would open invitations with a civil number."""
    named = ["sub", "email", "personal_code", "national_id", "idp", "identity_source", "title"]
    mapping = suggested_mapping(named)
    assert mapping == {**NAMES, "email": "email", "job_title": "title"}
    assert suggested_claims("civil_number", named) == ["national_id", "personal_code"]


# Staff get these suggestions for the fields of an account, the best first.
USUAL = """
first_name: given_name first_name
last_name: family_name last_name surname sn
full_name: name display_name cn
native_name: native_name
email: email mail
job_title: job_title title
phone_number: phone_number telephone_number mobile
organization: schac_home_organization organization org institution company
civil_number: schac_personal_unique_id national_id civil_number personal_code
birth_date: birthdate birth_date date_of_birth
preferred_language: locale preferred_language
affiliations: voperson_external_affiliation eduperson_scoped_affiliation affiliations affiliation
gender: gender schac_gender
personal_title: schac_personal_title personal_title
place_of_birth: schac_place_of_birth place_of_birth birthplace
address: address postal_address
country_of_residence: schac_country_of_residence country_of_residence country
nationality: nationality citizenship
nationalities: schac_country_of_citizenship nationalities citizenships
organization_country: schac_home_organization_country organization_country
organization_type: schac_home_organization_type organization_type
organization_registry_code: organization_registry_code org_registry_code
organization_vat_code: organization_vat_code
organization_address: organization_address
eduperson_assurance: eduperson_assurance assurance
uid_number: uid_number uidnumber
primary_gid: primary_gid gid_number gidnumber
identity_source: identity_source authenticating_authority identity_provider idp
"""


def test_usual_claims_are_suggested_for_each_field() -> None:
    usual = dict(line.split(": ") for line in USUAL.strip().splitlines())
    assert list(usual) == list(CLAIMS)
    for name, claims in usual.items():
        assert list(CLAIMS[name]) == claims.split()
    assert suggested_claims("first_name", ["firstName", "Given-Name"]) == [
        "Given-Name",
        "firstName",
    ]


NAMES = {"first_name": "given_name", "last_name": "family_name"}


@pytest.mark.parametrize(
    ("supported", "mapping"),
    [
        ([], {**NAMES, "email": "email"}),
        (["name"], {"full_name": "name"}),
        (
            ["givenName", "familyName", "name"],
            {"first_name": "givenName", "last_name": "familyName", "email": "email"},
        ),
        (["given_name", "family_name"], {**NAMES, "email": "email"}),
        (["name", "given_name"], {"full_name": "name", "first_name": "given_name"}),
        (["name", "sn"], {"full_name": "name", "last_name": "sn"}),
        (["mail", "email", "x"], {**NAMES, "email": "email"}),
    ],
)
def test_parts_of_a_name_are_suggested_before_the_whole(
    supported: list[str], mapping: dict[str, str]
) -> None:
    assert suggested_mapping(supported) == mapping


def test_scopes_are_those_that_claims_need_and_the_provider_has() -> None:
    claims = ["phoneNumber", "groups", "affiliations", "email"]
    supported = ["phone", "groups", "email", "offline_access", "affiliations", "profile"]
    scopes = suggested_scopes(claims, supported)
    assert scopes == ["openid", "profile", "email", "phone", "affiliations", "groups"]
    assert extra_scope(claims, supported) == "phone affiliations groups"
    assert suggested_scopes(claims, []) == ["openid"]
    assert extra_scope(["x"], supported) == ""
    assert SCOPES == ("openid", "profile", "email")


FIELDS = """
first_name last_name full_name native_name email job_title phone_number organization birth_date
preferred_language gender personal_title place_of_birth address country_of_residence nationality
nationalities organization_country organization_type organization_registry_code
organization_vat_code organization_address
"""


def test_fields_that_people_may_be_kept_from_changing() -> None:
    assert set(FIELDS.split()) == PROFILE_FIELDS
    assert problems({**VALID, "protected_fields": sorted(PROFILE_FIELDS)}) == []


def test_stored_words_and_limits_of_providers() -> None:
    assert " ".join(Registration) == "off invited open"
    assert " ".join(Purpose) == "sign_in accept link confirm"
    assert (SIGN_IN_SECONDS, EXCHANGE_SECONDS) == (600, 60)
    assert (NAME_MAX, LABEL_MAX, URL_MAX) == (50, 255, 2000)


def test_field_and_claim_belong_together() -> None:
    for missing in ("user_claim", "user_field"):
        with refused(Invalid, "provider.user_pair", {"field": missing}):
            check({**VALID, missing: ""})
    assert problems({**VALID, "user_field": "", "user_claim": ""}) == []
    assert "email" not in USER_CLAIMS


def test_name_is_part_of_the_redirect_uri_and_stays() -> None:
    check_same_name("campus", "campus")
    with refused(Invalid, "provider.name_is_fixed", {"field": "name"}):
        check_same_name("campus", "other")


def test_plain_http_is_for_this_machine_only() -> None:
    assert is_web_address("http://127.0.0.1:8080/x")
    assert is_web_address("http://[::1]/")
    assert is_web_address("http://127.0.0.2/")
    assert not is_web_address("ftp://127.0.0.1/")
    assert not is_web_address("https:///x")
    assert not is_web_address("https://[::1/")
    for part in (" ", "\\", "#", "*", '"', "<", ">", "\u00e9", "\x7f"):
        assert not is_web_address(f"https://example.org/{part}")
    assert not is_web_address("http://127.0.0.1.example.org/")
    assert not is_web_address("https://example.org:0/")
    assert not is_web_address("https://example.org:99999999/")
