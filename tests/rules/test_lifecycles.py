"""States and actions of invitations, invite links and join requests."""

from __future__ import annotations

from enum import StrEnum

from collegium.access.lifecycles import By, Lifecycle
from collegium.refusals import Conflict
from tests.rules.refusing import refused


class Light(StrEnum):
    RED = "red"
    GREEN = "green"


def press() -> type[Lifecycle]:
    """Return the actions on a light."""

    class Press(Lifecycle, refusal="light.wrong_state"):
        TURN_GREEN = ({Light.RED: Light.GREEN}, By.PERSON, int)
        BREAK = (dict[Light, Light](), By.SERVICE)

    return Press


def test_action_is_refused_in_a_state_that_does_not_allow_it() -> None:
    assert press()["TURN_GREEN"].after(Light.RED) is Light.GREEN
    facts = {"act": "TURN_GREEN", "state": "green"}
    with refused(Conflict, "light.wrong_state", facts):
        press()["TURN_GREEN"].after(Light.GREEN)


def test_action_that_led_to_the_state_is_repeated() -> None:
    assert press()["TURN_GREEN"].is_repeated(Light.GREEN)
    assert not press()["TURN_GREEN"].is_repeated(Light.RED)


def test_action_says_who_may_take_it_and_what_is_recorded() -> None:
    assert (press()["TURN_GREEN"].by, press()["TURN_GREEN"].event) == (By.PERSON, int)
    assert (press()["BREAK"].by, press()["BREAK"].event) == (By.SERVICE, None)
    assert str(press()["TURN_GREEN"]) == "turn_green"
