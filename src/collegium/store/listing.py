"""Lists: what may be seen, filtered, ordered and cut into pages, from statements built once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Integer, bindparam, func, select

from collegium.store.db import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Select

    from collegium.rules.access import Actor
    from collegium.store.db import Read, Row


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that is not the same statement for every value and every actor.

    Args:
        read: gives the form that a value asks for, and the parameters that it binds.
        where: gives the predicate of a form, for an actor who sees all or does not.
    """

    read: Callable[[Any], tuple[str, dict[str, Any]]]
    where: Callable[[str, bool], ColumnElement[bool]]


class Listing:
    """A list that every dialect asks in the same way.

    Args:
        rows: the select without conditions on what is seen.
        visible: the predicate for an actor who does not see all; binds ``actor``, ``now``
            and whatever else ``binds`` gives.
        key: the primary key, always the last in the order, so that pages cannot overlap.
        filters: name to predicate, which binds a parameter named after the filter; or to
            a ``Filter``.
        orders: name to the columns it sorts by.
        default: the order when none is asked: column names of ``orders``, ``-`` for descending.
        counted: the same rows without what is joined only to be shown, for counting.
        ties: a unique column that decides between equals in place of the key.
    """

    def __init__(
        self,
        rows: Select[Any],
        *,
        visible: Callable[[], ColumnElement[bool]],
        key: ColumnElement[Any],
        orders: Mapping[str, tuple[ColumnElement[Any], ...]],
        default: str,
        filters: Mapping[str, ColumnElement[bool] | Filter] | None = None,
        counted: Select[Any] | None = None,
        ties: ColumnElement[Any] | None = None,
    ) -> None:
        self._rows = rows
        self._visible = visible
        self._key = key
        self._counted = counted
        self._ties = key if ties is None else ties
        self.orders = orders
        self.filters = filters or {}
        self._default = default
        # Names come from a request, but only known ones reach this far; the bound is for
        # their combinations.
        self._statement = lru_cache(maxsize=256)(self._build)

    def _build(
        self,
        *,
        sees_all: bool,
        filters: tuple[tuple[str, str], ...],
        order: tuple[str, ...] | None,
    ) -> Prepared:
        wanted = []
        for name, form in filters:
            known = self.filters[name]
            wanted.append(known.where(form, sees_all) if isinstance(known, Filter) else known)
        if not sees_all:
            wanted.append(self._visible())
        if order is None:
            # Filters may speak of any joined table, so with one the full select is counted.
            rows = self._rows if filters or self._counted is None else self._counted
            keys = rows.where(*wanted).with_only_columns(self._key).subquery()
            return Prepared(select(func.count().label("count")).select_from(keys))
        names = order or (self._default,)
        columns = [
            (column, name.startswith("-"))
            for name in names
            for column in self.orders[name.removeprefix("-")]
        ]
        if not any(column is self._ties for column, _ in columns):
            columns.append((self._ties, names[0].startswith("-")))
        return Prepared(
            self._rows.where(*wanted)
            .order_by(*(column.desc() if down else column.asc() for column, down in columns))
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
        forms, binds = self._read(filters)
        statement = self._statement(sees_all=actor.sees_all, filters=forms, order=order)
        return tx.all(statement, **_seer(tx, actor), **binds, limit=limit, offset=offset)

    def count(self, tx: Read, actor: Actor, filters: Mapping[str, Any]) -> int:
        """Give the number of rows on all pages together."""
        forms, binds = self._read(filters)
        statement = self._statement(sees_all=actor.sees_all, filters=forms, order=None)
        return int(tx.value(statement, **_seer(tx, actor), **binds))

    def _read(
        self, filters: Mapping[str, Any]
    ) -> tuple[tuple[tuple[str, str], ...], dict[str, Any]]:
        forms: list[tuple[str, str]] = []
        binds: dict[str, Any] = {}
        for name, value in sorted(filters.items()):
            known = self.filters[name]
            form, given = known.read(value) if isinstance(known, Filter) else ("", {name: value})
            forms.append((name, form))
            binds |= given
        return tuple(forms), binds


def _seer(tx: Read, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.id, "actor_email": actor.email, "now": tx.now}
