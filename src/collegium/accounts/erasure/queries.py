"""Remove personal data of a deleted account from all tables except ``accounts``.

The row of the account itself is emptied by ``accounts.queries.anonymise``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, or_, select, update

from collegium.access.rules import Actor
from collegium.accounts.erasure.rules import erased, neutral_name
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row, Statement, any_of
from collegium.db.tables import BigInt, accounts, events, invitations, join_requests, outbox
from collegium.invitations.rules import State
from collegium.text.email_addresses import comparable_address

_account = bindparam("account", type_=BigInt)
_ANSWERS: Final = ("invitation.accepted", "invitation.declined")
_OF_INVITATIONS: Final = (
    *(f"invitation.{what}" for what in ("created", "sent", "accepted", "declined", "canceled")),
    *(f"invitation.{what}" for what in ("deleted", "approved", "rejected", "released", "expired")),
    "invitation.renewal_wished",
)
_OF_MAILS: Final = ("mail.retried", "mail.dropped")
_OPEN: Final = tuple(state.value for state in (State.PENDING, State.HELD, State.REQUESTED))

# Skipped: there are many sign-ins, and their events contain only how somebody signed in.
_PLAIN: Final = ("login.succeeded", "logout")

_ABOUT = Statement(
    select(events.c.id, events.c.payload).where(
        events.c.account_id == _account, *(events.c.kind != kind for kind in _PLAIN)
    )
)
_BY = Statement(
    select(events.c.kind, events.c.payload).where(
        events.c.actor_id == _account, any_of(events.c.kind, "kinds")
    )
)
_IMPERSONATED = Statement(
    select(events.c.account_id)
    .where(events.c.actor_id == _account, events.c.kind == bindparam("kind"))
    .distinct()
)
# Events of earlier releases contain only the name.
_DONE_FOR = Statement(
    select(events.c.id, events.c.payload).where(
        any_of(events.c.actor_id, "people"),
        or_(
            events.c.payload["impersonator"].as_integer() == _account,
            events.c.payload["impersonated_by"].as_string() == bindparam("name"),
        ),
    )
)
_ACTED = Statement(
    update(events)
    .where(events.c.actor_id == _account)
    .values(actor_name=bindparam("name"), ip_address="")
)
_WRITE_FACTS = Statement(
    update(events)
    .where(events.c.id == bindparam("event", type_=BigInt))
    .values(payload=bindparam("told"))
)
_CLEAR_IP_ADDRESSES = Statement(
    update(events).where(events.c.id == bindparam("event", type_=BigInt)).values(ip_address="")
)
_OTHERS = Statement(
    select(accounts.c.email_comparable).where(
        any_of(accounts.c.email_comparable, "addresses"),
        accounts.c.deleted_at.is_(None),
        accounts.c.id != _account,
    )
)
_ADDRESSED = Statement(
    select(
        invitations.c.id,
        invitations.c.uuid,
        invitations.c.scope_id,
        invitations.c.email,
        invitations.c.state,
    ).where(
        or_(
            and_(
                any_of(invitations.c.email_comparable, "addresses"),
                invitations.c.email_comparable != "",
            ),
            invitations.c.account_id == _account,
            any_of(invitations.c.uuid, "uuids"),
        )
    )
)
_PERSONAL: Final = (
    *("email", "email_comparable", "email_search", "full_name", "native_name", "phone_number"),
    *("organization", "job_title", "civil_number", "extra_text"),
)
_EMPTY_INVITATIONS = Statement(
    update(invitations).where(any_of(invitations.c.id, "ids")).values(dict.fromkeys(_PERSONAL, ""))
)
_CANCEL = Statement(
    update(invitations)
    .where(any_of(invitations.c.id, "ids"), any_of(invitations.c.state, "states"))
    .values(state=State.CANCELED.value)
    .returning(invitations.c.uuid, invitations.c.scope_id)
)
_WITHOUT_TEXT = Statement(
    update(invitations).where(any_of(invitations.c.uuid, "uuids")).values(extra_text="")
)
_EVENTS_OF = Statement(
    select(events.c.id, events.c.payload, events.c.actor_id).where(
        any_of(events.c.scope_id, "scopes"),
        any_of(events.c.kind, "kinds"),
        any_of(events.c.payload["invitation"].as_string(), "texts"),
    )
)
# An invitation that staff deleted has no row any more, only events.
_DELETED = Statement(
    select(events.c.scope_id, events.c.payload).where(events.c.kind == bindparam("kind"))
)
_EVENTS_OF_MAILS = Statement(
    select(events.c.id, events.c.payload).where(any_of(events.c.kind, "kinds"))
)
# These identify the account only by its id, and other people need them.
_NEUTRAL_MAILS: Final = ("invitation_declined",)
_MAILS = Statement(
    delete(outbox).where(
        or_(
            any_of(outbox.c.recipient, "recipients"),
            and_(
                outbox.c.account_id == _account, *(outbox.c.kind != one for one in _NEUTRAL_MAILS)
            ),
        )
    )
)
_ASKED = Statement(
    update(join_requests)
    .where(join_requests.c.account_id == _account)
    .values(message="", comment=None)
)


def erase(tx: WriteTransaction, account: Row, actor: Actor) -> list[Row]:
    """Remove the personal data of a deleted account from all tables except ``accounts``.

    Open invitations to the account are cancelled, because an invitation without an address can
    admit nobody. Return their ``uuid scope_id``.

    Args:
        account: the account before the deletion, locked: ``id email first_name last_name
            username``.
        actor: who deletes it.
    """
    about = tx.fetch_all(_ABOUT, account=account.id)
    known = {account.email, *(text for row in about for text in _addresses(row.payload))}
    spelled = _own(tx, account.id, {text for text in known if text})
    answered = {
        str(row.payload["invitation"])
        for row in tx.fetch_all(_BY, account=account.id, kinds=list(_ANSWERS))
        if row.payload.get("invitation")
    }
    keys = {comparable_address(text) for text in spelled}
    found = tx.fetch_all(
        _ADDRESSED, account=account.id, addresses=sorted(keys), uuids=sorted(answered)
    )
    ended = []
    if found:
        # This waits for a transaction that renews one of them, which is then cancelled.
        tx.execute(_EMPTY_INVITATIONS, ids=[row.id for row in found])
        ended = tx.fetch_all(_CANCEL, ids=[row.id for row in found], states=list(_OPEN))
    deleted = [
        row
        for row in tx.fetch_all(_DELETED, kind="invitation.deleted")
        if row.payload["invitation"] in answered
        or comparable_address(row.payload.get("email", "")) in keys
    ]
    _erase_events_of(
        tx,
        {(row.scope_id, row.uuid) for row in found}
        | {(row.scope_id, row.payload["invitation"]) for row in deleted},
    )
    invited = {*(row.email for row in found), *(row.payload.get("email", "") for row in deleted)}
    spelled |= _own(tx, account.id, invited)
    tx.execute(_MAILS, account=account.id, recipients=sorted(spelled))
    _erase_sent(tx, account.id)
    tx.execute(_ASKED, account=account.id)
    for row in about:
        told = erased(row.payload, account.id)
        if told != row.payload:
            tx.execute(_WRITE_FACTS, event=row.id, told=told)
    for row in tx.fetch_all(_EVENTS_OF_MAILS, kinds=list(_OF_MAILS)):
        if row.payload.get("recipient") in spelled:
            tx.execute(_WRITE_FACTS, event=row.id, told={**row.payload, "recipient": ""})
    _erase_staff(tx, account, actor)
    tx.execute(_ACTED, account=account.id, name=neutral_name(account.id))
    return ended


def _erase_staff(tx: WriteTransaction, account: Row, actor: Actor) -> None:
    """Remove the name of a member of staff from the events of their impersonations.

    The actor may be an impersonated account. That event is recorded only after the request, so the
    actor's events are searched as well.
    """
    rows = tx.fetch_all(_IMPERSONATED, account=account.id, kind="account.impersonated")
    people = sorted({actor.id, *(row.account_id for row in rows)})
    name = f"{account.first_name} {account.last_name}".strip() or account.username
    for row in tx.fetch_all(_DONE_FOR, account=account.id, people=people, name=name):
        told = {**row.payload, "impersonated_by": neutral_name(account.id)}
        tx.execute(_WRITE_FACTS, event=row.id, told=told)


def _addresses(facts: Any) -> list[str]:
    """Return the former e-mail addresses that an event about the account contains.

    An address that was only requested may belong to somebody else, and is left out.
    """
    values = [facts.get(name) for name in ("old", "new")]
    changes = facts.get("changes")
    if isinstance(changes, dict) and isinstance(changes.get("email"), list):
        values += changes["email"]
    return [value for value in values if isinstance(value, str) and "@" in value]


def _own(tx: ReadTransaction, account: int, addresses: Collection[str]) -> set[str]:
    """Return the addresses that no other account has."""
    keys = {text: comparable_address(text) for text in addresses}
    wanted = sorted({key for key in keys.values() if key})
    rows = tx.fetch_all(_OTHERS, account=account, addresses=wanted) if wanted else []
    others = {row.email_comparable for row in rows}
    return {text for text, key in keys.items() if key and key not in others}


def _erase_events_of(tx: WriteTransaction, found: Collection[tuple[int, str]]) -> None:
    """Remove the address from the events of invitations, given by scope and UUID."""
    if not found:
        return
    rows = tx.fetch_all(
        _EVENTS_OF,
        scopes=sorted({scope for scope, _ in found}),
        kinds=list(_OF_INVITATIONS),
        texts=sorted(uuid for _, uuid in found),
    )
    for row in rows:
        if "email" in row.payload:
            told = {name: value for name, value in row.payload.items() if name != "email"}
            tx.execute(_WRITE_FACTS, event=row.id, told=told)
        if row.actor_id is None:
            tx.execute(_CLEAR_IP_ADDRESSES, event=row.id)


def _erase_sent(tx: WriteTransaction, account: int) -> None:
    """Remove the personal messages that the person wrote in invitations."""
    rows = tx.fetch_all(_BY, account=account, kinds=["invitation.created"])
    uuids = sorted(str(row.payload["invitation"]) for row in rows if row.payload.get("invitation"))
    if uuids:
        tx.execute(_WITHOUT_TEXT, uuids=uuids)
