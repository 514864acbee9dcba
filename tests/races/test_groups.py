"""Concurrent actions on groups."""

from functools import partial

import pytest
from sqlalchemy import select

from collegium.db.statements import Statement
from collegium.db.tables import grants, join_requests
from tests.groups.scene import Groups
from tests.races.conftest import Together, rounds_of, statuses
from tests.support.site import Site
from tests.support.world import World


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)


def count_grants(groups: Groups, group: int, account: int) -> int:
    """Count the active grants of an account in a group."""
    statement = select(grants.c.id).where(
        grants.c.scope_id == group, grants.c.account_id == account, grants.c.ended_at.is_(None)
    )
    with groups.world.database.read() as tx:
        return len(tx.fetch_all(Statement(statement)))


def test_group_request_accepted_and_withdrawn_has_one_outcome(
    groups: Groups, together: Together
) -> None:
    olga, alice = groups.world.person("olga"), groups.world.person("alice")
    for number in range(rounds_of(groups.world)):
        group = groups.create(olga, f"Round {number}")
        uuid = groups.ask(group, alice)
        responses = together(
            partial(groups.get, olga, "request", uuid, "accept"),
            partial(groups.get, alice, "request", uuid, "cancel"),
        )
        assert statuses(responses) == [200, 400]
        accepted = responses[0].status_code == 200
        assert count_grants(groups, group, alice.id) == accepted
        assert groups.request(uuid).state == ("approved" if accepted else "canceled")


def test_two_managers_who_accept_a_group_request_both_succeed(
    groups: Groups, together: Together
) -> None:
    olga, mia, alice = (groups.world.person(name) for name in ("olga", "mia", "alice"))
    for number in range(rounds_of(groups.world)):
        group = groups.create(olga, f"Round {number}")
        groups.give_role(group, mia, "GROUP.MANAGER")
        uuid = groups.ask(group, alice)
        responses = together(
            *(partial(groups.get, who, "request", uuid, "accept") for who in (olga, mia))
        )
        assert statuses(responses) == [200, 200]
        assert count_grants(groups, group, alice.id) == 1


def test_asking_twice_at_once_to_join_a_group_makes_one_request(
    groups: Groups, together: Together
) -> None:
    olga = groups.world.person("olga")
    requesters = [groups.world.person(f"requester{number}") for number in range(5)]
    for number in range(rounds_of(groups.world)):
        group, alice = groups.create(olga, f"Round {number}"), requesters[number % 5]
        responses = together(*(partial(groups.get, alice, "group", group, "join"),) * 2)
        assert statuses(responses) == [200, 200]
        assert responses[0].json() == responses[1].json()
        statement = select(join_requests.c.id).where(join_requests.c.scope_id == group)
        with groups.world.database.read() as tx:
            assert len(tx.fetch_all(Statement(statement))) == 1


def test_request_and_invitation_accepted_at_once_give_one_grant(
    groups: Groups, together: Together
) -> None:
    olga = groups.world.person("olga")
    for number in range(rounds_of(groups.world)):
        # One address may not get so many invitations that were not accepted.
        alice = groups.world.person(f"alice{number}")
        group = groups.create(olga, f"Round {number}")
        invitation = groups.invite(group, olga, alice, is_manager=True)
        request = groups.ask(group, alice)
        responses = together(
            partial(groups.get, olga, "request", request, "accept"),
            partial(groups.get, alice, "invitation", invitation, "accept"),
        )
        # An accepted invitation approves the request, so approving it again succeeds.
        assert responses[0].status_code == 200
        assert count_grants(groups, group, alice.id) == 1
        role = "GROUP.MANAGER" if responses[1].status_code == 200 else "GROUP.MEMBER"
        assert groups.role_of(group, alice) == role


def test_of_two_owners_who_leave_at_once_one_remains(groups: Groups, together: Together) -> None:
    olga, otto = groups.world.person("olga"), groups.world.person("otto")
    for number in range(rounds_of(groups.world)):
        group = groups.create(olga, f"Round {number}")
        groups.give_role(group, otto, "GROUP.OWNER")
        responses = together(
            *(partial(groups.get, who, "group", group, "leave") for who in (olga, otto))
        )
        assert statuses(responses) == [200, 400]
        assert len(groups.members(group)) == 1
