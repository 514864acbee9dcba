"""Of saying yes and no to one invitation at once exactly one counts; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from collegium.db.database import Database
from collegium.invitations import actions as invitation_actions
from collegium.refusals import Conflict, NotFound
from collegium.settings import Settings
from tests.conftest import url
from tests.races.test_races import together
from tests.support.world import Person, World

__all__ = ["together", "url"]

ROUNDS = 20


class Answers:
    """What people answer to an invitation, each in a transaction of its own."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def accept(self, who: Person, uuid: str) -> str:
        with self._database.write() as tx:
            invitation_actions.accept(tx, who.actor, self._settings, uuid)
        return "accepted"

    def decline(self, who: Person, uuid: str) -> str:
        with self._database.write() as tx:
            invitation_actions.decline(tx, who.actor, self._settings, uuid, 1)
        return "rejected"

    def cancel(self, who: Person, uuid: str) -> str:
        with self._database.write() as tx:
            invitation_actions.cancel(tx, who.actor, uuid)
        return "canceled"


@pytest.fixture
def answers(database: Database, settings: Settings) -> Answers:
    return Answers(database, settings)


@pytest.mark.parametrize("other", ["accept", "cancel", "decline"])
def test_an_invitation_that_is_declined_and_answered_otherwise_at_once_ends_in_one_of_both(
    other: str, answers: Answers, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada, bob = world.person("owner"), world.person("ada"), world.person("bob")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        uuid = world.invite(owner, bob.email, "PROJECT.MEMBER", project)
        who = owner if other == "cancel" else ada
        ends = together(
            partial(answers.decline, bob, uuid), partial(getattr(answers, other), who, uuid)
        )
        won = [end for end in ends if isinstance(end, str)]
        assert len(won) == 1, ends
        assert all(isinstance(end, str | NotFound | Conflict) for end in ends)
        assert world.invitation(uuid).state == won[0]
        assert len(world.grants_in(project)) == (won == ["accepted"])
