"""The judge of races lets nothing pass that must not be: histories that were made up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proof.history import Call, Undecided, makes_sense
from tests.proof.model import Roll


@pytest.fixture
def model() -> Roll:
    """Olga owns a laboratory with one project; Ada is invited to it, and asks to be let in."""
    model = Roll()
    for name in ("olga", "otto", "ada", "bob", "staff"):
        model.people[name] = {"staff": name == "staff", "support": False, "active": True}
        model.tokens[name], model.latest[name] = 0, f"{name} 1"
    model.scopes["lab"] = {"kind": "organisation", "parent": None, "starts": None, "blocked": False}
    model.scopes["pro"] = {"kind": "project", "parent": "lab", "starts": None, "blocked": False}
    model.grants = {(one, "CUSTOMER.OWNER", "lab"): None for one in ("olga", "otto")}
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
UNSEAT = ("CUSTOMER.OWNER", "lab")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [call(BOTH, 200, "accept", "ada", "i"), call(BOTH, 404, "accept", "bob", "i")],
            id="one-wins",
        ),
        pytest.param(
            [call(BOTH, 404, "accept", "ada", "i"), call(BOTH, 200, "cancel", "olga", "i")],
            id="called-back-in-time",
        ),
        pytest.param(
            [
                call(FIRST, 200, "cancel", "olga", "i"),
                call(BOTH, 200, "accept", "ada", "i"),
                call(THEN, 200, "send", "olga", "i"),
            ],
            id="accepted-after-it-was-revived",
        ),
        pytest.param(
            [
                call(FIRST, 200, "log_out", "ada"),
                call((0.5, 4.0), 200, "look", "ada"),
                call(LAST, 401, "look", "ada"),
            ],
            id="looked-before-the-end",
        ),
        pytest.param(
            [
                call(FIRST, 200, "switch", "staff", "ada", active=False),
                call((0.5, 4.0), 200, "look", "ada"),
                call((0.5, 4.0), 400, "accept", "ada", "i"),
                call(LAST, 401, "look", "ada"),
            ],
            id="looked-before-the-account-was-off",
        ),
        pytest.param(
            [
                call(BOTH, 200, "bury", "staff", "olga"),
                call(BOTH, 409, "bury", "staff", "otto"),
            ],
            id="one-owner-stays",
        ),
    ],
)
def test_what_can_have_happened_makes_sense(model: Roll, calls: list[Call]) -> None:
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
            id="taken-and-called-back",
        ),
        pytest.param(
            [
                call(BOTH, 200, "seat", "olga", "ada", "PROJECT.MEMBER", "pro", None),
                call(BOTH, 200, "seat", "otto", "ada", "PROJECT.MEMBER", "pro", None),
            ],
            id="granted-twice",
        ),
        pytest.param(
            [call(BOTH, 200, "unseat", "staff", one, *UNSEAT) for one in ("olga", "otto")],
            id="nobody-owns-it",
        ),
        pytest.param(
            [call(FIRST, 200, "log_out", "ada"), call(THEN, 200, "look", "ada")],
            id="token-after-its-end",
        ),
        pytest.param(
            [
                call(FIRST, 200, "end_token", "staff", "ada"),
                call(THEN, 200, "accept", "ada", "i"),
            ],
            id="action-with-an-ended-token",
        ),
        pytest.param(
            [call(FIRST, 200, "cancel", "olga", "i"), call(THEN, 200, "accept", "ada", "i")],
            id="accepted-too-late",
        ),
        pytest.param(
            [call(FIRST, 200, "remove", "olga", "pro"), call(THEN, 200, "accept", "ada", "i")],
            id="accepted-where-nothing-is",
        ),
        pytest.param(
            [
                call(FIRST, 200, "switch", "staff", "ada", active=False),
                call(THEN, 200, "seat", "olga", "ada", "PROJECT.MEMBER", "pro", None),
            ],
            id="given-a-role-while-switched-off",
        ),
        pytest.param(
            [call(BOTH, 200, "bury", "staff", one) for one in ("olga", "otto")],
            id="nobody-is-left-to-own-it",
        ),
        pytest.param(
            [call(BOTH, 200, "bury", "staff", "ada") for _ in range(2)],
            id="deleted-twice",
        ),
        pytest.param([call(BOTH, 500, "look", "ada")], id="fault-of-the-service"),
    ],
)
def test_what_cannot_have_happened_is_told(model: Roll, calls: list[Call]) -> None:
    assert not makes_sense(model, calls)


def test_an_update_that_is_lost_from_the_rows_is_told(model: Roll) -> None:
    calls = [call(BOTH, 200, "accept", "ada", "i")]
    held = ("ada", "PROJECT.MEMBER", "pro")
    assert makes_sense(model, calls, lambda end: held in end.grants)
    assert not makes_sense(model, calls, lambda end: held not in end.grants)


def test_what_changes_nothing_now_may_have_come_later(model: Roll) -> None:
    role = ("ada", "PROJECT.MEMBER", "pro")
    calls = [
        call(BOTH, 200, "unseat", "otto", *role),
        call(BOTH, 200, "seat", "olga", *role, None),
    ]
    assert makes_sense(model, calls, lambda end: role in end.grants)
    assert makes_sense(model, calls, lambda end: role not in end.grants)


def test_a_place_that_outlives_its_scope_is_told(model: Roll) -> None:
    calls = [call(BOTH, 200, "accept", "ada", "i"), call(BOTH, 200, "remove", "olga", "pro")]
    held = ("ada", "PROJECT.MEMBER", "pro")
    assert makes_sense(model, calls, lambda end: held not in end.grants)
    assert not makes_sense(model, calls, lambda end: held in end.grants)


def test_a_mail_that_is_owed_to_nobody_is_told(model: Roll) -> None:
    calls = [call(BOTH, 200, "accept", "ada", "i")]
    assert not makes_sense(model, calls, lambda end: end.mails["invitation_accepted", "olga"] == 2)


def test_a_search_without_end_is_given_up(model: Roll) -> None:
    calls = [call(BOTH, 200, "send", "olga", "i") for _ in range(12)]
    with pytest.raises(Undecided):
        makes_sense(model, calls, lambda _: False, patience=5)
