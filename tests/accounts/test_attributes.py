"""Further facts about people: who fills them in, what they may be, and where they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from collegium.accounts.rules import ATTRIBUTES, attribute_sources
from tests.accounts.test_api import AGREES, events_of, patch, path_of, row_of
from tests.sign_in.identity_scene import account, add_provider, arrive, kinds, person
from tests.support.site import Site
from tests.support.world import World

OWN: dict[str, Any] = {
    "gender": "female",
    "personal_title": "Dr",
    "place_of_birth": "Tartu",
    "address": "1 High Street",
    "country_of_residence": "EE",
    "nationality": "EE",
    "nationalities": ["EE", "FI"],
    "organization_country": "FI",
    "organization_type": "urn:schac:homeOrganizationType:int:university",
    "organization_registry_code": "74001073",
    "organization_vat_code": "EE100030417",
    "organization_address": "18 Ülikooli",
}
BY_STAFF: dict[str, Any] = {
    "affiliations": ["member@example.org"],
    "eduperson_assurance": ["https://refeds.org/assurance/IAP/high"],
    "is_identity_manager": True,
    "can_use_personal_access_tokens": True,
    "managed_isds": ["isd:campus"],
    "active_isds": ["isd:campus"],
    "deactivation_reason": "left",
}


def test_people_fill_in_facts_about_themselves_and_staff_what_rights_may_depend_on(
    site: Site, world: World
) -> None:
    assert OWN.keys() == ATTRIBUTES
    ada = world.person("ada")
    mine = patch(site, ada, ada, **OWN, **BY_STAFF, **AGREES).json()
    assert {name: mine[name] for name in OWN} == OWN
    before = {name: getattr(row_of(world, ada), name) for name in BY_STAFF}
    assert not any(before.values())
    changed = patch(site, ada, world.staff, **BY_STAFF).json()
    assert {name: changed[name] for name in BY_STAFF} == BY_STAFF
    (first, second) = events_of(world.database, "account.updated")
    assert first.payload["changes"]["nationalities"] == [[], ["EE", "FI"]]
    assert second.payload["changes"].keys() == BY_STAFF.keys()


def test_all_wrong_facts_are_named_at_once_and_none_is_stored(site: Site, world: World) -> None:
    ada = world.person("ada")
    wrong = {
        "gender": "x",
        "nationality": "Estonia",
        "country_of_residence": "ee",
        "nationalities": ["EE", "E1"],
        "organization_vat_code": "1" * 21,
        "eduperson_assurance": "high",
        "personal_title": "http://example.org",
    }
    answer = patch(site, ada, ada, **wrong, place_of_birth="Tartu", **AGREES)
    assert answer.status_code == 400
    assert answer.json().keys() == wrong.keys()
    assert answer.json()["gender"] == ['"x" is not a valid choice.']
    assert row_of(world, ada).place_of_birth == ""


@pytest.mark.parametrize("value", ["", None])
def test_gender_can_be_taken_back(site: Site, world: World, value: str | None) -> None:
    ada = world.person("ada", gender="male", agreed_at=datetime.now(UTC))
    assert patch(site, ada, ada, gender=value).json()["gender"] == value


def test_reason_of_a_deactivation_is_for_staff_and_ends_with_it(site: Site, world: World) -> None:
    ada = world.person("ada")
    closed = patch(site, ada, world.staff, is_active=False, deactivation_reason="left").json()
    assert (closed["is_admin_deactivated"], closed["deactivation_reason"]) == (True, "left")
    opened = patch(site, ada, world.staff, is_active=True).json()
    assert (opened["is_admin_deactivated"], opened["deactivation_reason"]) == (False, "")
    # The person sees neither the field nor its change in the audit log.
    assert "deactivation_reason" not in site.get(path_of(ada), ada).json()
    ada_reads = site.get("/api/events/?event_type=user_update_succeeded", ada)
    assert "left" not in ada_reads.text
    assert "left" in site.get("/api/events/?event_type=user_update_succeeded", world.staff).text


def test_source_of_a_field_is_shown_until_somebody_else_changes_the_field(
    site: Site, world: World
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    said = attribute_sources(["job_title", "first_name"], "campus", moment)
    ada = world.person("ada", attribute_sources=said)
    shown = patch(site, ada, world.staff, job_title="Countess").json()
    source = {"source": "isd:campus", "timestamp": "2026-01-01T00:00:00+00:00"}
    assert shown["attribute_sources"] == {"first_name": source}
    (event,) = events_of(world.database, "account.updated")
    assert event.payload["changes"].keys() == {"job_title"}


def test_provider_fills_facts_at_each_sign_in_and_says_when(world: World) -> None:
    mapping = {"nationality": "citizenship", "uid_number": "uid", "first_name": "given_name"}
    provider = add_provider(world, registration="open", attribute_mapping=mapping)
    claims: dict[str, Any] = {"citizenship": "EE", "uid": 1000}
    created = arrive(world, provider, person(**claims))
    first = account(world, created.actor.id)
    assert (first.nationality, first.uid_number) == ("EE", 1000)
    assert first.attribute_sources.keys() == {
        *("nationality", "uid_number", "first_name"),
        # Where the account comes from.
        "registration_method",
    }
    # Without a change only the times are written, and nothing is recorded.
    arrive(world, provider, person(**claims))
    second = account(world, created.actor.id)
    assert kinds(world).count("account.updated") == 0
    assert second.modified_at == first.modified_at
    times = [row.attribute_sources["nationality"]["timestamp"] for row in (first, second)]
    assert times[0] < times[1]
    assert second.attribute_sources["nationality"]["source"] == "isd:campus"
    arrive(world, provider, person(**claims | {"citizenship": "FI"}))
    assert account(world, created.actor.id).nationality == "FI"
    assert kinds(world).count("account.updated") == 1
