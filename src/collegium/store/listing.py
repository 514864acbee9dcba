"""Lists: what may be seen, filtered, ordered and cut into pages, from statements built once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, bindparam, func, select

from collegium.store.db import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import ColumnElement, Select

    from collegium.rules.access import Actor
    from collegium.store.db import Read, Row


class Listing:
    """A list that every dialect asks in the same way.

    Args:
        rows: the select without conditions on what is seen.
        visible: the predicate for an actor who does not see all; binds ``actor``, ``now``
            and whatever else ``binds`` gives.
        key: the primary key, always the last in the order, so that pages cannot overlap.
        filters: name to predicate; the predicate binds parameters named after the filter.
        orders: name to the columns it sorts by.
        default: the order when none is asked: column names of ``orders``, ``-`` for descending.
        counted: the same rows without what is joined only to be shown, for counting.
    """

    def __init__(
        self,
        rows: Select[Any],
        *,
        visible: Callable[[], ColumnElement[bool]],
        key: ColumnElement[Any],
        orders: Mapping[str, tuple[ColumnElement[Any], ...]],
        default: str,
        filters: Mapping[str, ColumnElement[bool]] | None = None,
        counted: Select[Any] | None = None,
    ) -> None:
        self._rows = rows
        self._visible = visible
        self._key = key
        self._counted = counted
        self.orders = orders
        self.filters = filters or {}
        self._default = default
        # Names come from a request, but only known ones reach this far; the bound is for
        # their combinations.
        self._statement = lru_cache(maxsize=256)(self._build)

    def _build(
        self, *, sees_all: bool, filters: tuple[str, ...], order: tuple[str, ...] | None
    ) -> Prepared:
        wanted = [self.filters[name] for name in filters]
        if not sees_all:
            wanted.append(self._visible())
        if order is None:
            # Filters may speak of any joined table, so with one the full select is counted.
            rows = self._rows if filters or self._counted is None else self._counted
            keys = rows.where(*wanted).with_only_columns(self._key).subquery()
            return Prepared(select(func.count().label("count")).select_from(keys))
        statement = self._rows.where(*wanted)
        for name in order or (self._default,):
            for column in self.orders[name.removeprefix("-")]:
                statement = statement.order_by(
                    column.desc() if name.startswith("-") else column.asc()
                )
        last_descends = (order or (self._default,))[0].startswith("-")
        return Prepared(
            statement.order_by(self._key.desc() if last_descends else self._key.asc())
            .limit(bindparam("limit", type_=Integer))
            .offset(bindparam("offset", type_=Integer))
        )

    def page(
        self,
        tx: Read,
        actor: Actor,
        filters: Mapping[str, Any],
        order: tuple[str, ...],
        limit: int,
        offset: int,
    ) -> list[Row]:
        """Give the rows of a page, ``limit`` at most, after ``offset``."""
        statement = self._statement(
            sees_all=actor.sees_all, filters=tuple(sorted(filters)), order=order
        )
        return tx.all(statement, **_seer(tx, actor), **filters, limit=limit, offset=offset)

    def count(self, tx: Read, actor: Actor, filters: Mapping[str, Any]) -> int:
        """Give the number of rows on all pages together."""
        statement = self._statement(
            sees_all=actor.sees_all, filters=tuple(sorted(filters)), order=None
        )
        return int(tx.value(statement, **_seer(tx, actor), **filters))


def _seer(tx: Read, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.id, "actor_email": actor.email, "now": tx.now}
