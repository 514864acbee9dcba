"""Invariants of the rows, which hold at every moment: no action is half done."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select, text

from collegium.access.rules import KINDS
from collegium.db import tables
from collegium.db.database import Database
from collegium.db.statements import Statement

_ROWS = {
    name: Statement(select(tables.metadata.tables[name]))
    for name in (
        *("grants", "invitations", "invite_links", "join_requests"),
        *("events", "outbox", "roles", "role_permissions", "scopes", "accounts"),
        *("tokens", "ssh_keys", "email_changes"),
    )
}
_OWNER_ROLES = frozenset[str]().union(*(kind.owner_roles for kind in KINDS.values()))


def broken(database: Database) -> list[str]:
    """Return a line for each violated invariant."""
    with database.read() as tx:
        rows = {name: tx.fetch_all(statement) for name, statement in _ROWS.items()}
    data = _Rows(rows)
    return [*_integrity(database), *(line for check in _CHECKS for line in check(data))]


def _integrity(database: Database) -> Iterator[str]:
    if database.is_sqlite:
        with database.engine.connect() as connection:
            for pragma in ("integrity_check", "foreign_key_check"):
                for row in connection.execute(text(f"PRAGMA {pragma}")):
                    if tuple(row) != ("ok",):
                        yield f"{pragma}: {tuple(row)}"


class _Rows:
    def __init__(self, rows: dict[str, list[Any]]) -> None:
        self.rows = rows
        self.roles = {row.id: row.name for row in rows["roles"]}
        self.kinds = {row.id: row.kind for row in rows["scopes"]}
        self.removed = {row.id for row in rows["scopes"] if row.deleted_at is not None}
        self.deleted_accounts = {row.id for row in rows["accounts"] if row.deleted_at is not None}
        self.events: Counter[tuple[str, str]] = Counter()
        self.granted: Counter[tuple[int, int, str]] = Counter()
        # Accounts that were deactivated for a time; they get no e-mails then.
        self.deactivated: set[int] = set()
        for row in rows["events"]:
            if row.kind in {"account.deactivated", "account.deleted"}:
                self.deactivated.add(row.account_id)
            for key in ("invitation", "request_uuid"):
                if key in row.payload:
                    self.events[row.kind, row.payload[key]] += 1
            if row.kind in {"role.granted", "role.restored"}:
                self.granted[row.account_id, row.scope_id, row.payload["role"]] += 1
        self.mails: Counter[tuple[str, str, int]] = Counter()
        for row in rows["outbox"]:
            reminder = "again " if row.payload.get("reminder") else ""
            for key in ("invitation", "request"):
                if key in row.payload:
                    self.mails[reminder + row.kind, key, row.payload[key]] += 1
        self.grants = {(row.account_id, row.scope_id, row.role_id) for row in rows["grants"]}
        self.rights: dict[int, set[str]] = {}
        for row in rows["role_permissions"]:
            self.rights.setdefault(row.role_id, set()).add(row.permission)

    def had(self, request: Any) -> bool:
        """Return whether the account ever had the role, a wider one, or any role of the group."""
        rights = self.rights.get(request.role_id, set())
        return any(
            (account, scope) == (request.account_id, request.scope_id)
            and (
                role == request.role_id
                or self.kinds[scope] == "group"
                or rights < self.rights.get(role, set())
            )
            for account, scope, role in self.grants
        )


def _grants(data: _Rows) -> Iterator[str]:
    """Each grant has one event; no account has two roles in a group; every scope has an owner."""
    active = [row for row in data.rows["grants"] if row.ended_at is None]
    written = Counter(
        (row.account_id, row.scope_id, data.roles[row.role_id]) for row in data.rows["grants"]
    )
    for key in written.keys() | data.granted.keys():
        if written[key] != data.granted[key]:
            yield f"grant {key}: {written[key]} rows, {data.granted[key]} events"
    places = Counter((row.account_id, row.scope_id, row.role_id) for row in active)
    places += Counter(
        (row.account_id, row.scope_id, 0) for row in active if data.kinds[row.scope_id] == "group"
    )
    yield from (f"grant {key}: {number} at once" for key, number in places.items() if number > 1)
    owned = {row.scope_id for row in data.rows["grants"] if data.roles[row.role_id] in _OWNER_ROLES}
    owners = {
        row.scope_id
        for row in active
        if data.roles[row.role_id] in _OWNER_ROLES and row.valid_until is None
    }
    yield from (f"scope {scope} has no owner" for scope in owned - owners - data.removed)


def _ends(data: _Rows) -> Iterator[str]:
    """Nothing open belongs to a deleted scope or account."""
    rows = data.rows
    waiting = {"pending", "held", "requested"}
    left = {
        "grant": [row for row in rows["grants"] if row.ended_at is None],
        "invitation": [row for row in rows["invitations"] if row.state in waiting],
        "open invitation": [row for row in rows["invite_links"] if row.canceled_at is None],
        "request": [row for row in rows["join_requests"] if row.state == "pending"],
    }
    for name, active in left.items():
        for row in active:
            if row.scope_id in data.removed:
                yield f"{name} {row.id} belongs to the deleted scope {row.scope_id}"
            if getattr(row, "account_id", None) in data.deleted_accounts:
                yield f"{name} {row.id} belongs to the deleted account {row.account_id}"


def _accounts(data: _Rows) -> Iterator[str]:
    """A deleted account has no address, no password and no credentials."""
    for row in data.rows["accounts"]:
        if row.id in data.deleted_accounts and (row.is_active or row.email or row.password):
            yield f"account {row.id} is deleted, and can be used"
    for name in ("tokens", "ssh_keys", "email_changes"):
        for row in data.rows[name]:
            if row.account_id in data.deleted_accounts:
                yield f"{name}: a row of account {row.account_id}, which is deleted"


def _invitations(data: _Rows) -> Iterator[str]:
    """An invitation has its events, e-mails and, if accepted, its grant."""
    for row in data.rows["invitations"]:
        name = f"invitation {row.id} ({row.state})"
        event_counts, mails = data.events, data.mails
        if event_counts["invitation.created", row.uuid] != 1:
            yield f"{name}: created {event_counts['invitation.created', row.uuid]} times"
        sent_again = sum(event_counts[f"invitation.{how}", row.uuid] for how in ("sent", "updated"))
        if row.link_version > 1 + sent_again:
            yield f"{name}: renewed without an event"
        accepted = row.state == "accepted"
        if event_counts["invitation.accepted", row.uuid] != accepted:
            yield f"{name}: accepted {event_counts['invitation.accepted', row.uuid]} times"
        if (row.accepted_by is not None) != accepted:
            yield f"{name}: accepted by {row.accepted_by}"
        if accepted and (row.accepted_by, row.scope_id, row.role_id) not in data.grants:
            yield f"{name}: no grant"
        mailed_count = mails["invitation_accepted", "invitation", row.id]
        expected = accepted and row.accepted_by != row.created_by
        if mailed_count != expected and not (expected and row.created_by in data.deactivated):
            yield f"{name}: {mailed_count} mails to the inviter"
        waited = sum(
            event_counts[f"invitation.{how}", row.uuid] for how in ("approved", "released")
        )
        sent_count = 1 + sent_again
        mailed_count = mails["invitation_created", "invitation", row.id]
        mailed_count += mails["invitation_approved", "invitation", row.id]
        asked = mails["invitation_requested", "invitation", row.id]
        # Deleting an account deletes its e-mails and the address of the invitation.
        if (
            not waited
            and not asked
            and row.state != "held"
            and mailed_count != sent_count
            and row.email
        ):
            yield f"{name}: sent {sent_count} times, {mailed_count} mails"
        if row.state == "pending" and row.mail_id is None:
            yield f"{name}: pending without a mail"


def _requests(data: _Rows) -> Iterator[str]:
    """A request has its events, e-mails and, if approved, its grant."""
    ends = {"approved", "rejected", "canceled"}
    for row in data.rows["join_requests"]:
        name = f"request {row.id} ({row.state})"
        event_counts, mails = data.events, data.mails
        if event_counts["request.submitted", row.uuid] != 1:
            yield f"{name}: asked {event_counts['request.submitted', row.uuid]} times"
        for end in ends:
            is_told = event_counts[f"request.{end}", row.uuid]
            # A request that is closed with its scope has no event.
            with_scope = end == "canceled" and row.scope_id in data.removed and not is_told
            if is_told != (row.state == end) and not with_scope:
                yield f"{name}: {end} {event_counts[f'request.{end}', row.uuid]} times"
        if (row.decided_at is not None) != (row.state in ends):
            yield f"{name}: decided {row.decided_at}"
        approved = row.state == "approved"
        if approved and not data.had(row):
            yield f"{name}: no grant"
        # An account that has the role already gets no e-mail; with another grant, at most one.
        grants_made = (
            event_counts["role.granted", row.uuid] + event_counts["role.updated", row.uuid]
        )
        mailed = mails["structure_role_granted", "request", row.id]
        removed = row.account_id in data.deleted_accounts and not mailed
        if grants_made > approved or (
            mailed not in ({grants_made} if grants_made else {0, int(approved)}) and not removed
        ):
            yield f"{name}: {grants_made} grants, {mailed} mails"
        rejected = row.state == "rejected"
        mailed_count = mails["permission_request_rejected", "request", row.id]
        if mailed_count != rejected and not (rejected and row.account_id in data.deactivated):
            yield f"{name}: {mailed_count} mails about the rejection"
        automatic = approved and row.is_automatic
        asked = mails["permission_request_submitted", "request", row.id]
        if not automatic and not asked and not data.deleted_accounts:
            yield f"{name}: no mail to the approvers"


def _outbox(data: _Rows) -> Iterator[str]:
    """An e-mail is either queued or finished."""
    for row in data.rows["outbox"]:
        if (row.state == "queued") == (row.finished_at is not None):
            yield f"mail {row.id} ({row.state}): finished {row.finished_at}"
        if row.state == "sent" and not row.attempts:
            yield f"mail {row.id}: sent without an attempt"


_CHECKS: tuple[Callable[[Any], Iterator[str]], ...] = (
    *(_grants, _ends, _accounts, _invitations, _requests, _outbox),
)
