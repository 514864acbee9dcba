"""Rows of busy scopes, inserted in bulk after ``bulk_data.py``: members, events, pending items."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from sqlalchemy import Table, bindparam, select, update

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import (
    accounts,
    events,
    grants,
    groups,
    invitations,
    invite_links,
    join_requests,
    organisations,
    outbox,
    projects,
    roles,
    scopes,
)
from collegium.lists import row_counts
from tests.support import bulk_data

OWNER, MEMBER, STAFF = 77_001, 77_003, 95_000
"""Ids of the owner of all busy scopes, a member of the project, and staff."""
ORGANISATION, PROJECT, GROUP = (
    bulk_data.ORGANISATIONS + bulk_data.PROJECTS + at for at in (1, 2, 3)
)
PEOPLE: Final = 3_000
"""Members of each scope; as many invitations and join requests, a sixth of them pending."""
GROUPS: Final = 200
OWNED: Final = 10
"""Further organisations of the owner."""
EVENTS: Final = 60_000
MAILS: Final = 10_000
DAYS: Final = 60
"""Days since the oldest row."""

_ROLES: Final = {
    ORGANISATION: ("CUSTOMER.SUPPORT", "CUSTOMER.OWNER"),
    PROJECT: ("PROJECT.MEMBER", "PROJECT.MANAGER"),
    GROUP: ("GROUP.MEMBER", "GROUP.LEAD"),
}
_INVITED: Final = ("pending", "canceled", "rejected", "accepted", "accepted", "accepted")
_ASKED: Final = ("pending", "rejected", "canceled", "approved", "approved", "approved")
_KINDS: Final = ("role.granted", "invitation.created", "invitation.accepted", "request.submitted")

Row = dict[str, Any]


def uuid(what: str, number: int) -> str:
    """Return the UUID of a row."""
    return uuid5(NAMESPACE_OID, f"{what} {number}").hex


_PEOPLE: Final = [number for number in range(1, PEOPLE + 1) if number % 997]
"""Ids of members that are not deleted."""


def first_grant(scope: int) -> str:
    """Return the UUID of the first grant in a scope."""
    return uuid("grant", list(_ROLES).index(scope) * len(_PEOPLE))


def owner_grant(scope: int) -> str:
    """Return the UUID of the owner's grant in a scope."""
    return uuid("grant", len(_ROLES) * len(_PEOPLE) + list(_ROLES).index(scope))


