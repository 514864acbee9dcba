"""Actions on hooks: create, change, remove; queue deliveries and record what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.hooks import queries as hook_queries
from collegium.hooks import rules
from collegium.hooks.new_events import Batch, ToQueue
from collegium.hooks.queries import HookRow, QueueState
from collegium.hooks.rules import ContentType, Kind
from collegium.invitations.mail_budgets import actions as mail_budgets
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EventNotification, HookChanged, HookDeactivated
from collegium.refusals import Forbidden, Invalid, NotFound, check_quota
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials, notices
from collegium.text.email_addresses import comparable_address

_DEFAULTS: Final[Mapping[str, Any]] = {
    "is_active": True,
    "event_kinds": [],
    "event_groups": [],
    "destination_url": "",
    "content_type": "",
    "email": "",
}


_INACTIVE: Final = "The hook is not active any more."


@dataclass(frozen=True, slots=True)
class HookCall:
    """A call of a web hook in the outbox.

    Args:
        account: id of the person who has the hook.
        hook: id of the row.
        event: id of the event.
        type: stored name of the event.
    """

    kind: ClassVar[str] = rules.CALL
    recipient: ClassVar[str] = ""

    account: int
    hook: int
    event: int
    type: str

    def payload(self) -> dict[str, Any]:
        """Return the data for JSON. The URL may contain a secret, so it is not part of it."""
        return {
            "account": self.account,
            "hook": self.hook,
            "event": self.event,
            "type": self.type,
        }


def create(
    tx: WriteTransaction,
    actor: Actor,
    kind: Kind,
    values: Mapping[str, Any],
    *,
    settings: Settings = DEFAULTS,
) -> str:
    """Store a hook of the actor. Return its UUID.

    Args:
        values: columns of the hook; the URL was checked where the network is reached.

    Raises:
        Invalid: ``hook.no_events``, ``hook.other_address``.
        Conflict: ``hook.too_many``: the account has ``settings.max_hooks_per_account`` hooks.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor)
    check_quota(hook_queries.count(tx, actor.id), settings.max_hooks_per_account, "hook.too_many")
    complete = {**_DEFAULTS, **values}
    if kind is Kind.WEB:
        complete["content_type"] = complete["content_type"] or ContentType.JSON.value
    _check(actor, actor.email, complete)
    uuid = hook_queries.add(tx, actor.id, kind, _to_store(complete, actor.email))
    event_queries.record(tx, actor, events.HookCreated(account=actor.id, hook=uuid, hook_kind=kind))
    _notify(tx, actor, account, uuid, complete)
    return uuid


def update(
    tx: WriteTransaction, actor: Actor, kind: Kind, uuid: str, values: Mapping[str, Any]
) -> None:
    """Change a hook. Do nothing if nothing changes.

    A hook that is activated, or gets another destination, starts without failures; only events from
    now on are sent to a hook that was not active.

    Args:
        values: columns that may change.

    Raises:
        NotFound: ``hook.unknown``: there is no such hook, or it is hidden from the actor.
        Forbidden: ``permission.missing``: it is the hook of another account, and the actor is not
            staff.
        Invalid: as ``create``.
        Unauthenticated: as ``create``.
    """
    credentials.confirm(tx, actor)
    row = _get_own(tx, actor, kind, uuid)
    hook_queries.lock(tx, row.id)
    # Read again under the lock: the worker may just have deactivated it.
    row = _get_own(tx, actor, kind, uuid)
    before = {name: getattr(row, name) for name in _DEFAULTS}
    after = {**before, **values}
    _check(actor, row.author_email, after)
    changed = [name for name in _DEFAULTS if after[name] != before[name]]
    if not changed:
        return
    is_activated = after["is_active"] and not row.is_active
    is_new = is_activated or not {"destination_url", "content_type", "email"}.isdisjoint(changed)
    if not after["is_active"]:
        outbox_queries.discard_of_hooks(tx, [row.id], _INACTIVE)
    hook_queries.change(
        tx,
        row.id,
        {
            **_to_store(after, row.author_email),
            "activated_at": tx.now if is_activated else row.activated_at,
            "first_failed_at": None if is_new else row.first_failed_at,
            "failures": 0 if is_new else row.failures,
            "next_attempt_at": _next_attempt(row, after, tx.now, is_new=is_new),
            "dropped": 0 if is_activated else row.dropped,
            "dropped_at": None if is_activated else row.dropped_at,
        },
    )
    event_queries.record(
        tx,
        actor,
        events.HookUpdated(account=row.account_id, hook=uuid, hook_kind=row.kind, fields=changed),
    )
    if not {"destination_url", "email"}.isdisjoint(changed):
        author = account_queries.existing(tx, row.account_id)
        _notify(tx, actor, author, uuid, after, changed=True)


