"""Shared by the tests of the worker: queued invitations, a clock, mail servers."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, ClassVar
from uuid import uuid4

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from sqlalchemy import Table, bindparam, insert, select

from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, roles, scopes
from collegium.db.tables import outbox as outbox_rows
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import InvitationCreated, Mail
from collegium.outbox.outcomes import UndeliverableError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.worker import mails
from collegium.worker.worker import LEASE_SECONDS, Worker

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
VAULT = Vault("a key for tests, long enough to pass")
USER, PASSWORD = "post", "p@ss/word"


@dataclass
class Clock:
    """A clock that tests move."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **passed: float) -> None:
        self.now += timedelta(**passed)


@dataclass
class Recorder:
    """A transport that keeps all messages, or refuses them."""

    error: UndeliverableError | None = None
    before: Callable[[], None] = lambda: None
    sent: list[EmailMessage] = field(default_factory=list)
    attempts: int = 0
    closed: int = 0

    def send(self, message: EmailMessage) -> None:
        self.attempts += 1
        self.before()
        if self.error is not None:
            raise self.error
        self.sent.append(message)

    def close(self) -> None:
        self.closed += 1


def _insert(tx: WriteTransaction, table: Table, **values: Any) -> int:
    statement = insert(table).values({name: bindparam(name) for name in values})
    return tx.fetch_only(Statement[int](statement.returning(table.c.id)), **values)


def add_account(tx: WriteTransaction, **changes: Any) -> int:
    """Insert an account, by default Ada Lovelace."""
    name = f"ada-{uuid4().hex[:8]}"
    values = {
        "uuid": uuid4().hex,
        "username": name,
        "slug": name,
        "email": "ada@example.org",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "affiliations": [],
        "joined_at": tx.now,
        "modified_at": tx.now,
    }
    return _insert(tx, accounts, **values | changes)


def add_scope(tx: WriteTransaction, kind: str, name: str, parent: int | None = None) -> int:
    """Insert the row of a scope."""
    uuid = uuid4().hex
    return _insert(
        tx,
        scopes,
        uuid=uuid,
        kind=kind,
        name=name,
        slug=uuid[:12],
        parent_id=parent,
        created_at=tx.now,
    )


def add_invitation(
    tx: WriteTransaction,
    *,
    organisation: str = "Royal Society",
    project: str | None = "Analytical Engines",
    inviter: dict[str, Any] | None = None,
    role_description: str = "Reviewer of papers",
    **changes: Any,
) -> int:
    """Insert a pending invitation from Ada to Bob, with its scopes, role and inviter."""
    scope, kind = add_scope(tx, "organisation", organisation), "organisation"
    if project is not None:
        scope, kind = add_scope(tx, "project", project, scope), "project"
    role = _insert(
        tx,
        roles,
        uuid=uuid4().hex,
        name=f"REVIEWER.{uuid4().hex[:8]}",
        kind=kind,
        description=role_description,
        descriptions={},
    )
    values = {
        "uuid": uuid4().hex,
        "scope_id": scope,
        "role_id": role,
        "email": "bob@example.org",
        "state": "pending",
        "created_at": tx.now,
        "expires_at": tx.now + timedelta(days=7),
        "created_by": add_account(tx, **inviter or {}),
    }
    return _insert(tx, invitations, **values | changes)


def enqueue(database: Database, now: datetime = START, **changes: Any) -> int:
    """Commit an invitation with its mail; return the id of the mail."""
    with database.write(now) as tx:
        recipient = changes.get("email", "bob@example.org")
        version = changes.get("link_version", 1)
        return outbox_queries.enqueue(
            tx, InvitationCreated(recipient, add_invitation(tx, **changes), version)
        )


def outbox_row(database: Database, mail: int) -> Any:
    return rows(database)[mail]


def rows(database: Database) -> dict[int, Any]:
    """Return every row of the outbox by its id."""
    with database.read() as tx:
        return {row.id: row for row in tx.fetch_all(Statement[Any](select(outbox_rows)))}


def claim(database: Database, clock: Clock, limit: int = 1) -> list[Any]:
    """Claim mails as a worker does, without sending them."""
    with database.write(clock.now) as tx:
        return outbox_queries.claim(tx, limit, LEASE_SECONDS)


@dataclass(frozen=True)
class UnknownMail(Mail):
    """A mail that only another version knows."""

    kind: ClassVar[str] = "of_another_version"


def worker(database: Database, clock: Clock, transport: Any, **settings: Any) -> Worker:
    """Return a worker with the clock of the test."""
    return Worker(database, Settings(**settings), VAULT, transport, clock=clock)


def rendered(database: Database, mail: int, now: datetime = START, **settings: Any) -> EmailMessage:
    """Render a mail of the outbox and parse it as a client does."""
    with database.read(now) as tx:
        message = mails.render(tx, Settings(**settings), VAULT, outbox_row(database, mail))
    return message_from_bytes(message.as_bytes(), policy=default)


def words(message: EmailMessage, subtype: str) -> str:
    """Return the text of one of the two parts."""
    body = message.get_body((subtype,))
    assert isinstance(body, EmailMessage)
    text = body.get_content()
    assert isinstance(text, str)
    return text


class Mailbox:
    """A mail server that keeps all envelopes; each response can be replaced."""

    def __init__(self, *, rcpt: str = "", data: str = "", drops: bool = False) -> None:
        self.rcpt = rcpt
        self.data = data
        self.drops = drops
        self.envelopes: list[Envelope] = []
        self.connections: set[Any] = set()
        self.busy_responses = 0  # how many more times the response to MAIL is 421
        self.pause = 0.0  # seconds before the response to MAIL

    async def handle_MAIL(  # noqa: N802 - called by aiosmtpd
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await asyncio.sleep(self.pause)
        if self.busy_responses:
            self.busy_responses -= 1
            return "421 4.7.0 Enough"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data:
            return self.data
        self.envelopes.append(envelope)
        self.connections.add(session.peer)
        if self.drops:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
            await asyncio.sleep(0)
        return "250 OK"


class _Controller(Controller):
    """Listens on a free port."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


def authenticate(
    _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any
) -> AuthResult:
    correct = data == LoginPassword(USER.encode(), PASSWORD.encode())
    # A server may quote the wrong password.
    message = None if correct else f"535 5.7.8 no such login: {PASSWORD}"
    return AuthResult(success=correct, handled=False, message=message)


@contextmanager
def mail_server(
    handler: Mailbox, *, tls: ssl.SSLContext | None = None, **more: Any
) -> Iterator[int]:
    """Run a server on loopback; yield its port."""
    if tls is not None:
        more |= {"tls_context": tls, "require_starttls": True}
        more |= {"authenticator": authenticate, "auth_required": True}
    controller = _Controller(handler, hostname="127.0.0.1", port=0, **more)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()
