"""What holds of the rows at every moment, whoever was killed when: no action is there by halves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select, text

from collegium.access.rules import OWNER_ROLES
from collegium.db import tables
from collegium.db.database import Database
from collegium.db.statements import Row, Statement

_ROWS = {
    name: Statement(select(tables.metadata.tables[name]))
    for name in (
        *("grants", "invitations", "invite_links", "join_requests"),
        *("events", "outbox", "roles", "role_permissions", "scopes", "accounts"),
        *("tokens", "ssh_keys", "email_changes"),
    )
}
_OWNER_ROLES = frozenset[str]().union(*OWNER_ROLES.values())


def broken(database: Database) -> list[str]:
    """Give what does not hold, in words; nothing, if all is well."""
    with database.read() as tx:
        rows = {name: tx.fetch_all(one) for name, one in _ROWS.items()}
    house = _House(rows)
    return [*_integrity(database), *(line for check in _CHECKS for line in check(house))]


def _integrity(database: Database) -> Iterator[str]:
    if database.is_sqlite:
        with database.engine.connect() as connection:
            for pragma in ("integrity_check", "foreign_key_check"):
                for row in connection.execute(text(f"PRAGMA {pragma}")):
                    if tuple(row) != ("ok",):
                        yield f"{pragma}: {tuple(row)}"


class _House:
    def __init__(self, rows: dict[str, list[Row]]) -> None:
        self.rows = rows
        self.roles = {row.id: row.name for row in rows["roles"]}
        self.kinds = {row.id: row.kind for row in rows["scopes"]}
        self.gone = {row.id for row in rows["scopes"] if row.removed_at is not None}
        self.buried = {row.id for row in rows["accounts"] if row.deleted_at is not None}
        self.events: Counter[tuple[str, str]] = Counter()
        self.given: Counter[tuple[int, int, str]] = Counter()
        # Those who were off for a time are not mailed what happens in it.
        self.off: set[int] = set()
        for row in rows["events"]:
            if row.kind in {"account.deactivated", "account.deleted"}:
                self.off.add(row.account_id)
            for key in ("invitation", "request_uuid"):
                if key in row.payload:
                    self.events[row.kind, row.payload[key]] += 1
            if row.kind == "role.granted":
                self.given[row.account_id, row.scope_id, row.payload["role"]] += 1
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

    def had(self, request: Row) -> bool:
        """Tell whether somebody ever had what they asked for: it, more, any place in a group."""
        asked = self.rights.get(request.role_id, set())
        return any(
            (account, scope) == (request.account_id, request.scope_id)
            and (
                role == request.role_id
                or self.kinds[scope] == "group"
                or asked < self.rights.get(role, set())
            )
            for account, scope, role in self.grants
        )


def _grants(house: _House) -> Iterator[str]:
    """Each grant was told once; nobody has two roles in a group; every scope keeps an owner."""
    standing = [row for row in house.rows["grants"] if row.ended_at is None]
    written = Counter(
        (row.account_id, row.scope_id, house.roles[row.role_id]) for row in house.rows["grants"]
    )
    for key in written.keys() | house.given.keys():
        if written[key] != house.given[key]:
            yield f"grant {key}: {written[key]} rows, {house.given[key]} events"
    places = Counter((row.account_id, row.scope_id, row.role_id) for row in standing)
    places += Counter(
        (row.account_id, row.scope_id, 0)
        for row in standing
        if house.kinds[row.scope_id] == "group"
    )
    yield from (f"grant {key}: {many} at once" for key, many in places.items() if many > 1)
    owned = {
        row.scope_id for row in house.rows["grants"] if house.roles[row.role_id] in _OWNER_ROLES
    }
    owners = {
        row.scope_id
        for row in standing
        if house.roles[row.role_id] in _OWNER_ROLES and row.valid_until is None
    }
    yield from (f"scope {scope} has no owner" for scope in owned - owners - house.gone)


def _ends(house: _House) -> Iterator[str]:
    """Nothing leads into a scope that is gone, and nobody who is gone holds or asks anything."""
    rows = house.rows
    waiting = {"pending", "held", "requested"}
    left = {
        "grant": [row for row in rows["grants"] if row.ended_at is None],
        "invitation": [row for row in rows["invitations"] if row.state in waiting],
        "open invitation": [row for row in rows["invite_links"] if row.canceled_at is None],
        "request": [row for row in rows["join_requests"] if row.state == "pending"],
    }
    for name, standing in left.items():
        for row in standing:
            if row.scope_id in house.gone:
                yield f"{name} {row.id} leads into scope {row.scope_id}, which is gone"
            if getattr(row, "account_id", None) in house.buried:
                yield f"{name} {row.id} is of account {row.account_id}, which is gone"


def _accounts(house: _House) -> Iterator[str]:
    """Of an account that is gone there is nothing that could be used, and no address."""
    for row in house.rows["accounts"]:
        if row.id in house.buried and (row.is_active or row.email or row.password):
            yield f"account {row.id} is gone, and can be used"
    for name in ("tokens", "ssh_keys", "email_changes"):
        for row in house.rows[name]:
            if row.account_id in house.buried:
                yield f"{name}: one is of account {row.account_id}, which is gone"


def _invitations(house: _House) -> Iterator[str]:
    """An invitation has its history, its mails, and, once accepted, its grant."""
    for row in house.rows["invitations"]:
        name = f"invitation {row.id} ({row.state})"
        told, mails = house.events, house.mails
        if told["invitation.created", row.uuid] != 1:
            yield f"{name}: made {told['invitation.created', row.uuid]} times"
        if row.link_version > 1 + told["invitation.sent", row.uuid]:
            yield f"{name}: revived without a word"
        accepted = row.state == "accepted"
        if told["invitation.accepted", row.uuid] != accepted:
            yield f"{name}: accepted {told['invitation.accepted', row.uuid]} times"
        if (row.accepted_by is not None) != accepted:
            yield f"{name}: accepted by {row.accepted_by}"
        if accepted and (row.accepted_by, row.scope_id, row.role_id) not in house.grants:
            yield f"{name}: no grant"
        owed = mails["invitation_accepted", "invitation", row.id]
        wanted = accepted and row.accepted_by != row.created_by
        if owed != wanted and not (wanted and row.created_by in house.off):
            yield f"{name}: {owed} mails to who made it"
        waited = sum(told[f"invitation.{how}", row.uuid] for how in ("approved", "released"))
        begun = 1 + told["invitation.sent", row.uuid]
        owed = mails["invitation_created", "invitation", row.id]
        owed += mails["invitation_approved", "invitation", row.id]
        asked = mails["invitation_requested", "invitation", row.id]
        # The mails to an account that was deleted are gone, and the address with them.
        if not waited and not asked and row.state != "held" and owed != begun and row.email:
            yield f"{name}: begun {begun} times, {owed} mails"
        if row.state == "pending" and row.mail_id is None:
            yield f"{name}: pending without a mail"


def _requests(house: _House) -> Iterator[str]:
    """A request has its history, its mail, and, once approved, its grant."""
    ends = {"approved", "rejected", "canceled"}
    for row in house.rows["join_requests"]:
        name = f"request {row.id} ({row.state})"
        told, mails = house.events, house.mails
        if told["request.submitted", row.uuid] != 1:
            yield f"{name}: asked {told['request.submitted', row.uuid]} times"
        for end in ends:
            is_told = told[f"request.{end}", row.uuid]
            # Of what goes with its scope, the end of the scope tells.
            with_scope = end == "canceled" and row.scope_id in house.gone and not is_told
            if is_told != (row.state == end) and not with_scope:
                yield f"{name}: {end} {told[f'request.{end}', row.uuid]} times"
        if (row.decided_at is not None) != (row.state in ends):
            yield f"{name}: decided {row.decided_at}"
        approved = row.state == "approved"
        if approved and not house.had(row):
            yield f"{name}: no grant"
        # Who held the role already is told nothing new; who got it in another way, at most once.
        news = told["role.granted", row.uuid] + told["role.updated", row.uuid]
        mailed = mails["structure_role_granted", "request", row.id]
        gone = row.account_id in house.buried and not mailed
        if news > approved or (mailed not in ({news} if news else {0, int(approved)}) and not gone):
            yield f"{name}: given {news} times, not as often mailed"
        rejected = row.state == "rejected"
        owed = mails["permission_request_rejected", "request", row.id]
        if owed != rejected and not (rejected and row.account_id in house.off):
            yield f"{name}: not as often turned down as mailed"
        automatic = approved and row.is_automatic
        asked = mails["permission_request_submitted", "request", row.id]
        if not automatic and not asked and not house.buried:
            yield f"{name}: nobody was asked"


def _outbox(house: _House) -> Iterator[str]:
    """A mail is owed or settled, never both or neither."""
    for row in house.rows["outbox"]:
        if (row.state == "queued") == (row.finished_at is not None):
            yield f"mail {row.id} ({row.state}): settled {row.finished_at}"
        if row.state == "sent" and not row.attempts:
            yield f"mail {row.id}: sent without an attempt"


_CHECKS: tuple[Callable[[Any], Iterator[str]], ...] = (
    *(_grants, _ends, _accounts, _invitations, _requests, _outbox),
)
