"""Remove personal data of a deleted account from all tables except ``accounts``.

The row of the account itself is emptied by ``accounts.queries.anonymise``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, delete, or_, select, update

from collegium.access.rules import Actor
from collegium.accounts.erasure.rules import neutral_name, without_personal_data
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    bulk_changes,
    events,
    grants,
    hooks,
    import_rows,
    imports,
    invitations,
    join_requests,
    outbox,
)
from collegium.events import types as event_types
from collegium.imports.rules import RowState
from collegium.invitations.rules import State
from collegium.text.email_addresses import comparable_address

_account = bindparam("account", type_=BigInt)
_ANSWER_KINDS: Final = [event_types.InvitationAccepted.kind, event_types.InvitationDeclined.kind]
_INVITATION_KINDS: Final = [event.kind for event in event_types.InvitationEvent.all()]
_MAIL_KINDS: Final = [event.kind for event in event_types.MailEvent.all()]
_OPEN_STATES: Final = tuple(state.value for state in (State.PENDING, State.HELD, State.REQUESTED))

# Skipped: there are many sign-ins, and their events contain only how somebody signed in.
_SKIPPED_KINDS: Final = (event_types.SignedIn.kind, event_types.LoggedOut.kind)


class _Event:
    id: int
    payload: dict[str, Any]


class _ActorEvent(_Event):
    actor_id: int | None


class _EventOfKind:
    kind: str
    payload: dict[str, Any]


class _EventInScope:
    scope_id: int
    payload: dict[str, Any]


class CanceledInvitation:
    """An invitation that was cancelled."""

    uuid: str
    scope_id: int


class _Hook:
    id: int
    email: str


class _Invitation(CanceledInvitation):
    id: int
    email: str


_EVENTS_ABOUT = Statement[_Event](
    select(events.c.id, events.c.payload).where(
        events.c.account_id == _account, *(events.c.kind != kind for kind in _SKIPPED_KINDS)
    )
)
_EVENTS_BY = Statement[_EventOfKind](
    select(events.c.kind, events.c.payload).where(
        events.c.actor_id == _account, any_of(events.c.kind, "kinds")
    )
)
_IMPERSONATED_ACCOUNTS = Statement[int](
    select(events.c.account_id)
    .where(
        events.c.actor_id == _account,
        events.c.kind == bindparam("kind"),
        events.c.account_id.is_not(None),
    )
    .distinct()
)
# Events of earlier releases contain only the name.
_EVENTS_OF_IMPERSONATIONS = Statement[_Event](
    select(events.c.id, events.c.payload).where(
        any_of(events.c.actor_id, "people"),
        or_(
            events.c.payload["impersonator"].as_integer() == _account,
            events.c.payload["impersonated_by"].as_string() == bindparam("name"),
        ),
    )
)
_ANONYMISE_ACTOR = Statement(
    update(events)
    .where(events.c.actor_id == _account)
    .values(actor_name=bindparam("name"), ip_address="")
)
_SET_PAYLOAD = Statement(
    update(events)
    .where(events.c.id == bindparam("event", type_=BigInt))
    .values(payload=bindparam("payload"))
)
_CLEAR_IP_ADDRESSES = Statement(
    update(events).where(events.c.id == bindparam("event", type_=BigInt)).values(ip_address="")
)
_EMAILS_OF_OTHERS = Statement[str](
    select(accounts.c.email_comparable).where(
        any_of(accounts.c.email_comparable, "emails"),
        accounts.c.deleted_at.is_(None),
        accounts.c.id != _account,
    )
)
_INVITATIONS_OF_PERSON = Statement[_Invitation](
    Relations(invitations)
    .select(_Invitation)
    .where(
        or_(
            and_(
                any_of(invitations.c.email_comparable, "emails"),
                invitations.c.email_comparable != "",
            ),
            invitations.c.account_id == _account,
            any_of(invitations.c.uuid, "uuids"),
        )
    )
)
_PERSONAL_COLUMNS: Final = (
    *("email", "email_comparable", "email_search", "full_name", "native_name", "phone_number"),
    *("organization", "job_title", "civil_number", "extra_text", "language"),
)
_EMPTY_INVITATIONS = Statement(
    update(invitations)
    .where(any_of(invitations.c.id, "ids"))
    .values(dict.fromkeys(_PERSONAL_COLUMNS, ""))
)
_CANCEL = Statement[CanceledInvitation](
    update(invitations)
    .where(any_of(invitations.c.id, "ids"), any_of(invitations.c.state, "states"))
    .values(state=State.CANCELED.value)
    .returning(invitations.c.uuid, invitations.c.scope_id)
)
_CLEAR_EXTRA_TEXT = Statement(
    update(invitations).where(any_of(invitations.c.uuid, "uuids")).values(extra_text="")
)
# What was not done yet, or failed, is done no more.
_EMPTY_IMPORT_ROWS = Statement(
    update(import_rows)
    .where(
        any_of(import_rows.c.email_comparable, "emails"),
        import_rows.c.email_comparable != "",
    )
    .values(
        cells={},
        email_comparable="",
        problem={},
        state=case(
            (
                or_(
                    import_rows.c.state == RowState.CREATED.value,
                    import_rows.c.state == RowState.WITHDRAWN.value,
                ),
                import_rows.c.state,
            ),
            else_=RowState.REFUSED.value,
        ),
    )
)
# The worker stops at an import or a bulk change that is gone.
_DELETE_BULK_CHANGES = Statement(delete(bulk_changes).where(bulk_changes.c.created_by == _account))
_erased_imports = or_(imports.c.created_by == _account, imports.c.started_by == _account)
_DELETE_IMPORTS = Statement(delete(imports).where(_erased_imports))
_LOCK_IMPORTS = Statement[int](
    select(imports.c.id).where(_erased_imports).order_by(imports.c.id).with_for_update()
)
_LOCK_BULK_CHANGES = Statement[int](
    select(bulk_changes.c.id)
    .where(bulk_changes.c.created_by == _account)
    .order_by(bulk_changes.c.id)
    .with_for_update()
)
_EVENTS_OF_INVITATIONS = Statement[_ActorEvent](
    select(events.c.id, events.c.payload, events.c.actor_id).where(
        any_of(events.c.scope_id, "scopes"),
        any_of(events.c.kind, "kinds"),
        any_of(events.c.payload["invitation"].as_string(), "texts"),
    )
)
# An invitation that staff deleted has no row any more, only events.
_EVENTS_OF_KIND = Statement[_EventInScope](
    select(events.c.scope_id, events.c.payload).where(
        events.c.kind == bindparam("kind"), events.c.scope_id.is_not(None)
    )
)
_EVENTS_OF_MAILS = Statement[_Event](
    select(events.c.id, events.c.payload).where(any_of(events.c.kind, "kinds"))
)
# These identify the account only by its id, and other people need them.
_NEUTRAL_MAILS: Final = ("invitation_declined",)
_DELETE_MAILS = Statement(
    delete(outbox).where(
        or_(
            any_of(outbox.c.recipient, "recipients"),
            and_(
                outbox.c.account_id == _account, *(outbox.c.kind != one for one in _NEUTRAL_MAILS)
            ),
        )
    )
)
_HOOKS_TO_OTHERS = Statement[_Hook](select(hooks.c.id, hooks.c.email).where(hooks.c.email != ""))
_erased_hooks = or_(hooks.c.account_id == _account, any_of(hooks.c.id, "hooks"))
# In the order in which the worker locks them.
_LOCK_HOOKS = Statement[int](
    select(hooks.c.id).where(_erased_hooks).order_by(hooks.c.id).with_for_update()
)
# Their entries in the outbox go with them.
_DELETE_HOOKS = Statement(delete(hooks).where(_erased_hooks))
_CLEAR_REQUEST_TEXTS = Statement(
    update(join_requests)
    .where(join_requests.c.account_id == _account)
    .values(message="", comment=None, custom_project_name="", custom_project_description="")
)


_CLEAR_END_REASONS = Statement(
    update(grants).where(grants.c.account_id == _account).values(end_reason="")
)


def lock_long_work(tx: WriteTransaction, account: int) -> None:
    """Lock the imports and bulk changes of an account until this transaction ends.

    Call it before scopes are locked. The worker locks them in this order, and would otherwise wait
    for the scope while the erasure waits for the import.
    """
    tx.fetch_all(_LOCK_IMPORTS, account=account)
    tx.fetch_all(_LOCK_BULK_CHANGES, account=account)


def erase(tx: WriteTransaction, account: AccountRow, actor: Actor) -> list[CanceledInvitation]:
    """Remove the personal data of a deleted account from all tables except ``accounts``.

    Open invitations to the account are cancelled, because an invitation without an address can
    admit nobody. Return them.

    Args:
        account: the account before the deletion, locked.
        actor: who deletes it.
    """
    account_events = tx.fetch_all(_EVENTS_ABOUT, account=account.id)
    known_emails = {
        account.email,
        *(text for row in account_events for text in _former_emails(row.payload)),
    }
    emails = _emails_of_nobody_else(tx, account.id, {text for text in known_emails if text})
    answered_uuids = {
        str(row.payload["invitation"])
        for row in tx.fetch_all(_EVENTS_BY, account=account.id, kinds=_ANSWER_KINDS)
        if row.payload.get("invitation")
    }
    keys = {comparable_address(text) for text in emails}
    invitation_rows = tx.fetch_all(
        _INVITATIONS_OF_PERSON,
        account=account.id,
        emails=sorted(keys),
        uuids=sorted(answered_uuids),
    )
    canceled: list[CanceledInvitation] = []
    if invitation_rows:
        # This waits for a transaction that renews one of them, which is then cancelled.
        tx.execute(_EMPTY_INVITATIONS, ids=[row.id for row in invitation_rows])
        canceled = tx.fetch_all(
            _CANCEL, ids=[row.id for row in invitation_rows], states=list(_OPEN_STATES)
        )
    deleted = [
        row
        for row in tx.fetch_all(_EVENTS_OF_KIND, kind=event_types.InvitationDeleted.kind)
        if row.payload["invitation"] in answered_uuids
        or comparable_address(row.payload.get("email", "")) in keys
    ]
    _erase_invitation_events(
        tx,
        {(row.scope_id, row.uuid) for row in invitation_rows}
        | {(row.scope_id, row.payload["invitation"]) for row in deleted},
    )
    # Invitations that were first addressed to the person, and then to somebody else.
    _erase_invitation_events(
        tx,
        {
            (row.scope_id, row.payload["invitation"])
            for row in tx.fetch_all(_EVENTS_OF_KIND, kind=event_types.InvitationUpdated.kind)
            if comparable_address(row.payload.get("former_email", "")) in keys
        },
        keys,
    )
    invited = {
        *(row.email for row in invitation_rows),
        *(row.payload.get("email", "") for row in deleted),
    }
    emails |= _emails_of_nobody_else(tx, account.id, invited)
    tx.execute(_DELETE_MAILS, account=account.id, recipients=sorted(emails))
    _delete_hooks(tx, account.id, {comparable_address(text) for text in emails})
    _erase_sent_messages(tx, account.id)
    tx.execute(_EMPTY_IMPORT_ROWS, emails=sorted(keys))
    # They have the personal messages that the person wrote.
    tx.execute(_DELETE_IMPORTS, account=account.id)
    tx.execute(_DELETE_BULK_CHANGES, account=account.id)
    tx.execute(_CLEAR_REQUEST_TEXTS, account=account.id)
    tx.execute(_CLEAR_END_REASONS, account=account.id)
    for row in account_events:
        payload = without_personal_data(row.payload, account.id)
        if payload != row.payload:
            tx.execute(_SET_PAYLOAD, event=row.id, payload=payload)
    for row in tx.fetch_all(_EVENTS_OF_MAILS, kinds=_MAIL_KINDS):
        if row.payload.get("recipient") in emails:
            tx.execute(_SET_PAYLOAD, event=row.id, payload={**row.payload, "recipient": ""})
    _erase_impersonator(tx, account, actor)
    tx.execute(_ANONYMISE_ACTOR, account=account.id, name=neutral_name(account.id))
    return canceled


def _delete_hooks(tx: WriteTransaction, account: int, keys: Collection[str]) -> None:
    """Delete the hooks of an account, and those by which staff send to its addresses.

    Args:
        keys: the addresses, in comparable form.
    """
    # Only staff have hooks that name an address, so there are few.
    others = [
        row.id for row in tx.fetch_all(_HOOKS_TO_OTHERS) if comparable_address(row.email) in keys
    ]
    tx.fetch_all(_LOCK_HOOKS, account=account, hooks=others)
    tx.execute(_DELETE_HOOKS, account=account, hooks=others)


def _erase_impersonator(tx: WriteTransaction, account: AccountRow, actor: Actor) -> None:
    """Remove the name of a member of staff from the events of their impersonations.

    The actor may be an impersonated account. That event is recorded only after the request, so the
    actor's events are searched as well.
    """
    rows = tx.fetch_all(
        _IMPERSONATED_ACCOUNTS, account=account.id, kind=event_types.AccountImpersonated.kind
    )
    actor_ids = sorted({actor.id, *rows})
    name = f"{account.first_name} {account.last_name}".strip() or account.username
    for row in tx.fetch_all(
        _EVENTS_OF_IMPERSONATIONS, account=account.id, people=actor_ids, name=name
    ):
        payload = {**row.payload, "impersonated_by": neutral_name(account.id)}
        tx.execute(_SET_PAYLOAD, event=row.id, payload=payload)


def _former_emails(payload: Any) -> list[str]:
    """Return the former e-mail addresses that an event about the account contains.

    An address that was only requested may belong to somebody else, and is left out.
    """
    values = [payload.get(name) for name in ("old", "new")]
    changes = payload.get("changes")
    if isinstance(changes, dict) and isinstance(changes.get("email"), list):
        values += changes["email"]
    return [value for value in values if isinstance(value, str) and "@" in value]


def _emails_of_nobody_else(tx: ReadTransaction, account: int, emails: Collection[str]) -> set[str]:
    """Return the addresses that no other account has."""
    keys = {email: comparable_address(email) for email in emails}
    unique = sorted({key for key in keys.values() if key})
    rows = tx.fetch_all(_EMAILS_OF_OTHERS, account=account, emails=unique) if unique else []
    taken = set(rows)
    return {email for email, key in keys.items() if key and key not in taken}


def _erase_invitation_events(
    tx: WriteTransaction,
    scopes_and_uuids: Collection[tuple[int, str]],
    keys: Collection[str] | None = None,
) -> None:
    """Remove addresses from the events of invitations, given by scope and UUID.

    Args:
        keys: the addresses to remove, in comparable form; None for the address of each invitation.
    """
    if not scopes_and_uuids:
        return
    rows = tx.fetch_all(
        _EVENTS_OF_INVITATIONS,
        scopes=sorted({scope for scope, _ in scopes_and_uuids}),
        kinds=_INVITATION_KINDS,
        texts=sorted(uuid for _, uuid in scopes_and_uuids),
    )
    for row in rows:
        payload = {
            name: value
            for name, value in row.payload.items()
            if not (
                name == "email"
                if keys is None
                else name in {"email", "former_email"} and comparable_address(value) in keys
            )
        }
        if payload != row.payload:
            tx.execute(_SET_PAYLOAD, event=row.id, payload=payload)
        if row.actor_id is None:
            tx.execute(_CLEAR_IP_ADDRESSES, event=row.id)


def _erase_sent_messages(tx: WriteTransaction, account: int) -> None:
    """Remove the personal messages that the person wrote in invitations."""
    rows = tx.fetch_all(_EVENTS_BY, account=account, kinds=[event_types.InvitationCreated.kind])
    uuids = sorted(str(row.payload["invitation"]) for row in rows if row.payload.get("invitation"))
    if uuids:
        tx.execute(_CLEAR_EXTRA_TEXT, uuids=uuids)