def _notify(
    tx: WriteTransaction,
    actor: Actor,
    author: AccountRow,
    uuid: str,
    values: Mapping[str, Any],
    *,
    changed: bool = False,
) -> None:
    """Tell the author by e-mail where events go from now on: it may not be the author's doing."""
    host = rules.host_of(values["destination_url"])
    notices.send_notice(tx, HookChanged, author, actor, uuid=uuid, host=host, changed=changed)


def _to_store(values: Mapping[str, Any], author_email: str) -> dict[str, Any]:
    """Return columns of a hook. E-mails to the author name no address: they follow the account."""
    is_own = comparable_address(values["email"]) == comparable_address(author_email)
    return {**values, "email": "" if is_own else values["email"]}


def _next_attempt(
    row: HookRow, after: Mapping[str, Any], now: datetime, *, is_new: bool
) -> datetime | None:
    """Return when a changed hook sends again. One that begins anew does not pause any more."""
    if row.kind == Kind.EMAIL or (after["is_active"] and not is_new):
        return row.next_attempt_at
    return now if after["is_active"] else None


def remove(tx: WriteTransaction, actor: Actor, kind: Kind, uuid: str) -> None:
    """Remove a hook with its deliveries.

    Raises:
        NotFound: as ``update``.
        Forbidden: as ``update``.
    """
    row = _get_own(tx, actor, kind, uuid)
    if not hook_queries.remove(tx, row.id):
        raise NotFound("hook.unknown")
    event_queries.record(
        tx, actor, events.HookDeleted(account=row.account_id, hook=uuid, hook_kind=row.kind)
    )


