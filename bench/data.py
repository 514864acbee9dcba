"""The databases of the benchmarks: created once for each size, kept in ``var/bench/``.

A tenth of the organisations is active and has all invitations and join requests. The manager of the
benchmarks owns one of them and sees about a hundred accounts.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from collegium.db import tables
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.lists import account_search
from collegium.security.crypto import Vault, hash_password
from tests.support import bulk_data

SMALL: Final = 10_000
BIG: Final = 1_000_000
SECRET_KEY: Final = "a key for the bench, which guards nothing at all"  # noqa: S105 - not a secret
PASSWORD: Final = "correct horse battery staple 7"  # noqa: S105 - of all accounts here
FOLDER: Final = Path("var/bench")

ACCOUNTS_PER_ORGANISATION: Final = 100
PROJECTS_PER_ORGANISATION: Final = 4
_ACTIVE_SHARE: Final = 10
_SHARE: Final = 20
_YEARS: Final = timedelta(days=4 * 365)
LONG: Final = timedelta(days=3650)


def token_of(number: int) -> str:
    """Return the API token of an account."""
    return f"{number:040x}"


class Layout:
    """Ids of accounts and scopes in a database.

    Args:
        size: number of accounts.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.person = size - 7
        """An account with two grants."""
        self.manager = 1
        """The owner of an active organisation."""
        self.staff = size // 2
        """The staff account."""
        self.organisations = size // ACCOUNTS_PER_ORGANISATION
        """Number of organisations; their scopes and owners have the lowest ids."""

    def home(self, number: int) -> int:
        """Return the organisation of an account."""
        return (number - 1) % self.organisations + 1

    def project(self, organisation: int, which: int) -> int:
        """Return a project of an organisation."""
        at = (organisation - 1) * PROJECTS_PER_ORGANISATION + which % PROJECTS_PER_ORGANISATION
        return self.organisations + 1 + at

    def active(self, number: int) -> int:
        """Return an active organisation."""
        return number % max(1, self.organisations // _ACTIVE_SHARE) + 1


class _Rows:
    """Yields the rows of each table."""

    def __init__(self, size: int, role_ids: dict[str, int], now: datetime) -> None:
        self._layout = Layout(size)
        self._size = size
        self._roles = role_ids
        self._now = now
        self._chance = random.Random(size)  # noqa: S311 - reproducible
        self._vault = Vault(SECRET_KEY)
        self._password = hash_password(PASSWORD)

    def tables(self) -> bulk_data.Tables:
        """Return all tables with their rows, referenced tables first."""
        return (
            (tables.accounts, map(self._account, self._numbers())),
            (tables.account_texts, self._texts()),
            (tables.tokens, map(self._token, self._numbers())),
            (tables.scopes, self._scopes()),
            (
                tables.organisations,
                ({"scope_id": n} for n in range(1, self._layout.organisations + 1)),
            ),
            (
                tables.projects,
                ({"scope_id": one["id"]} for one in self._scopes() if one["parent_id"]),
            ),
            (tables.grants, self._grants()),
            (tables.outbox, map(self._mail, self._few())),
            (tables.invitations, map(self._invitation, self._few())),
            (tables.invite_links, self._invite_links()),
            (tables.join_requests, map(self._request, self._few())),
        )

    def _numbers(self) -> range:
        return range(1, self._size + 1)

    def _few(self) -> range:
        return range(1, self._size // _SHARE + 1)

    def _uuid(self) -> str:
        return UUID(int=self._chance.getrandbits(128), version=4).hex

    def _moment(self, number: int, of: int) -> datetime:
        return self._now - _YEARS * (1 - number / (of + 1))

    def _is_deleted(self, number: int) -> bool:
        return number % 997 == 0 and number > self._layout.organisations

    def _account(self, number: int) -> dict[str, Any]:
        # Seeded by the id, so that _texts() creates the same names again.
        row = bulk_data.account_row(number, random.Random(number))  # noqa: S311 - as above
        joined = self._moment(number, self._size)
        return row | {
            "uuid": self._uuid(),
            "password": self._password,
            "token_lifetime": 3600,
            "is_staff": number == self._layout.staff,
            "is_active": number % 200 != 0
            or number == self._layout.staff
            or number <= self._layout.organisations,
            "joined_at": joined,
            "modified_at": joined + timedelta(hours=1),
            "agreed_at": joined if number % 3 else None,
            "deleted_at": joined if self._is_deleted(number) else None,
        }

    def _texts(self) -> Iterator[dict[str, Any]]:
        for number in self._numbers():
            if not self._is_deleted(number):
                row = bulk_data.account_row(number, random.Random(number))  # noqa: S311 - as above
                yield {"account_id": number, **account_search.texts_of(row)}

    def _token(self, number: int) -> dict[str, Any]:
        token = token_of(number)
        return {
            "account_id": number,
            "token_hash": self._vault.keyed_hash(token),
            "token_encrypted": self._vault.encrypt(token),
            "created_at": self._now,
            "last_used_at": self._now,
        }

    def _scopes(self) -> Iterator[dict[str, Any]]:
        chance = random.Random(1)  # noqa: S311 - reproducible
        for number in range(1, self._layout.organisations * (1 + PROJECTS_PER_ORGANISATION) + 1):
            after = number - self._layout.organisations - 1
            parent = after // PROJECTS_PER_ORGANISATION + 1 if after >= 0 else None
            kind, word = ("project", "Survey") if parent else ("organisation", "Institute")
            uuid = UUID(int=chance.getrandbits(128), version=4).hex
            yield bulk_data.scope_row(number, kind, parent, word) | {"uuid": uuid}

    def _roles_of(self, number: int) -> Iterator[tuple[int, str]]:
        home, which = self._layout.home(number), number // self._layout.organisations
        if number == home:
            yield home, "CUSTOMER.OWNER"
            yield self._layout.project(home, 0), "PROJECT.MANAGER"
        else:
            yield self._layout.project(home, which), "PROJECT.MEMBER"
            rare = "PROJECT.MANAGER" if number % 50 == 0 else "PROJECT.ADMIN"
            yield self._layout.project(home, which + 1), rare

    def _grants(self) -> Iterator[dict[str, Any]]:
        for number in self._numbers():
            if self._is_deleted(number):
                continue
            since = self._moment(number, self._size)
            for scope, role in self._roles_of(number):
                yield {
                    "uuid": self._uuid(),
                    "account_id": number,
                    "scope_id": scope,
                    "role_id": self._roles[role],
                    "valid_from": since,
                    "valid_until": self._now + LONG if number % 10 == 0 else None,
                    "granted_by": self._layout.home(number),
                }

    def _mail(self, number: int) -> dict[str, Any]:
        sent = self._moment(number, self._size // _SHARE)
        return {
            "id": number,
            "kind": "invitation_created",
            "recipient": f"guest{number}@example.org",
            "payload": f'{{"invitation": {number}}}',
            "state": "sent",
            "created_at": sent,
            "next_attempt_at": sent,
            "attempts": 1,
            "finished_at": sent,
        }

    def _invitation(self, number: int) -> dict[str, Any]:
        home = self._layout.active(number)
        in_project = number % 9 != 0
        state = ("accepted", "accepted", "accepted", "pending", "canceled")[number // 7 % 5]
        created = self._moment(number, self._size // _SHARE)
        return {
            "id": number,
            "uuid": self._uuid(),
            "scope_id": self._layout.project(home, number) if in_project else home,
            "role_id": self._roles["PROJECT.MEMBER" if in_project else "CUSTOMER.OWNER"],
            "email": f"guest{number}@example.org",
            "email_comparable": f"guest{number}@example.org",
            "email_search": f"guest{number}@example.org",
            "full_name": f"Guest {number}",
            "organization": f"Institute {number % 3000}" if number % 3 else "",
            "state": state,
            "created_at": created,
            "expires_at": self._now + LONG if state == "pending" else created + timedelta(days=7),
            "created_by": home,
            "sponsor_id": home,
            "accepted_by": number if state == "accepted" else None,
            "mail_id": number,
        }

    def _invite_links(self) -> Iterator[dict[str, Any]]:
        for number in range(1, self._size // _SHARE + 1):
            home = self._layout.active(number)
            if (
                number
                > max(1, self._layout.organisations // _ACTIVE_SHARE) * PROJECTS_PER_ORGANISATION
            ):
                return
            yield {
                "id": number,
                "uuid": self._uuid(),
                "scope_id": self._layout.project(home, self._which(number)),
                "role_id": self._roles["PROJECT.MEMBER"],
                "created_at": self._now - _YEARS,
                "expires_at": self._now + LONG,
                "created_by": home,
                "is_public": True,
                "allow_multiple_requests": True,
                "affiliations": "[]",
                "email_patterns": "[]",
            }

    def _which(self, number: int) -> int:
        return (number - 1) // max(1, self._layout.organisations // _ACTIVE_SHARE)

    def _request(self, number: int) -> dict[str, Any]:
        links = max(1, self._layout.organisations // _ACTIVE_SHARE) * PROJECTS_PER_ORGANISATION
        through = (number - 1) % links + 1
        home = self._layout.active(through)
        state = ("approved", "approved", "approved", "pending", "rejected")[number // 7 % 5]
        created = self._moment(number, self._size // _SHARE)
        decided = state != "pending"
        return {
            "id": number,
            "uuid": self._uuid(),
            "invite_link_id": through,
            "scope_id": self._layout.project(home, self._which(through)),
            "role_id": self._roles["PROJECT.MEMBER"],
            "account_id": self._size // 2 + number + (number % 2),
            "state": state,
            "created_at": created,
            "decided_at": created + timedelta(days=1) if decided else None,
            "decided_by": home if decided else None,
            "comment": "Welcome." if state == "approved" and number % 3 == 0 else None,
        }


def fill(database: Database, size: int, *, analyse: bool = True) -> None:
    """Fill a migrated, empty database.

    Args:
        analyse: whether to run ANALYZE.
    """
    with database.read() as tx:
        role_ids = {row.name: row.id for row in tx.fetch_all(Statement[Any](select(tables.roles)))}
        now = tx.now
    rows = _Rows(size, role_ids, now).tables()
    if analyse:
        bulk_data.write(database, rows)
    else:
        # Recreating an index would store the number of rows.
        bulk_data.add(database, rows, analyse=False)


def checkpoint(path: Path) -> None:
    """Write the WAL into the database file, so that the file can be copied."""
    with closing(Database(f"sqlite:///{path}", size=1)) as database:
        connection = database.engine.raw_connection()
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()


def copy(path: Path, name: str) -> Path:
    """Copy a SQLite database; return the path of the copy."""
    to = path.with_name(f"{name}.db")
    for end in ("-wal", "-shm"):
        to.with_name(to.name + end).unlink(missing_ok=True)
    shutil.copyfile(path, to)
    return to


def refresh(database: Database, numbers: Iterable[int] = ()) -> None:
    """Mark the tokens of some or all accounts as just used, so that they are valid."""
    listed = ", ".join(map(str, numbers))
    those = f"WHERE account_id IN ({listed})" if listed else ""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    connection = database.engine.raw_connection()
    connection.cursor().execute(
        f"UPDATE tokens SET created_at = '{now}', last_used_at = '{now}' {those}"
    )
    connection.close()