class _Bulk:
    """Yields the rows of each table."""

    def __init__(self, roles_now: dict[str, int], now: datetime) -> None:
        self._roles = roles_now
        self._now = now

    def _ago(self, at: int, of: int) -> datetime:
        return self._now - timedelta(days=DAYS) * (of - at) / of

    def scopes(self) -> Iterator[Row]:
        yield bulk_data.scope_row(ORGANISATION, "organisation", None, "Busy")
        yield bulk_data.scope_row(PROJECT, "project", ORGANISATION, "Busy")
        for number in range(GROUP, GROUP + GROUPS):
            yield bulk_data.scope_row(number, "group", None, "Busy")

    def groups(self) -> Iterator[Row]:
        for number in range(GROUP, GROUP + GROUPS):
            yield {"scope_id": number, "name_casefolded": f"busy {number}"}

    def grants(self) -> Iterator[Row]:
        held = [
            (number, scope, common) for scope, (common, _) in _ROLES.items() for number in _PEOPLE
        ]
        held += [(OWNER, scope, lead) for scope, (_, lead) in _ROLES.items()]
        held += [(OWNER, number, "CUSTOMER.OWNER") for number in range(1, OWNED + 1)]
        held += [(OWNER, GROUP + at, "GROUP.LEAD") for at in range(1, GROUPS)]
        held.append((MEMBER, PROJECT, "PROJECT.MEMBER"))
        for at, (account, scope, role) in enumerate(held):
            yield {
                "uuid": uuid("grant", at),
                "account_id": account,
                "scope_id": scope,
                "role_id": self._roles[role],
                "valid_from": self._ago(at, len(held)),
                "granted_by": OWNER,
            }

    def outbox(self) -> Iterator[Row]:
        for at in range(MAILS):
            state = {0: "queued", 1: "failed"}.get(at % 20, "sent")
            yield {
                "id": at + 1,
                "kind": "invitation_created",
                "recipient": f"invited{at}@example.org",
                "payload": json.dumps({"invitation": bulk_data.INVITATIONS + at}),
                "state": state,
                "created_at": self._ago(at, MAILS),
                "next_attempt_at": self._ago(at, MAILS),
                "error": "550 5.1.1 Recipient address rejected." if state == "failed" else "",
                "finished_at": None if state == "queued" else self._ago(at, MAILS),
            }

    def invitations(self) -> Iterator[Row]:
        for at in range(PEOPLE * len(_ROLES)):
            scope = list(_ROLES)[at % len(_ROLES)]
            state = _INVITED[at // len(_ROLES) % 6]
            made = self._ago(at, PEOPLE * len(_ROLES))
            yield {
                "uuid": uuid("invitation", at),
                "scope_id": scope,
                "role_id": self._roles[_ROLES[scope][0]],
                "email": f"Invited{at}@example.org",
                "state": state,
                "created_at": made,
                "expires_at": self._now + timedelta(days=7),
                "created_by": OWNER,
                "sponsor_id": OWNER,
                "accepted_at": made + timedelta(hours=at % 200) if state == "accepted" else None,
                "mail_id": at % MAILS + 1,
            }

    def invite_links(self) -> Iterator[Row]:
        for at in range(600):
            scope = (ORGANISATION, PROJECT)[at % 2]
            yield {
                "id": at + 1,
                "uuid": uuid("link", at),
                "scope_id": scope,
                "role_id": self._roles[_ROLES[scope][0]],
                "created_at": self._ago(at, 600),
                "expires_at": self._now + timedelta(days=7),
                "created_by": OWNER,
                "canceled_at": self._now if at % 6 > 1 else None,
                "affiliations": "[]",
                "email_patterns": "[]",
            }

    def requests(self) -> Iterator[Row]:
        for at in range(PEOPLE * len(_ROLES)):
            scope = list(_ROLES)[at % len(_ROLES)]
            state = _ASKED[at // len(_ROLES) % 6]
            yield {
                "uuid": uuid("request", at),
                "invite_link_id": None if scope == GROUP else 1 + (scope == PROJECT),
                "scope_id": scope,
                "role_id": self._roles[_ROLES[scope][0]],
                "account_id": 10_001 + at,
                "state": state,
                "message": "May I?",
                "created_at": self._ago(at, PEOPLE * len(_ROLES)),
                "decided_at": None if state == "pending" else self._now,
                "decided_by": None if state in {"pending", "canceled"} else OWNER,
            }

    def events(self) -> Iterator[Row]:
        for at in range(EVENTS):
            scope = {0: ORGANISATION, 1: PROJECT, 2: GROUP}.get(
                at % 6, 1 + at % bulk_data.ORGANISATIONS
            )
            kind = _KINDS[at // 6 % len(_KINDS)]
            role = _ROLES.get(scope, _ROLES[ORGANISATION])[0]
            yield {
                "uuid": uuid("event", at),
                "created_at": self._ago(at, EVENTS),
                "kind": kind,
                "actor_id": OWNER if at % 20 == 0 else 1 + at % PEOPLE,
                "actor_name": "Olga Owner",
                "scope_id": scope,
                "account_id": 1 + at % bulk_data.ACCOUNTS,
                "payload": json.dumps(
                    {"role": role, "username": f"person{at}", "email": f"Invited{at}@example.org"}
                ),
            }


_JOIN = Statement(
    update(accounts)
    .where(accounts.c.id > bulk_data.ACCOUNTS - PEOPLE)
    .values(joined_at=bindparam("joined"))
)
_SWITCH = Statement(update(accounts).where(accounts.c.id == STAFF).values(is_active=True))


def fill(database: Database) -> None:
    """Insert the rows into a database that ``bulk_data.fill`` has filled."""
    with database.read() as tx:
        bulk = _Bulk(
            {row.name: row.id for row in tx.fetch_all(Statement[Any](select(roles)))}, tx.now
        )
    tables: list[tuple[Table, Iterator[Row]]] = [
        (scopes, bulk.scopes()),
        (organisations, iter([{"scope_id": ORGANISATION}])),
        (projects, iter([{"scope_id": PROJECT}])),
        (groups, bulk.groups()),
        (grants, bulk.grants()),
        (outbox, bulk.outbox()),
        (invitations, bulk.invitations()),
        (invite_links, bulk.invite_links()),
        (join_requests, bulk.requests()),
        (events, bulk.events()),
    ]
    bulk_data.add(database, tables)
    with database.write() as tx:
        tx.execute(_JOIN, joined=datetime.now(UTC) - timedelta(days=3))
        tx.execute(_SWITCH)
        row_counts.rebuild(tx)
