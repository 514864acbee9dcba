"""Which web hook is called next.

Hooks take turns, so that slow endpoints of one person do not delay the calls of others: a hook has
one call in flight, an account a few, and each call moves all hooks of its account to the end of the
queue. ``hooks.next_attempt_at`` is the place in the queue, or the end of the pause after a failure.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import and_, bindparam, exists, func, or_, select, update

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import IS_WEB_HOOK, BigInt, hooks
from collegium.hooks import queries as hook_queries
from collegium.outbox import queries as outbox_queries
from collegium.outbox.queries import ClaimedMail

CALLS_PER_ACCOUNT: Final = 2
"""Maximum number of calls of an account at the same time."""

_EMPTY_MAX: Final = 100
"""Maximum number of hooks that are found to have nothing to do in one transaction."""

_MIN_PAUSE: Final = timedelta(seconds=1)
"""For a hook whose due entry is just changed by somebody else."""


class _DueHook:
    id: int
    account_id: int


_NOW = bindparam("now", type_=UtcDateTime)
_UNTIL = bindparam("until", type_=UtcDateTime)
_HOOK = hooks.c.id == bindparam("hook", type_=BigInt)
_busy = hooks.alias("busy")
_is_free = or_(hooks.c.locked_until.is_(None), hooks.c.locked_until <= _NOW)
_is_due = and_(IS_WEB_HOOK, hooks.c.next_attempt_at <= _NOW, _is_free)
_calls_of_account = (
    select(func.count())
    .select_from(_busy)
    .where(_busy.c.account_id == hooks.c.account_id, _busy.c.locked_until > _NOW)
    .scalar_subquery()
)
_IS_ANY_DUE = Statement[bool](select(exists(select(hooks.c.id).where(_is_due)).label("exists")))
_NEXT_HOOK = Statement[_DueHook](
    select(hooks.c.id, hooks.c.account_id)
    .where(_is_due, _calls_of_account < CALLS_PER_ACCOUNT)
    .order_by(hooks.c.next_attempt_at, hooks.c.id)
    .limit(1)
    .with_for_update(key_share=True, skip_locked=True)
)
_WAIT = Statement(update(hooks).where(_HOOK).values(next_attempt_at=_UNTIL))
_LEASE = Statement(update(hooks).where(_HOOK).values(locked_until=_UNTIL))
# It waits for nobody, so two workers cannot wait for each other.
_TO_THE_END = Statement(
    update(hooks)
    .where(
        hooks.c.id.in_(
            select(hooks.c.id)
            .where(
                hooks.c.account_id == bindparam("account", type_=BigInt),
                IS_WEB_HOOK,
                hooks.c.next_attempt_at < _NOW,
            )
            .with_for_update(key_share=True, skip_locked=True)
        )
    )
    .values(next_attempt_at=_NOW)
)


def is_any_due(tx: ReadTransaction) -> bool:
    """Return whether a web hook is due that is not called at this moment."""
    return tx.fetch_only(_IS_ANY_DUE, now=tx.now)


def claim(tx: WriteTransaction, lease_seconds: int) -> ClaimedMail | None:
    """Claim the next call of a web hook; None if none can be made now.

    Args:
        lease_seconds: after this time the worker that claimed it is given up.
    """
    # One claim at a time. Otherwise two could see the same number of calls of an account.
    hook_queries.lock_mark(tx)
    until = tx.now + timedelta(seconds=lease_seconds)
    for _ in range(_EMPTY_MAX):
        hook = tx.fetch_one(_NEXT_HOOK, now=tx.now)
        if hook is None:
            return None
        call = outbox_queries.claim_call(tx, hook.id, until)
        if call is not None:
            tx.execute(_LEASE, hook=hook.id, until=until)
            tx.execute(_TO_THE_END, account=hook.account_id, now=tx.now)
            return call
        next_at = outbox_queries.next_call(tx, hook.id)
        if next_at is not None:
            next_at = max(next_at, tx.now + _MIN_PAUSE)
        tx.execute(_WAIT, hook=hook.id, until=next_at)
    return None
