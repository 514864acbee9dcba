"""Count failures in the database, so that all workers share the counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Integer, bindparam, case, delete, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import rate_limits
from collegium.security.rate_limits.rules import RateLimit, backoff

_BLOCKED = Statement[tuple[str, datetime]](
    select(rate_limits.c.subject, rate_limits.c.blocked_until).where(
        any_of(rate_limits.c.subject, "subjects"),
        rate_limits.c.blocked_until > bindparam("now", type_=UtcDateTime),
    )
)


def _increment(insert: Callable[..., Any]) -> Statement[int]:
    row = insert(rate_limits).values(
        subject=bindparam("subject"),
        count=bindparam("failures", type_=Integer),
        last_attempt_at=bindparam("attempted_at", type_=UtcDateTime),
        # Not the time of the attempt: a request that began earlier and reads this row would wait.
        blocked_until=bindparam("window_start", type_=UtcDateTime),
    )
    # Counted in one statement, so that no concurrent failure is lost.
    return Statement[int](
        row.on_conflict_do_update(
            index_elements=[rate_limits.c.subject],
            set_={
                "count": case(
                    (
                        rate_limits.c.last_attempt_at
                        <= bindparam("window_start", type_=UtcDateTime),
                        bindparam("failures", type_=Integer),
                    ),
                    else_=rate_limits.c.count + bindparam("failures", type_=Integer),
                ),
                "last_attempt_at": row.excluded.last_attempt_at,
            },
        ).returning(rate_limits.c.count)
    )


_INCREMENT = {"sqlite": _increment(_insert_sqlite), "postgresql": _increment(_insert_postgresql)}
_BLOCK = Statement(
    rate_limits.update()
    .where(rate_limits.c.subject == bindparam("blocked_subject"))
    .values(blocked_until=bindparam("end", type_=UtcDateTime))
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DELETE = Statement(delete(rate_limits).where(any_of(rate_limits.c.subject, "subjects")))
_DELETE_OLD = Statement(
    delete(rate_limits).where(
        rate_limits.c.last_attempt_at < bindparam("before", type_=UtcDateTime)
    )
)


_LATEST_SUBJECTS = Statement[tuple[str, datetime]](
    select(rate_limits.c.subject, rate_limits.c.last_attempt_at)
    .where(rate_limits.c.subject.startswith(bindparam("prefix"), autoescape=False))
    .order_by(rate_limits.c.last_attempt_at.desc())
    .limit(20)
)


def latest_subjects(tx: ReadTransaction, prefix: str) -> dict[str, datetime]:
    """Return the subjects counted last under a prefix, without the prefix, with the time.

    Twenty at most.
    """
    rows = tx.fetch_all(_LATEST_SUBJECTS, prefix=prefix)
    return {subject.removeprefix(prefix): last_attempt_at for subject, last_attempt_at in rows}


def blocked_until(tx: ReadTransaction, subjects: Iterable[str]) -> dict[str, datetime]:
    """Return the subjects that must still wait, with the end of the delay."""
    return dict(tx.fetch_all(_BLOCKED, subjects=list(subjects), now=tx.now))


def record_failure(
    tx: WriteTransaction, subject: str, limit: RateLimit, failures: int = 1
) -> timedelta:
    """Count failures of a subject. Return the delay that follows, possibly zero."""
    count = tx.fetch_only(
        _INCREMENT[tx.backend],
        subject=subject,
        attempted_at=tx.now,
        window_start=tx.now - limit.window,
        failures=failures,
    )
    delay = backoff(limit, count)
    if delay:
        tx.execute(_BLOCK, blocked_subject=subject, end=tx.now + delay)
    return delay


def is_first(tx: WriteTransaction, subject: str) -> bool:
    """Count a subject. Return whether it was not counted before.

    Of several concurrent calls exactly one returns True. ``purge`` deletes the count after a day.
    """
    parameters = {"subject": subject, "attempted_at": tx.now, "window_start": _EPOCH, "failures": 1}
    return tx.fetch_only(_INCREMENT[tx.backend], **parameters) == 1


def reset(tx: WriteTransaction, subjects: Iterable[str]) -> None:
    """Delete the failures of subjects, after a success."""
    tx.execute(_DELETE, subjects=list(subjects))


def purge(tx: WriteTransaction) -> None:
    """Delete counts that are more than a day old. The worker calls this regularly."""
    tx.execute(_DELETE_OLD, before=tx.now - timedelta(days=1))
