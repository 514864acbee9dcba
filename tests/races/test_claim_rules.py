"""Claim rules while something else happens; on PostgreSQL writers do not queue."""

from __future__ import annotations

from functools import partial

from collegium.access import queries as access_queries
from collegium.db.database import WriteTransaction
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities.values import NOWHERE, Arrival
from collegium.sign_in.providers.values import Claims
from tests.claim_rules.scene import GROUPS, add_rule, held, projects_of, remove_rule, rule_uuid
from tests.races.conftest import Together, outcome, rounds_of
from tests.races.test_waiting import overlap
from tests.sign_in.identity_scene import add_provider, arrive, link, person
from tests.support.world import Person, World

OWNER, MEMBER = "CUSTOMER.OWNER", "PROJECT.MEMBER"


def test_two_sign_ins_at_once_give_each_role_once(world: World, together: Together) -> None:
    provider = add_provider(world, **GROUPS)
    for number in range(rounds_of(world)):
        physics = world.organisation(f"Physics {number}")
        claims = {"groups": [f"g{number}"]}
        template = "Lab" if number % 2 else "{username} lab"
        add_rule(world, physics, OWNER, project_role=MEMBER, template=template, claims=claims)

        def said_of(one: Person, groups: list[str] = claims["groups"]) -> Claims:
            return person(f"s-{one.id}", email="", groups=groups)

        people = [world.person(f"p{number}{name}") for name in "ab"]
        for one in people:
            link(world, one.actor, provider, said_of(one))
        # The same person twice, and another one, who gets into the same organisation.
        together(*(partial(arrive, world, provider, said_of(one)) for one in (people[0], *people)))
        names = {one.id: "Lab" if number % 2 else f"{one.actor.username} lab" for one in people}
        for one in people:
            expected = [(names[one.id], MEMBER), (physics.name, OWNER)]
            assert held(world, one) == sorted(expected)
        assert projects_of(world, physics) == sorted(set(names.values()))
        remove_rule(world, rule_uuid(world))


def test_rule_that_is_removed_meanwhile_prevents_no_sign_in(
    world: World, together: Together
) -> None:
    provider = add_provider(world, **GROUPS)
    ada = world.person("ada")
    claims = person(groups=["physics"])
    link(world, ada.actor, provider, claims)
    for _ in range(rounds_of(world)):
        uuid = add_rule(world, world.organisation(), OWNER)
        signed_in, _removed = together(
            partial(outcome, partial(arrive, world, provider, claims)),
            partial(remove_rule, world, uuid),
        )
        assert signed_in.actor.id == ada.id


def test_members_change_while_a_rule_gives_and_takes(world: World, together: Together) -> None:
    """No deadlock: scopes are locked before accounts."""
    provider = add_provider(world, **GROUPS)
    physics = world.organisation("Physics", owner=world.person("owner"))
    lab = world.project(physics, "Lab")
    add_rule(world, physics, OWNER, project_role=MEMBER, template="Lab", revokes=True)
    ada = world.person("ada")
    link(world, ada.actor, provider, person(groups=["physics"]))
    for number in range(rounds_of(world)):
        groups = ["physics"] if number % 2 else ["maths"]
        outcomes = together(
            partial(outcome, partial(arrive, world, provider, person(groups=groups))),
            partial(outcome, partial(world.give_role, ada, "PROJECT.ADMIN", lab)),
        )
        assert all(not isinstance(one, Exception) or "grant" in str(one) for one in outcomes)
        if ("Lab", "PROJECT.ADMIN") in held(world, ada):
            world.remove_role(ada, "PROJECT.ADMIN", lab)


def test_first_sign_in_locks_the_scopes_of_its_offer_and_of_its_rules_in_one_order(
    world: World,
) -> None:
    """No deadlock with somebody who signs in at the same moment and gets roles in both."""
    provider = add_provider(world, **GROUPS)
    owner = world.person("owner")
    first, second = (world.organisation(name, owner=owner) for name in ("First", "Second"))
    add_rule(world, first, OWNER)
    add_rule(world, second, OWNER, claims={"groups": ["maths"]})
    invitation = world.invite(world.staff, "new@example.org", OWNER, second)
    ada = world.person("ada")
    link(world, ada.actor, provider, person(groups=["physics", "maths"]))

    def come(claims: Claims, arrival: Arrival, tx: WriteTransaction) -> int:
        signed_in = identity_actions.complete(
            tx, world.vault, world.settings, provider, claims, arrival
        )
        return signed_in.actor.id

    new, version = (
        person("new", email="new@example.org", groups=["physics"]),
        world.invitation(invitation).link_version,
    )
    arrival = Arrival(invitation=invitation, link_version=version, is_mailed=True, accepts=True)
    arrived = overlap(
        world.database,
        lambda tx: access_queries.lock_scope(tx, second.id),
        partial(come, new, arrival),
        partial(come, person(groups=["physics", "maths"]), NOWHERE),
    )
    assert [held(world, number) for number in arrived] == [
        [("First", OWNER), ("Second", OWNER)],
    ] * 2
