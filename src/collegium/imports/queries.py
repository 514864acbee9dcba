"""SQL of imports, and who may see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    true,
    update,
)

from collegium.access.queries import scopes_with_permission, viewer_params
from collegium.access.rules import GRANTING, KINDS, WALDUR_KINDS, Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.jobs import Jobs
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    import_rows,
    imports,
    invitations,
    roles,
    scopes,
)
from collegium.db.writing import insertion
from collegium.imports.rules import BUSY, RowState, State
from collegium.invitations.rules import OPEN
from collegium.lists.listing import Filter, Listing
from collegium.memberships.offers import Offer
from collegium.refusals import NotFound

INVITING: Final = tuple(pair for pair in GRANTING if pair[0] in WALDUR_KINDS)
"""The permissions that show the imports of a scope. Groups have none: they invite accounts."""


class ImportRow:
    """An import, with its scope and the person who uploaded the file."""

    id: int
    uuid: str
    scope_id: int
    digest: str
    file_name: str
    columns: list[Any]
    state: str
    created_at: datetime
    created_by: int | None
    started_by: int | None
    impersonator_id: int | None
    ip_address: str
    request_id: str
    started_at: datetime | None
    finished_at: datetime | None
    scope_uuid: str
    scope_kind: str
    scope_name: str
    creator_uuid: str | None
    creator_first_name: str | None
    creator_last_name: str | None
    creator_username: str | None


class FileRow:
    """A row of an import, and the invitation that it led to."""

    number: int
    import_id: int
    cells: dict[str, str]
    role_uuid: str | None
    state: str
    problem: dict[str, Any]
    invitation_id: int | None
    invitation_uuid: str | None
    invitation_state: str | None


class OpenRole:
    """A role that undecided invitations offer."""

    role_id: int
    is_active: bool


class RowCount:
    """How many rows of an import are in a state."""

    import_id: int
    state: str
    count: int


_import = bindparam("import_id", type_=BigInt)
_rows = (
    Relations(
        imports,
        scope=scopes,
        creator=Relation(accounts.alias("creator"), imports.c.created_by),
    )
    .select(ImportRow)
    .where(scopes.c.deleted_at.is_(None))
)


def visible() -> ColumnElement[bool]:
    """Return the condition for imports that an ordinary actor may see."""
    return imports.c.scope_id.in_(scopes_with_permission(*INVITING))


listing = Listing[ImportRow](
    rows=_rows,
    visible=visible,
    key=imports.c.id,
    default="-created",
    orders={"created": (imports.c.created_at,)},
)
of_scope = Listing[ImportRow](
    rows=_rows,
    visible=true,  # access to the scope was checked before
    key=imports.c.id,
    count_query=select(imports.c.id),
    filters_fit_count_query=True,
    default="-created",
    orders={"created": (imports.c.created_at,)},
    filters={"scope_id": imports.c.scope_id == bindparam("scope_id", type_=BigInt)},
)
"""The imports of one scope; the filter ``scope_id`` is its id."""

_file_rows = Relations(import_rows, invitation=invitations).select(FileRow)
rows_of = Listing[FileRow](
    rows=_file_rows,
    visible=true,  # access to the import was checked before
    key=import_rows.c.number,
    count_query=select(import_rows.c.number),
    filters_fit_count_query=True,
    default="number",
    orders={"number": (import_rows.c.number,)},
    filters={
        "import_id": import_rows.c.import_id == _import,
        "state": Filter(
            lambda value: ("", {"row_states": value}),
            lambda _form, _sees_all: any_of(import_rows.c.state, "row_states"),
        ),
    },
)
"""The rows of one import; the filter ``import_id`` is its id."""


@lru_cache(maxsize=2)
def _select_visible(*, sees_all: bool) -> Statement[ImportRow]:
    return Statement[ImportRow](
        _rows.where(imports.c.uuid == bindparam("uuid"), true() if sees_all else visible())
    )


_BY_DIGEST = Statement[ImportRow](
    _rows.where(
        imports.c.scope_id == bindparam("scope_id", type_=BigInt),
        imports.c.digest == bindparam("digest", type_=String()),
    )
)
_BY_ID = Statement[ImportRow](_rows.where(imports.c.id == bindparam("id", type_=BigInt)))
jobs = Jobs(imports, _BY_ID, BUSY, func.coalesce(imports.c.finished_at, imports.c.created_at))
_COUNTS = Statement[RowCount](
    select(import_rows.c.import_id, import_rows.c.state, func.count().label("count"))
    .where(any_of(import_rows.c.import_id, "imports"))
    .group_by(import_rows.c.import_id, import_rows.c.state)
)
_INSERT_COLUMNS: Final = (
    *("uuid", "scope_id", "digest", "file_name", "columns", "state", "created_at", "created_by"),
)
_INSERT = Statement[int](insertion(imports, _INSERT_COLUMNS).returning(imports.c.id))
_ROW_COLUMNS: Final = (
    *("import_id", "number", "cells", "email_comparable", "role_uuid", "state", "problem"),
)
_INSERT_ROW = Statement(insertion(import_rows, _ROW_COLUMNS))
_DELETE_JUDGED = Statement(
    delete(import_rows).where(
        import_rows.c.import_id == _import, import_rows.c.state != RowState.CREATED.value
    )
)
_CREATED_NUMBERS = Statement[int](
    select(import_rows.c.number).where(
        import_rows.c.import_id == _import, import_rows.c.state == RowState.CREATED.value
    )
)
_READY_NUMBERS = Statement[int](
    select(import_rows.c.number).where(
        import_rows.c.import_id == _import,
        import_rows.c.state == RowState.READY.value,
        any_of(import_rows.c.number, "numbers"),
    )
)
_CHOOSE_ALL = Statement(
    update(import_rows)
    .where(import_rows.c.import_id == _import, import_rows.c.state == RowState.READY.value)
    .values(state=RowState.WAITING.value)
)
_CHOOSE = Statement(
    update(import_rows)
    .where(import_rows.c.import_id == _import, any_of(import_rows.c.number, "numbers"))
    .values(state=RowState.WAITING.value)
)
_RELEASE = Statement(
    update(import_rows)
    .where(import_rows.c.import_id == _import, import_rows.c.state == RowState.WAITING.value)
    .values(state=RowState.READY.value)
)
_ALL_ROWS = Statement[FileRow](
    _file_rows.where(import_rows.c.import_id == _import).order_by(import_rows.c.number)
)
_WAITING = Statement[FileRow](
    _file_rows.where(
        import_rows.c.import_id == _import, import_rows.c.state == RowState.WAITING.value
    )
    .order_by(import_rows.c.number)
    .limit(bindparam("limit", type_=Integer))
)
_is_open = and_(
    import_rows.c.import_id == _import,
    import_rows.c.state == RowState.CREATED.value,
    or_(*(invitations.c.state == state.value for state in OPEN)),
)
_OPEN_ROWS = Statement[FileRow](
    _file_rows.where(_is_open)
    .order_by(import_rows.c.number)
    .limit(bindparam("limit", type_=Integer))
)
_OPEN_ROLES = Statement[OpenRole](
    select(invitations.c.role_id, roles.c.is_active)
    .distinct()
    .select_from(import_rows)
    .join(invitations, invitations.c.id == import_rows.c.invitation_id)
    .join(roles, roles.c.id == invitations.c.role_id)
    .where(_is_open)
)
_SET_ROW = Statement(
    update(import_rows)
    .where(import_rows.c.import_id == _import, import_rows.c.number == bindparam("row_number"))
    .values(
        state=bindparam("state"),
        problem=bindparam("problem"),
        invitation_id=case(
            (
                bindparam("invitation_uuid", type_=String()) != "",
                select(invitations.c.id)
                .where(invitations.c.uuid == bindparam("invitation", type_=invitations.c.uuid.type))
                .scalar_subquery(),
            ),
            else_=import_rows.c.invitation_id,
        ),
    )
)


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> ImportRow:
    """Return an import of a scope to which the actor may invite, or any to staff and support.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``import.unknown``: it does not exist, or the actor may not invite there.
    """
    statement = _select_visible(sees_all=actor.sees_all)
    row = tx.fetch_one(statement, uuid=uuid, **viewer_params(tx, actor))
    if row is None or not KINDS[row.scope_kind].in_waldur:
        raise NotFound("import.unknown")
    return row


def by_digest(tx: ReadTransaction, scope: int, digest: str) -> ImportRow | None:
    """Return the import of the same file to a scope, if there is one."""
    return tx.fetch_one(_BY_DIGEST, scope_id=scope, digest=digest)


def counts(tx: ReadTransaction, ids: Collection[int]) -> dict[int, dict[str, int]]:
    """Return how many rows of imports are in each state, by id of the import and state."""
    found: dict[int, dict[str, int]] = {each: {} for each in ids}
    for row in tx.fetch_all(_COUNTS, imports=list(ids)) if ids else ():
        found[row.import_id][row.state] = row.count
    return found


def add(tx: WriteTransaction, **values: Any) -> int:
    """Insert an import without rows, and return its id.

    Raises:
        UniqueViolationError: the same file was uploaded at the same time.
    """
    return tx.fetch_only(
        _INSERT, uuid=uuid4().hex, state=State.JUDGED.value, created_at=tx.now, **values
    )


def add_rows(tx: WriteTransaction, import_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert judged rows of an import, a bounded number.

    Args:
        rows: the columns ``number cells email_comparable role_uuid state problem``.
    """
    tx.execute_many(_INSERT_ROW, [{"import_id": import_id, **row} for row in rows])


