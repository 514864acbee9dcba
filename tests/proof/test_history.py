"""The search accepts possible histories and finds violations in invented ones."""

from typing import Any

import pytest

from tests.proof.history import Call, UndecidedError, makes_sense
from tests.proof.model import Roll


@pytest.fixture
def model() -> Roll:
    """Return a model: Olga and Otto own a lab with a project, Ada is invited, Bob asks to join."""
    model = Roll()
    for name in ("olga", "otto", "ada", "bob", "staff"):
        model.people[name] = {"staff": name == "staff", "support": False, "active": True}
        model.tokens[name], model.latest[name] = 0, f"{name} 1"
    model.scopes["lab"] = {"kind": "organisation", "parent": None, "starts": None, "blocked": False}
    model.scopes["pro"] = {"kind": "project", "parent": "lab", "starts": None, "blocked": False}
    model.grants = {(name, "CUSTOMER.OWNER", "lab"): None for name in ("olga", "otto")}
    model.invite("olga", "i", "ada", "PROJECT.MEMBER", "pro")
    model.open("olga", "o", "PROJECT.MEMBER", "pro", auto=False, many=False)
    model.ask("bob", "r", "o")
    return model


def call(
    span: tuple[float, float], answer: int, action: str, *given: Any, token: int = 1, **more: Any
) -> Call:
    shown = None if action == "log_in" else f"{given[0]} {token}"
    return Call(*span, action, given, more, shown, str(answer))


BOTH = (0.0, 5.0)
FIRST, THEN, LAST = (0.0, 1.0), (2.0, 3.0), (4.0, 5.0)
REMOVED_ROLE = ("CUSTOMER.OWNER", "lab")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [call(BOTH, 200, "accept", "ada", "i"), call(BOTH, 404, "accept", "bob", "i")],
            id="one-wins",
        ),
        pytest.param(
            [call(BOTH, 404, "accept", "ada", "i"), call(BOTH, 200, "cancel", "olga", "i")],
            id="cancelled-in-time",
        ),
        pytest.param(
            [
                call(FIRST, 200, "cancel", "olga", "i"),
                call(BOTH, 200, "accept", "ada", "i"),
                call(THEN, 200, "send", "olga", "i"),
            ],
            id="accepted-after-renewal",
        ),
        pytest.param(
            [
                call(FIRST, 200, "log_out", "ada"),
                call((0.5, 4.0), 200, "look", "ada"),
                call(LAST, 401, "look", "ada"),
            ],
            id="read-before-sign-out",
        ),
        pytest.param(
            [
                call(FIRST, 200, "switch", "staff", "ada", active=False),
                call((0.5, 4.0), 200, "look", "ada"),
                call((0.5, 4.0), 400, "accept", "ada", "i"),
                call(LAST, 401, "look", "ada"),
            ],
            id="read-before-deactivation",
        ),
        pytest.param(
            [
                call(BOTH, 200, "delete_account", "staff", "olga"),
                call(BOTH, 409, "delete_account", "staff", "otto"),
            ],
            id="one-owner-remains",
        ),
    ],
)
def test_possible_history_is_accepted(model: Roll, calls: list[Call]) -> None:
    assert makes_sense(model, calls)


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [call(BOTH, 200, "accept", "ada", "i"), call(BOTH, 200, "accept", "bob", "i")],
            id="two-winners",
        ),
        pytest.param(
            [
                call(BOTH, 200, "decide", "olga", "r", good=True),
                call(BOTH, 200, "decide", "otto", "r", good=False),
            ],
            id="decided-twice",
        ),
        pytest.param(
            [call(BOTH, 200, "accept", "ada", "i"), call(BOTH, 200, "cancel", "olga", "i")],
            id="accepted-and-cancelled",
        ),
        pytest.param(
            [
                call(BOTH, 200, "give_role", "olga", "ada", "PROJECT.MEMBER", "pro", None),
                call(BOTH, 200, "give_role", "otto", "ada", "PROJECT.MEMBER", "pro", None),
            ],
            id="granted-twice",
        ),
        pytest.param(
            [
                call(BOTH, 200, "remove_role", "staff", name, *REMOVED_ROLE)
                for name in ("olga", "otto")
            ],
            id="no-owner",
        ),
        pytest.param(
            [call(FIRST, 200, "log_out", "ada"), call(THEN, 200, "look", "ada")],
            id="read-with-an-ended-token",
        ),
        pytest.param(
            [call(FIRST, 200, "end_token", "staff", "ada"), call(THEN, 200, "accept", "ada", "i")],
            id="action-with-an-ended-token",
        ),
        pytest.param(
            [call(FIRST, 200, "cancel", "olga", "i"), call(THEN, 200, "accept", "ada", "i")],
            id="accepted-after-cancellation",
        ),
        pytest.param(
            [call(FIRST, 200, "remove", "olga", "pro"), call(THEN, 200, "accept", "ada", "i")],
            id="accepted-after-deletion",
        ),
        pytest.param(
            [
                call(FIRST, 200, "switch", "staff", "ada", active=False),
                call(THEN, 200, "give_role", "olga", "ada", "PROJECT.MEMBER", "pro", None),
            ],
            id="role-for-a-deactivated-account",
        ),
        pytest.param(
            [call(BOTH, 200, "delete_account", "staff", name) for name in ("olga", "otto")],
            id="both-owners-deleted",
        ),
        pytest.param(
            [call(BOTH, 200, "delete_account", "staff", "ada") for _ in range(2)],
            id="deleted-twice",
        ),
        pytest.param([call(BOTH, 500, "look", "ada")], id="internal-error"),
    ],
)
def test_impossible_history_is_rejected(model: Roll, calls: list[Call]) -> None:
    assert not makes_sense(model, calls)


def test_lost_update_is_found(model: Roll) -> None:
    calls = [call(BOTH, 200, "accept", "ada", "i")]
    held = ("ada", "PROJECT.MEMBER", "pro")
    assert makes_sense(model, calls, lambda end: held in end.grants)
    assert not makes_sense(model, calls, lambda end: held not in end.grants)


def test_call_without_effect_may_have_come_later(model: Roll) -> None:
    role = ("ada", "PROJECT.MEMBER", "pro")
    calls = [
        call(BOTH, 200, "remove_role", "otto", *role),
        call(BOTH, 200, "give_role", "olga", *role, None),
    ]
    assert makes_sense(model, calls, lambda end: role in end.grants)
    assert makes_sense(model, calls, lambda end: role not in end.grants)


def test_grant_in_a_deleted_scope_is_found(model: Roll) -> None:
    calls = [call(BOTH, 200, "accept", "ada", "i"), call(BOTH, 200, "remove", "olga", "pro")]
    held = ("ada", "PROJECT.MEMBER", "pro")
    assert makes_sense(model, calls, lambda end: held not in end.grants)
    assert not makes_sense(model, calls, lambda end: held in end.grants)


def test_mail_without_a_reason_is_found(model: Roll) -> None:
    calls = [call(BOTH, 200, "accept", "ada", "i")]
    assert not makes_sense(model, calls, lambda end: end.mails["invitation_accepted", "olga"] == 2)


def test_search_ends_after_the_maximum_of_steps(model: Roll) -> None:
    calls = [call(BOTH, 200, "send", "olga", "i") for _ in range(12)]
    with pytest.raises(UndecidedError):
        makes_sense(model, calls, lambda _: False, max_steps=5)
