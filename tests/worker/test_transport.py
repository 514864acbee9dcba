"""Transports: SMTP with and without TLS, time limits, folders, and errors without secrets."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.worker.smtp import DEADLINE, TIMEOUT, SmtpTransport
from collegium.worker.transport import open_transport
from collegium.worker.worker import LEASE_SECONDS
from tests.support.tls import write_certificate
from tests.worker.scene import PASSWORD, USER, Mailbox, authenticate, mail_server

LOGIN = f"{USER}:{quote(PASSWORD, safe='')}@"


def _mail(number: int = 1, to: str = "bob@example.org", text: str = "Hello\n") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Collegium <no-reply@example.org>"
    local, _, domain = to.partition("@")
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = "Grüße"
    message["Message-ID"] = f"<outbox.{number}@example.org>"
    message["X-Collegium-Mail"] = "invitation_created"
    message.set_content(text, cte="quoted-printable")
    return message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a self-signed certificate for 127.0.0.1 with its key."""
    return write_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_context(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


@contextmanager
def _connected(
    box: Mailbox,
    query: str = "",
    user: str = "",
    context: ssl.SSLContext | None = None,
    **more: Any,
) -> Iterator[SmtpTransport]:
    """Run a mail server and open a transport to it."""
    with mail_server(box, **more) as port:
        url = f"smtp://{user}127.0.0.1:{port}{query}"
        with closing(open_transport(url, context)) as transport:
            assert isinstance(transport, SmtpTransport)
            yield transport


def _refusal(
    url: str, context: ssl.SSLContext | None = None, to: str = "bob@example.org"
) -> UndeliverableError:
    transport = open_transport(url, context)
    with closing(transport), pytest.raises(UndeliverableError) as caught:
        transport.send(_mail(to=to))
    return caught.value


def test_several_mails_share_one_smtp_connection() -> None:
    box = Mailbox()
    with _connected(box) as transport:
        for number in range(3):
            transport.send(_mail(number))
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["bob@example.org"]] * 3
    assert box.envelopes[0].mail_from == "no-reply@example.org"
    assert len(box.connections) == 1


def test_transport_sends_after_close() -> None:
    box = Mailbox()
    with _connected(box) as transport:
        transport.send(_mail(1))
        transport.close()
        transport.send(_mail(2))
    assert len(box.connections) == 2


@pytest.mark.parametrize("step", ["rcpt", "data"])
@pytest.mark.parametrize("reply", ["550 5.1.1 No such person", "451 4.3.0 Come back later"])
def test_smtp_code_decides_whether_a_refusal_is_permanent(step: str, reply: str) -> None:
    box = Mailbox(rcpt=reply) if step == "rcpt" else Mailbox(data=reply)
    with mail_server(box) as port:
        error = _refusal(f"smtp://127.0.0.1:{port}")
    assert error.permanent == reply.startswith("5")
    assert not isinstance(error, UnreachableError)
    assert reply in error.reason


def test_transport_sends_after_a_refusal() -> None:
    box = Mailbox(rcpt="550 no")
    with _connected(box) as transport:
        with pytest.raises(UndeliverableError):
            transport.send(_mail(1))
        box.rcpt = ""
        transport.send(_mail(2))
    assert len(box.envelopes) == 1


def test_transport_reconnects_after_a_connection_dropped_after_data() -> None:
    box = Mailbox(drops=True)
    with _connected(box) as transport:
        with pytest.raises(UndeliverableError) as caught:
            transport.send(_mail(1))
        assert not caught.value.permanent
        box.drops = False
        transport.send(_mail(2))
    assert len(box.connections) == 2


def test_transport_reconnects_after_421_on_a_used_connection() -> None:
    box = Mailbox()
    with _connected(box) as transport:
        transport.send(_mail(1))
        box.busy_responses = 1
        transport.send(_mail(2))
    assert len(box.envelopes) == len(box.connections) == 2


def test_transport_reconnects_when_a_used_connection_breaks_before_the_next_mail() -> None:
    class Impatient(Mailbox):
        async def handle_MAIL(  # noqa: N802 - called by aiosmtpd
            self, server: SMTP, session: Session, envelope: Envelope, *more: Any
        ) -> str:
            if len(self.envelopes) == 1 and len(self.connections) == 1 and not self.pause:
                self.pause = 0.01
                assert isinstance(server.transport, asyncio.WriteTransport)
                server.transport.abort()
            return await super().handle_MAIL(server, session, envelope, *more)

    box = Impatient()
    with _connected(box) as transport:
        transport.send(_mail(1))
        transport.send(_mail(2))
    assert len(box.envelopes) == len(box.connections) == 2