def delete_judged(tx: WriteTransaction, import_id: int) -> set[int]:
    """Delete the rows that led to no open invitation, and return the numbers of the others."""
    tx.execute(_DELETE_JUDGED, import_id=import_id)
    return set(tx.fetch_all(_CREATED_NUMBERS, import_id=import_id))


def ready_numbers(tx: ReadTransaction, import_id: int, numbers: Collection[int]) -> set[int]:
    """Return those of the numbers whose rows are ready."""
    return set(tx.fetch_all(_READY_NUMBERS, import_id=import_id, numbers=list(numbers)))


def choose(tx: WriteTransaction, import_id: int, numbers: Collection[int] | None) -> int:
    """Make ready rows wait for the worker; return how many.

    Args:
        numbers: of rows that are ready; None for all.
    """
    if numbers is None:
        return tx.execute(_CHOOSE_ALL, import_id=import_id)
    return tx.execute(_CHOOSE, import_id=import_id, numbers=list(numbers))


def release(tx: WriteTransaction, import_id: int) -> int:
    """Make the waiting rows ready again; return how many."""
    return tx.execute(_RELEASE, import_id=import_id)


def all_rows(tx: ReadTransaction, import_id: int) -> list[FileRow]:
    """Return all rows of an import, by number."""
    return tx.fetch_all(_ALL_ROWS, import_id=import_id)


