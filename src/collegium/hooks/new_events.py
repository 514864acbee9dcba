"""Find out which new events are for which hooks.

No request does this: the schedule of the worker reads the events after a stored mark. It queues the
deliveries and moves the mark in one transaction, so none is lost or queued twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from collegium.access.rules import Actor, ScopeKind
from collegium.accounts.queries import Identity
from collegium.db.database import ReadTransaction
from collegium.events import queries as event_queries
from collegium.hooks import queries as hook_queries
from collegium.hooks import rules
from collegium.hooks.queries import NewEvent
from collegium.sign_in.tokens.actions import actor_of

_DELIVERIES_MAX: Final = 500
"""When this many deliveries are to be queued, no further event is looked at."""


_READS_MAX: Final = 50
"""How often events are read that nobody wants, before the mark is moved."""


class ToQueue(NamedTuple):
    """A delivery that is to be queued."""

    hook: int
    account: int
    event: int
    event_kind: str


class Batch(NamedTuple):
    """What follows from the events after a mark.

    Args:
        mark: the mark at which they were read.
        new_mark: the mark after them.
        deliveries: what to queue.
    """

    mark: int
    new_mark: int
    deliveries: Sequence[ToQueue]


class Gap:
    """Transactions that may still record an event before one that was read, on PostgreSQL.

    A sequence gives an id before its transaction commits. A missing id belongs to a transaction
    that was recording events when a later one was read, or to none any more.
    """

    def __init__(self) -> None:
        self._complete_to = 0
        self._read_to = 0
        self._recording: frozenset[str] = frozenset()

    def complete_to(self, tx: ReadTransaction) -> int:
        """Return the id up to which no event can appear any more. Read events after this."""
        if self._recording and self._recording.isdisjoint(hook_queries.recording(tx)):
            self._complete_to, self._recording = self._read_to, frozenset()
        return self._complete_to

    def found(self, tx: ReadTransaction, newest: int) -> None:
        """Note that an id before the newest event is missing. Earlier gaps are waited for first."""
        if not self._recording:
            self._read_to, self._recording = newest, frozenset(hook_queries.recording(tx))
            if not self._recording:
                self._complete_to = newest


def read(tx: ReadTransaction, gap: Gap | None = None) -> Batch | None:
    """Return what follows from the events since the mark; None if there are none.

    Without an active hook the mark is simply moved to the newest event. Whatever commits later with
    a lower id was recorded before there was a hook.

    Args:
        gap: what earlier calls have found; without it no gap is ever passed.
    """
    gap = Gap() if gap is None else gap
    mark = hook_queries.mark(tx)
    if mark.newest <= mark.event_id:
        return None
    if not mark.has_hooks:
        return Batch(mark.event_id, mark.newest, ())
    read_up_to = mark.event_id
    complete_to = gap.complete_to(tx)
    for _ in range(_READS_MAX):
        rows = hook_queries.events_after(tx, read_up_to)
        ready = rules.settled(rows, read_up_to, complete_to, in_order=tx.backend == "sqlite")
        if len(ready) < len(rows):
            gap.found(tx, rows[-1].id)
        if not ready:
            break
        rows = rows[: len(ready)]
        read_up_to = rows[-1].id
        found = sorted(_find_deliveries(tx, rows), key=lambda one: (one.event, one.hook))
        if found:
            chosen, read_up_to = _limit(found, read_up_to)
            return Batch(mark.event_id, read_up_to, chosen)
        if len(rows) < hook_queries.EVENTS_MAX:
            break  # there are no more, or a gap
    return Batch(mark.event_id, read_up_to, ()) if read_up_to > mark.event_id else None


def _limit(found: Sequence[ToQueue], new_mark: int) -> tuple[Sequence[ToQueue], int]:
    """Return the first deliveries, with all of each event, and the mark after them."""
    for number in range(_DELIVERIES_MAX, len(found)):
        if found[number].event != found[number - 1].event:
            return found[:number], found[number - 1].event
    return found, new_mark


def _find_deliveries(tx: ReadTransaction, rows: Collection[NewEvent]) -> list[ToQueue]:
    # The events of groups are not shown where hooks are.
    shown = [row for row in rows if row.kind in rules.EVENTS and row.scope_kind != ScopeKind.GROUP]
    if not shown:
        return []
    people = {row.actor_id for row in shown} | {row.account_id for row in shown}
    places = {row.scope_id for row in shown} | {row.parent_id for row in shown}
    found: list[ToQueue] = []
    seen: dict[int, set[int]] = {}
    for hook in hook_queries.active_of(tx, people - {None}, places - {None}):
        wanted = [
            row
            for row in shown
            if row.created_at >= hook.activated_at
            and rules.is_named(row.kind, hook.event_kinds, hook.event_groups)
        ]
        if wanted and hook.id not in seen:
            seen[hook.id] = event_queries.visible_among(tx, reader(hook), [row.id for row in shown])
        found += (
            ToQueue(hook.hook_id, hook.id, row.id, row.kind)
            for row in wanted
            if row.id in seen[hook.id]
        )
    return found


def reader(author: Identity) -> Actor:
    """Return the actor for whom events are selected and rendered.

    It has no known IP address: events of organisations that are visible from certain networks only
    do not leave these networks.
    """
    return actor_of(author, ip_address="")
