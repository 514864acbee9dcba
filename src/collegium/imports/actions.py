"""Actions on imports: store what was judged, start, cancel and undo, and what the worker does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final, NamedTuple

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import KINDS, Actor
from collegium.db.database import ReadTransaction, UniqueViolationError, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.imports import queries as import_queries
from collegium.imports import readers
from collegium.imports import rules as import_rules
from collegium.imports.judging import BATCH, Judgement, Roles, judge, refused
from collegium.imports.queries import FileRow, ImportRow
from collegium.imports.readers import Table
from collegium.imports.rules import CANCELABLE, STARTABLE, UNDOABLE, Row, RowState, State
from collegium.invitations import actions as invitation_actions
from collegium.invitations.actions import NewInvitation
from collegium.memberships.offers import check_may_grant
from collegium.refusals import Conflict, Forbidden, Invalid, Refusal
from collegium.roles.queries import RoleRow
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import stored_actor

WORK_BATCH: Final = 100
"""Rows that the worker does in one transaction, some 50 milliseconds."""

FILE_NAME_MAX: Final = 255
_NAMED_MAX: Final = 10
"""Rows that a refusal names."""


def require_may_import(actor: Actor, scope_access: ScopeAccess) -> None:
    """Require that an actor may invite to a scope, which then shows them its imports.

    Raises:
        Forbidden: ``permission.missing``.
        Conflict: ``import.group``: a group invites accounts, and their number is limited.
    """
    kind = KINDS[scope_access.scope.kind]
    if not actor.is_staff and kind.grant not in scope_access.permissions:
        raise Forbidden("permission.missing")
    if kind.invites_accounts:
        raise Conflict("import.group")


class Judged(NamedTuple):
    """A file whose rows were judged; nothing has changed.

    Args:
        digest: what makes another upload the same import.
    """

    access: ScopeAccess
    digest: str
    file_name: str
    table: Table
    rows: list[Judgement]


def judge_file(
    read: Callable[[], AbstractContextManager[ReadTransaction]],
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    content: bytes,
    file_name: str = "",
    role: RoleRow | None = None,
    mapping: Mapping[str, str | int] | None = None,
) -> Judged:
    """Read a file and judge all its rows, in batches with short transactions of their own.

    The caller has checked that the actor may import there.

    Args:
        read: opens a read transaction.
        content: of the file, of bounded size.
        role: of rows that name none; None if there is none.
        mapping: as ``readers.read`` takes it.

    Raises:
        InvalidValueError, UnavailableError: as ``readers.read``.
    """
    table = readers.read(content, settings.import_max_rows, mapping)
    judged: list[Judgement] = []
    seen: set[tuple[str, int]] = set()
    for start in range(0, len(table.rows), BATCH):
        with read() as tx:
            roles = Roles(tx, actor, scope_access, role)
            rows = table.rows[start : start + BATCH]
            judged += judge(tx, actor, settings, scope_access, roles, rows, seen=seen)
    options = {"columns": mapping, "role": role and role.uuid}
    digest = import_rules.digest(content, scope_access.scope.uuid, options)
    return Judged(scope_access, digest, file_name[:FILE_NAME_MAX], table, judged)


def store(tx: WriteTransaction, actor: Actor, judged: Judged) -> tuple[str, bool]:
    """Store an import; return its UUID, and whether it is new.

    The same file is the same import. What was not done of it is judged anew.

    Raises:
        NotFound, Forbidden, Conflict: as ``require_may_import``, as of now.
    """
    table, digest = judged.table, judged.digest
    # Imports are locked before scopes everywhere, which prevents deadlocks.
    present = import_queries.by_digest(tx, judged.access.scope.id, digest)
    if present is not None:
        import_queries.jobs.lock(tx, present.id)
    scope_access = access_queries.lock_scope_shared_and_recheck(tx, actor, judged.access)
    require_may_import(actor, scope_access)
    columns = [
        {"name": name, "field": field.value if field else None}
        for name, field in zip(_names(table), table.columns, strict=True)
    ]
    values = {"file_name": judged.file_name, "columns": columns}
    try:
        with tx.savepoint():
            import_id = import_queries.add(
                tx, scope_id=scope_access.scope.id, digest=digest, created_by=actor.id, **values
            )
    except UniqueViolationError:
        present = import_queries.by_digest(tx, scope_access.scope.id, digest)
        locked = present and import_queries.jobs.lock(tx, present.id)
        if locked is None:
            raise Conflict("import.wrong_state") from None
        if State(locked.state) in STARTABLE:
            done = import_queries.delete_judged(tx, locked.id)
            _add_rows(tx, locked.id, [each for each in judged.rows if each.row.number not in done])
            if not done:
                import_queries.jobs.change(tx, locked.id, state=State.JUDGED.value)
        return locked.uuid, False
    _add_rows(tx, import_id, judged.rows)
    row = import_queries.by_digest(tx, scope_access.scope.id, digest)
    assert row is not None  # noqa: S101 - inserted above
    return row.uuid, True


def _names(table: Table) -> list[str]:
    names = [name.strip()[: import_rules.COLUMN_NAME_MAX] for name in table.header]
    return [*names, *[""] * len(table.columns)][: len(table.columns)]


def _add_rows(tx: WriteTransaction, import_id: int, judged: Sequence[Judgement]) -> None:
    # In parts, because the statements hold a copy of what the rows say.
    for first in range(0, len(judged), BATCH):
        rows = [each.stored() for each in judged[first : first + BATCH]]
        import_queries.add_rows(tx, import_id, rows)


def start(
    tx: WriteTransaction, actor: Actor, uuid: str, numbers: Collection[int] | None
) -> ImportRow:
    """Let the worker invite the people of ready rows; return the import as it was before.

    Args:
        numbers: of the chosen rows; None for all that are ready.

    Raises:
        NotFound: ``import.unknown``.
        Forbidden: ``permission.missing``: the actor may only read.
        Conflict: ``import.wrong_state``; ``import.nothing_ready``.
        Invalid: ``import.not_ready``, with the numbers of rows that are not.
    """
    row = _lock(tx, actor, uuid, STARTABLE)
    if numbers is not None:
        ready = import_queries.ready_numbers(tx, row.id, numbers)
        wrong = sorted(set(numbers) - ready)
        if wrong:
            named = [str(each) for each in wrong[:_NAMED_MAX]]
            raise Invalid("import.not_ready", field="rows", wrong=named)
    count = import_queries.choose(tx, row.id, numbers)
    if not count:
        raise Conflict("import.nothing_ready")
    _hand_over(tx, actor, row, State.RUNNING)
    event_queries.record(
        tx,
        actor,
        events.ImportStarted(scope=row.scope_id, import_uuid=row.uuid, import_rows=str(count)),
    )
    return row


def cancel(tx: WriteTransaction, actor: Actor, uuid: str) -> ImportRow:
    """Stop an import. Invitations that were created stay; return the import as it was before.

    Raises:
        NotFound: ``import.unknown``.
        Conflict: ``import.wrong_state``.
    """
    row = _lock(tx, actor, uuid, CANCELABLE)
    import_queries.release(tx, row.id)
    import_queries.jobs.change(tx, row.id, state=State.CANCELED.value, finished_at=tx.now)
    event_queries.record(tx, actor, events.ImportCanceled(scope=row.scope_id, import_uuid=row.uuid))
    return row


def undo(tx: WriteTransaction, actor: Actor, uuid: str) -> ImportRow:
    """Let the worker cancel the invitations of an import that were not accepted or declined yet.

    Raises:
        NotFound: ``import.unknown``.
        Forbidden: ``role.above_ceiling``: the actor may not invite to a role of the import.
        Conflict: ``import.wrong_state``; ``import.nothing_to_undo``.
    """
    row = _lock(tx, actor, uuid, UNDOABLE)
    if not import_queries.has_open(tx, row.id):
        raise Conflict("import.nothing_to_undo")
    _check_roles(tx, actor, row)
    _hand_over(tx, actor, row, State.UNDOING)
    event_queries.record(tx, actor, events.ImportUndone(scope=row.scope_id, import_uuid=row.uuid))
    return row


def _lock(tx: WriteTransaction, actor: Actor, uuid: str, states: Collection[State]) -> ImportRow:
    seen = import_queries.get_visible(tx, actor, uuid)
    import_queries.jobs.lock(tx, seen.id)
    # Another action may have changed it, or the actor's rights, while this waited.
    row = import_queries.get_visible(tx, actor, uuid)
    access = access_queries.get_visible_by_id(tx, actor, row.scope_id)
    require_may_import(actor, access)
    if State(row.state) not in states:
        raise Conflict("import.wrong_state", state=row.state)
    return row


def _hand_over(tx: WriteTransaction, actor: Actor, row: ImportRow, state: State) -> None:
    """Let the worker act in the name of the actor, who is named in the audit log."""
    import_queries.jobs.change(
        tx,
        row.id,
        state=state.value,
        started_by=actor.id,
        **actor.stored(),
        started_at=tx.now,
        finished_at=None,
    )
    tx.mail_enqueued = True  # this wakes the worker


def _check_roles(tx: WriteTransaction, actor: Actor, row: ImportRow) -> None:
    access = access_queries.get_visible_by_id(tx, actor, row.scope_id)
    require_may_import(actor, access)
    for offer in import_queries.open_offers(tx, row.id):
        check_may_grant(tx, actor, access, offer)


def run_next(tx: WriteTransaction, settings: Settings) -> bool:
    """Do one batch of the oldest import that has work and that no other worker holds.

    The rows and their invitations change in one transaction. So after a crash each row is either
    done or still waits, and the next worker goes on.

    Returns:
        Whether there was work.
    """
    import_id = import_queries.jobs.lock_next_busy(tx)
    if import_id is None:
        return False
    tx.is_bulk = True
    row = import_queries.jobs.by_id(tx, import_id)
    actor = (
        None
        if row is None
        else stored_actor(tx, row.started_by, row.impersonator_id, row.ip_address, row.request_id)
    )
    if row is None or actor is None:
        # The scope was deleted, or nobody may act for this account any more.
        import_queries.release(tx, import_id)
        import_queries.jobs.change(tx, import_id, state=State.CANCELED.value, finished_at=tx.now)
    elif row.state == State.UNDOING:
        _withdraw_batch(tx, actor, row)
    else:
        _create_batch(tx, actor, settings, row)
    return True


def _create_batch(tx: WriteTransaction, actor: Actor, settings: Settings, row: ImportRow) -> None:
    rows = import_queries.waiting(tx, row.id, WORK_BATCH)
    try:
        access = access_queries.get_visible_by_id(tx, actor, row.scope_id)
        # Nobody invites to the scope at the same time: another import may name the same people.
        access = access_queries.lock_scope_alone_and_recheck(tx, actor, access)
        require_may_import(actor, access)
        changes = _create(tx, actor, settings, access, rows)
    except Refusal as refusal:
        # The actor has lost the right to invite since.
        changes = [_change_of(refused(_unjudged(each), refusal)) for each in rows]
    import_queries.set_rows(tx, row.id, changes)
    if len(rows) < WORK_BATCH:
        import_queries.jobs.change(tx, row.id, state=State.DONE.value, finished_at=tx.now)


def _unjudged(row: FileRow) -> Judgement:
    return Judgement(Row(row.number, row.cells), RowState.READY, None)


def _change_of(judgement: Judgement, invitation: str = "") -> tuple[int, RowState, Any, str]:
    state = RowState.CREATED if invitation else judgement.state
    problem = judgement.problem.stored() if judgement.problem else {}
    return judgement.row.number, state, problem, invitation


def _create(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    access: ScopeAccess,
    rows: Sequence[FileRow],
) -> list[tuple[int, RowState, Any, str]]:
    """Judge rows again, and invite the people of those that are still ready."""
    judged = judge(
        tx,
        actor,
        settings,
        access,
        Roles(tx, actor, access),
        [Row(each.number, each.cells) for each in rows],
        role_uuids={each.number: each.role_uuid or "" for each in rows},
    )
    planned = [
        (index, NewInvitation(each.role, details_of(each)))
        for index, each in enumerate(judged)
        if each.state is RowState.READY and each.role is not None
    ]
    results = invitation_actions.create_all(
        tx, actor, settings, access, [invitation for _, invitation in planned]
    )
    created: dict[int, str] = {}
    for (index, _), result in zip(planned, results, strict=True):
        if isinstance(result, Refusal):
            judged[index] = refused(judged[index], result)
        else:
            created[index] = result
    return [_change_of(each, created.get(index, "")) for index, each in enumerate(judged)]


def details_of(judgement: Judgement) -> dict[str, Any]:
    """Return the details of the invitation that a well-formed row asks for."""
    person = judgement.person
    if person is None:
        raise ValueError(judgement)
    return {
        "email": person.email,
        "full_name": person.name,
        "extra_text": person.message,
        "grant_until": person.until,
        "language": person.language,
    }


def _withdraw_batch(tx: WriteTransaction, actor: Actor, row: ImportRow) -> None:
    # As for a single invitation: nobody accepts one at the same time.
    access_queries.lock_scope(tx, row.scope_id)
    rows = import_queries.open_rows(tx, row.id, WORK_BATCH)
    try:
        _check_roles(tx, actor, row)
    except Refusal:
        # The actor has lost the right since; the invitations stay.
        import_queries.jobs.change(tx, row.id, state=State.DONE.value, finished_at=tx.now)
        return
    invitation_actions.withdraw_all(
        tx, actor, row.scope_id, [each.invitation_id for each in rows if each.invitation_id]
    )
    import_queries.set_rows(
        tx, row.id, [(each.number, RowState.WITHDRAWN, {}, "") for each in rows]
    )
    if len(rows) < WORK_BATCH:
        import_queries.jobs.change(tx, row.id, state=State.UNDONE.value, finished_at=tx.now)


def purge(tx: WriteTransaction, settings: Settings, limit: int) -> int:
    """Delete imports past their retention, with what their rows say; return how many."""
    before = tx.now - timedelta(seconds=settings.import_retention)
    return import_queries.jobs.purge(tx, before, limit)
