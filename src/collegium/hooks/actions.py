"""Actions on hooks: create, change, remove; queue deliveries and record what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.hooks import queries as hook_queries
from collegium.hooks import rules
from collegium.hooks.new_events import Batch
from collegium.hooks.queries import HookRow
from collegium.hooks.rules import ContentType, Kind
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EventNotification, HookDeactivated
from collegium.refusals import Forbidden, Invalid, NotFound
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials
from collegium.text.email_addresses import comparable_address

_DEFAULTS: Final[Mapping[str, Any]] = {
    "is_active": True,
    "event_kinds": [],
    "event_groups": [],
    "destination_url": "",
    "content_type": "",
    "email": "",
}


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
    credentials.confirm(tx, actor)
    rules.check_quota(hook_queries.count(tx, actor.id), settings.max_hooks_per_account)
    complete = {**_DEFAULTS, **values}
    if kind is Kind.WEB:
        complete["content_type"] = complete["content_type"] or ContentType.JSON.value
    _check(actor, actor.email, complete)
    uuid = hook_queries.add(tx, actor.id, kind, complete)
    event_queries.record(tx, actor, events.HookCreated(account=actor.id, hook=uuid, hook_kind=kind))
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
    before = {name: getattr(row, name) for name in _DEFAULTS}
    after = {**before, **values}
    _check(actor, row.author_email, after)
    changed = [name for name in _DEFAULTS if after[name] != before[name]]
    if not changed:
        return
    is_activated = after["is_active"] and not row.is_active
    is_new = is_activated or not {"destination_url", "content_type", "email"}.isdisjoint(changed)
    hook_queries.change(
        tx,
        row.id,
        {
            **after,
            "activated_at": tx.now if is_activated else row.activated_at,
            "first_failed_at": None if is_new else row.first_failed_at,
        },
    )
    event_queries.record(
        tx,
        actor,
        events.HookUpdated(account=row.account_id, hook=uuid, hook_kind=row.kind, fields=changed),
    )


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


def queue(tx: WriteTransaction, batch: Batch) -> int:
    """Queue the deliveries of a batch and move the mark, unless another worker has done it.

    Returns:
        The number of deliveries.
    """
    if not hook_queries.move_mark(tx, batch.mark, batch.new_mark):
        return 0
    entries: list[outbox_queries.QueuedMail] = []
    for one in batch.deliveries:
        fields = (one.account, one.hook, one.event, one.event_kind)
        entries.append(
            HookCall(*fields) if one.kind is Kind.WEB else EventNotification(one.recipient, *fields)
        )
    if entries:
        outbox_queries.enqueue_all(tx, entries)
    return len(batch.deliveries)


def record_outcome(tx: WriteTransaction, hook: int, *, is_delivered: bool) -> None:
    """Record what became of a delivery. Deactivate a hook that has only failed for days."""
    if is_delivered:
        hook_queries.succeeded(tx, hook)
        return
    failure = hook_queries.failed(tx, hook)
    if (
        failure is None
        or failure.first_failed_at is None
        or not failure.is_active
        or not rules.is_hopeless(failure.first_failed_at, tx.now)
        or not hook_queries.deactivate(tx, hook)
    ):
        return
    event_queries.record(
        tx,
        None,
        events.HookDeactivated(
            account=failure.account_id, hook=failure.uuid, hook_kind=failure.kind
        ),
    )
    author = account_queries.by_id(tx, failure.account_id)
    if author is not None and author.email:
        outbox_queries.enqueue(tx, HookDeactivated(author.email, author.id, hook))
