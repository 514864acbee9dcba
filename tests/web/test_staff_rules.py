"""Claim rules on the pages for staff: added, tried with a person, changed and removed."""

from __future__ import annotations

from typing import Any

import pytest

from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules.queries import RuleRow
from tests.claim_rules.scene import GROUPS, add_rule, held
from tests.sign_in.identity_scene import add_provider, arrive, change_provider, link, person
from tests.support.browser import Browser, text
from tests.support.world import Place, World

HERE = "/staff/rules/"
pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def staff(browser: Browser, world: World) -> Browser:
    return browser.sign_in(world, world.staff)


def fields(world: World, place: Place, **changes: Any) -> dict[str, str]:
    return {
        "name": "Physicists",
        "organisation": place.name,
        "organisation_role": world.role("CUSTOMER.OWNER").uuid,
        "project_role": "",
        "claims": "groups = physics\ngroups=phys*\ndegree = a=b",
        "email_patterns": ".*@example\\.org",
        "revokes": "yes",
        **changes,
    }


def rules(world: World) -> list[RuleRow]:
    with world.database.read() as tx:
        return claim_rule_queries.all_rules(tx)


def test_rule_is_added_changed_and_removed(staff: Browser, world: World) -> None:
    physics = world.organisation("Physics")
    assert "There is no rule yet" in text(staff.open(HERE))
    staff.open(f"{HERE}new/")
    page = staff.follow(staff.send(f"{HERE}new/", **fields(world, physics)))
    assert "The rule is added" in text(page)
    # No provider keeps these claims yet.
    assert "These claims count for nobody : groups , degree" in text(page)
    (rule,) = rules(world)
    assert rule.claims == {"groups": ["physics", "phys*"], "degree": ["a=b"]}
    assert (rule.organisation_id, rule.creates_project, rule.revokes) == (physics.id, False, True)
    assert rule.email_patterns == [".*@example\\.org"]
    assert "Physicists" in text(staff.open(HERE))
    one = f"{HERE}{rule.uuid}/"
    page = staff.open(one)
    assert "groups = phys*" in page.text
    member = world.role("PROJECT.MEMBER").uuid
    changes = {"organisation": physics.uuid, "project_role": member, "template": "Lab"}
    changed = fields(world, physics, action="save", **changes)
    del changed["revokes"]
    assert "The rule is saved" in text(staff.follow(staff.send(one, **changed)))
    (rule,) = rules(world)
    assert (rule.template, rule.creates_project, rule.revokes) == ("Lab", True, False)
    assert "The rule is removed" in text(staff.follow(staff.send(one, action="remove")))
    assert rules(world) == []


def test_wrong_values_are_named_and_what_was_entered_stays(staff: Browser, world: World) -> None:
    world.organisation("Twice")
    twice = world.organisation("Twice")
    wrong = {"claims": "groups", "organisation": "Nowhere", "name": ""}
    staff.open(f"{HERE}new/")
    answer = staff.send(f"{HERE}new/", **fields(world, twice, **wrong))
    assert answer.status_code == 422
    assert "Please write “claim = value” on each line." in text(answer)
    assert "There is no such organisation." in text(answer)
    for changes, message in (
        ({}, "Several organisations have this name."),
        ({"organisation": twice.uuid, "organisation_role": ""}, "Please choose a role."),
        (
            {"organisation": twice.uuid, "claims": "", "email_patterns": ""},
            "Please set a condition.",
        ),
        ({"organisation": twice.uuid, "template": "{x}"}, "x"),
        ({"organisation": twice.uuid, "email_patterns": "("}, "("),
    ):
        answer = staff.send(f"{HERE}new/", **fields(world, twice, **changes))
        assert answer.status_code == 422, changes
        assert message in text(answer), changes
    assert rules(world) == []


def test_dry_run_shows_what_the_person_has(staff: Browser, world: World) -> None:
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    uuid = add_rule(world, physics, project_role="PROJECT.MEMBER", template="{username} lab")
    ada = world.person("ada")
    one = f"{HERE}{uuid}/"
    assert "no account with this user name" in text(staff.open(f"{one}?person=nobody"))
    page = text(staff.open(f"{one}?person=ada"))
    assert "The rule would give nothing. The person does not meet the conditions." in page
    assert "Claims: not met. The person has groups = nothing." in page
    link(world, ada.actor, provider, person(groups=["physics", "<b>maths"]))
    page = text(staff.open(f"{one}?person=ada"))
    assert "The person meets the conditions. Project: ada lab (would be created)." in page
    assert "Claims: met. The person has groups = physics , <b>maths" in page
    assert held(world, ada) == []
    arrive(world, provider, person(groups=["physics"]))
    assert "(exists)" in text(staff.open(f"{one}?person=ada"))
    assert "1 person has a role from this rule." in text(staff.open(one))
    change_provider(world, extra_fields="")
    assert "This claim counts for nobody : groups" in text(staff.open(one))


def test_support_tries_rules_and_changes_none(browser: Browser, world: World) -> None:
    uuid = add_rule(world, world.organisation("Physics"), "CUSTOMER.OWNER")
    browser.sign_in(world, world.person("helper", is_support=True))
    page = browser.open(f"{HERE}{uuid}/?person=helper")
    assert "Rules give nothing to staff and support." in text(page)
    assert 'name="action"' not in page.text
    assert browser.send(f"{HERE}{uuid}/", action="remove").status_code == 403
    assert browser.open(f"{HERE}new/").status_code == 403
