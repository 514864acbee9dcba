"""How many people had a role in a scope, day by day."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, exists, func, or_, select, union_all

from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import accounts, grants, scopes
from collegium.lists.sql_hints import in_subquery, no_index

DAYS_MAX: Final = 366
"""Maximum number of days of one question."""

_FIRST: Final = bindparam("first", type_=UtcDateTime)
_LAST: Final = bindparam("last", type_=UtcDateTime)
# Without statistics SQLite would start with all active accounts.
_IS_ACTIVE: Final = no_index(accounts.c.is_active)
_scope = scopes.alias("scope")
_steady_grant = grants.alias("steady_grant")


class _Period:
    """The time of one grant of an account."""

    account_id: int
    valid_from: datetime
    valid_until: datetime | None
    ended_at: datetime | None


def _in_scope(table: Any) -> ColumnElement[bool]:
    """Return the condition that a grant is one in a scope, or in a project of it."""
    ids = select(_scope.c.id).where(
        or_(_scope.c.id == bindparam("scope"), _scope.c.parent_id == bindparam("scope"))
    )
    return in_subquery(table.c.scope_id, ids)


def _is_steady(table: Any) -> ColumnElement[bool]:
    """Return the condition that a grant was valid on every day."""
    return and_(
        table.c.ended_at.is_(None),
        table.c.valid_from <= _FIRST,
        or_(table.c.valid_until.is_(None), table.c.valid_until > _LAST),
    )


# Most grants do not change in some weeks, so they are counted and not read.
_COUNT_STEADY = Statement[int](
    select(func.count(grants.c.account_id.distinct()).label("people"))
    .join(accounts, accounts.c.id == grants.c.account_id)
    .where(_in_scope(grants), _is_steady(grants), _IS_ACTIVE)
)


def _changed(*conditions: ColumnElement[bool]) -> Any:
    columns = (grants.c.account_id, grants.c.valid_from, grants.c.valid_until, grants.c.ended_at)
    is_counted = exists().where(
        _steady_grant.c.account_id == grants.c.account_id,
        _in_scope(_steady_grant),
        _is_steady(_steady_grant),
    )
    return (
        select(*columns)
        .join(accounts, accounts.c.id == grants.c.account_id)
        .where(_in_scope(grants), _IS_ACTIVE, ~is_counted, *conditions)
    )


_CHANGED = Statement[_Period](
    union_all(
        _changed(
            grants.c.ended_at.is_(None),
            or_(grants.c.valid_from > _FIRST, grants.c.valid_until <= _LAST),
            or_(grants.c.valid_until.is_(None), grants.c.valid_until > _FIRST),
        ),
        _changed(grants.c.ended_at > _FIRST),
    )
)


def people_per_day(tx: ReadTransaction, scope_id: int, days: Sequence[date]) -> list[int]:
    """Return how many people had a role in a scope, or in one of its projects, on each day.

    A day counts as it was at its end, today as it is now. Accounts that are deactivated now are not
    counted on any day, as they are not among the members.

    Args:
        days: consecutive dates in UTC, at most ``DAYS_MAX``.
    """
    today = tx.now.astimezone(UTC).date()
    moments = [
        datetime.combine(day + timedelta(days=1), time(), UTC) if day < today else tx.now
        for day in days
    ]
    given = {"scope": scope_id, "first": moments[0], "last": moments[-1]}
    spans: dict[int, list[tuple[int, int]]] = {}
    for row in tx.fetch_all(_CHANGED, **given):
        ends = [end for end in (row.valid_until, row.ended_at) if end is not None]
        span = (
            bisect_left(moments, row.valid_from),
            bisect_left(moments, min(ends)) if ends else len(moments),
        )
        spans.setdefault(row.account_id, []).append(span)
    changes = [tx.fetch_only(_COUNT_STEADY, **given), *([0] * len(moments))]
    for spans_of_account in spans.values():
        counted = 0
        # Somebody with several roles at a time counts once.
        for start, end in sorted(spans_of_account):
            if end > max(start, counted):
                changes[max(start, counted)] += 1
                changes[end] -= 1
                counted = end
    return list(accumulate(changes))[:-1]
