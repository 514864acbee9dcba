"""Counting what failed, for all workers together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Integer, bindparam, case, delete, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.statements import Prepared, Time, any_of
from collegium.db.tables import tries
from collegium.security.rate_limits.rules import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from collegium.db.database import Read, Write
    from collegium.security.rate_limits.rules import Limit

_BLOCKED = Prepared(
    select(tries.c.subject, tries.c.until).where(
        any_of(tries.c.subject, "subjects"), tries.c.until > bindparam("now", type_=Time)
    )
)


def _count(insert: Callable[..., Any]) -> Prepared:
    row = insert(tries).values(
        subject=bindparam("subject"),
        count=bindparam("many", type_=Integer),
        last=bindparam("moment", type_=Time),
        until=bindparam("moment", type_=Time),
    )
    # Counted by the database in one statement: two failures at one moment are two.
    return Prepared(
        row.on_conflict_do_update(
            index_elements=[tries.c.subject],
            set_={
                "count": case(
                    (
                        tries.c.last <= bindparam("forgotten", type_=Time),
                        bindparam("many", type_=Integer),
                    ),
                    else_=tries.c.count + bindparam("many", type_=Integer),
                ),
                "last": row.excluded.last,
            },
        ).returning(tries.c.count)
    )


_COUNT = {"sqlite": _count(_insert_sqlite), "postgresql": _count(_insert_postgresql)}
_SET = Prepared(
    tries.update()
    .where(tries.c.subject == bindparam("what"))
    .values(until=bindparam("end", type_=Time))
)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_FORGET = Prepared(delete(tries).where(any_of(tries.c.subject, "subjects")))
_SWEEP = Prepared(delete(tries).where(tries.c.last < bindparam("before", type_=Time)))


_NOTED = Prepared(
    select(tries.c.subject, tries.c.last)
    .where(tries.c.subject.startswith(bindparam("prefix"), autoescape=False))
    .order_by(tries.c.last.desc())
    .limit(20)
)


def noted(tx: Read, prefix: str) -> dict[str, datetime]:
    """Return what was counted last under a prefix, without it, and when; twenty at most."""
    rows = tx.all(_NOTED, prefix=prefix)
    return {row.subject.removeprefix(prefix): row.last for row in rows}


def blocked(tx: Read, subjects: Iterable[str]) -> dict[str, datetime]:
    """Give the subjects that have to wait, each with the end of it."""
    rows = tx.all(_BLOCKED, subjects=list(subjects), now=tx.now)
    return {row.subject: row.until for row in rows}


def failed(tx: Write, subject: str, limit: Limit, many: int = 1) -> timedelta:
    """Count so many failures and give the delay that follows."""
    count = int(
        tx.value(
            _COUNT[tx.dialect_name],
            subject=subject,
            moment=tx.now,
            forgotten=tx.now - limit.forgotten,
            many=many,
        )
    )
    delay = wait(limit, count)
    if delay:
        tx.run(_SET, what=subject, end=tx.now + delay)
    return delay


def is_first(tx: Write, subject: str) -> bool:
    """Count a subject, and return whether it had not been counted before.

    Of many at one moment one is the first. It is forgotten by ``sweep``.
    """
    told = {"subject": subject, "moment": tx.now, "forgotten": _NEVER, "many": 1}
    return int(tx.value(_COUNT[tx.dialect_name], **told)) == 1


def forget(tx: Write, subjects: Iterable[str]) -> None:
    """Forget the failures of subjects that have succeeded."""
    tx.run(_FORGET, subjects=list(subjects))


def sweep(tx: Write) -> None:
    """Forget what nobody counts any more; for the worker, now and then."""
    tx.run(_SWEEP, before=tx.now - timedelta(days=1))