def waiting(tx: ReadTransaction, import_id: int, limit: int) -> list[FileRow]:
    """Return the next waiting rows."""
    return tx.fetch_all(_WAITING, import_id=import_id, limit=limit)


def open_rows(tx: ReadTransaction, import_id: int, limit: int) -> list[FileRow]:
    """Return rows whose invitations are not decided yet."""
    return tx.fetch_all(_OPEN_ROWS, import_id=import_id, limit=limit)


def has_open(tx: ReadTransaction, import_id: int) -> bool:
    """Return whether invitations of an import are not decided yet."""
    return bool(open_rows(tx, import_id, 1))


def open_offers(tx: ReadTransaction, import_id: int) -> list[Offer]:
    """Return what the undecided invitations of an import offer."""
    rows = tx.fetch_all(_OPEN_ROLES, import_id=import_id)
    return [Offer((row.role_id,), row.is_active) for row in rows]


def set_rows(
    tx: WriteTransaction,
    import_id: int,
    changes: Sequence[tuple[int, RowState, Mapping[str, Any], str]],
) -> None:
    """Store the states of rows, a bounded number.

    Args:
        changes: number, state, problem (empty for none), and UUID of the invitation (empty to keep
            what is stored).
    """
    tx.execute_many(
        _SET_ROW,
        [
            {
                "import_id": import_id,
                "row_number": number,
                "state": state.value,
                "problem": dict(problem),
                "invitation_uuid": invitation,
                "invitation": invitation or None,
            }
            for number, state, problem, invitation in changes
        ],
    )
