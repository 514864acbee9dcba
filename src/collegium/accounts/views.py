"""Record who looks at an account, and tell it the owner."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from zlib import crc32

from sqlalchemy import Integer, String, and_, bindparam, delete, func, literal_column, or_, select

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import BigInt, accounts
from collegium.db.tables import events as events_table
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.security.rate_limits import queries as rate_limit_queries

STAFF: Final = "staff"
SUPPORT: Final = "support"
COLLEAGUE: Final = "colleague"
"""Somebody who shares a scope with the account."""


class ViewRow:
    """Somebody has looked at an account; the names are those of now, None for deleted accounts."""

    uuid: str
    created_at: datetime
    payload: dict[str, Any]
    ip_address: str
    viewer_uuid: str | None
    viewer_username: str | None
    first_name: str | None
    last_name: str | None


def record(tx: WriteTransaction, actor: Actor, account: int, fields: Collection[str]) -> None:
    """Record that somebody looks at an account, once an hour for the same fields.

    Args:
        account: id of the account of another person.
        fields: names of the fields that are shown.
    """
    shown = sorted(fields)
    hour, mark = f"{tx.now:%Y-%m-%dT%H}", crc32(" ".join(shown).encode())
    if rate_limit_queries.is_first(tx, f"view {actor.id} {account} {hour} {mark}"):
        kind = STAFF if actor.is_staff else SUPPORT if actor.is_support else COLLEAGUE
        event_queries.record(
            tx, actor, events.AccountViewed(account=account, viewer=kind, fields=shown)
        )


_views = and_(
    events_table.c.account_id == bindparam("account", type_=BigInt),
    events_table.c.kind == literal_column(f"'{events.AccountViewed.kind}'"),
    events_table.c.created_at >= bindparam("since", type_=UtcDateTime),
    events_table.c.created_at <= bindparam("until", type_=UtcDateTime),
    or_(
        bindparam("viewer", type_=String()) == "",
        events_table.c.payload["viewer"].as_string() == bindparam("viewer", type_=String()),
    ),
)
_COUNT = Statement[int](select(func.count().label("count")).select_from(events_table).where(_views))
_NEWEST = Statement[ViewRow](
    Relations(
        events_table,
        viewer=Relation(
            accounts,
            on=and_(accounts.c.id == events_table.c.actor_id, accounts.c.deleted_at.is_(None)),
            is_outer=True,
            unprefixed=("first_name", "last_name"),
        ),
    )
    .select(ViewRow)
    .where(_views)
    .order_by(events_table.c.created_at.desc(), events_table.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
    .offset(bindparam("skip", type_=Integer))
)
_old = (
    select(events_table.c.id)
    .where(
        events_table.c.kind == literal_column(f"'{events.AccountViewed.kind}'"),
        events_table.c.created_at < bindparam("before", type_=UtcDateTime),
    )
    .order_by(events_table.c.created_at, events_table.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_DELETE_OLD = Statement(delete(events_table).where(events_table.c.id.in_(_old)))
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class Views(NamedTuple):
    """Which views of an account are asked for.

    Args:
        account: id of the account.
        since: earlier ones do not count, UTC.
        until: later ones do not count, UTC.
        viewer: ``STAFF``, ``SUPPORT`` or ``COLLEAGUE``; empty for all.
    """

    account: int
    since: datetime = _FIRST
    until: datetime = _LAST
    viewer: str = ""


def count(tx: ReadTransaction, views: Views) -> int:
    """Return how many views of an account were recorded."""
    return tx.fetch_only(_COUNT, **views._asdict())


def newest(tx: ReadTransaction, views: Views, size: int, skip: int) -> list[ViewRow]:
    """Return recorded views of an account, the newest first.

    Args:
        size: number of views.
        skip: number of newer views to leave out.
    """
    return tx.fetch_all(_NEWEST, **views._asdict(), limit=size, skip=skip)


def purge(tx: WriteTransaction, before: datetime, limit: int) -> int:
    """Delete old records of views; return their number.

    Args:
        before: only those from before this time, UTC.
        limit: maximum number.
    """
    return tx.execute(_DELETE_OLD, before=before, limit=limit)
