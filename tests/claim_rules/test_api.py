"""Claim rules in the Waldur API."""

from __future__ import annotations

from typing import Any

import pytest

from collegium.claim_rules import rules as claim_rule_rules
from tests.claim_rules.scene import GROUPS, add_rule
from tests.sign_in.identity_scene import add_provider, arrive, change_provider, link, person
from tests.support.site import Site
from tests.support.world import Place, World

PATH = "/api/autoprovisioning-rules/"
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def body(place: Place, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Physicists",
        "customer": place.path,
        "customer_role_name": "CUSTOMER.OWNER",
        "user_claims": {"groups": ["phys*"]},
        **changes,
    }


def test_staff_create_change_and_remove_a_rule(site: Site, world: World) -> None:
    physics = world.organisation("Physics")
    owner, member = world.role("CUSTOMER.OWNER"), world.role("PROJECT.MEMBER")
    response = site.post(PATH, world.staff, json=body(physics))
    assert response.status_code == 201, response.text
    created = response.json()
    assert created == {
        "name": "Physicists",
        "uuid": created["uuid"],
        "url": f"http://collegium.test{PATH}{created['uuid']}/",
        "customer_name": "Physics",
        "customer_uuid": physics.uuid,
        "project_role_display_name": "",
        "project_role_description": "",
        "customer_role_display_name": "CUSTOMER.OWNER",
        "customer_role_description": owner.description,
        "plan_name": "",
        "offering_name": "",
        "offering_uuid": "0" * 32,
        "category_title": "",
        "category_url": "",
        "user_affiliations": [],
        "user_email_patterns": [],
        "user_identity_sources": [],
        "user_nationalities": [],
        "user_organization_types": [],
        "user_assurance_levels": [],
        "user_claims": {"groups": ["phys*"]},
        "customer": f"http://collegium.test{physics.path}",
        "use_user_organization_as_customer_name": False,
        "create_project": False,
        "project_name_template": None,
        "revoke_when_unmatched": False,
        "project_role": None,
        "customer_role": f"http://collegium.test/api/roles/{owner.uuid}/",
        "plan": None,
        "plan_attributes": {},
        "plan_limits": {},
    }
    one = f"{PATH}{created['uuid']}/"
    assert site.get(one, world.staff).json() == created
    assert site.get(PATH, world.staff).json() == [created]
    assert site.request("HEAD", PATH, world.staff).headers["X-Result-Count"] == "1"
    # A role by its UUID, URL or name; null removes it.
    changes = {"project_role": member.uuid, "customer_role": None, "create_project": True}
    changed = site.request("PATCH", one, world.staff, json=changes).json()
    assert changed == created | {
        "customer_role": None,
        "customer_role_display_name": "",
        "customer_role_description": "",
        "create_project": True,
        "project_role": f"http://collegium.test/api/roles/{member.uuid}/",
        "project_role_display_name": "PROJECT.MEMBER",
        "project_role_description": member.description,
    }
    again = {**body(physics), "customer_role_name": None, "customer_role": created["customer_role"]}
    response = site.request("PUT", one, world.staff, json=again)
    assert response.json()["customer_role"] == created["customer_role"]
    assert site.request("DELETE", one, world.staff).status_code == 204
    assert site.get(one, world.staff).status_code == 404


@sqlite_only
def test_role_in_a_project_means_that_there_is_one(site: Site, world: World) -> None:
    roles = {"customer_role_name": None, "project_role_name": "PROJECT.MEMBER"}
    response = site.post(PATH, world.staff, json=body(world.organisation(), **roles))
    assert response.json()["create_project"] is True


@sqlite_only
def test_all_errors_of_a_rule_are_reported_at_once(site: Site, world: World) -> None:
    wrong = {
        "name": "",
        "customer": "/api/customers/x/",
        "customer_role": "PROJECT.MEMBER",
        "project_role_name": "NOBODY",
        "create_project": True,
        "user_claims": {"groups": "physics"},
        "user_email_patterns": ["("],
        "project_name_template": "{password}",
        "use_user_organization_as_customer_name": True,
        "plan": "/api/marketplace-plans/1/",
    }
    response = site.post(PATH, world.staff, json=wrong)
    assert response.status_code == 400
    assert response.json().keys() == wrong.keys() - {"create_project"} | {"project_role"}
    refused: list[dict[str, Any]] = [
        {"user_claims": {}},
        {"customer": None},
        {"user_claims": {"groups": []}},
    ]
    for values in refused:
        response = site.post(PATH, world.staff, json=body(world.organisation(), **values))
        assert response.status_code == 400, values


