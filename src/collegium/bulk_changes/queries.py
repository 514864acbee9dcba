"""SQL of bulk changes. Only the person who made one sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    func,
    not_,
    or_,
    select,
    true,
    update,
)

from collegium.access.queries import scopes_with_permission
from collegium.access.rules import KINDS, Actor, ScopeKind
from collegium.bulk_changes.rules import BUSY, OF_INVITATIONS, STOPPABLE, Change, RowState, State
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.jobs import Jobs
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    bulk_change_rows,
    bulk_changes,
    grants,
    invitations,
    roles,
    scopes,
)
from collegium.db.writing import insertion
from collegium.lists.listing import Filter, Listing, choice
from collegium.refusals import or_not_found


class BulkChangeRow:
    """A bulk change."""

    id: int
    uuid: str
    scope_id: int
    change: str
    valid_until: datetime | None
    state: str
    created_at: datetime
    created_by: int | None
    impersonator_id: int | None
    ip_address: str
    request_id: str
    finished_at: datetime | None


class ListedBulkChange:
    """A bulk change in the list of its maker."""

    id: int
    uuid: str
    change: str
    state: str
    created_at: datetime
    total: int | None
    scope_id: int
    scope_uuid: str
    scope_kind: str
    scope_name: str


class ChosenRow:
    """A row of a bulk change, with its invitation or grant as it is now; None of one that is gone.

    The account of an invitation is the invited one, that of a grant its holder.
    """

    number: int
    bulk_change_id: int
    version: str
    state: str
    problem: dict[str, Any]
    invitation_uuid: str | None
    invitation_state: str | None
    link_version: int | None
    expires_at: datetime | None
    invited_email: str | None
    invited_name: str | None
    grant_uuid: str | None
    valid_until: datetime | None
    account_id: int | None
    first_name: str | None
    last_name: str | None
    username: str | None
    email: str | None
    role_id: int | None
    role_name: str | None
    role_description: str | None


class RowCount:
    """How many rows are in a state."""

    state: str
    count: int


_change = bindparam("bulk_change_id", type_=BigInt)
_bulk_changes = Relations(bulk_changes, scope=scopes)
_rows = _bulk_changes.select(BulkChangeRow, join=["scope"]).where(scopes.c.deleted_at.is_(None))
_IS_OPEN = or_(*(bulk_changes.c.state == state.value for state in sorted(STOPPABLE)))
_account_id = func.coalesce(grants.c.account_id, invitations.c.account_id)
_PERSON = ("first_name", "last_name", "username", "email")
_chosen = Relations(
    bulk_change_rows,
    invitation=Relation(invitations, unprefixed=("link_version", "expires_at")),
    grant=Relation(grants, unprefixed=("valid_until",)),
    account=Relation(accounts, on=accounts.c.id == _account_id, is_outer=True, unprefixed=_PERSON),
    role=Relation(
        roles,
        on=roles.c.id == func.coalesce(grants.c.role_id, invitations.c.role_id),
        is_outer=True,
    ),
).select(
    ChosenRow,
    account_id=_account_id,
    invited_email=invitations.c.email,
    invited_name=invitations.c.full_name,
)
rows_of = Listing[ChosenRow](
    rows=_chosen,
    visible=true,  # access to the bulk change was checked before
    key=bulk_change_rows.c.number,
    count_query=select(bulk_change_rows.c.number),
    filters_fit_count_query=True,
    default="number",
    orders={"number": (bulk_change_rows.c.number,)},
    filters={
        "bulk_change_id": bulk_change_rows.c.bulk_change_id == _change,
        "state": Filter(
            lambda value: ("", {"row_states": value}),
            lambda _form, _sees_all: any_of(bulk_change_rows.c.state, "row_states"),
        ),
    },
)
"""The rows of one bulk change; the filter ``bulk_change_id`` is its id."""

_RIGHTS: Final = (
    (OF_INVITATIONS, attrgetter("grant")),
    ((Change.END,), attrgetter("update_role")),
    ((Change.REMOVE,), attrgetter("revoke")),
)


def visible() -> ColumnElement[bool]:
    """Return the condition for bulk changes whose rows an ordinary actor may still change.

    As ``permission_for`` of the actions says for one of them.
    """
    return or_(
        *(
            and_(
                or_(*(bulk_changes.c.change == change.value for change in changes)),
                bulk_changes.c.scope_id.in_(
                    scopes_with_permission(*((kind, right(KINDS[kind])) for kind in ScopeKind))
                ),
            )
            for changes, right in _RIGHTS
        )
    )


own = Listing[ListedBulkChange](
    rows=_bulk_changes.select(
        ListedBulkChange,
        # The rows are numbered from 1, and the primary key finds the last one.
        total=select(func.max(bulk_change_rows.c.number))
        .where(bulk_change_rows.c.bulk_change_id == bulk_changes.c.id)
        .scalar_subquery(),
    ).where(scopes.c.deleted_at.is_(None)),
    visible=visible,
    key=bulk_changes.c.id,
    default="-created",
    orders={"created": (bulk_changes.c.created_at,)},
    filters={
        "created_by": bulk_changes.c.created_by == bindparam("created_by", type_=BigInt),
        "is_open": choice(_IS_OPEN, not_(_IS_OPEN)),
    },
)
"""Bulk changes; the filter ``created_by``, which every use needs, is the id of an account."""

_OWN = Statement[BulkChangeRow](
    _rows.where(
        bulk_changes.c.uuid == bindparam("uuid"),
        bulk_changes.c.created_by == bindparam("account", type_=BigInt),
    )
)
_BY_ID = Statement[BulkChangeRow](_rows.where(bulk_changes.c.id == bindparam("id", type_=BigInt)))
jobs = Jobs(bulk_changes, _BY_ID, BUSY, bulk_changes.c.created_at)
_COUNTS = Statement[RowCount](
    select(bulk_change_rows.c.state, func.count().label("count"))
    .where(bulk_change_rows.c.bulk_change_id == _change)
    .group_by(bulk_change_rows.c.state)
)
_COLUMNS: Final = (
    *("uuid", "scope_id", "change", "valid_until", "state", "created_at", "created_by"),
    *("impersonator_id", "ip_address", "request_id"),
)
_INSERT = Statement[int](insertion(bulk_changes, _COLUMNS).returning(bulk_changes.c.id))
_ROW_COLUMNS: Final = ("bulk_change_id", "number", "invitation_id", "grant_id", "state")
_INSERT_ROW = Statement(insertion(bulk_change_rows, _ROW_COLUMNS))
_NEXT_ROWS = Statement[ChosenRow](
    _chosen.where(
        bulk_change_rows.c.bulk_change_id == _change,
        bulk_change_rows.c.state == bindparam("row_state"),
    )
    .order_by(bulk_change_rows.c.number)
    .limit(bindparam("limit", type_=Integer))
)
_SET_ROW = Statement(
    update(bulk_change_rows)
    .where(
        bulk_change_rows.c.bulk_change_id == _change,
        bulk_change_rows.c.number == bindparam("row_number"),
    )
    .values({name: bindparam(name) for name in ("state", "problem", "version")})
)


def get_own(tx: ReadTransaction, actor: Actor, uuid: str) -> BulkChangeRow:
    """Return a bulk change that the actor has made.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``bulk_change.unknown``: it does not exist, or somebody else has made it.
    """
    return or_not_found(tx.fetch_one(_OWN, uuid=uuid, account=actor.id), "bulk_change.unknown")


def counts(tx: ReadTransaction, bulk_change_id: int) -> dict[str, int]:
    """Return how many rows are in each state."""
    return {row.state: row.count for row in tx.fetch_all(_COUNTS, bulk_change_id=bulk_change_id)}


def add(
    tx: WriteTransaction,
    actor: Actor,
    scope: int,
    change: Change,
    valid_until: datetime | None,
    rows: Sequence[Mapping[str, int | None]],
) -> BulkChangeRow:
    """Insert a bulk change whose rows are not judged, and return it.

    Args:
        scope: id of the scope.
        valid_until: the end that roles get, UTC; None for no end.
        rows: the columns ``invitation_id grant_id`` of each row, a bounded number.
    """
    added = tx.fetch_only(
        _INSERT,
        uuid=uuid4().hex,
        scope_id=scope,
        change=change.value,
        valid_until=valid_until,
        state=State.JUDGING.value,
        created_at=tx.now,
        created_by=actor.id,
        **actor.stored(),
    )
    chosen = {"bulk_change_id": added, "state": RowState.CHOSEN.value}
    tx.execute_many(
        _INSERT_ROW, [{**chosen, "number": n, **row} for n, row in enumerate(rows, start=1)]
    )
    return tx.fetch_only(_BY_ID, id=added)


def next_rows(
    tx: ReadTransaction, bulk_change_id: int, state: RowState, limit: int
) -> list[ChosenRow]:
    """Return the first rows in a state."""
    return tx.fetch_all(
        _NEXT_ROWS, bulk_change_id=bulk_change_id, row_state=state.value, limit=limit
    )


def set_rows(
    tx: WriteTransaction,
    bulk_change_id: int,
    changes: Collection[tuple[ChosenRow, RowState, Mapping[str, Any]]],
) -> None:
    """Store the states of rows, a bounded number, with their present version.

    Args:
        changes: row, state and problem (empty for none).
    """
    tx.execute_many(
        _SET_ROW,
        [
            {
                "bulk_change_id": bulk_change_id,
                "row_number": row.number,
                "state": state.value,
                "problem": dict(problem),
                "version": version_of(row),
            }
            for row, state, problem in changes
        ],
    )


def version_of(row: ChosenRow) -> str:
    """Return what must be the same when a row is changed as it was when it was judged."""
    if row.invitation_uuid is not None:
        facts = (row.invitation_state, row.link_version, row.role_id, row.expires_at)
    else:
        facts = (row.grant_uuid, None, row.role_id, row.valid_until)
    return " ".join(str(fact) for fact in facts)
