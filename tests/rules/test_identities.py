"""Which claims of a provider count, and what they say about a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

import pytest

from collegium.accounts.rules import ATTRIBUTES
from collegium.sign_in.identities.rules import (
    IDENTITIES_MAX,
    KEPT,
    RIGHTS_DEPEND,
    comparable_claims,
    cut_claims,
    has_rights,
    kept_claims,
    profile,
    second_factor_used,
    stated_email,
    trusted_email,
    usernames,
    withdrawn,
)
from collegium.sign_in.providers.rules import CLAIMS, CUT
from collegium.sign_in.providers.values import Claims


@dataclass
class Provider:
    """A provider that vouches for the claim ``said``."""

    attribute_mapping: dict[str, str] = field(default_factory=dict)
    vouched_claims: list[str] = field(default_factory=lambda: ["said"])
    trusted_domains: list[str] = field(default_factory=list)
    extra_fields: str = ""


@dataclass
class Account:
    """An account that may do something."""

    is_staff: bool = False
    is_support: bool = False
    is_identity_manager: bool = False


def claims(**values: Any) -> Claims:
    return Claims("https://login.example.org", "1", values)


def test_staff_support_and_identity_managers_have_rights() -> None:
    assert not has_rights(Account())
    for right in ("is_staff", "is_support", "is_identity_manager"):
        assert has_rights(Account(**{right: True}))


def test_number_of_identities_is_limited() -> None:
    assert IDENTITIES_MAX == 20


def test_rights_depend_on_these_columns() -> None:
    assert {"affiliations", "eduperson_assurance", "identity_source"} == RIGHTS_DEPEND


# What is stored is documented, so that people know it.
STORED = """
email email_verified name preferred_username
eduperson_assurance eduperson_scoped_affiliation voperson_external_affiliation
voperson_id schac_home_organization schac_home_organization_type
"""


def test_only_some_claims_are_stored() -> None:
    assert " ".join(KEPT).split() == STORED.split()
    said = dict.fromkeys((*KEPT, "groups", "shoe_size"), "x")
    assert kept_claims(claims(**said), "").keys() == set(KEPT)
    assert kept_claims(claims(**said), "groups degree").keys() == {*KEPT, "groups"}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (" a\nb ", "a b"),
        ("x" * 500, "x" * 500),
        ("x" * 501, None),
        ("", None),
        ("\u200b", None),
        ("\ud800", None),
        (True, True),
        (False, False),
        (0, 0),
        (2**53 - 1, 2**53 - 1),
        (2**53, None),
        (1 - 2**53, 1 - 2**53),
        (-(2**53), None),
        (1.5, None),
        ({"a": "b"}, None),
        (None, None),
        (["a ", 1, "", ["b"], "c"], ["a", "c"]),
        ([], []),
        (["x"] * 200, ["x"] * 200),
        (["x"] * 201, ["x"] * 200),
        (["x" * 501, "y"], ["y"]),
    ],
)
def test_stored_claims_are_short_texts_numbers_and_lists(value: Any, stored: Any) -> None:
    kept = kept_claims(claims(groups=value), "groups")
    kept.pop(CUT, None)
    assert kept == ({} if stored is None else {"groups": stored})
    if stored is not None:
        assert type(kept["groups"]) is type(stored)


@pytest.mark.parametrize(
    ("said", "cut"),
    [
        ({"groups": "x" * 500}, []),
        ({"groups": "x" * 501}, ["groups"]),
        ({"groups": ["x"] * 200}, []),
        ({"groups": ["x"] * 201}, ["groups"]),
        ({"groups": ["y", "x" * 501]}, ["groups"]),
        ({"other": "x" * 501}, []),
        ({"_claim_names": {"groups": "elsewhere", "other": "elsewhere"}}, ["groups"]),
        ({"_claim_names": {"groups": "elsewhere"}, "groups": ["a"]}, []),
        ({"_claim_names": "groups"}, []),
        ({"_claim_names": {"degree": "elsewhere"}, "groups": ["x"] * 201}, ["groups", "degree"]),
    ],
)
def test_claims_with_missing_values_are_named(said: dict[str, Any], cut: list[str]) -> None:
    kept = kept_claims(claims(**said), "groups degree")
    assert cut_claims(kept) == cut
    assert (CUT in kept) is bool(cut)


def test_way_of_authentication_is_stored() -> None:
    at = datetime(2026, 11, 29, 12, 0, 0, 900_000, tzinfo=UTC)
    said = Claims("i", "1", {}, acr="mfa ", amr=("pwd", "otp"), authenticated_at=at)
    assert kept_claims(said, "") == {"acr": "mfa", "amr": ["pwd", "otp"], "auth_time": 1795953600}
    assert kept_claims(Claims("i", "1", {}), "") == {}
    assert kept_claims(Claims("i", "1", {}, acr="x" * 501, amr=("x" * 501,)), "") == {}


def test_claims_that_are_stored_and_vouched_for_can_be_compared() -> None:
    always = {"iss", "acr", "amr"}
    assert comparable_claims([]) == always
    first = Provider(vouched_claims=["groups", "voperson_id", "degree"], extra_fields="groups x")
    second = Provider(vouched_claims=["x"], extra_fields="x")
    assert comparable_claims([first]) == {*always, "groups", "voperson_id"}
    assert comparable_claims([first, second]) == {*always, "groups", "voperson_id", "x"}


@pytest.mark.parametrize(
    ("email", "stored"),
    [
        (" Ada@Example.org ", "Ada@Example.org"),
        ("ada@bu\u0308cher.example", "ada@b\u00fccher.example"),
        ("ad\u0430@example.org", ""),
        ("ada", ""),
        ("", ""),
        (["ada@example.org"], ""),
        (None, ""),
        (f"ada@{'a.' * 200}org", ""),
    ],
)
def test_stated_address_must_be_an_address(email: Any, stored: str) -> None:
    assert stated_email(claims(email=email)) == stored


def test_address_is_trusted_if_it_is_verified_and_of_a_trusted_domain() -> None:
    said = claims(email="Ada@Example.ORG", email_verified=True)
    assert trusted_email(said, {"example.org"}) == "Ada@Example.ORG"
    assert trusted_email(said, {"other.org", "org"}) == ""
    assert trusted_email(claims(email="ada@example.org"), {"example.org"}) == ""
    assert trusted_email(claims(), {"", "example.org"}) == ""
    assert stated_email(claims()) == ""


def test_second_factor_shows_in_either_claim() -> None:
    said = Claims("i", "1", {}, acr="loa2", amr=("pwd", "otp"))
    assert second_factor_used(said, ["loa2"])
    assert second_factor_used(said, ["x", "otp"])
    assert not second_factor_used(said, ["loa3", "mfa"])
    assert not second_factor_used(said, [])


LENGTHS = {
    **dict.fromkeys(("first_name", "last_name", "native_name"), 100),
    **dict.fromkeys(("phone_number", "organization", "place_of_birth"), 255),
    **dict.fromkeys(
        ("organization_type", "organization_registry_code", "organization_address"), 255
    ),
    **dict.fromkeys(("identity_source", "civil_number", "personal_title"), 50),
    "job_title": 120,
    "preferred_language": 10,
    "organization_vat_code": 20,
    "address": 255,
}
"""Fields that take any text, with its maximum length."""


@pytest.mark.parametrize("name", LENGTHS)
def test_texts_fill_fields_that_have_room(name: str) -> None:
    """Other lengths would be refused by the database."""
    provider, most = Provider({name: "missing said other"}), LENGTHS[name]
    assert profile({"said": " x\ty "}, provider) == {name: "x y"}
    assert profile({"said": ["x", "y"], "other": "z"}, provider) == {name: "x"}
    assert profile({"said": "x" * most}, provider) == {name: "x" * most}
    wrong: list[Any] = ["x" * (most + 1), "", [], 1, None, "\ud800", "a://b"]
    for unfit in wrong:
        assert profile({"said": unfit}, provider) == {}
    assert profile({"said": "x"}, Provider()) == {}


COUNTRY = [("ee", "EE"), ("Estonia", None), ("\u00df", None), ("e", None), (" EE", None)]
NUMBER = [
    *[(1000, 1000), ("77", 77), (" 77 ", 77), (0, 0), ("0" * 15 + "1", 1)],
    *[(2**53 - 1, 2**53 - 1), (str(2**53 - 1), 2**53 - 1), (2**53, None), (str(2**53), None)],
    *[(-1, None), ("-1", None), ("", None), ("1" * 17, None), ("\u0661", None), (True, None)],
]
COUNTRIES = [f"A{chr(65 + number)}" for number in range(21)]
TEXTS = [f"{number}" for number in range(51)]
FORMS: dict[str, list[tuple[Any, Any]]] = {
    "gender": [
        *[(word, word) for word in ("male", "female", "unknown")],
        *[("MALE", "male"), (0, "unknown"), (1, "male"), (2, "female"), ("9", "unknown")],
        *[("7", None), (True, None), ({"a": 1}, None)],
    ],
    "birth_date": [
        *[(claim, date(1815, 12, 10)) for claim in ("1815-12-10", ["1815-12-10"])],
        *[("1815-12-10T00:00", None), ("1815", None), (18151210, None), (" 1815-12-10", None)],
    ],
    "nationality": COUNTRY,
    "country_of_residence": COUNTRY,
    "organization_country": COUNTRY,
    "nationalities": [
        (["EE", "fi", "ee", "x", "\u00dfa"], ["EE", "FI"]),
        *[("EE", ["EE"]), ("x", None), (COUNTRIES, COUNTRIES[:20])],
    ],
    "address": [
        ({"formatted": "1 High Street", "country": "EE"}, "1 High Street"),
        *[({"country": "EE"}, None), ({"formatted": 1}, None)],
    ],
    "uid_number": NUMBER,
    "primary_gid": NUMBER,
    "eduperson_assurance": [
        *[("low", ["low"]), (["a", "a", 1, "x" * 501, "x" * 500], ["a", "x" * 500])],
        *[(TEXTS, TEXTS[:50]), ([], None)],
    ],
    "affiliations": [
        ("member", ["member"]),
        (["member", "member", "x" * 255, "y" * 256], ["member", "x" * 255]),
        *[(TEXTS, TEXTS[:50]), ([], None)],
    ],
}
"""Claim → what is stored, None for nothing, by field."""


@pytest.mark.parametrize("name", FORMS)
def test_claims_fill_facts_only_with_values_of_their_form(name: str) -> None:
    for claim, value in FORMS[name]:
        found = profile({"said": claim}, Provider({name: "missing said"}))
        assert found == ({} if value is None else {name: value}), claim
        assert profile({"said": claim}, Provider()) == {}
        if name == "eduperson_assurance":
            assert profile({"said": claim}, Provider({name: "said"}, ["groups"])) == {}


@pytest.mark.parametrize("name", ["affiliations", "eduperson_assurance", "nationalities"])
def test_list_comes_from_the_first_claim_that_has_a_text(name: str) -> None:
    provider = Provider({name: "missing first said"}, ["first", "said"])
    assert profile({"first": [1, ""], "said": ["EE"]}, provider) == {name: ["EE"]}
    assert profile({"first": ["FI"], "said": ["EE"]}, provider) == {name: ["FI"]}


def test_texts_that_are_no_countries_hide_no_later_claim() -> None:
    provider = Provider({"nationalities": "first said"})
    assert profile({"first": ["EST"], "said": ["EE"]}, provider) == {"nationalities": ["EE"]}


@pytest.mark.parametrize(
    ("full", "first", "last"),
    [
        ("Ada Lovelace", "Ada", "Lovelace"),
        ("Ada", "Ada", ""),
        ("Ada King Lovelace", "Ada", "King Lovelace"),
        (f"{'x' * 101} {'y' * 101}", "x" * 100, "y" * 100),
    ],
)
def test_full_name_is_split_after_the_first_word(full: str, first: str, last: str) -> None:
    found = profile({"said": full}, Provider({"full_name": "said"}))
    assert found == {"first_name": first, "last_name": last}
    both = Provider({"full_name": "said", "last_name": "family"})
    assert profile({"said": full, "family": "Byron"}, both)["last_name"] == "Byron"


@pytest.mark.parametrize("full", ["", "x" * 501, "see http://evil.example", 1])
def test_unfit_full_name_is_left_out(full: Any) -> None:
    assert profile({"said": full}, Provider({"full_name": "said"})) == {}


def test_affiliations_are_those_for_which_the_provider_speaks() -> None:
    said = {"eduperson_scoped_affiliation": ["a@uni.example", "b@other.example"], "said": ["c@x"]}
    mapping = {"affiliations": "eduperson_scoped_affiliation said"}
    provider = Provider(mapping, ["eduperson_scoped_affiliation"], ["uni.example"])
    assert profile(said, provider) == {"affiliations": ["a@uni.example"]}
    provider.trusted_domains = []
    assert profile(said, provider) == {}


def test_fields_that_claims_fill_are_all_tested_here() -> None:
    assert {*LENGTHS, *FORMS, "full_name", "email"} == CLAIMS.keys()
    assert CLAIMS.keys() >= ATTRIBUTES


def test_what_a_provider_states_no_more_becomes_empty() -> None:
    lists = ("affiliations", "nationalities", "eduperson_assurance")
    texts = {*LENGTHS, "country_of_residence", "nationality", "organization_country"}
    empty: dict[str, Any] = {
        **dict.fromkeys(texts - {"first_name", "last_name", "civil_number"}, ""),
        **{name: [] for name in lists},
        **dict.fromkeys(("birth_date", "gender", "uid_number", "primary_gid")),
    }
    stated = [*CLAIMS, "registration_method"]
    assert withdrawn(stated, ()) == empty
    assert withdrawn(stated, CLAIMS) == {}
    assert withdrawn(["job_title", "gender"], ["gender", "address"]) == {"job_title": ""}


@pytest.mark.parametrize(
    ("preferred", "email", "names"),
    [
        ("Ada.Lee@uni.example", "a@x.example", ["ada.lee", "a", "a-2"]),
        ("ada", "", ["ada", "ada", "ada-2"]),
        ("admin", "a@x.example", ["a", "a-2", "a-3"]),
        ("admin", "", ["admin-2", "admin-3", "admin-4"]),
        ("@x", "a@x.example", ["a", "a-2", "a-3"]),
        (None, "a@x.example", ["a", "a-2", "a-3"]),
        (["ada"], "", ["user", "user-2", "user-3"]),
    ],
)
def test_preferred_user_name_is_suggested_first(
    preferred: Any, email: str, names: list[str]
) -> None:
    assert list(islice(usernames({"preferred_username": preferred}, email), 3)) == names
