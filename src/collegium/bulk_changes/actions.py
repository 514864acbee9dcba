"""Actions on bulk changes: choose rows, confirm, stop, and what the worker does.

Each row is changed by the action that changes a single one. Before that it is judged by the same
action, whose effects are rolled back: there is no second rule of what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import KINDS, Actor, Permission, require_permission
from collegium.bulk_changes import queries as bulk_change_queries
from collegium.bulk_changes.queries import BulkChangeRow, ChosenRow
from collegium.bulk_changes.rules import (
    BATCH,
    FOLLOWING,
    OF_INVITATIONS,
    ROWS_MAX,
    STOPPABLE,
    WORK,
    Change,
    RowState,
    State,
)
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations.mail_budgets import queries as mail_budget_queries
from collegium.invitations.rules import State as InvitationState
from collegium.lists.listing import Listing
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.refusals import Conflict, NotFound, Refusal, or_not_found
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import PEOPLE
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import stored_actor

_CLASSES: Final[Mapping[str, type[Refusal]]] = {
    each.__name__: each for each in Refusal.__subclasses__()
}


class _RolledBackError(Exception):
    """Ends a block whose effects are not kept."""


def permission_for(change: Change, access: ScopeAccess) -> Permission:
    """Return the permission without which no row of a scope can be changed."""
    kind = KINDS[access.scope.kind]
    if change in OF_INVITATIONS:
        return kind.grant
    return kind.update_role if change is Change.END else kind.revoke


def find_rows(
    tx: ReadTransaction,
    actor: Actor,
    access: ScopeAccess,
    change: Change,
    filters: Mapping[str, Any],
    uuids: Collection[str] | None,
) -> list[int]:
    """Return the ids of the invitations or grants to change.

    Args:
        access: the scope, as loaded through ``get_visible``.
        filters: filters of the list, as of its ``Listing``, except the scope.
        uuids: of the ticked rows, 32 hex digits each. Those that the list does not have are left
            out. None for all rows.

    Raises:
        Forbidden: ``permission.missing``.
        NotFound: ``bulk_change.no_rows``.
        Conflict: ``bulk_change.too_many``, with the ``most`` that are possible.
    """
    _require_may_change(actor, access, change)
    listing: Listing[Any] = membership_queries.of_scope
    scope_filter = "scope"
    if change in OF_INVITATIONS:
        listing, scope_filter = invitation_queries.of_scope, "scope_id"
    chosen = {**filters, scope_filter: access.scope.id}
    if uuids is not None:
        chosen = {scope_filter: access.scope.id, "uuids": list(uuids)}
    ids = listing.keys(tx, actor, chosen, ROWS_MAX + 1)
    if not ids:
        raise NotFound("bulk_change.no_rows")
    if len(ids) > ROWS_MAX:
        raise Conflict("bulk_change.too_many", most=ROWS_MAX)
    return ids


def _require_may_change(actor: Actor, access: ScopeAccess, change: Change) -> None:
    require_permission(actor, access.permissions, permission_for(change, access))


def create(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    access: ScopeAccess,
    change: Change,
    ids: Sequence[int],
    valid_until: datetime | None = None,
) -> BulkChangeRow:
    """Choose the rows of a bulk change. Up to ``BATCH`` are judged now, more by the worker.

    Args:
        access: the scope, as loaded through ``get_visible``.
        ids: of invitations or grants in this scope, as ``find_rows`` returns them.
        valid_until: the end that roles get, UTC; None for no end.

    Raises:
        NotFound, Forbidden: as ``find_rows``, as of now.
        Invalid: ``grant.ends_in_the_past``.
    """
    # The scope is not locked: each row is judged under its lock later.
    access = access_queries.get_visible_by_id(tx, actor, access.scope.id)
    _require_may_change(actor, access, change)
    if change is Change.END:
        membership_rules.check_end(valid_until, tx.now)
    name = "invitation_id" if change in OF_INVITATIONS else "grant_id"
    empty = {"invitation_id": None, "grant_id": None}
    row = bulk_change_queries.add(
        tx, actor, access.scope.id, change, valid_until, [{**empty, name: each} for each in ids]
    )
    _begin(tx, settings, row, len(ids))
    return row


def confirm(tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str) -> BulkChangeRow:
    """Change the rows that are ready. Up to ``BATCH`` are changed now, more by the worker.

    Do nothing if it was confirmed before. Return the bulk change as it was before.

    Raises:
        NotFound: ``bulk_change.unknown``.
        Conflict: ``bulk_change.wrong_state``: its rows are being judged, or it was stopped;
            ``bulk_change.nothing_ready``.
    """
    row = _lock(tx, actor, uuid)
    state = State(row.state)
    if state in {State.RUNNING, State.DONE}:
        return row
    if state is not State.JUDGED:
        raise Conflict("bulk_change.wrong_state")
    ready = bulk_change_queries.counts(tx, row.id).get(RowState.READY, 0)
    if not ready:
        raise Conflict("bulk_change.nothing_ready")
    bulk_change_queries.jobs.change(
        tx,
        row.id,
        state=State.RUNNING.value,
        **actor.stored(),
    )
    _begin(tx, settings, row, ready)
    return row


def stop(tx: WriteTransaction, actor: Actor, uuid: str) -> BulkChangeRow:
    """End a bulk change. Rows that were changed stay so. Return it as it was before.

    Raises:
        NotFound: ``bulk_change.unknown``.
    """
    row = _lock(tx, actor, uuid)
    if State(row.state) in STOPPABLE:
        _finish(tx, row.id, State.CANCELED)
    return row


def _lock(tx: WriteTransaction, actor: Actor, uuid: str) -> BulkChangeRow:
    row = bulk_change_queries.jobs.lock(tx, bulk_change_queries.get_own(tx, actor, uuid).id)
    return or_not_found(row, "bulk_change.unknown")


def _finish(tx: WriteTransaction, bulk_change_id: int, state: State) -> None:
    bulk_change_queries.jobs.change(tx, bulk_change_id, state=state.value, finished_at=tx.now)


def _begin(tx: WriteTransaction, settings: Settings, row: BulkChangeRow, count: int) -> None:
    if count <= BATCH:
        _run_batch(tx, settings, row.id)
    else:
        tx.mail_enqueued = True  # this wakes the worker


def run_next(tx: WriteTransaction, settings: Settings) -> bool:
    """Do one batch of the oldest bulk change that has work and that no other worker holds.

    The rows and what becomes of them change in one transaction. So after a crash each row is either
    done or still waits, and the next worker goes on.

    Returns:
        Whether there was work.
    """
    bulk_change_id = bulk_change_queries.jobs.lock_next_busy(tx)
    if bulk_change_id is None:
        return False
    tx.is_bulk = True
    _run_batch(tx, settings, bulk_change_id)
    return True


def _run_batch(tx: WriteTransaction, settings: Settings, bulk_change_id: int) -> None:
    row = bulk_change_queries.jobs.by_id(tx, bulk_change_id)
    actor = (
        None
        if row is None
        else stored_actor(tx, row.created_by, row.impersonator_id, row.ip_address, row.request_id)
    )
    if row is None or actor is None:
        # The scope was deleted, or nobody may act for this account any more.
        _finish(tx, bulk_change_id, State.CANCELED)
        return
    state = State(row.state)
    rows = bulk_change_queries.next_rows(tx, row.id, WORK[state], BATCH)
    # All transactions lock scopes, accounts and addresses in the same order, which prevents
    # deadlocks.
    rows.sort(key=lambda each: (each.account_id or 0, each.number))
    access_queries.lock_scope(tx, row.scope_id)
    if row.change == Change.SEND:
        emails = {each.invited_email for each in rows if each.account_id is None}
        mail_budget_queries.lock(tx, [each for each in emails if each])
    results: list[tuple[ChosenRow, RowState, dict[str, Any]]] = []
    if state is State.RUNNING:
        results = [_change(tx, actor, settings, row, each) for each in rows]
    else:
        # The rows of a batch are judged one after another, since each may be the last owner.
        with suppress(_RolledBackError), tx.savepoint():
            results = [_change(tx, actor, settings, row, each) for each in rows]
            raise _RolledBackError
        results = [
            (each, RowState.READY if result is RowState.DONE else result, problem)
            for each, result, problem in results
        ]
    bulk_change_queries.set_rows(tx, row.id, results)
    unknown = sum(problem.get("code") == "group.no_account" for _, _, problem in results)
    if len(rows) < BATCH:
        _finish(tx, row.id, FOLLOWING[state])
    elif unknown and _is_limited(tx, settings, actor, unknown):
        _finish(tx, row.id, State.CANCELED)


def _is_limited(tx: WriteTransaction, settings: Settings, actor: Actor, unknown: int) -> bool:
    """Count the accounts that were found not to exist; return whether those were too many."""
    if actor.is_staff or not settings.rate_limits:
        return False
    delays = [
        rate_limit_queries.record_failure(tx, key, rate, unknown)
        for key, rate in PEOPLE.keys(actor.id, "", "").items()
    ]
    return any(delays)


def _change(
    tx: WriteTransaction, actor: Actor, settings: Settings, row: BulkChangeRow, chosen: ChosenRow
) -> tuple[ChosenRow, RowState, dict[str, Any]]:
    try:
        if row.state == State.RUNNING and chosen.version != bulk_change_queries.version_of(chosen):
            raise Conflict("bulk_change.row_changed")
        with tx.savepoint():
            is_changed = _change_one(tx, actor, settings, row, chosen)
    except Refusal as refusal:
        return chosen, RowState.REFUSED, _stored(refusal)
    return chosen, RowState.DONE if is_changed else RowState.UNCHANGED, {}


def _change_one(
    tx: WriteTransaction, actor: Actor, settings: Settings, row: BulkChangeRow, chosen: ChosenRow
) -> bool:
    """Change a row as its own page does; return whether that has changed anything."""
    change = Change(row.change)
    if change in OF_INVITATIONS:
        uuid = chosen.invitation_uuid or ""
        if change is Change.SEND:
            invitation_actions.send(tx, actor, settings, uuid)
            return True
        if change is Change.EXTEND:
            return invitation_actions.extend(tx, actor, settings, uuid)
        before = invitation_actions.cancel(tx, actor, uuid)
        return before.state != InvitationState.CANCELED
    access = access_queries.get_visible_by_id(tx, actor, row.scope_id)
    _, assignment = membership_actions.assignment_of(tx, access, chosen.grant_uuid or "")
    if change is Change.END:
        return membership_actions.update(tx, actor, assignment, row.valid_until)
    membership_actions.remove(tx, actor, assignment)
    return True


def _stored(refusal: Refusal) -> dict[str, Any]:
    facts = {
        name: value if isinstance(value, int | list) else str(value)
        for name, value in refusal.facts.items()
    }
    return {"class": type(refusal).__name__, "code": refusal.code, "facts": facts}


def refusal_of(problem: Mapping[str, Any]) -> Refusal | None:
    """Return why a row is refused, from what is stored; None if it is not."""
    if not problem:
        return None
    return _CLASSES[problem["class"]](problem["code"], **problem["facts"])


def purge(tx: WriteTransaction, settings: Settings, limit: int) -> int:
    """Delete bulk changes past their retention; return how many."""
    before = tx.now - timedelta(seconds=settings.import_retention)
    return bulk_change_queries.jobs.purge(tx, before, limit)
