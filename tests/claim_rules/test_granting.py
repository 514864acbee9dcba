"""What a sign-in at a provider gives and takes by claim rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from collegium.access import queries as access_queries
from collegium.accounts import queries as account_queries
from collegium.claim_rules import queries as claim_rule_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import events, scopes
from collegium.memberships import queries as membership_queries
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.identities.values import Arrival
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens.actions import actor_of
from tests.claim_rules.scene import (
    GROUPS,
    PHYSICS,
    add_rule,
    change_rule,
    held,
    people_of,
    projects_of,
    remove_rule,
)
from tests.sign_in.identity_scene import (
    ISSUER,
    add_provider,
    arrive,
    change_provider,
    enable_second_factor,
    link,
    person,
)
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World

MANAGER, MEMBER = "CUSTOMER.OWNER", "PROJECT.MEMBER"


def physicist(*groups: str, **claims: Any) -> Claims:
    return person(groups=[*groups] or ["physics"], **claims)


def sign_in(world: World, claims: Claims) -> int:
    """Come back from the provider; return the id of the account."""
    with world.database.read() as tx:
        provider = provider_queries.active(tx)[0]
    return arrive(world, provider, claims).actor.id


def events_of(world: World, kind: str) -> list[dict[str, Any]]:
    with world.database.read() as tx:
        rows = tx.fetch_all(
            Statement[Any](select(events.c.payload, events.c.kind).order_by(events.c.id))
        )
        return [row.payload for row in rows if row.kind == kind]


def change_organisation(world: World, place: Place, **changes: Any) -> None:
    with world.database.write() as tx:
        access = access_queries.get_visible(tx, world.staff.actor, place.kind, place.uuid)
        organisation_actions.update(tx, world.staff.actor, access, changes)


def delete_project(world: World, organisation: Place, name: str) -> None:
    with world.database.write() as tx:
        project = claim_rule_queries.project_named(tx, organisation.id, name)
        assert project is not None
        access = access_queries.get_visible_by_id(tx, world.staff.actor, project)
        project_actions.delete(tx, world.staff.actor, access)


def test_new_and_known_people_get_the_roles_of_the_rules_that_they_meet(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    uuid = add_rule(world, physics, MANAGER, project_role=MEMBER, template="Lab")
    add_rule(world, world.organisation("Chemistry"), MANAGER, claims={"groups": ["chemistry"]})
    ada = sign_in(world, physicist("maths", "physics"))
    assert held(world, ada) == [("Lab", MEMBER), ("Physics", MANAGER)]
    assert people_of(world, uuid) == 1
    granted = [event for event in events_of(world, "role.granted") if event.get("rule")]
    assert [event["rule"] for event in granted] == ["Physicists"] * 2
    # The second time there is nothing to do, and the second person joins the same project.
    assert sign_in(world, physicist()) == ada
    bob = arrive(world, add_provider(world, "other", **GROUPS), physicist(email="bob@example.org"))
    assert held(world, ada) == [("Lab", MEMBER), ("Physics", MANAGER)]
    assert len(events_of(world, "role.granted")) == 2
    assert bob.actor.id == ada
    eve = sign_in(world, person("eve-1", email="eve@example.org", groups=["physics"]))
    assert held(world, eve) == [("Lab", MEMBER), ("Physics", MANAGER)]
    assert projects_of(world, physics) == ["Lab"]
    mallory = sign_in(world, person("m-1", email="m@example.org", groups=["physicsx"]))
    assert held(world, mallory) == []


def test_only_a_rule_that_revokes_takes_away_what_it_gave(world: World) -> None:
    add_provider(world, **GROUPS)
    keeps, revokes = world.organisation("Keeps"), world.organisation("Revokes")
    for place in (keeps, revokes):
        world.give_role(world.person(), MANAGER, place)
    add_rule(world, keeps, MANAGER)
    add_rule(world, revokes, MANAGER, revokes=True)
    ada = sign_in(world, physicist())
    assert held(world, ada) == [("Keeps", MANAGER), ("Revokes", MANAGER)]
    sign_in(world, physicist("maths"))
    assert held(world, ada) == [("Keeps", MANAGER)]
    assert [event["rule"] for event in events_of(world, "role.revoked")] == ["Physicists"]
    sign_in(world, physicist())
    assert held(world, ada) == [("Keeps", MANAGER), ("Revokes", MANAGER)]


def test_role_that_was_given_otherwise_is_never_touched(world: World) -> None:
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    uuid = add_rule(world, physics, MANAGER, revokes=True)
    ada = world.person("ada")
    world.give_role(ada, MANAGER, physics)
    link(world, ada.actor, provider, physicist())
    arrive(world, provider, physicist())
    arrive(world, provider, physicist("maths"))
    assert held(world, ada) == [("Physics", MANAGER)]
    # A role that somebody took from a person and gave back is not the rule's any more.
    world.remove_role(ada, MANAGER, physics)
    arrive(world, provider, physicist())
    assert people_of(world, uuid) == 1
    world.remove_role(ada, MANAGER, physics)
    world.give_role(ada, MANAGER, physics)
    arrive(world, provider, physicist("maths"))
    assert held(world, ada) == [("Physics", MANAGER)]


def test_role_that_somebody_took_away_comes_back_only_after_a_break(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, physics, MANAGER)
    number = sign_in(world, physicist())
    ada = _person(world, number)
    world.remove_role(ada, MANAGER, physics)
    sign_in(world, physicist())
    assert held(world, ada) == []
    sign_in(world, physicist("maths"))
    sign_in(world, physicist())
    assert held(world, ada) == [("Physics", MANAGER)]


def _person(world: World, number: int) -> Person:

    with world.database.read() as tx:
        return Person(actor_of(account_queries.existing(tx, number)), "")


def test_last_owner_keeps_the_role(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    add_rule(world, physics, MANAGER, revokes=True)
    ada = sign_in(world, physicist())
    sign_in(world, physicist("maths"))
    assert held(world, ada) == [("Physics", MANAGER)]
    world.give_role(world.person("owner"), MANAGER, physics)
    sign_in(world, physicist("maths"))
    assert held(world, ada) == []


def test_project_of_ones_own_is_created_once(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    world.project(physics, "Ada Byron's project")
    add_rule(world, physics, project_role=MEMBER, template="{full_name}'s project", revokes=True)
    ada = sign_in(world, physicist())
    # The existing one of that name stays somebody else's.
    assert projects_of(world, physics) == ["Ada Byron's project"] * 2
    assert held(world, ada) == [("Ada Byron's project", MEMBER)]
    sign_in(world, physicist("maths"))
    assert held(world, ada) == []
    sign_in(world, physicist())
    assert held(world, ada) == [("Ada Byron's project", MEMBER)]
    assert len(projects_of(world, physics)) == 2


@pytest.mark.parametrize("template", ["Lab", "{username}"])
def test_deleted_project_is_not_created_again(world: World, template: str) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    add_rule(world, physics, project_role=MEMBER, template=template)
    ada = sign_in(world, physicist())
    ((name, _),) = held(world, ada)
    delete_project(world, physics, name)
    for groups in ("physics", "maths", "physics"):
        sign_in(world, physicist(groups))
    assert projects_of(world, physics) == []
    assert len(events_of(world, "role.granted")) == 1


def test_blocked_organisation_gives_nothing_but_takes_away(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, physics, MANAGER, revokes=True)
    ada = sign_in(world, physicist())
    change_organisation(world, physics, blocked=True)
    eve = sign_in(world, person("eve-1", email="eve@example.org", groups=["physics"]))
    assert held(world, eve) == []
    sign_in(world, physicist("maths"))
    assert held(world, ada) == []
    change_organisation(world, physics, blocked=False)
    sign_in(world, person("eve-1", email="eve@example.org", groups=["physics"]))
    assert held(world, eve) == [("Physics", MANAGER)]


def test_change_of_a_rule_counts_at_the_next_sign_in(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    uuid = add_rule(world, physics, MANAGER, revokes=True)
    ada = sign_in(world, physicist())
    values = {
        "organisation_role_id": None,
        "project_role_id": world.role(MEMBER).id,
        "creates_project": True,
        "template": "Lab",
    }
    change_rule(world, uuid, **values)
    assert held(world, ada) == [("Physics", MANAGER)]
    sign_in(world, physicist())
    assert held(world, ada) == [("Lab", MEMBER)]


def test_roles_of_a_removed_rule_stay(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    uuid = add_rule(world, physics, MANAGER, revokes=True)
    ada = sign_in(world, physicist())
    remove_rule(world, uuid)
    sign_in(world, physicist("maths"))
    assert held(world, ada) == [("Physics", MANAGER)]


def test_another_rule_gives_what_one_takes_away(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, physics, MANAGER, revokes=True)
    add_rule(world, physics, MANAGER, claims={"groups": ["maths"]}, name="Mathematicians")
    ada = sign_in(world, physicist("physics", "maths"))
    sign_in(world, physicist("maths"))
    assert held(world, ada) == [("Physics", MANAGER)]
    assert events_of(world, "role.granted")[-1]["rule"] == "Mathematicians"


@pytest.mark.parametrize("flag", ["is_staff", "is_support"])
def test_staff_and_support_are_left_alone(world: World, flag: str) -> None:
    provider = add_provider(world, **GROUPS)
    add_rule(world, world.organisation("Physics"), MANAGER)
    chief = world.person("chief", **{flag: True})
    link(world, chief.actor, provider, physicist())
    arrive(world, provider, physicist())
    assert held(world, chief) == []


def test_rules_ask_for_no_second_factor(world: World) -> None:
    """They depend on the provider alone, and the account is entered with the code only."""
    provider = add_provider(world, **GROUPS)
    add_rule(world, world.organisation("Physics"), MANAGER)
    ada = world.person("ada")
    enable_second_factor(world, ada)
    link(world, ada.actor, provider, physicist())
    arrive(world, provider, physicist())
    assert held(world, ada) == [("Physics", MANAGER)]


def test_claims_of_an_inactive_provider_do_not_count(world: World) -> None:
    provider = add_provider(world, **GROUPS)
    other = add_provider(world, "other", issuer="https://other.example.org", registration="open")
    physics = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, physics, MANAGER, revokes=True)
    ada = world.person("ada")
    link(world, ada.actor, provider, physicist())
    link(world, ada.actor, other, person(issuer="https://other.example.org"))
    # The claims of each identity count, whichever the person signs in with.
    arrive(world, other, person(issuer="https://other.example.org"))
    assert held(world, ada) == [("Physics", MANAGER)]
    change_provider(world, is_active=False)
    arrive(world, other, person(issuer="https://other.example.org"))
    assert held(world, ada) == []


def test_one_role_a_person_is_kept(
    database: Database, vault: Vault, make_settings: Callable[..., Settings]
) -> None:
    world = World(database, make_settings(invitation_disable_multiple_roles="true"), vault)
    add_provider(world, **GROUPS)
    add_rule(world, world.organisation("Physics"), MANAGER)
    add_rule(world, world.organisation("Second"), MANAGER)
    ada = sign_in(world, physicist())
    assert held(world, ada) == [("Physics", MANAGER)]


def test_rule_approves_the_join_request_that_it_fulfils(world: World) -> None:
    provider = add_provider(world, **GROUPS)
    owner = world.person("owner")
    physics = world.organisation("Physics", owner=owner)
    lab = world.project(physics, "Lab")
    asked = world.create_link(owner, MEMBER, lab)
    ada = world.person("ada")
    request = world.ask(ada, asked)
    add_rule(world, physics, project_role=MEMBER, template="Lab")
    link(world, ada.actor, provider, physicist())
    arrive(world, provider, physicist())
    assert world.request(request).state == "approved"


def test_invitation_to_the_role_of_a_rule_is_accepted_in_the_same_sign_in(world: World) -> None:
    provider = add_provider(world, **GROUPS)
    owner = world.person("owner")
    physics = world.organisation("Physics", owner=owner)
    lab = world.project(physics, "Lab")
    add_rule(world, physics, MANAGER, project_role=MEMBER, template="Lab")
    ada = world.person("ada")
    link(world, ada.actor, provider, physicist())
    invitation = world.invite(owner, ada.email, MEMBER, lab)
    arrival = Arrival(invitation=invitation, link_version=1, is_mailed=True, accepts=True)
    assert arrive(world, provider, physicist(), arrival).accepted == (invitation,)
    assert held(world, ada) == [("Lab", MEMBER), ("Physics", MANAGER)]


def test_role_of_a_rule_that_has_expired_is_not_given_again(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, physics, MANAGER)
    ada = sign_in(world, physicist())
    expire(world, ada, physics)
    sign_in(world, physicist())
    assert held(world, ada) == []


def test_role_that_was_given_otherwise_and_has_expired_is_given(world: World) -> None:
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, physics, MANAGER)
    ada = world.person("ada")
    world.give_role(ada, MANAGER, physics)
    expire(world, ada.id, physics)
    link(world, ada.actor, provider, physicist())
    arrive(world, provider, physicist())
    assert held(world, ada) == [("Physics", MANAGER)]


def expire(world: World, account: int, place: Place) -> None:
    """Let a role end by its date, before a worker records it."""
    role = world.role(MANAGER).id
    with world.database.write() as tx:
        grant = membership_queries.active_grant(tx, account, role, place.id)
        assert grant is not None
        membership_queries.set_end(tx, grant.id, datetime.now(UTC) + timedelta(microseconds=1))


def test_deleted_account_leaves_no_trace_in_the_records_of_rules(site: Site, world: World) -> None:
    add_provider(world, **GROUPS)
    uuid = add_rule(world, world.organisation("Physics", owner=world.person("owner")), MANAGER)
    ada = _person(world, sign_in(world, physicist()))
    assert people_of(world, uuid) == 1
    assert site.request("DELETE", f"/api/users/{ada.uuid}/", world.staff).status_code == 204

    with world.database.read() as tx:
        assert claim_rule_queries.given_to(tx, ada.id) == []


def test_rule_compares_no_claim_for_which_the_provider_does_not_vouch(world: World) -> None:
    elsewhere = "https://elsewhere.example.org"
    kept = {"registration": "open", "extra_fields": "department nationality"}
    campus = add_provider(world, **kept)
    other = add_provider(world, "other", issuer=elsewhere, **kept)
    organisation = world.organisation("Physics", owner=world.person("boss"))
    add_rule(world, organisation, MANAGER, claims={"department": ["p"]}, revokes=True)
    for wanted in ({"email": ["ada@*"]}, {"email_verified": ["true"]}, {"name": ["*"]}):
        add_rule(world, organisation, MANAGER, claims=wanted)
    add_rule(world, organisation, MANAGER, claims={}, nationalities=["EE"])
    said = {"department": "p", "name": "Ada", "nationality": "EE"}
    ada = arrive(world, campus, person(**said)).actor.id
    eve = arrive(world, other, person("eve", elsewhere, **said)).actor.id
    assert (held(world, ada), held(world, eve)) == ([], [])
    # It counts from the next sign-in on, at this provider alone.
    change_provider(world, "campus", vouched_claims=["Department"])
    arrive(world, other, person("eve", elsewhere, **said))
    assert sign_in(world, person(**said)) == ada
    assert (held(world, ada), held(world, eve)) == ([("Physics", MANAGER)], [])
    change_provider(world, "campus", vouched_claims=[])
    assert sign_in(world, person(**said)) == ada
    assert held(world, ada) == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("case", ["long list", "long text", "reference", "affiliations"])
def test_value_that_is_not_stored_takes_no_role_away(world: World, case: str) -> None:
    """Nor does it give one: nobody has seen it."""
    scoped = [f"a{number}@example.org" for number in range(50)]
    other = [f"g{number}" for number in range(200)]
    cases: dict[str, dict[str, Any]] = {
        "long list": {"groups": [*other, "physics"]},
        "long text": {"groups": ["x" * 501]},
        "reference": {"_claim_names": {"groups": "src1"}},
        "affiliations": {"affiliation": [*scoped, "staff@example.org"]},
    }
    long = cases[case]
    mapping = {"affiliations": "affiliation"}
    trusted = ["example.org"]
    add_provider(world, **GROUPS, attribute_mapping=mapping, trusted_domains=trusted)
    organisation = world.organisation("Physics", owner=world.person("boss"))
    wanted: dict[str, Any] = {"claims": {}, "affiliations": ["staff@example.org"]}
    values: dict[str, Any] = {"claims": {"groups": ["phys*"]}}
    if case == "affiliations":
        values = wanted
    add_rule(world, organisation, MANAGER, revokes=True, **values)
    seen: dict[str, Any] = {"groups": ["physics"], "affiliation": ["staff@example.org"]}
    ada = sign_in(world, person(**seen))
    new = sign_in(world, person("new", email="new@example.org", **long))
    assert (held(world, ada), held(world, new)) == ([("Physics", MANAGER)], [])
    for _ in range(2):
        assert sign_in(world, person(**long)) == ada
        assert held(world, ada) == [("Physics", MANAGER)]
    cut = [] if case == "affiliations" else [["groups"]] * 2
    assert [one["claims"] for one in events_of(world, "identity.claims_cut")] == cut
    # What is seen to be missing takes it away.
    assert sign_in(world, person(groups=other, affiliation=scoped[1:])) == ada
    assert held(world, ada) == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_missing_values_meet_no_other_condition(world: World) -> None:
    add_provider(world, **GROUPS | {"extra_fields": "groups roles"})
    organisation = world.organisation("Physics", owner=world.person("boss"))
    both = {"groups": ["physics"], "roles": ["lead"]}
    add_rule(world, organisation, MANAGER, revokes=True, claims=both)
    ada = sign_in(world, person(groups=["physics"], roles=["lead"]))
    assert held(world, ada) == [("Physics", MANAGER)]
    sign_in(world, person(groups=["x"] * 201, roles=["follower"]))
    assert held(world, ada) == []


def test_rule_can_ask_for_the_provider_that_says_it(world: World) -> None:
    elsewhere = "https://elsewhere.example.org"
    provider = add_provider(world, **GROUPS)
    other = add_provider(world, "other", issuer=elsewhere, **GROUPS)
    add_rule(world, world.organisation("Physics"), MANAGER, claims={**PHYSICS, "iss": [ISSUER]})
    eve = arrive(world, other, physicist(issuer=elsewhere, email="eve@example.org")).actor.id
    assert held(world, eve) == []
    # Her next sign-in there changes nothing.
    arrive(world, other, physicist(issuer=elsewhere, email="eve@example.org"))
    assert held(world, eve) == []
    assert held(world, sign_in(world, physicist())) == [("Physics", MANAGER)]
    bob = world.person("bob")
    link(world, bob.actor, provider, physicist("maths", subject="bob-1"))
    arrive(world, provider, physicist(subject="bob-1"))
    assert held(world, bob) == [("Physics", MANAGER)]


def test_project_in_another_organisation_gets_no_members_by_the_rule(world: World) -> None:
    add_provider(world, **GROUPS)
    physics, maths = world.organisation("Physics"), world.organisation("Maths")
    add_rule(world, physics, project_role=MEMBER, template="Lab")
    sign_in(world, physicist())
    with world.database.write() as tx:
        moved = update(scopes).where(scopes.c.name == "Lab").values(parent_id=maths.id)
        tx.execute(Statement(moved))
    eve = sign_in(world, person("eve-1", email="eve@example.org", groups=["physics"]))
    assert held(world, eve) == []


def test_sign_in_runs_as_many_statements_for_many_rules_as_for_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = add_provider(world, **GROUPS)
    sign_in(world, physicist())

    def statements() -> int:
        arrive(world, provider, physicist())
        with record_statements(monkeypatch) as executed:
            arrive(world, provider, physicist())
        return len(executed)

    without = statements()
    add_rule(world, world.organisation(), MANAGER)
    with_one = statements()
    assert with_one == without + 3
    for _ in range(10):
        add_rule(world, world.organisation(), MANAGER)
        add_rule(world, world.organisation(), MANAGER, claims={"groups": ["other"]})
    assert statements() == with_one


def test_rule_with_another_name_of_the_project_leaves_the_first_one(world: World) -> None:
    add_provider(world, **GROUPS)
    physics = world.organisation("Physics")
    uuid = add_rule(world, physics, project_role=MEMBER, template="Lab", revokes=True)
    ada = sign_in(world, physicist())
    change_rule(world, uuid, template="Observatory")
    sign_in(world, physicist())
    assert held(world, ada) == [("Observatory", MEMBER)]
    assert projects_of(world, physics) == ["Lab", "Observatory"]


def test_what_this_sign_in_says_counts_at_once(world: World) -> None:
    mapping = {"affiliations": "eduperson_scoped_affiliation"}
    add_provider(world, **GROUPS, trusted_domains=["example.org"], attribute_mapping=mapping)
    physics = world.organisation("Physics")
    add_rule(world, physics, MANAGER, claims={}, affiliations=["staff@example.org"])
    ada = sign_in(world, person(eduperson_scoped_affiliation=["member@example.org"]))
    assert held(world, ada) == []
    sign_in(world, person(eduperson_scoped_affiliation=["staff@example.org"]))
    assert held(world, ada) == [("Physics", MANAGER)]


def test_affiliation_that_the_provider_states_no_more_ends_the_role(world: World) -> None:
    mapping = {"affiliations": "eduperson_scoped_affiliation"}
    provider = add_provider(
        world, trusted_domains=["example.org"], registration="open", attribute_mapping=mapping
    )
    place = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, place, MANAGER, claims={}, affiliations=["staff@example.org"], revokes=True)
    ada = arrive(world, provider, person(eduperson_scoped_affiliation=["staff@example.org"]))
    assert held(world, ada.actor.id) == [("Physics", MANAGER)]
    arrive(world, provider, person())
    assert held(world, ada.actor.id) == []


def test_address_of_a_sign_in_counts_for_rules_at_once(world: World) -> None:
    provider = add_provider(world, registration="open", trusted_domains=["example.org", "left.org"])
    place = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, place, MANAGER, claims={}, email_patterns=[r".*@example\.org"], revokes=True)
    ada = arrive(world, provider, person(email="ada@left.org")).actor.id
    for email, roles in (("ada@example.org", 1), ("ada@left.org", 0)):
        arrive(world, provider, person(email=email))
        assert len(held(world, ada)) == roles


def test_rule_believes_no_affiliation_elsewhere(world: World) -> None:
    """Compared as a claim or in the account, it is of an institution for which nobody speaks."""
    claim = "eduperson_scoped_affiliation"
    provider = add_provider(world, registration="open", attribute_mapping={"affiliations": claim})
    place = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, place, MANAGER, claims={claim: ["staff@uni.example"]}, revokes=True)
    add_rule(world, place, MANAGER, claims={}, affiliations=["staff@uni.example"], revokes=True)
    eve = person("eve", email="", eduperson_scoped_affiliation=["staff@uni.example"])
    for domains, roles in (([], 0), (["uni.example"], 1), ([], 0)):
        change_provider(world, trusted_domains=domains)
        assert len(held(world, arrive(world, provider, eve).actor.id)) == roles