def require_own(actor: Actor, row: HookRow) -> None:
    """Require that a hook is the actor's own, or the actor is staff.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not actor.is_staff and row.account_id != actor.id:
        raise Forbidden("permission.missing")


def _get_own(tx: WriteTransaction, actor: Actor, kind: Kind, uuid: str) -> HookRow:
    row = hook_queries.get_visible(tx, actor, kind, uuid)
    require_own(actor, row)
    return row


def may_send_to(address: str, author_email: str, *, is_staff: bool) -> bool:
    """Return whether a hook may send e-mails to an address: only staff send to other people."""
    return is_staff or comparable_address(address) == comparable_address(author_email)


def check_address(actor: Actor, author_email: str, email: str) -> None:
    """Check that the actor may enter an address.

    Args:
        author_email: the address of the account that has the hook.
        email: the entered address; empty if there is none.

    Raises:
        Invalid: ``hook.other_address``: it is that of somebody else.
    """
    if email and not may_send_to(email, author_email, is_staff=actor.is_staff):
        raise Invalid("hook.other_address", field="email")


def _check(actor: Actor, author_email: str, values: Mapping[str, Any]) -> None:
    rules.check_events(values["event_kinds"], values["event_groups"])
    check_address(actor, author_email, values["email"])


class Queued(NamedTuple):
    """What became of a batch of new events.

    Args:
        deliveries: number of events that are queued for hooks.
        dropped: number of events that are not sent, by hook.
    """

    deliveries: int = 0
    dropped: Mapping[int, int] = MappingProxyType({})


def queue(tx: WriteTransaction, settings: Settings, batch: Batch) -> Queued:
    """Queue the deliveries of a batch and move the mark, unless another worker has done it.

    What exceeds the number of entries that may wait for a hook is dropped and counted.
    """
    if not hook_queries.move_mark(tx, batch.mark, batch.new_mark) or not batch.deliveries:
        return Queued()
    states = {
        row.id: row for row in hook_queries.lock_sending(tx, {one.hook for one in batch.deliveries})
    }
    by_hook: dict[int, list[ToQueue]] = {}
    for one in batch.deliveries:
        if one.hook in states:
            by_hook.setdefault(one.hook, []).append(one)
    web = {hook: new for hook, new in by_hook.items() if states[hook].kind == Kind.WEB}
    mails = {
        hook: new
        for hook, new in by_hook.items()
        if states[hook].kind == Kind.EMAIL and states[hook].recipient
    }
    dropped = {**_queue_calls(tx, web), **_queue_mails(tx, settings, mails, states)}
    hook_queries.drop(tx, dropped)
    total = sum(map(len, (*web.values(), *mails.values()))) - sum(dropped.values())
    return Queued(total, dropped)


def _queue_calls(tx: WriteTransaction, new: Mapping[int, Sequence[ToQueue]]) -> dict[int, int]:
    """Queue calls of web hooks; return the number of dropped ones by hook."""
    if not new:
        return {}
    counts = outbox_queries.count_for_hooks(tx, new)
    dropped: dict[int, int] = {}
    calls: list[ToQueue] = []
    for hook, deliveries in new.items():
        free = max(rules.QUEUED_MAX - counts.get(hook, 0), 0)
        calls += deliveries[:free]
        if len(deliveries) > free:
            dropped[hook] = len(deliveries) - free
    calls.sort(key=lambda one: (one.event, one.hook))
    outbox_queries.enqueue_all(
        tx, [HookCall(one.account, one.hook, one.event, one.event_kind) for one in calls]
    )
    hook_queries.make_due(tx, new)
    return dropped


def _queue_mails(
    tx: WriteTransaction,
    settings: Settings,
    new: Mapping[int, Sequence[ToQueue]],
    states: Mapping[int, QueueState],
) -> dict[int, int]:
    """Add events to the e-mails that wait, or queue new ones; return the number of dropped ones."""
    if not new:
        return {}
    waiting = outbox_queries.collecting(tx, new)
    dropped: dict[int, int] = {}
    payloads: dict[int, dict[str, Any]] = {}
    planned: dict[int, datetime] = {}
    for hook, deliveries in new.items():
        numbers = [one.event for one in deliveries]
        mail = waiting.get(hook)
        known = rules.events_of(mail.payload) if mail else []
        kept = numbers[: max(rules.COLLECTED_MAX - len(known), 0)]
        if len(kept) < len(numbers):
            dropped[hook] = len(numbers) - len(kept)
        if mail is not None:
            payloads[mail.id] = {**mail.payload, "events": [*known, *kept]}
            continue
        state = states[hook]
        earliest = max(tx.now, state.next_attempt_at or tx.now)
        slot = mail_budgets.plan_for(tx, settings, _budget(state.account_id), earliest)
        first = deliveries[0]
        queued = EventNotification(state.recipient, first.account, hook, kept, first.event_kind)
        outbox_queries.enqueue(tx, queued, slot)
        planned[hook] = slot + rules.MAIL_INTERVAL
    outbox_queries.set_payloads(tx, payloads)
    hook_queries.plan_mails(tx, planned)
    return dropped


def _budget(account: int) -> str:
    return f"hooks of account {account}"


def record_outcome(tx: WriteTransaction, hook: int, *, is_delivered: bool) -> None:
    """Record what became of a delivery. Deactivate a hook that has only failed for days.

    After a failure the hook pauses, longer after each further one. Nothing is sent meanwhile, so
    an endpoint that is gone does not cost a call for each event.
    """
    state = hook_queries.lock(tx, hook)
    if state is None:
        return
    if is_delivered:
        # An e-mail hook knows already when its next e-mail may be sent.
        next_at = tx.now if state.kind == Kind.WEB else state.next_attempt_at
        hook_queries.succeeded(tx, hook, next_at if state.is_active else None)
        return
    failures = state.failures + 1
    next_at = tx.now + rules.backoff(failures)
    if state.kind == Kind.EMAIL and state.next_attempt_at is not None:
        next_at = max(next_at, state.next_attempt_at)
    hook_queries.failed(tx, hook, next_at)
    first_failed_at = state.first_failed_at or tx.now
    if state.is_active and rules.is_hopeless(failures, first_failed_at, tx.now):
        _deactivate(tx, state)


def _deactivate(tx: WriteTransaction, state: QueueState) -> None:
    hook_queries.deactivate_all(tx, [state.id])
    outbox_queries.discard_of_hooks(tx, [state.id], _INACTIVE)
    event_queries.record(
        tx,
        None,
        events.HookDeactivated(account=state.account_id, hook=state.uuid, hook_kind=state.kind),
    )
    author = account_queries.by_id(tx, state.account_id)
    if author is not None and author.email:
        outbox_queries.enqueue(tx, HookDeactivated(author.email, author.id, state.id))
