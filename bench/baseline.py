"""The baseline: a minimal program with the same responses, database and server as the service.

It has no framework, no log and no metrics.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID

import click
import msgspec
import psycopg
from granian.constants import Interfaces
from granian.server import Server
from msgspec import UNSET
from psycopg.adapt import Loader

from bench import baseline_sql as sql
from bench.baseline_types import Invitation, Permission, Request, User
from bench.replay import PreparedOperation, RecordedOperation
from collegium import bootstrap, server
from collegium.access.rules import MEMBERSHIP_PERMISSIONS, ScopeKind
from collegium.access.subnets.rules import position
from collegium.invitations.rules import (
    DeliveryStatus,
    State,
    delivery_status,
    effective_state,
    inviter_can_still_grant,
)
from collegium.security.crypto import Vault

IN_THREADS: Final = "_BASELINE_IN_THREADS"
"""Environment variable: query the database in threads instead of on the event loop."""

RECORDED_OPERATIONS: Final = "_BASELINE_RECIPES"
"""Environment variable: file with the recorded operations; empty for reads only."""

_KINDS: Final = {"organisation": "customer", "project": "project"}
_STATES: Final = {state: "project" if state is State.HELD else state.value for state in State}
_INVITER_CANNOT_GRANT: Final = (
    "Cannot be accepted, because the inviter can no longer assign this role. "
    "Somebody who can assign it can send the invitation again."
)
_ANY: Final = re.compile(r"= ANY\(:(\w+)\)")
_NAME: Final = re.compile(r"(?<!:):(\w+)")
_encode = msgspec.json.Encoder().encode


class StatusError(Exception):
    """The response is a bare status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class SQLite:
    """Queries SQLite with one connection per thread; timestamps are strings."""

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("sqlite:///")
        self._write_lock = threading.Lock()
        self._local = threading.local()
        self._texts: dict[str, str] = {}

    @property
    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, isolation_level=None, timeout=10)
            for line in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "cache_size=-16000",
                "temp_store=MEMORY",
            ):
                found.execute(f"PRAGMA {line}")
            self._local.connection = found
        return found

    def ask(self, text: str, **binds: Any) -> list[Any]:
        """Run a query and return all rows."""
        known = self._texts.get(text)
        if known is None:
            listed = _ANY.sub(r"IN (SELECT value FROM json_each(:\1))", text)
            # Prevent a Bloom filter over all tokens, as the service does.
            known = self._texts[text] = listed.replace("k.kind =", "+k.kind =")
        for name, value in binds.items():
            if value.__class__ is list:
                binds[name] = json.dumps(value)
        return self._connection.execute(known, binds).fetchall()

    def close(self) -> None:
        """Close the connection of this thread."""
        self._connection.close()

    def now(self) -> str:
        """Return the current time as a parameter."""
        return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")

    @staticmethod
    def out(value: str | None) -> str | None:
        """Return a timestamp as the API writes it."""
        if value is None:
            return None
        return f"{value.removesuffix('.000000')}Z"

    @staticmethod
    def time(value: str) -> datetime:
        """Return a timestamp as ``datetime``."""
        return datetime.fromisoformat(value).replace(tzinfo=UTC)

    read_json = staticmethod(json.loads)

    def prepare(self, recorded: RecordedOperation) -> PreparedOperation:
        """Prepare a recorded operation for this database."""
        return PreparedOperation(recorded, "BEGIN IMMEDIATE", as_text=True)

    def run(self, operation: PreparedOperation, inputs: Mapping[str, Any]) -> bytes:
        """Run an operation; only one thread writes at a time."""
        with self._write_lock:
            return operation.run(self._connection, inputs)