def test_server_that_refuses_every_sender_is_unreachable() -> None:
    box = Mailbox()
    box.busy_responses = 99
    with mail_server(box) as port:
        error = _refusal(f"smtp://127.0.0.1:{port}")
    assert isinstance(error, UnreachableError)
    assert "421 4.7.0 Enough" in error.reason


def test_closed_port_is_unreachable() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        error = _refusal(f"smtp://127.0.0.1:{unused.getsockname()[1]}")
    assert isinstance(error, UnreachableError)
    assert error.reason == "The mail server cannot be reached: Connection refused."


def test_silent_server_is_unreachable() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        transport = SmtpTransport("127.0.0.1", silent.getsockname()[1], timeout=0.2)
        with pytest.raises(UnreachableError):
            transport.send(_mail())


def _endless_response(connection: socket.socket) -> None:
    """Send a response without end, in small parts, each before the time limit of a read."""
    while True:
        connection.sendall(b"250-")
        time.sleep(0.05)
        connection.sendall(b"x\r\n")


def _late_responses(connection: socket.socket) -> None:
    """Respond correctly to everything, each time just before the time limit of a read."""
    with connection.makefile("rb") as lines:
        while line := lines.readline():
            time.sleep(0.15)
            is_data = line.upper().startswith(b"DATA")
            connection.sendall(b"354 Go on\r\n" if is_data else b"250 OK\r\n")


def _endless_quit(connection: socket.socket) -> None:
    """Accept a mail, and never end the response to QUIT."""
    with connection.makefile("rb") as lines:
        while line := lines.readline():
            word = line.strip().upper()
            if word == b"QUIT":
                _endless_response(connection)
            connection.sendall(b"354 Go on\r\n" if word == b"DATA" else b"250 OK\r\n")
            while word == b"DATA" and line != b".\r\n":
                line = lines.readline()
            if word == b"DATA":
                connection.sendall(b"250 OK\r\n")


