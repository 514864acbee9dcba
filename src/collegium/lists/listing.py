"""Lists with visibility, filters, orders and pages, made of statements that are built once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, Final, Generic

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Join,
    Select,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    select,
    true,
)

from collegium.access.queries import viewer_params
from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction
from collegium.db.statements import R, Statement, any_of
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
        exceptions: returns the condition of the rows that a variant leaves out, if nearly all rows
            match it; None otherwise. For an actor who sees all, those are counted instead.
    """

    read: Callable[[Any], tuple[str, dict[str, Any]]]
    predicate: Callable[[str, bool], ColumnElement[bool]]
    scan_predicate: Callable[[str, bool], ColumnElement[bool]] | None = None
    selectivity_estimate: Callable[[str], ColumnElement[bool] | None] = lambda _variant: None
    row_predicate: Callable[[ColumnElement[Any]], ColumnElement[bool]] | None = None
    exceptions: Callable[[str], ColumnElement[bool] | None] = lambda _variant: None


Condition = ColumnElement[bool] | Filter
"""A filter: a condition whose parameter has the name of the filter, or a ``Filter``."""

Order = tuple[ColumnElement[Any], ...]
"""The columns to sort by."""


def restricted(
    name: str, condition: Condition, others: ColumnElement[bool] | None = None
) -> Filter:
    """Restrict a filter on a field that only some actors may see.

    A filter would reveal the value letter by letter.

    Args:
        name: name of the filter.
        others: the rows whose field an actor who does not see all may see; None: of no row.
    """
    inner = condition if isinstance(condition, Filter) else simple(name, condition)

    def predicate(variant: str, sees_all: bool) -> ColumnElement[bool]:
        if sees_all:
            return inner.predicate(variant, sees_all)
        return false() if others is None else and_(inner.predicate(variant, sees_all), others)

    return replace(inner, predicate=predicate, scan_predicate=None)


def simple(
    name: str, condition: ColumnElement[bool], read: Callable[[Any], Any] = lambda value: value
) -> Filter:
    """Return a filter with one condition and one parameter.

    Args:
        name: name of the filter and of its parameter.
        read: converts the value for the parameter.
    """
    return Filter(lambda value: ("", {name: read(value)}), lambda _variant, _sees_all: condition)


def choice(yes: ColumnElement[bool], no: ColumnElement[bool]) -> Filter:
    """Return a filter by a Boolean, with one condition for each value and no parameter."""
    return Filter(
        lambda value: ("yes" if value else "no", {}),
        lambda variant, _sees_all: yes if variant == "yes" else no,
    )


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


class _Sample:
    matches: int
    candidates: int


class GroupCount:
    """The number of rows of a list that have one value."""

    value: str
    count: int


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


@dataclass(frozen=True)
class VisibleKeys:
    """The condition ``visible`` of a ``Listing`` in two parts.

    Args:
        keys: returns a select of keys, outside of which the actor sees nothing.
        is_shown: what ``visible`` asks of these rows besides.
    """

    keys: Callable[[], CompoundSelect[Any]]
    is_shown: ColumnElement[bool]


