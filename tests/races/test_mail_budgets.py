"""The mail budget of an address limits concurrent senders."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.races.conftest import Together, statuses
from tests.support.site import Site
from tests.support.world import World

ROUNDS = 10


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(recipient_mail_limit="3")


def test_concurrent_senders_do_not_exceed_the_mail_budget(
    site: Site, world: World, together: Together
) -> None:
    organisation = world.organisation()
    role = world.role("PROJECT.MEMBER").uuid
    senders = []
    for _ in range(6):
        person, project = world.person(), world.project(organisation)
        world.give_role(person, "PROJECT.MANAGER", project)
        senders.append((person, project))
    for number in range(ROUNDS):
        bodies = [
            {"email": f"v{number}@example.org", "scope": f"http://x{project.path}", "role": role}
            for _, project in senders
        ]
        responses = together(
            *(
                partial(site.post, "/api/user-invitations/", who, json=body)
                for (who, _), body in zip(senders, bodies, strict=True)
            )
        )
        assert statuses(responses) == [201] * 3 + [429] * 3


def test_inviting_the_same_people_in_another_order_does_not_deadlock(
    site: Site, world: World, together: Together
) -> None:
    groups, olga, otto = Groups(world, site), world.person("olga"), world.person("otto")
    for number in range(ROUNDS):
        emails = [world.person(f"p{number}x{index}").email for index in range(4)]
        invitations = []
        for who, order in ((olga, emails), (otto, emails[::-1])):
            group = groups.create(who, f"{who.actor.username} {number}")
            body: dict[str, Any] = {"users": {email: {} for email in order}}
            invitations.append(partial(groups.call, "PATCH", who, "group", group, json=body))
        assert statuses(together(*invitations)) == [200, 200]
