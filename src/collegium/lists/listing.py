"""Lists with visibility, filters, orders and pages, made of statements that are built once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Join,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

from collegium.access.queries import viewer_params
from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row, Statement
from collegium.db.tables import BigInt
from collegium.lists.sql_hints import correlated_exists, in_subquery, sort_without_index


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter whose SQL depends on the value or the actor.

    Args:
        read: returns the variant of the filter for a value, and its parameters.
        predicate: returns the condition of a variant, for an actor who sees all or does not.
        scan_predicate: returns the same condition on the ``SearchTable``.
        selectivity_estimate: returns a condition on the ``SearchTable`` that approximates what an
            index finds for a variant; None if no index can help.
        row_predicate: returns the same condition for one row, given its key. Used for pages of a
            search with many matches, for an actor who sees all.
    """

    read: Callable[[Any], tuple[str, dict[str, Any]]]
    predicate: Callable[[str, bool], ColumnElement[bool]]
    scan_predicate: Callable[[str, bool], ColumnElement[bool]] | None = None
    selectivity_estimate: Callable[[str], ColumnElement[bool] | None] = lambda _form: None
    row_predicate: Callable[[ColumnElement[Any]], ColumnElement[bool]] | None = None


@dataclass(frozen=True, slots=True)
class SearchTable:
    """A narrow table with the searchable fields of each row of a list, and no other rows.

    Args:
        key: its primary key, the same as that of the list.
        sample: selects the keys of ``SAMPLE`` random rows.
    """

    key: ColumnElement[Any]
    sample: Select[Any]


SAMPLE: Final = 300
_MANY: Final = SAMPLE * 3 // 100
"""Number of matches in the sample from which on a search counts as having many matches."""


class SearchPlan(StrEnum):
    """How a search finds its rows."""

    INDEX = "index"
    """Few rows match, and an index finds candidates, which are then compared."""
    SCAN = "scan"
    """Few rows match, but no index finds them. First the whole ``SearchTable`` is scanned."""
    WALK = "walk"
    """Many rows match.

    Rows are compared one by one in the order of the list until a page is full.
    """


class Listing:
    """A list with the same behaviour in every protocol.

    Args:
        rows: the select, without the condition of visibility.
        visible: returns the condition for an actor who does not see all. Its parameters are those
            of ``viewer_params``.
        key: the primary key. It is always the last column of the order, so that pages do not
            overlap.
        filters: name to condition, whose parameter has the name of the filter; or to a ``Filter``.
        orders: name to the columns to sort by.
        default: the order if none is requested: names of ``orders``, with ``-`` for descending.
        counted: the same rows without the joins that are only needed for display; used for
            counting.
        ties: a unique column that breaks ties instead of the key.
        lean: whether all filters use only tables that ``counted`` selects from.
        texts: the table for filters with a ``scan_predicate``.
        tally: a statement that returns the stored number of all rows.
        wide: whether rows are so large that the keys of a page are sorted before the rows are
            loaded.
        privileged: orders by fields that only actors who see all may see. For others they are
            ignored, because an order reveals a value as a filter does.
        restricted: further columns of the rows for actors who do not see all.
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
        restricted: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        self._rows = rows
        self._restricted = restricted
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
        # The names come from requests, but were checked before. Only their combinations are many,
        # and the cache bounds those.
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
            # Filters may use any joined table; then the full select is counted.
            is_lean = self._lean or not filters
            rows = self._counted if self._counted is not None and is_lean else self._rows
            return _counting(rows.where(*wanted).with_only_columns(self._key), size)
        # An actor who does not see all sees few rows. The query starts from those.
        by_hand = bool(scans) and not sees_all
        shown = self._rows if sees_all else self._rows.add_columns(*self._restricted)
        names = order or (self._default,)
        return self._page(shown, wanted, names, size, first=first, by_hand=by_hand)

    def _page(
        self,
        shown: Select[Any],
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
        # A literal in the SQL text. PostgreSQL makes one plan for all values of a parameter, and
        # with an unknown limit it expects a page to be a tenth of the table.
        limit = literal_column(str(size), BigInt)
        if first:
            return Statement(shown.where(*wanted).order_by(*ordered).limit(limit))
        # Far into a list only keys are skipped, from an index if there is one. The page is joined:
        # with ``IN`` PostgreSQL would go through all rows in their order.
        page = (
            self._keys(column for column, _ in columns)
            .where(*wanted)
            .order_by(*ordered)
            .limit(limit)
            .offset(bindparam("offset", type_=BigInt))
            .subquery("page")
        )
        key = page.c[str(self._key.key)] == self._key
        (origin,) = shown.get_final_froms()
        # The page comes first, because PostgreSQL joins many tables in the order of the statement.
        rows = select(*shown.selected_columns).select_from(
            _join_page_first(page, key, self._key.table, origin)
        )
        if shown.whereclause is not None:
            rows = rows.where(shown.whereclause)
        return Statement(rows.order_by(*ordered), replan=True)

    def _keys(self, columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
        """Select the keys from as few tables as the filters and these columns need."""
        if self._counted is not None and self._lean:
            tables = {table for column in columns for table in column._from_objects}  # noqa: SLF001 - there is no public way
            if tables.issubset(self._counted.get_final_froms()):
                return self._counted.with_only_columns(self._key)
        return self._rows.with_only_columns(self._key)

    def _sampled_count(
        self, *, sees_all: bool, filters: tuple[tuple[str, str], ...]
    ) -> Statement | None:
        """Build the statement that counts the matches in the sample.

        It also counts what an index would find there. Return None if no filter needs the sample.
        """
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
        # The page and the count of one request use the same sample.
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
        """Return the rows of a page.

        Args:
            limit: maximum number of rows.
            offset: number of rows to skip.
        """
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
        """Return the number of rows on all pages.

        Args:
            most: stop counting at this number; 0 for no limit.
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
        """Return the number of rows on all pages, given the rows of one page.

        The last page determines the number without a count. Most searches have only one page.
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
    """Insert a page into a join, before the table that has its keys."""
    if origin is table:
        return page.join(origin, key)
    if isinstance(origin, Join):
        left, right = (
            _join_page_first(page, key, table, one) for one in (origin.left, origin.right)
        )
        return left.join(right, origin.onclause, isouter=origin.isouter, full=origin.full)
    return origin


def omit_columns(rows: Select[Any], *names: str) -> Select[Any]:
    """Select the same rows without some columns.

    Joins that only these columns need are left out.
    """
    kept = (column for column in rows.selected_columns if column.key not in names)
    return rows.with_only_columns(*kept)


def _counting(keys: Select[Any], most: int) -> Statement:
    if most:
        keys = keys.limit(literal_column(str(most), BigInt))
    return Statement(select(func.count().label("count")).select_from(keys.subquery()))
