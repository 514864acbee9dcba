"""Lists: what may be seen, filtered, ordered and cut into pages, from statements built once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ColumnElement,
    Join,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

from collegium.access.queries import viewer_params
from collegium.db.statements import Statement
from collegium.db.tables import BigInt
from collegium.lists.sql_hints import correlated_exists, in_subquery, sort_without_index

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from sqlalchemy import FromClause, Select

    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction
    from collegium.db.statements import Row


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that is not the same statement for every value and every actor.

    Args:
        read: gives the form that a value asks for, and the parameters that it binds.
        where: gives the predicate of a form, for an actor who sees all or does not.
        scan: the same said of ``Texts``.
        rough: what an index tells of a form, said of ``Texts``; None where no index can help.
        walk: the same as ``where`` said of one row, of which it is given the key; for pages of
            what many rows meet, and an actor who sees all.
    """

    read: Callable[[Any], tuple[str, dict[str, Any]]]
    predicate: Callable[[str, bool], ColumnElement[bool]]
    scan_predicate: Callable[[str, bool], ColumnElement[bool]] | None = None
    selectivity_estimate: Callable[[str], ColumnElement[bool] | None] = lambda _form: None
    row_predicate: Callable[[ColumnElement[Any]], ColumnElement[bool]] | None = None


@dataclass(frozen=True, slots=True)
class SearchTable:
    """A narrow table with what is searched of each row of a list, and no other row.

    Args:
        key: its primary key, the same as that of the list.
        sample: selects the keys of ``SAMPLE`` rows that chance has drawn.
    """

    key: ColumnElement[Any]
    sample: Select[Any]


SAMPLE: Final = 300
_MANY: Final = SAMPLE * 3 // 100
"""So many of the sample meet a search that many rows do."""


