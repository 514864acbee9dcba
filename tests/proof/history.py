"""Find an order of concurrent calls that explains their responses (linearizability).

In such an order every call comes after those that ended before it started, the model gives the
responses that the callers got, and the rows at the end are those of the model. This implies one
winner per decision, no grant twice, no lost update, no scope without an owner, and no token that
works after its end was confirmed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.proof.doors import status
from tests.proof.model import Roll


class Call(NamedTuple):
    """One call as its caller saw it.

    Args:
        shown: the token of the call; None for signing in.
        answer: the status; every success is 200.
        group: whether it used the API of groups.
    """

    start: float
    end: float
    action: str
    given: tuple[Any, ...]
    more: dict[str, Any]
    shown: str | None
    answer: str
    group: bool = False


_ENDS = {"log_out", "end_token", "delete_account", "switch"}
"""Actions that end the token of the account that they name last."""
_REFUSALS = {"400", "403", "404", "409"}


class UndecidedError(Exception):
    """The search took too long."""


def makes_sense(
    model: Roll,
    calls: Sequence[Call],
    is_end: Callable[[Roll], bool] = lambda _: True,
    *,
    strict: bool = True,
    max_steps: int = 100_000,
) -> bool:
    """Return whether there is such an order.

    Args:
        model: the model before the first call.
        is_end: whether a model equals the rows at the end.
        strict: whether a refusal must be the one of the model. Without a lock, the statements of an
            action may see different states: 403 instead of 404, if the right was lost in between.
        max_steps: maximum number of steps.

    Raises:
        UndecidedError: after the maximum number of steps.
    """
    calls = sorted(calls, key=lambda call: call.start)
    stack: list[tuple[frozenset[int], Roll]] = [(frozenset(range(len(calls))), model)]
    visited: set[tuple[frozenset[int], int]] = set()
    while stack:
        left, before = stack.pop()
        left = _without_idle(left, before, calls, strict=strict)
        if not left:
            if is_end(before):
                return True
            continue
        state = hash(fingerprint(before))
        if (left, state) in visited:
            continue
        visited.add((left, state))
        max_steps -= 1
        if max_steps < 0:
            raise UndecidedError
        for at in _next(left, calls):
            after = before.copy()
            if _is_possible(after, calls[at], strict=strict):
                stack.append((left - {at}, after))
    return False


def _without_idle(
    left: frozenset[int], model: Roll, calls: Sequence[Call], *, strict: bool
) -> frozenset[int]:
    """Remove the refusals that could come next.

    They change nothing, so taking them first loses no order. This is not true of a success:
    revoking a role that is not held changes nothing now, but may later.
    """
    while True:
        for at in _next(left, calls):
            refused = calls[at].answer != "200" or calls[at].action == "look"
            if refused and _is_possible(model.copy(), calls[at], strict=strict):
                left -= {at}
                break
        else:
            return left


def _next(left: frozenset[int], calls: Sequence[Call]) -> list[int]:
    first_end = min((calls[at].end for at in left), default=0.0)
    return [at for at in sorted(left) if calls[at].start <= first_end]


def _is_possible(model: Roll, context: Call, *, strict: bool) -> bool:
    try:
        return _replay(model, context, strict=strict)
    except KeyError:
        return False  # in this order it names an object that does not exist yet


def _replay(model: Roll, context: Call, *, strict: bool) -> bool:
    """Run a call in the model; return whether the response is the same."""
    if context.answer == "503":
        return True  # nothing was done
    ends = context.given[-1] if context.action in _ENDS and not context.more.get("active") else None
    ended = model.latest.get(ends) if ends else None
    if context.shown is None:
        code = model.answer(context.action, *context.given, **context.more)
    else:
        code = model.by_token(context.action, *context.given, shown=context.shown, **context.more)
        # The token is checked before the transaction of the action. A call that started before the
        # end of its token was confirmed may finish after it, and no other call may.
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
    """Return the state of a model as a comparable value, without times."""
    tables = (model.invitations, model.links, model.requests, model.people, model.scopes)
    return (
        *(tuple((key, tuple(row.items())) for key, row in sorted(rows.items())) for rows in tables),
        tuple(sorted(model.grants.items())),
        tuple(sorted(model.mails.items())),
        tuple(sorted(model.latest.items(), key=str)),
        tuple(sorted(model.tokens)),
    )
