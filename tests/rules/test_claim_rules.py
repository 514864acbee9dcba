"""Whom a claim rule matches, and which values it may have."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from collegium.claim_rules.rules import (
    LENGTHS,
    RULES_MAX,
    Conditions,
    Facts,
    check_rule_quota,
    checks,
    is_for_each,
    matches,
    missing_claims,
    problems,
)
from collegium.refusals import Conflict
from tests.rules.refusing import refused

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


def rule(**values: Any) -> Conditions:
    return cast("Conditions", SimpleNamespace(**{**EMPTY, **values}))


@pytest.mark.parametrize(
    ("matching", "other"),
    [
        ({"claims": {"groups": ["chemistry", "maths"]}}, {"claims": {"groups": ["chemistry"]}}),
        ({"claims": {"groups": ["phy*"]}}, {"claims": {"groups": ["hys*"]}}),
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
    assert matches(both, apart.with_claims(2, {"degree": "phd", "groups": "physics"}))
    assert not matches(both, replace(ADA, claims={}))


def test_comparison_shows_the_identity_that_fits_best() -> None:
    facts = replace(ADA, claims={1: {}, 2: {"groups": "physics"}, 3: {}})
    found = {check.name: check for check in checks(rule(claims={"groups": ["physics"]}), facts)}
    assert found["claims"].found == {"groups": ["physics"]}
    assert [name for name, check in found.items() if check.is_set] == ["claims"]


def test_claims_that_nobody_stores_are_named() -> None:
    asked = rule(claims={"groups": ["x"], "degree": ["y"]}, nationalities=["EE"])
    assert missing_claims(asked, {"groups"}) == ["degree", "schac_country_of_citizenship"]
    assert missing_claims(asked, {"groups", "degree", "nationality"}) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ""),
        ({"claims": {}}, "claim_rule.no_condition"),
        ({"claims": {}, "affiliations": ["a"]}, ""),
        ({"claims": {"groups": []}}, "claim_rule.empty_claim"),
        ({"organisation_id": None}, "claim_rule.organisation"),
        ({"organisation_role_id": None}, "claim_rule.no_role"),
        ({"organisation_role_id": None, "project_role_id": 2}, "claim_rule.no_role"),
        ({"creates_project": True}, "claim_rule.project_role"),
        ({"organisation_role_id": None, "project_role_id": 2, "creates_project": True}, ""),
        ({"template": "{password}"}, "invite_link.template"),
        ({"email_patterns": ["("]}, "invite_link.patterns"),
    ],
)
def test_rule_says_who_gets_what(changes: Any, code: str) -> None:
    assert [problem.code for problem in problems({**VALID, **changes})] == [code] * bool(code)


def test_all_problems_of_a_rule_are_found_at_once() -> None:
    wrong: dict[str, Any] = {
        "organisation_id": None,
        "claims": {},
        "template": "{",
        "creates_project": True,
    }
    assert len(problems({**VALID, **wrong})) == 4


@pytest.mark.parametrize(
    ("template", "expected"), [("Lab", False), ("{username}", True), ("", True), ("{{x}}", False)]
)
def test_placeholders_make_a_project_for_each(template: str, expected: bool) -> None:
    assert is_for_each(template) is expected


def test_number_of_rules_is_bounded() -> None:
    check_rule_quota(RULES_MAX - 1)
    with refused(Conflict, "claim_rule.too_many", {"most": RULES_MAX}):
        check_rule_quota(RULES_MAX)