class SearchPlan(StrEnum):
    """How a search finds its rows."""

    INDEX = "index"
    """An index names few, and those are compared."""
    SCAN = "scan"
    """Few, but no index names them: they are found in the texts, before anything else."""
    WALK = "walk"
    """Many: the rows are compared one by one as the list has them, until a page is full."""


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
        lean: whether the filters speak of nothing but what ``counted`` selects from.
        texts: where filters that have a ``scan`` can be looked up.
        tally: gives the number of all rows without counting them.
        wide: whether a row takes so much to show that the keys of a page are sorted before it.
        privileged: the orders by what only those are shown who see all; for others they count
            for nothing, since an order tells a value as well as a filter does.
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
        lean: bool = False,
        texts: SearchTable | None = None,
        tally: Statement | None = None,
        wide: bool = False,
        privileged: Collection[str] = (),
    ) -> None:
        self._rows = rows
        self._visible = visible
        self._key = key
        self._counted = counted
        self._ties = key if ties is None else ties
        self._lean = lean
        self._texts = texts
        self._tally = tally
        self._wide = wide
        self._privileged = frozenset(privileged)
        self.orders = orders
        self.filters = filters or {}
        self._default = default
        # Names come from a request, but only known ones reach this far; the bound is for
        # their combinations.
        self._statement = lru_cache(maxsize=512)(self._build)
        self._sample = lru_cache(maxsize=256)(self._sampled_count)

    def _build(
        self,
        *,
        sees_all: bool,
        filters: tuple[tuple[str, str], ...],
        order: tuple[str, ...] | None,
        way: SearchPlan,
        size: int = 0,
        first: bool = True,
    ) -> Statement:
        wanted, scans = [], []
        for name, form in filters:
            known = self.filters[name]
            if not isinstance(known, Filter):
                wanted.append(known)
            elif way is not SearchPlan.INDEX and known.scan_predicate is not None:
                scans.append(known.scan_predicate(form, sees_all))
            elif (
                way is SearchPlan.WALK
                and known.row_predicate is not None
                and order is not None
                and sees_all
            ):
                wanted.append(known.row_predicate(self._key))
            else:
                wanted.append(known.predicate(form, sees_all))
        if not sees_all:
            wanted.append(self._visible())
        if self._texts is not None and scans:
            found = select(self._texts.key).where(*scans)
            if order is None and not wanted:
                return _counting(found, size)
            wanted.append(
                in_subquery(self._key, found)
                if way is SearchPlan.SCAN
                else correlated_exists(found.where(self._texts.key == self._key))
            )
        if order is None:
            # Filters may speak of any joined table; then the full select is counted.
            is_lean = self._lean or not filters
            rows = self._counted if self._counted is not None and is_lean else self._rows
            return _counting(rows.where(*wanted).with_only_columns(self._key), size)
        # Whoever does not see all begins with the few that are seen.
        by_hand = bool(scans) and not sees_all
        return self._page(wanted, order or (self._default,), size, first=first, by_hand=by_hand)

    def _page(
        self,
        wanted: Sequence[ColumnElement[bool]],
        names: tuple[str, ...],
        size: int,
        *,
        first: bool,
        by_hand: bool,
    ) -> Statement:
        columns = [
            (column, name.startswith("-"))
            for name in names
            for column in self.orders[name.removeprefix("-")]
        ]
        if not any(column is self._ties for column, _ in columns):
            columns.append((self._ties, names[0].startswith("-")))
        if by_hand:
            columns = [(sort_without_index(column), down) for column, down in columns]
        ordered = [column.desc() if down else column.asc() for column, down in columns]
        # Written into the text: PostgreSQL plans once for all values of a parameter, and of a page
        # of unknown length it believes that it is a tenth of the table.
        limit = literal_column(str(size), BigInt)
        if first:
            return Statement(self._rows.where(*wanted).order_by(*ordered).limit(limit))
        # Far into a list only keys are passed over, from an index where there is one. Joined, since
        # asked whether a key is among them PostgreSQL would go through the rows in their order.
        page = (
            self._keys(column for column, _ in columns)
            .where(*wanted)
            .order_by(*ordered)
            .limit(limit)
            .offset(bindparam("offset", type_=BigInt))
            .subquery("page")
        )
        key = page.c[str(self._key.key)] == self._key
        (origin,) = self._rows.get_final_froms()
        # First of all, for PostgreSQL joins many tables in the order in which they are said.
        rows = select(*self._rows.selected_columns).select_from(
            _join_page_first(page, key, self._key.table, origin)
        )
        if self._rows.whereclause is not None:
            rows = rows.where(self._rows.whereclause)
        return Statement(rows.order_by(*ordered), anew=True)

    def _keys(self, columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
        """Select the keys, of as few tables as the filters and these columns speak of."""
        if self._counted is not None and self._lean:
            tables = {table for column in columns for table in column._from_objects}  # noqa: SLF001 - there is no other way to ask
            if tables.issubset(self._counted.get_final_froms()):
                return self._counted.with_only_columns(self._key)
        return self._rows.with_only_columns(self._key)

    def _sampled_count(
        self, *, sees_all: bool, filters: tuple[tuple[str, str], ...]
    ) -> Statement | None:
        """Build the question how many of the sample a search finds, and its index names."""
        if self._texts is None:
            return None
        found, named = [], []
        for name, form in filters:
            known = self.filters[name]
            if not isinstance(known, Filter):
                continue
            if known.scan_predicate is not None:
                found.append(known.scan_predicate(form, sees_all))
            elif known.row_predicate is not None and sees_all:
                found.append(known.row_predicate(self._texts.key))
            if (rough := known.selectivity_estimate(form)) is not None:
                named.append(rough)
        if not found:
            return None
        return Statement(
            select(
                func.count().filter(and_(*found)).label("found"),
                func.count().filter(and_(true(), *named)).label("named"),
            ).where(in_subquery(self._texts.key, self._texts.sample))
        )

    def _way(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: tuple[tuple[str, str], ...],
        binds: dict[str, Any],
    ) -> SearchPlan:
        sample = self._sample(sees_all=actor.sees_all, filters=filters)
        if sample is None:
            return SearchPlan.INDEX
        # Page and count ask the same.
        asked = (sample, actor.id, repr(binds))
        if asked not in tx.cache:
            tx.cache[asked] = tx.fetch_one(sample, **viewer_params(tx, actor), **binds)
        row: Row = tx.cache[asked]
        if row.named < _MANY:
            return SearchPlan.INDEX
        return SearchPlan.SCAN if row.found < _MANY and actor.sees_all else SearchPlan.WALK

    def page(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        order: tuple[str, ...],
        limit: int,
        offset: int,
    ) -> list[Row]:
        """Give the rows of a page, ``limit`` at most, after ``offset``."""
        forms, binds = self._read(filters)
        way = self._way(tx, actor, forms, binds)
        if not actor.sees_all:
            order = tuple(n for n in order if n.removeprefix("-") not in self._privileged)
        statement = self._statement(
            sees_all=actor.sees_all,
            filters=forms,
            order=order,
            way=way,
            size=limit,
            first=not offset and not self._wide,
        )
        if offset or self._wide:
            binds["offset"] = offset
        return tx.fetch_all(statement, **viewer_params(tx, actor), **binds)

    def count(
        self, tx: ReadTransaction, actor: Actor, filters: Mapping[str, Any], most: int = 0
    ) -> int:
        """Give the number of rows on all pages together.

        Args:
            most: where to stop counting; 0: nowhere.
        """
        if self._tally is not None and actor.sees_all and not filters:
            return int(tx.scalar(self._tally))
        forms, binds = self._read(filters)
        way = self._way(tx, actor, forms, binds)
        statement = self._statement(
            sees_all=actor.sees_all, filters=forms, order=None, way=way, size=most
        )
        return int(tx.scalar(statement, **viewer_params(tx, actor), **binds))

    def total(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        rows: Sequence[Row],
        limit: int,
        offset: int,
    ) -> int:
        """Give the number of rows on all pages together, of which one is known.

        The last page says it, and what is looked for is mostly found on the first, which is that.
        """
        if len(rows) < limit and (rows or not offset):
            return offset + len(rows)
        return self.count(tx, actor, filters)

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


def _join_page_first(page: FromClause, key: ColumnElement[bool], table: Any, origin: Any) -> Any:
    """Put a page before the one of the joined tables that it gives the keys of."""
    if origin is table:
        return page.join(origin, key)
    if isinstance(origin, Join):
        left, right = (
            _join_page_first(page, key, table, one) for one in (origin.left, origin.right)
        )
        return left.join(right, origin.onclause, isouter=origin.isouter, full=origin.full)
    return origin


def omit_columns(rows: Select[Any], *names: str) -> Select[Any]:
    """Select the same rows without some columns; what they alone were joined for is not read."""
    kept = (column for column in rows.selected_columns if column.key not in names)
    return rows.with_only_columns(*kept)


def _counting(keys: Select[Any], most: int) -> Statement:
    if most:
        keys = keys.limit(literal_column(str(most), BigInt))
    return Statement(select(func.count().label("count")).select_from(keys.subquery()))
