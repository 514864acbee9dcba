"""SQL of the statistics: of a scope when somebody asks, of the whole service once an hour.

Both are the same statements, of a scope with a condition more. The cost of those of a scope grows
with its roles and with its invitations of the last months; those of the service read all grants, so
their result is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from collegium.access.queries import is_active
from collegium.access.rules import KINDS, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    JsonColumn,
    accounts,
    grants,
    invitations,
    organisations,
    roles,
    scopes,
    site_statistics,
)
from collegium.invitations.rules import State
from collegium.lists.sql_hints import in_subquery, no_index
from collegium.statistics import rules
from collegium.statistics.rules import Outcome, SiteStatistics, Statistics

_ID: Final = 1
_scope = scopes.alias("scope")


class _Minutes(FunctionElement[int]):
    """The minutes from one time to another, begun ones included, as SQL.

    Half a second is tolerated, because SQLite calculates with days in floating point.
    """

    inherit_cache = True
    name = "minutes"
    type = Integer()


@compiles(_Minutes)
def _compile_minutes(element: _Minutes, compiler: SQLCompiler, **kw: Any) -> str:
    first, last = (compiler.process(clause, **kw) for clause in element.clauses)
    if compiler.dialect.name == "postgresql":
        return f"CEIL((EXTRACT(EPOCH FROM {last} - {first}) - 0.5) / 60)::int"
    # Not every SQLite has a function to round up.
    return (
        f"CAST(((julianday({last}) - julianday({first})) * 86400.0 - 0.5) / 60 + 0.999999"
        " AS INTEGER)"
    )


WAIT: Final = _Minutes(invitations.c.created_at, invitations.c.accepted_at)
"""The minutes from an invitation, or the last time that it began again, to its acceptance."""


def _moment(name: str) -> ColumnElement[datetime]:
    return bindparam(name, type_=UtcDateTime)


def _number(value: int) -> ColumnElement[int]:
    return literal_column(str(value), Integer)


def _here(column: Any, *, is_site: bool) -> ColumnElement[bool]:
    """Return the condition that a row belongs to the scope or to one of its projects."""
    if is_site:
        return true()
    # A deleted project belongs to it too: what happened there has happened in the organisation.
    ids = select(_scope.c.id).where(
        or_(_scope.c.id == bindparam("scope"), _scope.c.parent_id == bindparam("scope"))
    )
    return in_subquery(column, ids)


class _Span:
    """How many people have a role from one month on until another."""

    start: int
    until: int
    people: int


def _month(at: ColumnElement[Any], first: int = 0, last: int = rules.MONTHS) -> ColumnElement[int]:
    """Return the first month, as its index in ``rules.months``, whose end is not before a time.

    It halves the months, which takes four comparisons instead of twelve.
    """
    if first == last:
        return _number(first)
    middle = (first + last) // 2
    return case(
        (at <= _moment(f"end{middle}"), _month(at, first, middle)),
        else_=_month(at, middle + 1, last),
    )


def _members(*, is_site: bool) -> Statement[_Span]:
    """Return the statement that counts people by the months in which they have a role."""
    here = _here(grants.c.scope_id, is_site=is_site)
    columns = (grants.c.account_id, _month(grants.c.valid_from).label("first"))
    earlier = case(
        (grants.c.valid_until < grants.c.ended_at, grants.c.valid_until), else_=grants.c.ended_at
    )
    held = union_all(
        select(
            *columns,
            case(
                (grants.c.valid_until.is_(None), _number(rules.MONTHS)),
                else_=_month(grants.c.valid_until),
            ).label("until"),
        ).where(here, grants.c.ended_at.is_(None)),
        select(*columns, _month(earlier)).where(here, grants.c.ended_at > _moment("end0")),
    ).subquery("held")
    # Somebody with several roles counts once: a role begins to count where the earlier ones end.
    counted_until = func.max(held.c.until).over(
        partition_by=held.c.account_id, order_by=held.c.first, rows=(None, -1)
    )
    spans = select(*held.c, counted_until.label("counted_until")).subquery("spans")
    start = case(
        (spans.c.counted_until > spans.c.first, spans.c.counted_until), else_=spans.c.first
    )
    return Statement[_Span](
        select(start.label("start"), spans.c.until, func.count().label("people"))
        .select_from(spans.join(accounts, accounts.c.id == spans.c.account_id))
        # Without statistics SQLite would start with all active accounts.
        .where(start < spans.c.until, no_index(accounts.c.is_active))
        .group_by(start, spans.c.until)
    )


_RANKS: Final = {outcome: rank for rank, outcome in enumerate(Outcome)}
_is_mailed = and_(
    invitations.c.mailed_at.is_not(None), invitations.c.mailed_at >= invitations.c.created_at
)


def _rank(outcome: Outcome) -> ColumnElement[int]:
    return _number(_RANKS[outcome])


def _state(state: State) -> ColumnElement[bool]:
    return invitations.c.state == literal_column(f"'{state}'")


# As in ``invitations.rules``: a pending invitation past its end has expired, and one that was
# rejected before it was mailed was refused by staff.
_outcome = case(
    (_state(State.ACCEPTED), _rank(Outcome.ACCEPTED)),
    (
        and_(_state(State.PENDING), invitations.c.expires_at > _moment("now")),
        _rank(Outcome.PENDING),
    ),
    (_state(State.PENDING), _rank(Outcome.EXPIRED)),
    (_state(State.HELD), _rank(Outcome.HELD)),
    (_state(State.REQUESTED), _rank(Outcome.REQUESTED)),
    (and_(_state(State.REJECTED), _is_mailed), _rank(Outcome.DECLINED)),
    (_state(State.REJECTED), _rank(Outcome.REFUSED)),
    else_=_rank(Outcome.CANCELED),
)


def _outcomes(*, is_site: bool) -> Statement[tuple[int, ...]]:
    """Return the statement that counts invited people by ``Outcome``."""
    # The address of an erased person is empty: each of their invitations counts by itself.
    erased = case((invitations.c.email_comparable == literal_column("''"), invitations.c.id))
    people = (
        select(func.min(_outcome).label("outcome"))
        .where(
            _here(invitations.c.scope_id, is_site=is_site),
            invitations.c.created_at >= _moment("since"),
        )
        .group_by(invitations.c.email_comparable, invitations.c.scope_id, erased)
        .subquery("people")
    )
    return Statement[tuple[int, ...]](
        select(
            *(
                func.count().filter(people.c.outcome == _rank(outcome)).label(str(outcome))
                for outcome in Outcome
            )
        ).select_from(people)
    )


def _waits(*, is_site: bool) -> Statement[tuple[int, int]]:
    """Return the statement that counts accepted invitations by waiting time in minutes.

    There are as many rows as an invitation lives minutes at most, however many invitations.
    """
    return Statement[tuple[int, int]](
        select(WAIT.label("minutes"), func.count().label("number"))
        .where(
            _here(invitations.c.scope_id, is_site=is_site),
            invitations.c.created_at >= _moment("since"),
            # Of one scope it would be slower to read those that were accepted anywhere.
            no_index(invitations.c.accepted_at).is_not(None),
        )
        .group_by(WAIT)
    )


def _ends(*, is_site: bool) -> Statement[tuple[int, ...]]:
    until = grants.c.valid_until
    return Statement[tuple[int, ...]](
        select(
            *(
                func.count()
                .filter(until > _moment(f"week{week}"), until <= _moment(f"week{week + 1}"))
                .label(f"ends{week}")
                for week in range(rules.WEEKS)
            )
        )
        .select_from(grants.join(accounts, accounts.c.id == grants.c.account_id))
        .where(
            _here(grants.c.scope_id, is_site=is_site),
            grants.c.ended_at.is_(None),
            until > _moment("week0"),
            until <= _moment(f"week{rules.WEEKS}"),
            no_index(accounts.c.is_active),
        )
    )


class _Queries(NamedTuple):
    members: Statement[_Span]
    outcomes: Statement[tuple[int, ...]]
    waits: Statement[tuple[int, int]]
    ends: Statement[tuple[int, ...]]


def _queries(*, is_site: bool) -> _Queries:
    return _Queries(
        _members(is_site=is_site),
        _outcomes(is_site=is_site),
        _waits(is_site=is_site),
        _ends(is_site=is_site),
    )


_OF_SCOPE: Final = _queries(is_site=False)
_OF_SITE: Final = _queries(is_site=True)


def _figures(tx: ReadTransaction, queries: _Queries, **parameters: object) -> Statistics:
    now = tx.now
    ends = {f"end{at}": moment for at, moment in enumerate(rules.month_ends(now))}
    weeks = {f"week{at}": moment for at, moment in enumerate(rules.week_bounds(now))}
    since = rules.since(now)
    spans = tx.fetch_all(queries.members, **ends, **parameters)
    waits = tx.fetch_all(queries.waits, since=since, **parameters)
    return Statistics(
        at=now,
        members=rules.members_by_month((span.start, span.until, span.people) for span in spans),
        outcomes=[*tx.fetch_only(queries.outcomes, now=now, since=since, **parameters)],
        waits=rules.by_step(waits),
        median_wait=rules.median(waits),
        ends=[*tx.fetch_only(queries.ends, **weeks, **parameters)],
    )


def of_scope(tx: ReadTransaction, scope_id: int) -> Statistics:
    """Count the figures of a scope and its projects, without a visibility check."""
    return _figures(tx, _OF_SCOPE, scope=scope_id)


def _owner_roles(kind: str) -> Select[Any]:
    names = sorted(KINDS[kind].owner_roles)
    return select(roles.c.id).where(or_(*(roles.c.name == literal_column(f"'{n}'") for n in names)))


def _count_owners(kind: str) -> Statement[int]:
    return Statement[int](
        select(func.count(accounts.c.id.distinct()).label("owners"))
        .select_from(grants.join(accounts, accounts.c.id == grants.c.account_id))
        .where(
            grants.c.scope_id == bindparam("scope", type_=BigInt),
            grants.c.role_id.in_(_owner_roles(kind)),
            is_active(),
            no_index(accounts.c.is_active),
        )
    )


_COUNT_OWNERS: Final = {kind: _count_owners(kind) for kind in KINDS if KINDS[kind].owner_roles}


def count_owners(tx: ReadTransaction, kind: str, scope_id: int) -> int | None:
    """Return how many people own a scope now; None for a kind of scope without owners."""
    query = _COUNT_OWNERS.get(kind)
    return None if query is None else tx.fetch_only(query, scope=scope_id, now=tx.now)


class OwnedOrganisation:
    """An organisation with the number of its owners, and the name of the only one."""

    uuid: str
    name: str
    owners: int
    owner_username: str | None
    owner_first_name: str | None
    owner_last_name: str | None


# One owner at most has one grant of each owner role: the greatest name is the only one.
_NAMES: Final = ("username", "first_name", "last_name")
_owners = func.count(accounts.c.id.distinct())
_organisation_owners = (
    select(scopes.c.id, scopes.c.name_sort, _owners.label("owners"))
    .select_from(
        scopes.join(organisations, organisations.c.scope_id == scopes.c.id)
        .outerjoin(
            grants,
            and_(
                grants.c.scope_id == scopes.c.id,
                grants.c.role_id.in_(_owner_roles(ScopeKind.ORGANISATION)),
                is_active(),
            ),
        )
        .outerjoin(accounts, and_(accounts.c.id == grants.c.account_id, accounts.c.is_active))
    )
    .where(
        scopes.c.kind == ScopeKind.ORGANISATION.value,
        scopes.c.deleted_at.is_(None),
        ~organisations.c.archived,
    )
    .group_by(scopes.c.id)
)
_counted = _organisation_owners.subquery("counted")
_OWNERS = Statement[tuple[int, ...]](
    select(
        *(
            func.count().filter(_counted.c.owners == number).label(f"owners{number}")
            for number in range(rules.OWNERS_MAX)
        ),
        func.count().filter(_counted.c.owners >= rules.OWNERS_MAX).label("more"),
    ).select_from(_counted)
)
_FEW_OWNERS = Statement[int](
    select(_counted.c.id)
    .where(_counted.c.owners <= rules.FEW_OWNERS)
    .order_by(_counted.c.owners, _counted.c.name_sort, _counted.c.id)
    .limit(rules.LISTED_MAX)
)
_WITH_FEW_OWNERS = Statement[OwnedOrganisation](
    _organisation_owners.add_columns(
        scopes.c.uuid,
        scopes.c.name,
        *(func.max(accounts.c[name]).label(f"owner_{name}") for name in _NAMES),
    )
    .where(any_of(scopes.c.id, "ids"))
    .having(_owners <= rules.FEW_OWNERS)
    .order_by(_owners, scopes.c.name_sort, scopes.c.id)
)


def of_site(tx: ReadTransaction) -> SiteStatistics:
    """Count the figures of the whole service. It reads all grants: see ``stored``."""
    return SiteStatistics(
        figures=_figures(tx, _OF_SITE),
        owners=[*tx.fetch_only(_OWNERS, now=tx.now)],
        few_owners=tx.fetch_all(_FEW_OWNERS, now=tx.now),
    )


def with_few_owners(tx: ReadTransaction, ids: Collection[int]) -> list[OwnedOrganisation]:
    """Return those of some organisations that have few owners still."""
    return tx.fetch_all(_WITH_FEW_OWNERS, ids=list(ids), now=tx.now)


class _Stored:
    data: Any


_STORED = Statement[_Stored](select(site_statistics.c.data))
_COUNTED_AT = Statement[datetime](select(site_statistics.c.counted_at))


def _store(insert: Callable[..., Any]) -> Statement[Any]:
    row = insert(site_statistics).values(
        id=_ID,
        counted_at=bindparam("counted_at", type_=UtcDateTime),
        data=bindparam("data", type_=JsonColumn),
    )
    return Statement(
        row.on_conflict_do_update(
            index_elements=[site_statistics.c.id],
            set_={name: row.excluded[name] for name in ("counted_at", "data")},
            # Another worker may have counted later.
            where=site_statistics.c.counted_at < row.excluded.counted_at,
        )
    )


_STORE: Final = {"sqlite": _store(_insert_sqlite), "postgresql": _store(_insert_postgresql)}


def counted_at(tx: ReadTransaction) -> datetime | None:
    """Return when the stored figures were counted; None if there are none."""
    return tx.fetch_one(_COUNTED_AT)


def stored(tx: ReadTransaction) -> SiteStatistics | None:
    """Return the figures that were counted last; None if there are none."""
    row = tx.fetch_one(_STORED)
    try:
        return None if row is None else msgspec.convert(row.data, SiteStatistics)
    except msgspec.ValidationError:
        # An earlier release has stored other figures.
        return None


def store(tx: WriteTransaction, statistics: SiteStatistics) -> None:
    """Store the figures of the service, unless later ones are stored."""
    data = msgspec.to_builtins(statistics)
    tx.execute(_STORE[tx.backend], counted_at=statistics.figures.at, data=data)