def _no_response(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@contextmanager
def _slow_server(greeting: bytes, then: Callable[[socket.socket], None]) -> Iterator[int]:
    """Send a greeting, then call ``then`` with the connection."""

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.sendall(greeting)
                    then(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=20)


@pytest.mark.parametrize(
    ("greeting", "then"),
    [
        (b"", _endless_response),
        (b"220 hello\r\n", _endless_response),
        (b"220 hello\r\n", _late_responses),
    ],
    ids=["greeting", "responses", "everything"],
)
def test_deadline_ends_a_slow_conversation(
    greeting: bytes, then: Callable[[socket.socket], None]
) -> None:
    with _slow_server(greeting, then) as port:
        transport = SmtpTransport("127.0.0.1", port, timeout=9, deadline=0.4)
        began = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            transport.send(_mail())
        assert 0.4 <= time.monotonic() - began < 2
        transport.close()
    assert caught.value.reason == "The mail server did not answer in time."


def test_deadline_ends_a_slow_tls_handshake() -> None:
    with _slow_server(b"\x16\x03\x03", _no_response) as port:
        transport = SmtpTransport("127.0.0.1", port, implicit_tls=True, timeout=9, deadline=0.3)
        with pytest.raises(UnreachableError, match="did not answer in time"):
            transport.send(_mail())


def test_deadline_ends_a_slow_conversation_on_a_reused_connection() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        transport = SmtpTransport("127.0.0.1", port, timeout=1.0, deadline=0.5)
        transport.send(_mail(1))
        box.pause = 0.7
        with pytest.raises(UnreachableError, match="did not answer in time"):
            transport.send(_mail(2))
        box.pause = 0.0
        transport.send(_mail(3))
        transport.close()
    assert len(box.connections) == 2


def test_close_ends_in_time() -> None:
    with _slow_server(b"220 hello\r\n", _endless_quit) as port:
        transport = SmtpTransport("127.0.0.1", port, timeout=0.3)
        transport.send(_mail())
        began = time.monotonic()
        transport.close()
        assert 0.3 <= time.monotonic() - began < 2


def test_smtp_deadline_is_shorter_than_the_lease() -> None:
    assert DEADLINE + TIMEOUT < LEASE_SECONDS


@pytest.mark.parametrize("query", ["", "?starttls=1"])
def test_login_uses_starttls(
    tls: ssl.SSLContext, client_context: ssl.SSLContext, query: str
) -> None:
    box = Mailbox()
    with _connected(box, query, LOGIN, client_context, tls=tls) as transport:
        transport.send(_mail())
    assert len(box.envelopes) == 1


def test_password_requires_starttls_by_default() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        error = _refusal(f"smtp://{LOGIN}127.0.0.1:{port}")
    assert isinstance(error, UnreachableError)
    assert error.reason == (
        "The mail server does not offer STARTTLS. "
        "Set starttls=0 in MAIL_URL to send without encryption."
    )
    assert not box.envelopes
    # Without a password STARTTLS is optional.
    with _connected(box) as transport:
        transport.send(_mail())
    assert len(box.envelopes) == 1


def test_starttls_0_sends_the_password_without_encryption() -> None:
    box = Mailbox()
    server: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": False}
    with _connected(box, "?starttls=0", LOGIN, **server) as transport:
        transport.send(_mail())
    assert len(box.envelopes) == 1


def test_smtps_uses_implicit_tls(tls: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    box = Mailbox()
    with mail_server(box, ssl_context=tls) as port:
        with closing(open_transport(f"smtps://127.0.0.1:{port}", client_context)) as transport:
            transport.send(_mail())
        assert isinstance(_refusal(f"smtps://127.0.0.1:{port}"), UnreachableError)
    assert len(box.envelopes) == 1


def test_untrusted_certificate_gets_no_password(tls: ssl.SSLContext) -> None:
    box = Mailbox()
    with mail_server(box, tls=tls) as port:
        error = _refusal(f"smtp://{USER}:x@127.0.0.1:{port}?starttls=1")
    assert isinstance(error, UnreachableError)
    assert "certificate" in error.reason
    assert not box.envelopes


def test_server_without_starttls_gets_neither_password_nor_mail() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        error = _refusal(f"smtp://{USER}:x@127.0.0.1:{port}?starttls=1")
    assert isinstance(error, UnreachableError)
    assert not box.envelopes


def test_login_error_does_not_quote_the_password(
    tls: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    with mail_server(Mailbox(), tls=tls) as port:
        error = _refusal(f"smtp://{USER}:{'wrong'}@127.0.0.1:{port}?starttls=1", client_context)
    assert isinstance(error, UnreachableError)
    assert error.reason == "The mail server rejected the login (535)."


@pytest.mark.parametrize(
    ("to", "international"), [("jörg@example.org", True), ("bob@example.org", False)]
)
def test_smtputf8_is_used_only_for_an_address_that_needs_it(
    to: str, *, international: bool
) -> None:
    box = Mailbox()
    with _connected(box, enable_SMTPUTF8=True) as transport:
        transport.send(_mail(to=to))
    assert box.envelopes[0].rcpt_tos == [to]
    assert box.envelopes[0].smtp_utf8 is international


def test_unicode_address_is_undeliverable_without_smtputf8() -> None:
    with mail_server(Mailbox(), enable_SMTPUTF8=False) as port:
        assert _refusal(f"smtp://127.0.0.1:{port}", to="jörg@example.org").permanent


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@host",
        "smtp://user:s3cret@",
        "smtp://user:s3cret@host?tls=1",
        "smtp://user:s3cr%C3%A9t@host",
        "smtp://user:s3cret@host:port",
        "smtp://user:s3cret#x@host",
        "smtp://user:s3cret/x@host",
        "smtp://user:s3cret\u2100@host",
        "smtp://user:[s3cret@host",
        "file://var/mail",
        "file:",
        "",
    ],
)
def test_invalid_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        open_transport(url)
    assert "s3cr" not in str(caught.value)


def test_folder_gets_one_file_per_mail(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "mail"
    transport = open_transport(f"file:{folder}")
    transport.send(_mail(7))
    transport.send(_mail(8))
    transport.send(_mail(7, text="Once more\n"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "0000000007-invitation_created.eml",
        "0000000008-invitation_created.eml",
    ]
    assert b"Once more" in (folder / "0000000007-invitation_created.eml").read_bytes()


def test_mail_folder_is_private(tmp_path: Path) -> None:
    open_transport(f"file://{tmp_path}/mail").send(_mail(7))
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    (file,) = (tmp_path / "mail").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_relative_folder_is_under_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_transport("file:var/my%20mail").send(_mail(7))
    assert len(list((tmp_path / "var" / "my mail").iterdir())) == 1


def test_unwritable_folder_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file is in the way")
    with pytest.raises(UnreachableError):
        open_transport(f"file:{tmp_path}/mail").send(_mail())
