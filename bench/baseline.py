"""The baseline: a minimal program with the same responses, database and server as the service.

It has no framework, no log and no metrics. Its SQL is in ``baseline_sql.py``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import sqlite3
import sys
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import msgspec
import psycopg
from granian.constants import Interfaces
from granian.server import Server
from msgspec import UNSET
from msgspec.structs import asdict
from psycopg.adapt import Loader

from bench import baseline_sql as sql
from collegium import bootstrap, server
from collegium.access.subnets.rules import position
from collegium.security.crypto import Vault

_INVITATION_LIFETIME: Final = timedelta(days=7)
_ACCEPTED: Final = b'{"detail":"Invitation has been successfully accepted."}'
_INVITER_CANNOT_GRANT: Final = (
    "Cannot be accepted, because the inviter can no longer assign this role. "
    "Somebody who can assign it can send the invitation again."
)
_LISTS: Final = {
    "/api/users/": sql.USERS,
    "/api/user-invitations/": sql.INVITATIONS,
    "/api/user-permission-requests/": sql.REQUESTS,
}
_MANDATORY: Final = ["first_name", "last_name", "email"]
_encode = msgspec.json.Encoder().encode
Values = dict[str, Any]
Row = Any
"""A row: a struct with a field for each column, which is encoded as it is."""


class StatusError(Exception):
    """The response is a bare status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Store(ABC):
    """A database with one connection per thread."""

    begin = "BEGIN"

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._translated: dict[str, str] = {}
        self._rows: dict[str, Callable[..., Row]] = {}
        self.statements = 0
        """Statements so far, without BEGIN and COMMIT."""

    @abstractmethod
    def _connect(self) -> Any: ...

    @abstractmethod
    def _translate(self, text: str) -> str: ...

    def time(self, value: datetime) -> Any:
        """Return a time as a value of a statement."""
        return value

    def array(self, value: list[int]) -> Any:
        """Return a list as a value of a statement."""
        return value

    @property
    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def run(self, text: str, values: Values) -> Any:
        """Run a statement, which may use fewer values than given; return its cursor."""
        self.statements += 1
        translated = self._translated.get(text)
        if translated is None:
            translated = self._translated[text] = self._translate(text)
        return self._connection.execute(translated, values)

    def ask(self, text: str, values: Values) -> list[Row]:
        """Run a statement and return its rows."""
        cursor = self.run(text, values)
        row = self._rows.get(text)
        if row is None:
            columns = [column[0] for column in cursor.description]
            row = self._rows[text] = msgspec.defstruct("Row", columns, gc=False)
        return [row(*cells) for cells in cursor]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements of the block together."""
        connection = self._connection
        connection.execute(self.begin)
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection of this thread."""
        self._connection.close()


class SQLite(Store):
    """Queries SQLite; timestamps are strings, lists are JSON."""

    begin = "BEGIN IMMEDIATE"

    def _connect(self) -> sqlite3.Connection:
        path = self._url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        settings = {"journal_mode": "WAL", "synchronous": "FULL", "foreign_keys": "ON"}
        settings |= {"cache_size": "-16000", "temp_store": "MEMORY"}
        for name, value in settings.items():
            connection.execute(f"PRAGMA {name} = {value}")
        return connection

    def _translate(self, text: str) -> str:
        text = re.sub(r"FOR (SHARE|NO KEY UPDATE) OF .*", "", text)
        text = re.sub(r"= ANY\(:(\w+)\)", r"IN (SELECT value FROM json_each(:\1))", text)
        # Prevent a Bloom filter over all tokens, as the service does.
        return text.replace("k.kind =", "+k.kind =")

    def time(self, value: datetime) -> str:
        return value.replace(tzinfo=None).isoformat(timespec="microseconds")

    def array(self, value: list[int]) -> str:
        return json.dumps(value)


