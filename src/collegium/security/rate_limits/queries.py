"""Counting what failed, for all workers together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Integer, bindparam, case, delete, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import tries
from collegium.security.rate_limits.rules import backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.security.rate_limits.rules import RateLimit

_BLOCKED = Statement(
    select(tries.c.subject, tries.c.until).where(
        any_of(tries.c.subject, "subjects"), tries.c.until > bindparam("now", type_=UtcDateTime)
    )
)


def _count(insert: Callable[..., Any]) -> Statement:
    row = insert(tries).values(
        subject=bindparam("subject"),
        count=bindparam("many", type_=Integer),
        last=bindparam("moment", type_=UtcDateTime),
        until=bindparam("moment", type_=UtcDateTime),
    )
    # Counted by the database in one statement: two failures at one moment are two.
    return Statement(
        row.on_conflict_do_update(
            index_elements=[tries.c.subject],
            set_={
                "count": case(
                    (
                        tries.c.last <= bindparam("forgotten", type_=UtcDateTime),
                        bindparam("many", type_=Integer),
                    ),
                    else_=tries.c.count + bindparam("many", type_=Integer),
                ),
                "last": row.excluded.last,
            },
        ).returning(tries.c.count)
    )


_COUNT = {"sqlite": _count(_insert_sqlite), "postgresql": _count(_insert_postgresql)}
_SET = Statement(
    tries.update()
    .where(tries.c.subject == bindparam("what"))
    .values(until=bindparam("end", type_=UtcDateTime))
)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_RESET = Statement(delete(tries).where(any_of(tries.c.subject, "subjects")))
_PURGE = Statement(delete(tries).where(tries.c.last < bindparam("before", type_=UtcDateTime)))


_LATEST = Statement(
    select(tries.c.subject, tries.c.last)
    .where(tries.c.subject.startswith(bindparam("prefix"), autoescape=False))
    .order_by(tries.c.last.desc())
    .limit(20)
)


def latest_subjects(tx: ReadTransaction, prefix: str) -> dict[str, datetime]:
    """Return what was counted last under a prefix, without it, and when; twenty at most."""
    rows = tx.fetch_all(_LATEST, prefix=prefix)
    return {row.subject.removeprefix(prefix): row.last for row in rows}


def blocked_until(tx: ReadTransaction, subjects: Iterable[str]) -> dict[str, datetime]:
    """Give the subjects that have to wait, each with the end of it."""
    rows = tx.fetch_all(_BLOCKED, subjects=list(subjects), now=tx.now)
    return {row.subject: row.until for row in rows}


def record_failure(
    tx: WriteTransaction, subject: str, limit: RateLimit, many: int = 1
) -> timedelta:
    """Count so many failures and give the delay that follows."""
    count = int(
        tx.scalar(
            _COUNT[tx.backend],
            subject=subject,
            moment=tx.now,
            forgotten=tx.now - limit.window,
            many=many,
        )
    )
    delay = backoff(limit, count)
    if delay:
        tx.execute(_SET, what=subject, end=tx.now + delay)
    return delay


def is_first(tx: WriteTransaction, subject: str) -> bool:
    """Count a subject, and return whether it had not been counted before.

    Of many at one moment one is the first. It is forgotten by ``sweep``.
    """
    told = {"subject": subject, "moment": tx.now, "forgotten": _NEVER, "many": 1}
    return int(tx.scalar(_COUNT[tx.backend], **told)) == 1


def reset(tx: WriteTransaction, subjects: Iterable[str]) -> None:
    """Forget the failures of subjects that have succeeded."""
    tx.execute(_RESET, subjects=list(subjects))


def purge(tx: WriteTransaction) -> None:
    """Forget what nobody counts any more; for the worker, now and then."""
    tx.execute(_PURGE, before=tx.now - timedelta(days=1))
