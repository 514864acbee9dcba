"""Whom a claim rule matches, and which values it may have."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from collegium.claim_rules.rules import (
    CLAIM_MAX,
    CONDITIONS,
    ITEMS_MAX,
    LENGTHS,
    NAME_MAX,
    RULES_MAX,
    TEMPLATE_MAX,
    VALUE_MAX,
    Check,
    Conditions,
    Facts,
    checks,
    compared_claims,
    could_match,
    is_for_each,
    matches,
    meets_claims,
    missing_claims,
    problems,
)

EMPTY: dict[str, Any] = {
    **{name: [] for name in LENGTHS},
    "claims": {},
}
VALID: dict[str, Any] = {
    **EMPTY,
    "name": "Physicists",
    "organisation_id": 1,
    "organisation_role_id": 1,
    "project_role_id": None,
    "creates_project": False,
    "template": "",
    "claims": {"groups": ["physics"]},
}
ADA = Facts(
    email="ada@uni.example",
    affiliations=("member@uni.example", "staff@uni.example"),
    identity_source="uni",
    claims={
        1: {
            "groups": ["physics", "maths"],
            "department": "p-12",
            "is_employee": True,
            "level": 3,
            "schac_country_of_citizenship": ["EE", "FI"],
            "schac_home_organization_type": "urn:schac:type:university",
            "eduperson_assurance": ["low", "high"],
        }
    },
)


def with_claims(facts: Facts, identity: int, **claims: Any) -> Facts:
    return replace(facts, claims={**facts.claims, identity: claims})


def rule(**values: Any) -> Conditions:
    return cast("Conditions", SimpleNamespace(**{**EMPTY, **values}))


@pytest.mark.parametrize(
    ("matching", "other"),
    [
        ({"claims": {"groups": ["chemistry", "maths"]}}, {"claims": {"groups": ["chemistry"]}}),
        ({"claims": {"groups": ["phy*"]}}, {"claims": {"groups": ["hys*"]}}),
        ({"claims": {"groups": ["*"]}}, {"claims": {"groups": ["phx*"]}}),
        ({"claims": {"department": ["p-12"]}}, {"claims": {"department": ["p-1"]}}),
        ({"claims": {"department": ["*"]}}, {"claims": {"absent": ["*"]}}),
        ({"claims": {"is_employee": ["true"]}}, {"claims": {"is_employee": ["True"]}}),
        ({"claims": {"level": ["3"]}}, {"claims": {"level": ["4"]}}),
        (
            {"claims": {"groups": ["physics"], "level": ["3"]}},
            {"claims": {"groups": ["physics"], "level": ["4"]}},
        ),
        ({"email_patterns": [r".*@UNI\.example"]}, {"email_patterns": [r"@uni\.example"]}),
        ({"affiliations": ["staff@uni.example"]}, {"affiliations": ["staff@*"]}),
        ({"identity_sources": ["other", "uni"]}, {"identity_sources": ["un"]}),
        ({"nationalities": ["SE", "FI"]}, {"nationalities": ["SE"]}),
        (
            {"organisation_types": ["urn:schac:type:university"]},
            {"organisation_types": ["urn:schac:type:company"]},
        ),
        # These are requirements, so all of them must be met.
        ({"assurance_levels": ["low", "high"]}, {"assurance_levels": ["low", "higher"]}),
        (
            {"identity_sources": ["uni"], "nationalities": ["EE"]},
            {"identity_sources": ["uni"], "nationalities": ["SE"]},
        ),
    ],
)
def test_person_must_meet_every_condition(matching: Any, other: Any) -> None:
    assert matches(rule(**matching), ADA)
    assert not matches(rule(**other), ADA)


def test_one_identity_must_meet_all_conditions_on_claims() -> None:
    both = rule(claims={"groups": ["physics"], "degree": ["phd"]})
    apart = replace(ADA, claims={**ADA.claims, 2: {"degree": "phd"}})
    assert not matches(both, apart)
    assert matches(both, with_claims(apart, 2, degree="phd", groups="physics"))
    assert not matches(both, replace(ADA, claims={}))


def test_comparison_shows_the_identity_that_fits_best() -> None:
    facts = replace(ADA, claims={1: {}, 2: {"groups": "physics"}, 3: {}})
    found = {check.name: check for check in checks(rule(claims={"groups": ["physics"]}), facts)}
    assert found["claims"].found == {"groups": ["physics"]}
    assert [name for name, check in found.items() if check.is_set] == ["claims"]


def test_comparison_shows_what_is_accepted_and_what_was_found() -> None:
    rule_values: dict[str, list[str]] = {
        "email_patterns": ["x"],
        "affiliations": ["staff@uni.example", "x"],
        "identity_sources": ["x", "uni"],
        "nationalities": ["SE"],
        "organisation_types": ["urn:schac:type:university"],
        "assurance_levels": ["high"],
    }
    claims = {"groups": ["x"], "level": ["3"]}
    found = {
        "email_patterns": ["ada@uni.example"],
        "affiliations": ["member@uni.example", "staff@uni.example"],
        "identity_sources": ["uni"],
        "nationalities": ["EE", "FI"],
        "organisation_types": ["urn:schac:type:university"],
        "assurance_levels": ["low", "high"],
    }
    unmet = {"email_patterns", "nationalities"}
    assert checks(rule(**rule_values, claims=claims), ADA) == [
        *(
            Check(name, True, name not in unmet, accepted, found[name], False)
            for name, accepted in rule_values.items()
        ),
        Check("claims", True, False, claims, {"groups": ["physics", "maths"], "level": ["3"]}),
    ]
    empty = Facts(email="", affiliations=(), identity_source="", claims={})
    assert [check.name for check in checks(rule(), empty)] == [*CONDITIONS]
    for check in checks(rule(), empty):
        assert (check.is_set, check.is_met) == (False, True)
        assert check.found in ([], {}, [""])


FULL = [f"{number}" for number in range(50)]


@pytest.mark.parametrize(
    ("wanted", "known", "could"),
    [
        ({"claims": {"groups": ["physics"]}}, {}, True),
        ({"claims": {"groups": ["x"]}}, {}, False),
        ({"claims": {"groups": ["x"]}}, {"cut claims": ["groups"]}, True),
        ({"claims": {"groups": ["x"]}}, {"cut claims": ["groups", "level"]}, True),
        ({"claims": {"groups": ["x"]}}, {"cut claims": ["level"]}, False),
        ({"claims": {"groups": ["x"], "level": ["4"]}}, {"cut claims": ["groups"]}, False),
        ({"nationalities": ["SE"]}, {"cut claims": ["citizenship"]}, True),
        ({"nationalities": ["SE"]}, {"cut claims": ["groups"]}, False),
        ({"organisation_types": ["x"]}, {"cut claims": ["organization_type"]}, True),
        ({"organisation_types": ["x"]}, {"cut claims": ["citizenship"]}, False),
        ({"assurance_levels": ["x"]}, {"cut claims": ["assurance"]}, True),
        ({"assurance_levels": ["x"]}, {"cut claims": ["groups"]}, False),
        ({"identity_sources": ["x"]}, {"cut claims": ["groups"]}, False),
        ({"email_patterns": ["x"]}, {"cut claims": ["email"]}, False),
        ({"affiliations": ["x"]}, {"cut claims": ["affiliations"]}, False),
    ],
)
def test_condition_that_a_missing_value_may_meet_costs_no_role(
    wanted: Any, known: dict[str, Any], *, could: bool
) -> None:
    facts = with_claims(ADA, 1, **ADA.claims[1], **known)
    assert could_match(rule(**wanted), facts) is could
    # Another identity that lacks the values makes no difference.
    assert could_match(rule(**wanted), with_claims(facts, 2)) is could
    assert could_match(rule(**wanted), with_claims(facts, 0)) is could


def test_full_list_of_affiliations_may_lack_one() -> None:
    asked = rule(affiliations=["x"])
    assert could_match(asked, replace(ADA, affiliations=tuple(FULL)))
    assert could_match(asked, replace(ADA, affiliations=(*FULL, "50")))
    assert not could_match(asked, replace(ADA, affiliations=tuple(FULL[1:])))
    asked = rule(affiliations=["x"], claims={"groups": ["x"]})
    assert not could_match(asked, replace(ADA, affiliations=tuple(FULL)))


def test_one_identity_must_have_every_claim_of_a_link() -> None:
    wanted = {"groups": ["physics", "maths"], "level": ["3"]}
    apart: list[dict[str, Any]] = [{"groups": ["maths"]}, {"level": 3}]
    assert not meets_claims(wanted, apart)
    assert meets_claims(wanted, [*apart, {"groups": "physics", "level": [3]}])
    assert not meets_claims(wanted, [])
    assert meets_claims({}, [])


@pytest.mark.parametrize(
    ("condition", "claims"),
    [
        (
            "nationalities",
            "schac_country_of_citizenship nationality nationalities citizenship citizenships",
        ),
        ("organisation_types", "schac_home_organization_type organization_type"),
        ("assurance_levels", "eduperson_assurance assurance"),
    ],
)
def test_each_of_several_well_known_claims_counts(condition: str, claims: str) -> None:
    asked = rule(**{condition: ["x"]})
    for name in claims.split():
        assert matches(asked, replace(ADA, claims={1: {name: "x"}}))
        assert not matches(asked, replace(ADA, claims={1: {name: "y"}}))
        assert missing_claims(asked, [name]) == []
    assert missing_claims(asked, ["x"]) == [claims.split(maxsplit=1)[0]]


def test_rules_compare_the_claims_that_they_name() -> None:
    rules = [
        rule(claims={"a": ["x"], "b": ["x"]}),
        rule(nationalities=["EE"]),
        rule(claims={"b": []}),
    ]
    assert compared_claims(rules) == {"a", "b"}


def test_claims_that_nobody_stores_are_named() -> None:
    asked = rule(claims={"groups": ["x"], "degree": ["y"]}, nationalities=["EE"])
    assert missing_claims(asked, {"groups"}) == ["degree", "schac_country_of_citizenship"]
    assert missing_claims(asked, {"groups", "degree", "nationality"}) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ""),
        ({"claims": {}}, "claim_rule.no_condition claims"),
        *[({"claims": {}, name: ["a"]}, "") for name in LENGTHS],
        ({"claims": {"groups": []}}, "claim_rule.empty_claim claims"),
        ({"organisation_id": None}, "claim_rule.organisation organisation"),
        ({"organisation_role_id": None}, "claim_rule.no_role organisation_role"),
        (
            {"organisation_role_id": None, "project_role_id": 2},
            "claim_rule.no_role organisation_role",
        ),
        ({"creates_project": True}, "claim_rule.project_role project_role"),
        ({"organisation_role_id": None, "project_role_id": 2, "creates_project": True}, ""),
        ({"template": "{password}"}, "invite_link.template template"),
        ({"email_patterns": ["("]}, "invite_link.patterns email_patterns"),
    ],
)
def test_rule_says_who_gets_what(changes: Any, code: str) -> None:
    found = problems({**VALID, **changes})
    assert [f"{each.code} {each.facts['field']}" for each in found] == [code] * bool(code)


def test_all_problems_of_a_rule_are_found_at_once() -> None:
    wrong: dict[str, Any] = {
        "organisation_id": None,
        "claims": {},
        "template": "{",
        "creates_project": True,
    }
    assert len(problems({**VALID, **wrong})) == 4
    assert [problem.code for problem in problems({})] == [
        *("claim_rule.organisation", "claim_rule.no_condition", "claim_rule.no_role")
    ]


@pytest.mark.parametrize(
    ("template", "expected"), [("Lab", False), ("{username}", True), ("", True), ("{{x}}", False)]
)
def test_placeholders_make_a_project_for_each(template: str, expected: bool) -> None:
    assert is_for_each(template) is expected


def test_lengths_of_conditions_are_limited() -> None:
    assert LENGTHS == {
        "email_patterns": 255,
        "affiliations": 255,
        "identity_sources": 50,
        "nationalities": 50,
        "organisation_types": 500,
        "assurance_levels": 500,
    }
    assert (NAME_MAX, TEMPLATE_MAX, ITEMS_MAX, CLAIM_MAX, VALUE_MAX) == (150, 255, 50, 255, 500)


def test_facts_about_a_person_cannot_be_changed() -> None:
    name = "affiliations"
    with pytest.raises(AttributeError):
        setattr(ADA, name, ("staff@uni.example",))


def test_number_of_rules_is_bounded() -> None:
    assert RULES_MAX == 100