class _Hex(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode().replace("-", "")


class PostgreSQL(Store):
    """Queries PostgreSQL; psycopg prepares frequent statements."""

    def _connect(self) -> psycopg.Connection[Any]:
        # Joins of eight tables take longer to plan than to run, so each is planned once.
        options = "-c plan_cache_mode=force_generic_plan -c timezone=UTC -c jit=off"
        options += " -c random_page_cost=1.1"
        connection = psycopg.connect(self._url, autocommit=True, options=options)
        connection.adapters.register_loader("uuid", _Hex)
        return connection

    def _translate(self, text: str) -> str:
        return re.sub(r"(?<!:):(\w+)", r"%(\1)s", text.replace("%", "%%"))


def open_store(url: str) -> Store:
    """Return the store of a database."""
    return SQLite(url) if url.startswith("sqlite") else PostgreSQL(url)


def _time(value: Any) -> Any:
    """Return a timestamp of a row, which is a string on SQLite."""
    if value.__class__ is str:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def _out(value: Any) -> Any:
    """Return a timestamp of a row as the API writes it."""
    return f"{value.removesuffix('.000000')}Z" if value.__class__ is str else value


@dataclass(slots=True)
class Caller:
    """The account that sends a request, and from where."""

    id: int
    email: str
    name: str
    sees_all: bool
    base: str
    ip_address: str


class Baseline:
    """Answers requests."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._ask = store.ask
        self._vault = vault

    def get(
        self, path: str, query: bytes, token: str, base: str, ip_address: str
    ) -> tuple[int, bytes]:
        """Return the total number of rows and the body."""
        if path == "/api/users/me/":
            row, caller = self._caller(sql.ME, token, base, ip_address)
            for name in sql.CALLER_COLUMNS:
                setattr(row, name, UNSET)
            row.ip_address = ip_address
            shown = self._user(caller, row, self._grants_of(row))
            missing = [name for name in _MANDATORY if not getattr(shown, name)]
            shown.profile_completeness = {
                "is_complete": not missing,
                "missing_fields": missing,
                "mandatory_fields": _MANDATORY,
                "enforcement_enabled": False,
            }
            return 1, _encode(shown)
        _, caller = self._caller(sql.CALLER, token, base, ip_address)
        listing = _LISTS.get(path)
        if listing is None and caller.sees_all:
            row = self._one(sql.USER, {"uuid": path.split("/")[-2]})
            return 0, _encode(self._user(caller, row, self._grants_of(row)))
        if listing is None:
            raise StatusError(404)
        parameters = parse_qs(query)
        size = min(int(parameters.get(b"page_size", [b"10"])[-1]), 300)
        offset = (int(parameters.get(b"page", [b"1"])[-1]) - 1) * size
        return self._page(caller, listing, size, offset)

    def post(
        self, path: str, body: bytes, token: str, base: str, ip_address: str
    ) -> tuple[int, bytes]:
        """Return status and body."""
        _, caller = self._caller(sql.CALLER, token, base, ip_address)
        with self._store.transaction():
            values = {
                "actor": caller.id,
                "actor_name": caller.name,
                "address": position(ip_address),
                "ip_address": ip_address,
                "now": self._now(),
                "request_id": secrets.token_hex(8),
            }
            if body:
                return 201, self._create(caller, values, msgspec.json.decode(body))
            *_, uuid, action, _ = path.split("/")
            values["uuid"] = UUID(uuid).hex
            return 200, self._accept(values) if action == "accept" else self._approve(values)

    def _caller(self, text: str, token: str, base: str, ip_address: str) -> tuple[Row, Caller]:
        """Return the row of a token and the caller."""
        row = self._one(text, {"token_hash": self._vault.keyed_hash(token)}, status=401)
        bounds = [] if row.token_ends_at is None else [_time(row.token_ends_at)]
        if row.used_token_lifetime is not None:
            lifetime = timedelta(seconds=row.used_token_lifetime)
            bounds.append(_time(row.token_used_at) + lifetime)
        if (
            not row.actor_is_active
            or row.token_kind not in {"api", "personal", "access"}
            or (bounds and min(bounds) < datetime.now(UTC))
        ):
            raise StatusError(401)
        who = (row.actor, row.actor_email, row.actor_name, row.actor_sees_all)
        return row, Caller(*who, base, ip_address)

    def _now(self) -> Any:
        return self._store.time(datetime.now(UTC))

    def _one(self, text: str, values: Values, status: int = 404) -> Row:
        """Return the only row, or respond with the status."""
        for row in self._ask(text, values):
            return row
        raise StatusError(status)

    def _grants_of(self, row: Row) -> list[Row]:
        return self._ask(sql.GRANTS_OF_ONE, {"account": row.id, "now": self._now()})

    def _page(
        self, caller: Caller, listing: sql.Listing, limit: int, offset: int
    ) -> tuple[int, bytes]:
        values: Values = {"now": self._now()}
        # Literals, so that PostgreSQL plans for a short page.
        part = f" LIMIT {limit}" + (f" OFFSET {offset}" if offset else "")
        count, page = listing.count, listing.page
        if not caller.sees_all:
            count, page = listing.count_seen, listing.page_seen
            values |= {"actor": caller.id, "email": caller.email.lower()}
            values["address"] = position(caller.ip_address)
            found = [row.scope_id for row in self._ask(listing.scopes, values)]
            values["scopes"] = self._store.array(found)
        [total] = self._ask(count, values)
        rows = self._ask(page + part, values)
        if listing is sql.USERS:
            return total.count, _encode(self._users(caller, rows, values))
        if listing is sql.REQUESTS:
            return total.count, _encode([self._request(caller, row) for row in rows])
        self._add_errors([row for row in rows if row.state == "pending"], values)
        return total.count, _encode([self._invitation(caller, row) for row in rows])

    def _users(self, caller: Caller, rows: list[Row], values: Values) -> list[Row]:
        grants: dict[int, list[Row]] = {row.id: [] for row in rows}
        values["accounts"] = self._store.array(list(grants))
        for grant in self._ask(sql.GRANTS if caller.sees_all else sql.GRANTS_SEEN, values):
            grants[grant.account_id].append(grant)
        return [self._user(caller, row, grants[row.id], listed=True) for row in rows]

    def _user(self, caller: Caller, row: Row, grants: list[Row], *, listed: bool = False) -> Row:
        """Complete the row of an account and remove what the caller may not see."""
        own = row.id == caller.id
        token, token_hash, used = row.token, row.token_hash, row.token_expires_at
        row.id = row.token = row.token_hash = UNSET
        row.url = f"{caller.base}/api/users/{row.uuid}/"
        row.full_name = f"{row.first_name} {row.last_name}".strip()
        row.date_joined, row.agreement_date = _out(row.date_joined), _out(row.agreement_date)
        if row.image:
            row.image = f"{caller.base}/api/media/{row.image}/"
        row.permissions = grants
        for grant in grants:
            grant.account_id = UNSET
            grant.user_uuid, grant.user_name, grant.user_slug = row.uuid, row.full_name, row.slug
            grant.created, grant.expiration_time = _out(grant.created), _out(grant.expiration_time)
            if grant.created_by_username is None:
                grant.created_by_full_name = grant.created_by_username = UNSET
            else:
                grant.created_by_full_name = grant.created_by_full_name.strip()
        row.notifications_enabled = bool(row.notifications_enabled)
        if row.affiliations.__class__ is str:
            row.affiliations = json.loads(row.affiliations)
        local = row.registration_method == "default"
        row.identity_provider_name = row.identity_provider_label = "Local DB" if local else ""
        provided = row.registration_method == "eduteams"
        row.identity_provider_fields = ["email", "first_name", "last_name"] if provided else []
        row.should_protect_user_details = bool(row.should_protect_user_details)
        row.profile_completeness = UNSET
        if not (own or caller.sees_all):
            row.token_expires_at = None
            for name in sql.USER_PERSONAL:
                setattr(row, name, UNSET)
        else:
            self._show_personal(row)
            if used is not None:
                lifetime = row.token_lifetime
                row.token_expires_at = lifetime and _time(used) + timedelta(seconds=lifetime)
        row.has_active_session = used is not None if caller.sees_all else UNSET
        self._show_privileged(caller, row)
        if not own or listed:
            row.token_lifetime = UNSET
        elif token is not None:
            row.token = self._vault.decrypt(token, token_hash)
        return row

    def _show_privileged(self, caller: Caller, row: Row) -> None:
        for name in sql.USER_PRIVILEGED:
            shown = bool(getattr(row, name)) if name.startswith("is_") else getattr(row, name)
            setattr(row, name, shown if caller.sees_all else UNSET)

    def _show_personal(self, row: Row) -> None:
        row.has_passkey = row.passkey_count
        for name in sql.USER_FLAGS:
            setattr(row, name, bool(getattr(row, name)))
        for name in sql.USER_DOCUMENTS:
            value = getattr(row, name)
            if value.__class__ is str:
                setattr(row, name, json.loads(value))

    def _add_errors(self, pending: list[Row], values: Values) -> None:
        """Set the error of pending invitations whose inviter can no longer give the role."""
        if not pending:
            return
        asked = {
            "accounts": {row.sponsor_id for row in pending},
            "scopes": {scope for row in pending for scope in (row.scope_id, row.parent_id)},
            "roles": {row.role_id for row in pending},
        }
        values = values | {name: self._store.array(list(ids)) for name, ids in asked.items()}
        held = defaultdict[tuple[int, int], set[str]](set)
        for row in self._ask(sql.PERMISSIONS, values):
            held[row.account_id, row.scope_id].add(row.permission)
        needed = defaultdict[int, set[str]](set)
        for row in self._ask(sql.ROLE_PERMISSIONS, values):
            needed[row.role_id].add(row.permission)
        for row in pending:
            who = row.sponsor_id
            permissions = held[who, row.scope_id] | held[who, row.parent_id]
            grants = permissions >= {
                f"{row.scope_type.upper()}.CREATE_PERMISSION",
                *needed[row.role_id],
            }
            if not (row.sponsor_is_active and (row.sponsor_is_staff or grants)):
                row.error_message = _INVITER_CANNOT_GRANT

    def _invitation(self, caller: Caller, row: Row) -> Row:
        row.url = f"{caller.base}/api/user-invitations/{row.uuid}/"
        row.created, row.expires = _out(row.created), _out(row.expires)
        row.created_by_full_name = row.created_by_full_name.strip()
        if row.created_by_image:
            row.created_by_image = f"{caller.base}/api/media/{row.created_by_image}/"
        row.role_id = row.scope_id = row.parent_id = row.sponsor_id = UNSET
        row.sponsor_is_active = row.sponsor_is_staff = UNSET
        return row

    def _request(self, caller: Caller, row: Row) -> Row:
        link = row.invitation
        row.url = f"{caller.base}/api/user-permission-requests/{row.uuid}/"
        row.invitation = f"{caller.base}/api/user-group-invitations/{link}/" if link else ""
        row.created, row.reviewed_at = _out(row.created), _out(row.reviewed_at)
        row.created_by_full_name = row.created_by_full_name.strip()
        return row

    def _create(self, caller: Caller, values: Values, sent: Values) -> bytes:
        values |= {
            "uuid": uuid4().hex,
            "recipient": sent["email"],
            "comparable_email": sent["email"].lower(),
            "full_name": sent["full_name"],
            "role_uuid": sent["role"],
            "scope_uuid": sent["scope"].split("/")[-2],
            "expires_at": self._store.time(datetime.now(UTC) + _INVITATION_LIFETIME),
        }
        values |= asdict(self._one(sql.TO_CREATE, values))
        values |= asdict(self._one(sql.INVITE, values))
        about = {"invitation": values["uuid"], "email": sent["email"]}
        self._record("invitation.created", values, None, about)
        number = values["invitation"]
        facts = {"invitation": number, "link_version": 1, "reminder": False}
        mail = self._mail("invitation_created", values, **facts)
        self._store.run(sql.MAILED, values | {"mail": mail})
        return _encode(self._invitation(caller, self._one(sql.INVITATION, values)))

    def _accept(self, values: Values) -> bytes:
        values |= asdict(self._one(sql.TO_ACCEPT, values))
        self._one(sql.ACCEPT, values, status=409)
        about = {"role": values["role_name"], "invitation": values["uuid"]}
        self._record("invitation.accepted", values, None, about)
        self._grant(values | {"source": "invitation"}, {})
        self._mail("invitation_accepted", values, invitation=values["invitation"])
        return _ACCEPTED

    def _approve(self, values: Values) -> bytes:
        values |= asdict(self._one(sql.TO_APPROVE, values))
        self._one(sql.APPROVE, values, status=409)
        asked = {"request_uuid": values["uuid"]}
        about = self._grant(values | {"source": "join_request"}, asked)
        self._record("request.approved", values, values["account"], about)
        self._mail("structure_role_granted", values, request=values["request"])
        return b""

    def _grant(self, values: Values, about: Values) -> Values:
        """Insert the grant and its event; return the facts of the event."""
        self._store.run(sql.GRANT, values | {"grant": uuid4().hex})
        facts = {"role": values["role_name"], "scope_name": values["scope_name"]}
        facts |= {"username": values["username"]} | about
        self._record("role.granted", values, values["account"], facts)
        return facts

    def _record(self, kind: str, values: Values, account: int | None, facts: Values) -> None:
        event = {"event": uuid4().hex, "kind": kind, "account": account}
        self._store.run(sql.EVENT, values | event | {"payload": json.dumps(facts)})

    def _mail(self, kind: str, values: Values, **facts: Any) -> int:
        payload = json.dumps(facts | {"request_id": values["request_id"]})
        number: int = self._one(sql.MAIL, values | {"kind": kind, "payload": payload}).mail
        return number


def application(url: str, secret_key: str) -> Callable[..., Any]:
    """Return the ASGI application.

    SQLite is queried on the event loop, PostgreSQL in threads: whichever was faster in the
    measurements (decision 0035).
    """
    baseline = Baseline(open_store(url), Vault(secret_key))
    threads = None if url.startswith("sqlite") else ThreadPoolExecutor(8)

    async def run(answer: Callable[..., Any], *args: Any) -> Any:
        if threads is None:
            return answer(*args)
        return await asyncio.get_running_loop().run_in_executor(threads, answer, *args)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        token = headers.get(b"authorization", b"")[6:].decode()
        about = (token, f"http://{headers[b'host'].decode()}", scope["client"][0])
        total, status = 0, 200
        try:
            if scope["method"] == "POST":
                sent = await _body(receive)
                status, body = await run(baseline.post, scope["path"], sent, *about)
            else:
                query = scope["query_string"]
                total, body = await run(baseline.get, scope["path"], query, *about)
        except StatusError as refusal:
            status, body = refusal.status, b""
        sent_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-result-count", b"%d" % total),
        ]
        await send({"type": "http.response.start", "status": status, "headers": sent_headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def build() -> Callable[..., Any]:
    """Return the application of one worker; Granian calls this."""
    return application(os.environ["COLLEGIUM_DATABASE_URL"], os.environ["COLLEGIUM_SECRET_KEY"])


def main() -> None:
    """Serve the baseline with the server options of the service, but ASGI."""
    options = server.options("127.0.0.1", int(sys.argv[-1]), workers=1)
    options |= {"interface": Interfaces.ASGINL, "blocking_threads": None}
    os.environ[bootstrap.PARENT] = str(os.getpid())
    Server("bench.baseline:build", **options).serve()


if __name__ == "__main__":
    main()