class _Hex(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode().replace("-", "")


class PostgreSQL:
    """Queries PostgreSQL with one connection per thread; psycopg prepares frequent statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._texts: dict[str, str] = {}

    @property
    def _connection(self) -> psycopg.Connection[Any]:
        found: psycopg.Connection[Any] | None = getattr(self._local, "connection", None)
        if found is None:
            found = psycopg.connect(self._url, autocommit=True)
            found.adapters.register_loader("uuid", _Hex)
            found.execute("SET TIME ZONE 'UTC'")
            found.execute("SET jit = off")
            found.execute("SET random_page_cost = 1.1")
            self._local.connection = found
        return found

    def ask(self, text: str, **binds: Any) -> list[Any]:
        """Run a query and return all rows."""
        known = self._texts.get(text)
        if known is None:
            known = self._texts[text] = _NAME.sub(r"%(\1)s", text.replace("%", "%%"))
        return self._connection.execute(known, binds).fetchall()

    def close(self) -> None:
        """Close the connection of this thread."""
        self._connection.close()

    def now(self) -> datetime:
        """Return the current time as a parameter."""
        return datetime.now(UTC)

    @staticmethod
    def out(value: datetime | None) -> datetime | None:
        """Return a timestamp as the API writes it."""
        return value

    @staticmethod
    def time(value: datetime) -> datetime:
        """Return a timestamp as ``datetime``."""
        return value

    @staticmethod
    def read_json(value: Any) -> Any:
        """Return a value that the driver has decoded."""
        return value

    def prepare(self, recorded: RecordedOperation) -> PreparedOperation:
        """Prepare a recorded operation for this database."""
        return PreparedOperation(recorded, "BEGIN", as_text=False)

    def run(self, operation: PreparedOperation, inputs: Mapping[str, Any]) -> bytes:
        """Run an operation."""
        return operation.run(self._connection, inputs)


def _page(text: str, limit: int, offset: int) -> str:
    """Add LIMIT and OFFSET as literals, so that PostgreSQL plans for a short page."""
    return f"{text} LIMIT {limit}" + (f" OFFSET {offset}" if offset else "")


class Viewer:
    """The caller of a request."""

    __slots__ = ("address", "base", "email", "id", "is_staff", "sees_all")

    def __init__(self, number: int, email: str, base: str, address: str) -> None:
        self.id = number
        self.email = email
        self.base = base
        self.address = address
        self.is_staff = self.sees_all = False


class Baseline:
    """Answers requests."""

    def __init__(
        self,
        database: Any,
        vault: Vault,
        recorded_operations: Mapping[str, RecordedOperation] | None = None,
    ) -> None:
        self._db = database
        self._operations = {
            name: database.prepare(one) for name, one in (recorded_operations or {}).items()
        }
        self._vault = vault
        self._lists: dict[str, Callable[..., tuple[int, bytes]]] = {
            "/api/users/": self._users,
            "/api/user-invitations/": self._invitations,
            "/api/user-permission-requests/": self._requests,
        }

    def answer(self, path: str, query: bytes, token: str, base: str, address: str) -> Any:
        """Return the total number of rows and the body of a GET response."""
        digest = self._vault.keyed_hash(token)
        if path == "/api/users/me/":
            return 1, self._me(digest, base, address)
        viewer = self._viewer(digest, base, address)
        page = self._lists.get(path)
        if page is None:
            return 0, self._user(viewer, path[len("/api/users/") : -1])
        parameters = parse_qs(query)
        size = min(int(parameters.get(b"page_size", [b"10"])[-1]), 300)
        number = int(parameters.get(b"page", [b"1"])[-1])
        return page(viewer, size, (number - 1) * size)

    def write(self, path: str, body: bytes, token: str) -> tuple[int, bytes]:
        """Run a recorded operation; return status and body."""
        inputs: dict[str, Any] = {"digest": self._vault.keyed_hash(token)}
        *_, uuid, action, _ = path.split("/")
        if action in self._operations:
            inputs["uuid"] = UUID(uuid).hex
        else:
            action = "create"
            inputs |= msgspec.json.decode(body)
        operation = self._operations[action]
        return operation.status, self._db.run(operation, inputs)

    def _check_expiry(
        self, kind: str, lifetime: int | None, issued: Any, used: Any, ends: Any
    ) -> None:
        del issued  # the maximum age of tokens is not configured
        time = self._db.time
        bounds = [] if lifetime is None else [time(used) + timedelta(seconds=lifetime)]
        if ends is not None:
            bounds.append(time(ends))
        if kind not in {"api", "personal", "access"} or (
            bounds and min(bounds) < datetime.now(UTC)
        ):
            raise StatusError(401)

    def _viewer(self, digest: bytes, base: str, address: str) -> Viewer:
        for row in self._db.ask(sql.WHO, digest=digest):
            number, active, staff, support, email, own_lifetime, kind, *rest = row
            issued, used, lifetime, ends = rest
            if not active:
                break
            self._check_expiry(
                kind, own_lifetime if kind == "api" else lifetime, issued, used, ends
            )
            viewer = Viewer(number, email, base, address)
            viewer.is_staff = bool(staff)
            viewer.sees_all = bool(staff or support)
            return viewer
        raise StatusError(401)

    def _me(self, digest: bytes, base: str, address: str) -> bytes:
        for row in self._db.ask(sql.ME, digest=digest):
            kind, issued, used, lifetime, ends, *account = row
            staff, active, support, own_lifetime = account[22:26]
            if not active:
                break
            self._check_expiry(
                kind, own_lifetime if kind == "api" else lifetime, issued, used, ends
            )
            viewer = Viewer(account[0], account[8], base, address)
            viewer.is_staff = bool(staff)
            viewer.sees_all = bool(staff or support)
            grants = self._db.ask(sql.GRANTS_OF_ONE, actor=viewer.id, now=self._db.now())
            return _encode(self._shown(viewer, account, grants, address=address))
        raise StatusError(401)

    def _user(self, viewer: Viewer, uuid: str) -> bytes:
        if not viewer.sees_all:
            raise StatusError(404)
        for row in self._db.ask(sql.USER, uuid=uuid):
            grants = self._db.ask(sql.GRANTS_OF_ONE, actor=row[0], now=self._db.now())
            return _encode(self._shown(viewer, row, grants))
        raise StatusError(404)

    def _users(self, viewer: Viewer, limit: int, offset: int) -> tuple[int, bytes]:
        ask, now = self._db.ask, self._db.now()
        if viewer.sees_all:
            [[total]] = ask(sql.USERS_COUNT)
            rows = ask(_page(sql.USERS, limit, offset))
            found = ask(sql.GRANTS, accounts=[row[0] for row in rows], now=now)
        else:
            about = {"actor": viewer.id, "now": now}
            scopes = [one for (one,) in ask(sql.SCOPES, **about, address=position(viewer.address))]
            [[total]] = ask(sql.USERS_SEEN_COUNT, **about, scopes=scopes)
            rows = ask(_page(sql.USERS_SEEN, limit, offset), **about, scopes=scopes)
            found = ask(sql.GRANTS_SEEN, **about, scopes=scopes, accounts=[row[0] for row in rows])
        held: dict[int, list[Any]] = {}
        for one in found:
            held.setdefault(one[0], []).append(one)
        return total, _encode(
            [self._shown(viewer, row, held.get(row[0], ()), listed=True) for row in rows]
        )

    def _shown(
        self,
        viewer: Viewer,
        row: Any,
        grants: Iterable[Any],
        *,
        listed: bool = False,
        address: str | None = None,
    ) -> User:
        (
            number, uuid, username, slug, first, last, native, job, email, phone, organization,
            method, source, joined, agreed, notified, language, affiliations, picture, civil,
            birth, description, staff, active, support, lifetime, _issued, used, digest, sealed,
            requested,
        ) = row  # fmt: skip
        out = self._db.out
        name = f"{first} {last}".strip()
        own, privileged = number == viewer.id, viewer.sees_all
        local = method == "default"
        user = User(
            f"{viewer.base}/api/users/{uuid}/",
            uuid,
            username,
            slug,
            name,
            native,
            job,
            email,
            phone,
            organization,
            method,
            source,
            out(joined),
            out(agreed),
            bool(notified),
            language,
            [self._permission(one, uuid, name, slug) for one in grants],
            [] if affiliations == "[]" else self._db.read_json(affiliations),
            first,
            last,
            "Local DB" if local else "",
            "Local DB" if local else "",
            "",
            ["email", "first_name", "last_name"] if method == "eduteams" else [],
            image=picture and f"{viewer.base}/api/media/{picture}/",
            ip_address=address,
        )
        if own or privileged:
            if used is not None and lifetime is not None:
                user.token_expires_at = self._db.time(used) + timedelta(seconds=lifetime)
            user.civil_number, user.birth_date, user.requested_email = civil, birth, requested
        if privileged:
            user.description = description
            user.is_staff, user.is_active = bool(staff), bool(active)
            user.is_support = bool(support)
            user.has_active_session = used is not None
        if own and not listed:
            user.token_lifetime = lifetime
            user.token = self._vault.decrypt(sealed, digest) if sealed is not None else UNSET
        return user

    def _permission(self, grant: Any, uuid: str, name: str, slug: str) -> Permission:
        (
            _, since, until, role, role_text, role_uuid, kind, scope, scope_name, top, top_name,
            first, last, by,
        ) = grant  # fmt: skip
        out = self._db.out
        return Permission(
            uuid,
            name,
            slug,
            out(since),
            out(until),
            role,
            role_text,
            role_uuid,
            _KINDS[kind],
            scope,
            scope_name,
            top,
            top_name,
            UNSET if by is None else f"{first} {last}".strip(),
            UNSET if by is None else by,
        )

    def _invitations(self, viewer: Viewer, limit: int, offset: int) -> tuple[int, bytes]:
        ask, now = self._db.ask, self._db.now()
        if viewer.sees_all:
            [[total]] = ask(sql.INVITATIONS_COUNT)
            rows = ask(_page(sql.INVITATIONS, limit, offset))
        else:
            found = ask(sql.READ_SCOPES, actor=viewer.id, now=now, address=position(viewer.address))
            about = {"scopes": [one for (one,) in found], "email": viewer.email.lower(), "now": now}
            [[total]] = ask(sql.INVITATIONS_SEEN_COUNT, **about)
            rows = ask(_page(sql.INVITATIONS_SEEN, limit, offset), **about)
        invalid = self._without_inviter(rows, now)
        return total, _encode([self._invitation(viewer, row, now, invalid) for row in rows])

    def _without_inviter(self, rows: list[Any], now: Any) -> set[int]:
        """Return ids of pending invitations whose inviter can no longer grant the role."""
        pending = [row for row in rows if effective_state(row[12], row[3], now) is State.PENDING]
        if not pending:
            return set()
        held: dict[tuple[int, int], set[str]] = {}
        for account, scope, permission in self._db.ask(
            sql.HELD_BY,
            accounts=list({row[15] for row in pending}),
            scopes=list({scope for row in pending for scope in (row[14], row[23])}),
            now=now,
        ):
            held.setdefault((account, scope), set()).add(permission)
        carried: dict[int, set[str]] = {}
        for role, permission in self._db.ask(sql.CARRIED, roles=list({row[13] for row in pending})):
            carried.setdefault(role, set()).add(permission)
        nothing: set[str] = set()
        return {
            row[0]
            for row in pending
            if not inviter_can_still_grant(
                held.get((row[15], row[14]), nothing) | held.get((row[15], row[23]), nothing),
                MEMBERSHIP_PERMISSIONS[ScopeKind(row[22])].grant,
                carried.get(row[13], nothing),
                is_active=bool(row[33]),
                is_staff=bool(row[34]),
            )
        }

    def _invitation(self, viewer: Viewer, row: Any, now: Any, invalid: set[int]) -> Invitation:
        (
            number, uuid, created, expires, full_name, native, phone, organization, job, civil,
            extra, email, state, _role_id, _scope_id, _sponsor_id, mail, leased, error, scope,
            scope_name, scope_text, kind, _top_id, top, top_name, role, role_name, role_text,
            first, last, by, picture, _is_active, _is_staff,
        ) = row  # fmt: skip
        happened = delivery_status(mail, leased, error, now)
        reason = error if happened is DeliveryStatus.ERRED else ""
        return Invitation(
            f"{viewer.base}/api/user-invitations/{uuid}/",
            uuid,
            role,
            self._db.out(created),
            self._db.out(expires),
            full_name,
            native,
            phone,
            organization,
            job,
            civil,
            extra,
            email,
            _STATES[effective_state(state, expires, now)],
            happened.value,
            _INVITER_CANNOT_GRANT if number in invalid else reason,
            scope,
            scope_name,
            scope_text,
            _KINDS[kind],
            top,
            top_name,
            role_name,
            role_text,
            f"{first or ''} {last or ''}".strip(),
            by or "",
            picture and f"{viewer.base}/api/media/{picture}/",
        )

    def _requests(self, viewer: Viewer, limit: int, offset: int) -> tuple[int, bytes]:
        ask = self._db.ask
        if viewer.sees_all:
            [[total]] = ask(sql.REQUESTS_COUNT)
            rows = ask(_page(sql.REQUESTS, limit, offset))
        else:
            address = position(viewer.address)
            found = ask(sql.DECIDED_SCOPES, actor=viewer.id, now=self._db.now(), address=address)
            about = {"scopes": [one for (one,) in found], "actor": viewer.id}
            [[total]] = ask(sql.REQUESTS_SEEN_COUNT, **about)
            rows = ask(_page(sql.REQUESTS_SEEN, limit, offset), **about)
        return total, _encode([self._request(viewer, row) for row in rows])

    def _request(self, viewer: Viewer, row: Any) -> Request:
        (
            uuid, link, state, created, first, last, username, email, by_first, by_last, by,
            decided, comment, scope, scope_name, top, top_name, role, role_text, template,
        ) = row  # fmt: skip
        reviewed = state != "canceled"
        known = reviewed and by is not None
        base, out = viewer.base, self._db.out
        return Request(
            f"{base}/api/user-permission-requests/{uuid}/",
            uuid,
            f"{base}/api/user-group-invitations/{link}/" if link else "",
            state,
            out(created),
            f"{first} {last}".strip(),
            username,
            email,
            f"{by_first or ''} {by_last or ''}".strip() if known else None,
            by if known else None,
            out(decided) if reviewed else None,
            comment,
            scope,
            scope_name,
            top,
            top_name,
            role,
            role_text,
            template or "",
        )


def application(
    url: str,
    secret_key: str,
    recorded_operations: Mapping[str, RecordedOperation],
    *,
    in_threads: bool,
) -> Callable[..., Any]:
    """Return the ASGI application.

    Args:
        in_threads: query the database in threads instead of on the event loop.
    """
    database = SQLite(url) if url.startswith("sqlite") else PostgreSQL(url)
    baseline = Baseline(database, Vault(secret_key), recorded_operations)
    threads = ThreadPoolExecutor(8) if in_threads else None

    async def run(answer: Callable[..., Any], *args: Any) -> Any:
        if threads is None:
            return answer(*args)
        return await asyncio.get_running_loop().run_in_executor(threads, answer, *args)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        token = base = ""
        for name, value in scope["headers"]:
            if name == b"authorization":
                token = value[6:].decode()
            elif name == b"host":
                base = f"http://{value.decode()}"
        total, status = 0, 200
        try:
            if scope["method"] == "POST":
                status, body = await run(baseline.write, scope["path"], await _body(receive), token)
            else:
                args = (scope["path"], scope["query_string"], token, base, scope["client"][0])
                total, body = await run(baseline.answer, *args)
        except StatusError as refusal:
            status, body = refusal.status, b""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-result-count", b"%d" % total),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _body(receive: Any) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def build(environment: Mapping[str, str] = os.environ) -> Callable[..., Any]:
    """Return the application of one worker; Granian calls this."""
    recorded_operations = environment.get(RECORDED_OPERATIONS)
    return application(
        environment["COLLEGIUM_DATABASE_URL"],
        environment["COLLEGIUM_SECRET_KEY"],
        pickle.loads(Path(recorded_operations).read_bytes()) if recorded_operations else {},  # noqa: S301 - our own
        in_threads=bool(environment.get(IN_THREADS)),
    )


@click.command()
@click.option("--port", required=True, type=int)
@click.option("--workers", default=1)
@click.option("--threads/--loop", default=False)
def main(port: int, workers: int, *, threads: bool) -> None:
    """Serve the baseline with the server options of the service, but ASGI."""
    os.environ[IN_THREADS] = "1" if threads else ""
    options = server.options("127.0.0.1", port, workers)
    options |= {"interface": Interfaces.ASGI, "blocking_threads": None}
    os.environ[bootstrap.PARENT] = str(os.getpid())
    Server("bench.baseline:build", **options).serve()


if __name__ == "__main__":
    main()
