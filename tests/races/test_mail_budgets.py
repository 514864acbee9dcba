"""The budget of an address holds for senders at one moment, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.races.test_races import together, url
from tests.support.site import Site
from tests.support.world import World

__all__ = ["together", "url"]

ROUNDS = 10


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(recipient_mail_limit="3")


def test_of_many_senders_at_one_moment_no_more_than_the_budget_mail_an_address(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    organisation = world.organisation()
    role = world.role("PROJECT.MEMBER").uuid
    senders = []
    for _ in range(6):
        person, project = world.person(), world.project(organisation)
        world.seat(person, "PROJECT.MANAGER", project)
        senders.append((person, project))
    for turn in range(ROUNDS):
        bodies = [
            {"email": f"v{turn}@example.org", "scope": f"http://x{place.path}", "role": role}
            for _, place in senders
        ]
        answers = together(
            *(
                partial(site.post, "/api/user-invitations/", who, json=body)
                for (who, _), body in zip(senders, bodies, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 3


def test_two_who_invite_the_same_people_in_another_order_do_not_wait_for_each_other(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    groups, olga, otto = Groups(world, site), world.person("olga"), world.person("otto")
    for turn in range(ROUNDS):
        people = [world.person(f"p{turn}x{one}").email for one in range(4)]
        answers = together(
            *(
                partial(
                    groups.call,
                    "PATCH",
                    who,
                    "group",
                    groups.found(who, f"{who.actor.username} {turn}"),
                    json={"users": {email: {} for email in order}},
                )
                for who, order in ((olga, people), (otto, people[::-1]))
            )
        )
        assert [answer.status_code for answer in answers] == [200, 200]