@sqlite_only
def test_number_of_rules_is_bounded(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_rule_rules, "RULES_MAX", 1)
    json = body(world.organisation())
    assert site.post(PATH, world.staff, json=json).status_code == 201
    response = site.post(PATH, world.staff, json=json)
    assert response.json() == {"non_field_errors": ["There are 1 rules. Remove one first."]}


@sqlite_only
def test_role_of_a_rule_is_not_deleted(site: Site, world: World) -> None:
    json = {"name": "CUSTOM.RULED", "content_type": "customer", "permissions": []}
    role = site.post("/api/roles/", world.staff, json=json).json()
    add_rule(world, world.organisation(), "CUSTOM.RULED")
    response = site.request("DELETE", f"/api/roles/{role['uuid']}/", world.staff)
    assert response.json() == ["Role is still used."]


def test_dry_run_says_what_a_sign_in_would_do_and_changes_nothing(site: Site, world: World) -> None:
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    world.project(physics, "Lab")
    uuid = add_rule(world, physics, project_role="PROJECT.MEMBER", template="Lab")
    ada = world.person("ada")
    test = f"{PATH}{uuid}/test-match/"

    def run(user: Any = ada) -> dict[str, Any]:
        response = site.post(test, world.staff, json={"user_uuid": user.uuid})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    before = run()
    assert (before["would_provision"], before["block_reason"]) == (
        False,
        "The user does not match the rule.",
    )
    assert before["project_action"] is None
    link(world, ada.actor, provider, person(groups=["physics"]))
    matched = run()
    assert (matched["would_provision"], matched["block_reason"]) == (True, "")
    assert (matched["resolved_project_name"], matched["project_action"]) == ("Lab", "existing")
    assert [one for one in matched["filter_results"] if one["configured"]] == [
        {
            "name": "user_claims",
            "configured": True,
            "matched": True,
            "reason": "Matched.",
            "user_value": {"groups": ["physics"]},
            "rule_value": {"groups": ["physics"]},
        }
    ]
    assert world.grants_in(physics) == []
    for changes in ({"extra_fields": ""}, {"extra_fields": "groups", "vouched_claims": []}):
        change_provider(world, **changes)
        assert run()["unconfigured_claims"] == ["groups"]
    assert not run()["would_provision"]
    assert run(world.staff)["user_is_protected"]
    response = site.post(test, world.staff, json={"user_uuid": "0" * 32})
    assert response.status_code == 404
    assert site.post(test, world.staff, json={}).json().keys() == {"user_uuid"}


@sqlite_only
def test_dry_run_names_the_project_of_ones_own(site: Site, world: World) -> None:
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    uuid = add_rule(world, physics, project_role="PROJECT.MEMBER", template="{username}'s")
    ada = world.person("ada")
    link(world, ada.actor, provider, person(groups=["physics"]))
    test = f"{PATH}{uuid}/test-match/"

    def action() -> tuple[str, str]:
        found = site.post(test, world.staff, json={"user_uuid": ada.uuid}).json()
        return found["resolved_project_name"], found["project_action"]

    assert action() == ("ada's", "create")
    arrive(world, provider, person(groups=["physics"]))
    assert action() == ("ada's", "existing")
    (project,) = site.get("/api/projects/", world.staff).json()
    site.request("DELETE", f"/api/projects/{project['uuid']}/", world.staff)
    assert action() == ("ada's", "not_recreated")


@sqlite_only
def test_organisation_admits_only_its_people_by_a_rule_too(site: Site, world: World) -> None:
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    uuid = add_rule(world, physics, "CUSTOMER.OWNER")
    ada = world.person("ada")
    link(world, ada.actor, provider, person(groups=["physics"]))

    def admit(pattern: str) -> tuple[str, int]:
        json = {"user_email_patterns": [pattern]}
        assert site.request("PATCH", physics.path, world.staff, json=json).status_code == 200
        test = f"{PATH}{uuid}/test-match/"
        found = site.post(test, world.staff, json={"user_uuid": ada.uuid}).json()
        arrive(world, provider, person(groups=["physics"]))
        return found["block_reason"], len(world.grants_in(physics))

    reason = "The organization or project does not admit the user."
    assert admit(r".*@uni\.example") == (reason, 0)
    assert admit(r".*@example\.org") == ("", 1)
