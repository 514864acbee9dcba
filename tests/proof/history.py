"""Judges what many callers were told at once: whether there is an order in which it makes sense.

That is one in which every call comes after those that were over before it began, the model
gives each the answer that it got, and the rows at the end are what the model ends with. From that
follows whatever is promised of a race: one winner for each decision, no grant twice, no update
lost, no scope without an owner, no token that works after its end was told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.proof.doors import status
from tests.proof.model import Roll


class Call(NamedTuple):
    """One call, as its caller has seen it.

    Args:
        shown: the token that was shown; None for logging in.
        answer: the status, every good one as 200.
        group: whether it went over the wire of the groups.
    """

    start: float
    end: float
    action: str
    given: tuple[Any, ...]
    more: dict[str, Any]
    shown: str | None
    answer: str
    group: bool = False


_ENDS = {"log_out", "end_token", "bury", "switch"}
"""Deeds after which the token of whom they name last is not to work."""
_REFUSALS = {"400", "403", "404", "409"}


class Undecided(Exception):  # noqa: N818 - says what is the case
    """The search was given up; nothing is known."""


def makes_sense(
    model: Roll,
    calls: Sequence[Call],
    is_end: Callable[[Roll], bool] = lambda _: True,
    *,
    strict: bool = True,
    patience: int = 100_000,
) -> bool:
    """Tell whether there is such an order.

    Args:
        model: as it was before the first call.
        is_end: whether a model is what the rows say in the end.
        strict: a refusal must be the one that the model gives. Without a lock, the statements of
            an action may see different moments: somebody who could see a thing when it was looked
            up, and lost the right before it was judged, is told 403 and not 404.
        patience: steps after which the search is given up.

    Raises Undecided when it was.
    """
    calls = sorted(calls, key=lambda call: call.start)
    stack: list[tuple[frozenset[int], Roll]] = [(frozenset(range(len(calls))), model)]
    met: set[tuple[frozenset[int], int]] = set()
    while stack:
        left, before = stack.pop()
        left = _without_idle(left, before, calls, strict=strict)
        if not left:
            if is_end(before):
                return True
            continue
        print_ = hash(fingerprint(before))
        if (left, print_) in met:
            continue
        met.add((left, print_))
        patience -= 1
        if patience < 0:
            raise Undecided
        for at in _next(left, calls):
            after = before.copy()
            if _possible(after, calls[at], strict=strict):
                stack.append((left - {at}, after))
    return False


def _without_idle(
    left: frozenset[int], model: Roll, calls: Sequence[Call], *, strict: bool
) -> frozenset[int]:
    """Take away the refusals that could come next: they change nothing wherever they stand.

    No order is lost by taking them first. With what succeeded it would be: taking a role away that
    is not held changes nothing now, and does when it comes later.
    """
    while True:
        for at in _next(left, calls):
            refused = calls[at].answer != "200" or calls[at].action == "look"
            if refused and _possible(model.copy(), calls[at], strict=strict):
                left -= {at}
                break
        else:
            return left


def _next(left: frozenset[int], calls: Sequence[Call]) -> list[int]:
    first_end = min((calls[at].end for at in left), default=0.0)
    return [at for at in sorted(left) if calls[at].start <= first_end]


def _possible(model: Roll, context: Call, *, strict: bool) -> bool:
    try:
        return _replayed(model, context, strict=strict)
    except KeyError:
        return False  # in this order it speaks of what is not made yet


def _replayed(model: Roll, context: Call, *, strict: bool) -> bool:
    """Do a call in the model; tell whether it answers what was answered."""
    if context.answer == "503":
        return True  # it was told to come back, and nothing was done
    ends = context.given[-1] if context.action in _ENDS and not context.more.get("active") else None
    ended = model.latest.get(ends) if ends else None
    if context.shown is None:
        code = model.answer(context.action, *context.given, **context.more)
    else:
        code = model.by_token(context.action, *context.given, shown=context.shown, **context.more)
        # Who asks is found out before the action's transaction: what began before the end of its
        # token was told may be finished after it, and nothing else may.
        if code in {"token.unknown", "token.inactive"} and context.start < model.ended.get(
            context.shown, context.start
        ):
            if context.answer == "401":
                return True
            code = model.answer(context.action, *context.given, **context.more)
    if ended is not None and code == "ok":
        model.ended[ended] = context.end
    wanted = str(status(context.action, code, group=context.group))
    return wanted == context.answer or (not strict and {wanted, context.answer} <= _REFUSALS)


def fingerprint(model: Roll) -> tuple[Any, ...]:
    """Give what tells two models apart, times aside."""
    tables = (model.invitations, model.links, model.requests, model.people, model.scopes)
    return (
        *(tuple((key, tuple(row.items())) for key, row in sorted(one.items())) for one in tables),
        tuple(sorted(model.grants.items())),
        tuple(sorted(model.mails.items())),
        tuple(sorted(model.latest.items(), key=str)),
        tuple(sorted(model.tokens)),
    )