@dataclass(eq=False)
class Listing(Generic[R]):
    """A list with the same behaviour in every protocol, of rows ``R`` as in ``Statement``.

    ``dataclasses.replace`` makes a list of the same rows with other columns, filters or orders.

    Args:
        rows: the select, without the condition of visibility.
        visible: returns the condition for an actor who does not see all. Its parameters are those
            of ``viewer_params``.
        key: the primary key. It is always the last column of the order, so that pages do not
            overlap.
        orders: name to the columns to sort by.
        default: the order if none is requested: names of ``orders``, with ``-`` for descending.
        filters: name to condition, whose parameter has the name of the filter; or to a ``Filter``.
        count_query: the same rows without the joins that are only needed for display; used for
            counting.
        tiebreaker: a unique column that breaks ties; by default the key.
        filters_fit_count_query: whether all filters use only tables of ``count_query``.
        search_table: the table for filters with a ``scan_predicate``.
        stored_count: a statement that returns the stored number of all rows.
        loads_rows_late: whether the rows are large, so that the keys of a page are sorted before
            the rows are loaded.
        privileged: orders by fields that only actors who see all may see. For others they are
            ignored, because an order reveals a value as a filter does.
        restricted: further columns of the rows for actors who do not see all.
        visible_keys: the keys that an actor who does not see all may see, if these are few. Of them
            a search looks up only those that match it.
    """

    rows: Select[Any]
    visible: Callable[[], ColumnElement[bool]]
    key: ColumnElement[Any]
    orders: Mapping[str, Order]
    default: str
    filters: Mapping[str, Condition] = field(default_factory=dict)
    count_query: Select[Any] | None = None
    tiebreaker: ColumnElement[Any] | None = None
    filters_fit_count_query: bool = False
    search_table: SearchTable | None = None
    stored_count: Statement[int] | None = None
    loads_rows_late: bool = False
    privileged: Collection[str] = ()
    restricted: Sequence[ColumnElement[Any]] = ()
    visible_keys: VisibleKeys | None = None

    @cached_property
    def _statement(self) -> Callable[..., Statement[Any]]:
        # The names come from requests, but were checked before. Only their combinations are many,
        # and the cache bounds those.
        return lru_cache(maxsize=512)(self._build_statement)

    @cached_property
    def _count_of_rest(self) -> Callable[[tuple[tuple[str, str], ...]], Statement[int] | None]:
        return lru_cache(maxsize=64)(self._build_count_of_rest)

    @cached_property
    def _sample(self) -> Callable[..., Statement[_Sample] | None]:
        return lru_cache(maxsize=256)(self._build_sample_count)

    def _build_statement(
        self,
        *,
        sees_all: bool,
        filters: tuple[tuple[str, str], ...],
        order: tuple[str, ...] | None,
        plan: SearchPlan,
        size: int = 0,
        is_first: bool = True,
        group: ColumnElement[Any] | None = None,
    ) -> Statement[Any]:
        conditions, scan_conditions = [], []
        for name, variant in filters:
            definition = self.filters[name]
            if not isinstance(definition, Filter):
                conditions.append(definition)
            elif plan is not SearchPlan.INDEX and definition.scan_predicate is not None:
                scan_conditions.append(definition.scan_predicate(variant, sees_all))
            elif (
                plan is SearchPlan.WALK
                and definition.row_predicate is not None
                and order is not None
                and sees_all
            ):
                conditions.append(definition.row_predicate(self.key))
            else:
                conditions.append(definition.predicate(variant, sees_all))
        visible_keys = self._visible_keys(scan_conditions, sees_all=sees_all)
        matches = self._select_matches(scan_conditions, visible_keys)
        if not sees_all:
            conditions.append(visible_keys.is_shown if visible_keys else self.visible())
        if self.search_table is not None and matches is not None:
            if order is None and not conditions and group is None:
                return _count_statement(matches, size)
            conditions.append(
                in_subquery(self.key, matches)
                if visible_keys or plan is SearchPlan.SCAN
                else correlated_exists(matches.where(self.search_table.key == self.key))
            )
        if order is None:
            # Filters may use any joined table; then the full select is counted.
            is_covered = self.filters_fit_count_query or not filters
            rows = self.count_query if self.count_query is not None and is_covered else self.rows
            if group is not None:
                return _group_statement(rows.where(*conditions), group)
            return _count_statement(rows.where(*conditions).with_only_columns(self.key), size)
        # An actor who does not see all sees few rows. The query starts from those.
        without_index = bool(scan_conditions) and not sees_all
        rows_query = self.rows if sees_all else self.rows.add_columns(*self.restricted)
        names = order or (self.default,)
        return self._build_page(
            rows_query, conditions, names, size, is_first=is_first, without_index=without_index
        )

    def _build_count_of_rest(self, filters: tuple[tuple[str, str], ...]) -> Statement[int] | None:
        """Build the statement that subtracts the few exceptions of a filter from the stored count.

        Return None if there is no stored count, or if the rows of the filters can be many or few.
        """
        if self.stored_count is None or self.count_query is None or len(filters) != 1:
            return None
        ((name, variant),) = filters
        definition = self.filters[name]
        exceptions = definition.exceptions(variant) if isinstance(definition, Filter) else None
        if exceptions is None:
            return None
        counted = _count_statement(self.count_query.where(exceptions), 0).statement
        rest = self.stored_count.statement.scalar_subquery() - counted.scalar_subquery()
        return Statement[int](select(rest.label("count")))

    def _visible_keys(
        self, texts: Sequence[ColumnElement[bool]], *, sees_all: bool
    ) -> VisibleKeys | None:
        """Return the keys that a search is restricted to; None if ``visible`` decides as usual."""
        is_restricted = texts and self.search_table is not None and not sees_all
        return self.visible_keys if is_restricted else None

    def _select_matches(
        self, texts: Sequence[ColumnElement[bool]], visible_keys: VisibleKeys | None
    ) -> Select[Any] | None:
        """Select the keys in the ``SearchTable`` that match a search; return None without one."""
        if self.search_table is None or not texts:
            return None
        matches = select(self.search_table.key).where(*texts)
        if visible_keys is None:
            return matches
        # As a subquery that runs first. Otherwise PostgreSQL would compare all the texts.
        keys = select(*visible_keys.keys().subquery("visible_keys").c)
        return matches.where(in_subquery(self.search_table.key, keys))

    def _build_page(
        self,
        rows_query: Select[Any],
        conditions: Sequence[ColumnElement[bool]],
        names: tuple[str, ...],
        size: int,
        *,
        is_first: bool,
        without_index: bool,
    ) -> Statement[R]:
        columns = [
            (column, name.startswith("-"))
            for name in names
            for column in self.orders[name.removeprefix("-")]
        ]
        tiebreaker = self.key if self.tiebreaker is None else self.tiebreaker
        if not any(column is tiebreaker for column, _ in columns):
            columns.append((tiebreaker, names[0].startswith("-")))
        if without_index:
            columns = [(sort_without_index(column), descending) for column, descending in columns]
        ordering = [column.desc() if descending else column.asc() for column, descending in columns]
        # A literal in the SQL text. PostgreSQL makes one plan for all values of a parameter, and
        # with an unknown limit it expects a page to be a tenth of the table.
        limit_literal = literal_column(str(size), BigInt)
        if is_first:
            first = rows_query.where(*conditions).order_by(*ordering).limit(limit_literal)
            return Statement[R](first)
        # Far into a list only keys are skipped, from an index if there is one. The page is joined:
        # with ``IN`` PostgreSQL would go through all rows in their order.
        page = (
            self._select_keys(column for column, _ in columns)
            .where(*conditions)
            .order_by(*ordering)
            .limit(limit_literal)
            .offset(bindparam("offset", type_=BigInt))
            .subquery("page")
        )
        return self._load_page(rows_query, page, ordering)

    def _select_keys(self, columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
        """Select the keys from as few tables as the filters and these columns need."""
        if self.count_query is not None and self.filters_fit_count_query:
            tables = {table for column in columns for table in column._from_objects}  # noqa: SLF001 - there is no public way
            if tables.issubset(self.count_query.get_final_froms()):
                return self.count_query.with_only_columns(self.key)
        return self.rows.with_only_columns(self.key)

    @cached_property
    def _batch_statement(self) -> Callable[..., Statement[Any]]:
        return lru_cache(maxsize=64)(self._build_batch)

    def _build_batch(
        self,
        *,
        sees_all: bool,
        filters: tuple[tuple[str, str], ...],
        size: int = 0,
    ) -> Statement[Any]:
        conditions = [
            self.key > bindparam("after", type_=BigInt)
            if size
            else any_of(self.key, "keys", plan_once=True)
        ]
        for name, variant in filters:
            definition = self.filters[name]
            conditions.append(
                definition.predicate(variant, sees_all)
                if isinstance(definition, Filter)
                else definition
            )
        if not sees_all:
            conditions.append(self.visible())
        keys = self._select_keys([self.key]).where(*conditions).order_by(self.key)
        if size:
            return Statement[int](keys.limit(literal_column(str(size), BigInt)), replan=True)
        rows_query = self.rows if sees_all else self.rows.add_columns(*self.restricted)
        return self._load_page(rows_query, keys.subquery("page"), [self.key.asc()])

    def _load_page(
        self, rows_query: Select[Any], page: Any, ordering: Sequence[ColumnElement[Any]]
    ) -> Statement[R]:
        """Build the statement that loads the rows whose keys a subquery selects."""
        key = page.c[str(self.key.key)] == self.key
        (origin,) = rows_query.get_final_froms()
        # The page comes first, because PostgreSQL joins many tables in the order of the statement.
        rows = select(*rows_query.selected_columns).select_from(
            _join_page_first(page, key, self.key.table, origin)
        )
        if rows_query.whereclause is not None:
            rows = rows.where(rows_query.whereclause)
        return Statement[R](rows.order_by(*ordering), replan=True)

    def _build_sample_count(
        self, *, sees_all: bool, filters: tuple[tuple[str, str], ...]
    ) -> Statement[_Sample] | None:
        """Build the statement that counts the matches in the sample.

        It also counts what an index would find there. Return None if no filter needs the sample.
        """
        if self.search_table is None:
            return None
        matches, candidates = [], []
        for name, variant in filters:
            definition = self.filters[name]
            if not isinstance(definition, Filter):
                continue
            if definition.scan_predicate is not None:
                matches.append(definition.scan_predicate(variant, sees_all))
            elif definition.row_predicate is not None and sees_all:
                matches.append(definition.row_predicate(self.search_table.key))
            if (estimate := definition.selectivity_estimate(variant)) is not None:
                candidates.append(estimate)
        if not matches:
            return None
        return Statement[_Sample](
            select(
                func.count().filter(and_(*matches)).label("matches"),
                func.count().filter(and_(true(), *candidates)).label("candidates"),
            ).where(in_subquery(self.search_table.key, self.search_table.sample)),
        )

    def _choose_plan(
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
        cache_key = (sample, actor.id, repr(binds))
        if cache_key not in tx.cache:
            tx.cache[cache_key] = tx.fetch_only(sample, **viewer_params(tx, actor), **binds)
        row: _Sample = tx.cache[cache_key]
        if row.candidates < _MANY:
            return SearchPlan.INDEX
        return SearchPlan.SCAN if row.matches < _MANY and actor.sees_all else SearchPlan.WALK

    def page(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        order: tuple[str, ...],
        limit: int,
        offset: int,
    ) -> list[R]:
        """Return the rows of a page.

        Args:
            limit: maximum number of rows.
            offset: number of rows to skip.
        """
        variants, binds = self._parse_filters(filters)
        plan = self._choose_plan(tx, actor, variants, binds)
        if not actor.sees_all:
            order = tuple(n for n in order if n.removeprefix("-") not in self.privileged)
        statement = self._statement(
            sees_all=actor.sees_all,
            filters=variants,
            order=order,
            plan=plan,
            size=limit,
            is_first=not offset and not self.loads_rows_late,
        )
        if offset or self.loads_rows_late:
            binds["offset"] = offset
        return tx.fetch_all(statement, **viewer_params(tx, actor), **binds)

    def batch(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        keys: Sequence[int],
    ) -> list[R]:
        """Return the rows of the list that have one of the keys, in the order of the keys.

        However far in the list, a batch reads no other rows.

        Args:
            keys: keys from ``keys``. Those that are not in the list any more are left out.
        """
        variants, binds = self._parse_filters(filters)
        statement = self._batch_statement(sees_all=actor.sees_all, filters=variants)
        return tx.fetch_all(statement, keys=keys, **viewer_params(tx, actor), **binds)

    def keys(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
    ) -> list[int]:
        """Return the keys of the rows, in their order.

        No index has the rows of a scope in this order, so each call reads all its keys. Long lists
        should be read in few calls.

        Args:
            limit: maximum number of keys.
            after: the last key that is not wanted.
        """
        variants, binds = self._parse_filters(filters)
        statement = self._batch_statement(sees_all=actor.sees_all, filters=variants, size=limit)
        return tx.fetch_all(statement, after=after, **viewer_params(tx, actor), **binds)

    def count(
        self, tx: ReadTransaction, actor: Actor, filters: Mapping[str, Any], maximum: int = 0
    ) -> int:
        """Return the number of rows on all pages.

        Args:
            maximum: stop counting at this number; 0 for no limit.
        """
        if self.stored_count is not None and actor.sees_all and not filters:
            return tx.fetch_only(self.stored_count)
        variants, binds = self._parse_filters(filters)
        if actor.sees_all and not maximum and (rest := self._count_of_rest(variants)) is not None:
            return tx.fetch_only(rest)
        plan = self._choose_plan(tx, actor, variants, binds)
        statement = self._statement(
            sees_all=actor.sees_all, filters=variants, order=None, plan=plan, size=maximum
        )
        count: int = tx.fetch_only(statement, **viewer_params(tx, actor), **binds)
        return count

    def count_by(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        group: ColumnElement[Any],
    ) -> list[GroupCount]:
        """Return the number of rows for each value of an expression, in the order of the values.

        Args:
            group: a text expression, of a table of ``count_query``.
        """
        variants, binds = self._parse_filters(filters)
        plan = self._choose_plan(tx, actor, variants, binds)
        statement = self._statement(
            sees_all=actor.sees_all, filters=variants, order=None, plan=plan, group=group
        )
        return tx.fetch_all(statement, **viewer_params(tx, actor), **binds)

    def total(
        self,
        tx: ReadTransaction,
        actor: Actor,
        filters: Mapping[str, Any],
        rows: Sequence[R],
        limit: int,
        offset: int,
    ) -> int:
        """Return the number of rows on all pages, given the rows of one page.

        The last page determines the number without a count. Most searches have only one page.
        """
        if len(rows) < limit and (rows or not offset):
            return offset + len(rows)
        return self.count(tx, actor, filters)

    def _parse_filters(
        self, filters: Mapping[str, Any]
    ) -> tuple[tuple[tuple[str, str], ...], dict[str, Any]]:
        variants: list[tuple[str, str]] = []
        binds: dict[str, Any] = {}
        for name, value in sorted(filters.items()):
            definition = self.filters[name]
            variant, parameters = (
                definition.read(value) if isinstance(definition, Filter) else ("", {name: value})
            )
            variants.append((name, variant))
            binds |= parameters
        return tuple(variants), binds


def _join_page_first(page: FromClause, key: ColumnElement[bool], table: Any, origin: Any) -> Any:
    """Insert a page into a join, before the table that has its keys."""
    if origin is table:
        return page.join(origin, key)
    if isinstance(origin, Join):
        left, right = (
            _join_page_first(page, key, table, side) for side in (origin.left, origin.right)
        )
        return left.join(right, origin.onclause, isouter=origin.isouter, full=origin.full)
    return origin


def _group_statement(rows: Select[Any], group: ColumnElement[Any]) -> Statement[GroupCount]:
    return Statement[GroupCount](
        rows.with_only_columns(group.label("value"), func.count().label("count"))
        .group_by(group)
        .order_by(group)
    )


def _count_statement(keys: Select[Any], maximum: int) -> Statement[int]:
    if maximum:
        keys = keys.limit(literal_column(str(maximum), BigInt))
    return Statement[int](select(func.count().label("count")).select_from(keys.subquery()))
