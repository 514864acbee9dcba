"""An invitation is declined while it is accepted or cancelled, on both databases."""

from functools import partial

import pytest

from collegium.db.database import Database
from collegium.invitations import actions as invitation_actions
from collegium.refusals import Conflict, NotFound
from collegium.settings import Settings
from tests.races.conftest import Together, outcome
from tests.support.world import Person, World

ROUNDS = 20


@pytest.mark.parametrize("other", ["accepted", "canceled", "rejected"])
def test_invitation_declined_and_answered_at_once_has_one_outcome(
    other: str, database: Database, settings: Settings, world: World, together: Together
) -> None:
    def answer(who: Person, uuid: str, state: str) -> str:
        with database.write() as tx:
            if state == "accepted":
                invitation_actions.accept(tx, who.actor, settings, uuid)
            elif state == "rejected":
                invitation_actions.decline(tx, who.actor, settings, uuid, 1)
            else:
                invitation_actions.cancel(tx, who.actor, uuid)
        return state

    owner, ada, bob = world.person("owner"), world.person("ada"), world.person("bob")
    organisation = world.organisation(owner=owner)
    for number in range(ROUNDS):
        project = world.project(organisation, f"Round {number}")
        uuid = world.invite(owner, bob.email, "PROJECT.MEMBER", project)
        who = owner if other == "canceled" else ada
        outcomes = together(
            partial(outcome, answer, bob, uuid, "rejected"),
            partial(outcome, answer, who, uuid, other),
        )
        states = [state for state in outcomes if isinstance(state, str)]
        assert len(states) == 1, outcomes
        assert all(isinstance(each, str | NotFound | Conflict) for each in outcomes)
        assert world.invitation(uuid).state == states[0]
        assert len(world.grants_in(project)) == (states == ["accepted"])
