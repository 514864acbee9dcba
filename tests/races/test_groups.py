"""Promises about groups that only a race can break; on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.db.statements import Statement
from collegium.db.tables import grants, join_requests
from tests.groups.scene import Groups
from tests.races.test_races import ROUNDS, together, url
from tests.support.site import Site
from tests.support.world import World

__all__ = ["together", "url"]

Together = Callable[..., "list[httpx.Response]"]


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def places(groups: Groups, group: int, account: int) -> int:
    """How often somebody has a place in a group."""
    statement = select(grants.c.id).where(
        grants.c.scope_id == group, grants.c.account_id == account, grants.c.ended_at.is_(None)
    )
    with groups.world.database.read() as tx:
        return len(tx.fetch_all(Statement(statement)))


def test_of_a_decision_and_its_taking_back_exactly_one_counts(
    groups: Groups, together: Together
) -> None:
    olga, alice = groups.world.person("olga"), groups.world.person("alice")
    for turn in range(ROUNDS):
        group = groups.found(olga, f"Round {turn}")
        uuid = groups.ask(group, alice)
        answers = together(
            lambda u=uuid: groups.get(olga, "request", u, "accept"),
            lambda u=uuid: groups.get(alice, "request", u, "cancel"),
        )
        assert statuses(answers) == [200, 400]
        accepted = answers[0].status_code == 200
        assert places(groups, group, alice.id) == accepted
        assert groups.request(uuid).state == ("approved" if accepted else "canceled")


def test_two_managers_who_let_somebody_in_at_once_both_did(
    groups: Groups, together: Together
) -> None:
    olga, mia, alice = (groups.world.person(name) for name in ("olga", "mia", "alice"))
    for turn in range(ROUNDS):
        group = groups.found(olga, f"Round {turn}")
        groups.seat(group, mia, "GROUP.MANAGER")
        uuid = groups.ask(group, alice)
        answers = together(
            *(lambda w=who, u=uuid: groups.get(w, "request", u, "accept") for who in (olga, mia))
        )
        assert statuses(answers) == [200, 200]
        assert places(groups, group, alice.id) == 1


def test_whoever_asks_twice_at_once_has_asked_once(groups: Groups, together: Together) -> None:
    olga = groups.world.person("olga")
    askers = [groups.world.person(f"asker{number}") for number in range(5)]
    for turn in range(ROUNDS):
        group, alice = groups.found(olga, f"Round {turn}"), askers[turn % 5]
        answers = together(
            *(lambda g=group, a=alice: groups.get(a, "group", g, "join") for _ in range(2))
        )
        assert statuses(answers) == [200, 200]
        assert answers[0].json() == answers[1].json()
        statement = select(join_requests.c.id).where(join_requests.c.scope_id == group)
        with groups.world.database.read() as tx:
            assert len(tx.fetch_all(Statement(statement))) == 1


def test_whoever_is_let_in_and_takes_an_invitation_at_once_has_one_place(
    groups: Groups, together: Together
) -> None:
    olga, alice = groups.world.person("olga"), groups.world.person("alice")
    for turn in range(ROUNDS):
        group = groups.found(olga, f"Round {turn}")
        invited = groups.invite(group, olga, alice, is_manager=True)
        asked = groups.ask(group, alice)
        answers = together(
            lambda u=asked: groups.get(olga, "request", u, "accept"),
            lambda u=invited: groups.get(alice, "invitation", u, "accept"),
        )
        # Who decides after the invitation was accepted finds the request approved by it.
        assert answers[0].status_code == 200
        assert places(groups, group, alice.id) == 1
        role = "GROUP.MANAGER" if answers[1].status_code == 200 else "GROUP.MEMBER"
        assert groups.role_of(group, alice) == role


def test_two_owners_who_leave_at_once_leave_one_behind(groups: Groups, together: Together) -> None:
    olga, otto = groups.world.person("olga"), groups.world.person("otto")
    for turn in range(ROUNDS):
        group = groups.found(olga, f"Round {turn}")
        groups.seat(group, otto, "GROUP.OWNER")
        answers: list[Any] = together(
            *(lambda w=who, g=group: groups.get(w, "group", g, "leave") for who in (olga, otto))
        )
        assert statuses(answers) == [200, 400]
        assert len(groups.members(group)) == 1
