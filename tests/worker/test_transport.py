"""A mail leaves by the way that MAIL_URL names, or the reason is told without a secret."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.worker.transport import DEADLINE, TIMEOUT, SmtpTransport, open_transport
from collegium.worker.worker import LEASE_SECONDS
from tests.worker.scene import PASSWORD, START, USER, Mailbox, knows, mail_server


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
    """A certificate for 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(START - timedelta(days=10_000))
        .not_valid_after(START + timedelta(days=10_000))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


@contextmanager
def _dead_port() -> Iterator[int]:
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _refusal(url: str, context: ssl.SSLContext | None = None) -> UndeliverableError:
    transport = open_transport(url, context)
    with closing(transport), pytest.raises(UndeliverableError) as caught:
        transport.send(_mail())
    return caught.value


def test_several_mails_share_one_connection() -> None:
    box = Mailbox()
    with mail_server(box) as port, closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport:
        for number in range(3):
            transport.send(_mail(number))
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["bob@example.org"]] * 3
    assert box.envelopes[0].mail_from == "no-reply@example.org"
    assert len(box.connections) == 1


def test_a_mail_can_be_sent_after_close() -> None:
    box = Mailbox()
    with mail_server(box) as port, closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport:
        transport.send(_mail(1))
        transport.close()
        transport.send(_mail(2))
    assert len(box.connections) == 2


def test_a_refused_recipient_is_permanent_and_says_why() -> None:
    with mail_server(Mailbox(rcpt="550 5.1.1 No such person")) as port:
        error = _refusal(f"smtp://127.0.0.1:{port}")
    assert error.permanent
    assert "550 5.1.1 No such person" in error.reason


@pytest.mark.parametrize(
    "box",
    [Mailbox(rcpt="451 4.3.0 Come back later"), Mailbox(data="451 4.3.0 Come back later")],
    ids=["rcpt", "data"],
)
def test_what_is_refused_for_now_is_not_permanent(box: Mailbox) -> None:
    with mail_server(box) as port:
        error = _refusal(f"smtp://127.0.0.1:{port}")
    assert not error.permanent
    assert not isinstance(error, UnreachableError)
    assert "451 4.3.0 Come back later" in error.reason


def test_refused_content_is_permanent() -> None:
    with mail_server(Mailbox(data="554 5.7.1 Looks like spam")) as port:
        assert _refusal(f"smtp://127.0.0.1:{port}").permanent


def test_the_next_mail_goes_out_after_a_refusal() -> None:
    box = Mailbox(rcpt="550 no")
    with mail_server(box) as port, closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport:
        with pytest.raises(UndeliverableError):
            transport.send(_mail(1))
        box.rcpt = ""
        transport.send(_mail(2))
    assert len(box.envelopes) == 1


def test_a_connection_dropped_after_data_is_made_anew_for_the_next_mail() -> None:
    box = Mailbox(drops=True)
    with mail_server(box) as port, closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport:
        with pytest.raises(UndeliverableError) as caught:
            transport.send(_mail(1))
        assert not caught.value.permanent
        box.drops = False
        transport.send(_mail(2))
    assert len(box.connections) == 2


def test_a_server_that_ends_a_used_connection_is_called_again() -> None:
    box = Mailbox()
    with mail_server(box) as port, closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport:
        transport.send(_mail(1))
        box.enough = 1
        transport.send(_mail(2))
    assert len(box.envelopes) == len(box.connections) == 2


def test_a_server_that_takes_no_mail_from_us_is_not_the_mails_fault() -> None:
    box = Mailbox()
    box.enough = 99
    with mail_server(box) as port:
        error = _refusal(f"smtp://127.0.0.1:{port}")
    assert isinstance(error, UnreachableError)
    assert "421 4.7.0 Enough" in error.reason


def test_a_dead_port_is_unreachable() -> None:
    with _dead_port() as port:
        error = _refusal(f"smtp://127.0.0.1:{port}")
    assert isinstance(error, UnreachableError)
    assert error.reason == "The mail server cannot be reached: Connection refused."


def test_a_server_that_says_nothing_is_unreachable() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        transport = SmtpTransport("127.0.0.1", mute.getsockname()[1], timeout=0.2)
        with pytest.raises(UnreachableError):
            transport.send(_mail())


Lines = Callable[[socket.socket], None]


def _a_word_at_a_time(wire: socket.socket) -> None:
    """Begin an answer, and go on with it for ever, always before anybody's patience ends."""
    while True:
        wire.sendall(b"250-")
        time.sleep(0.05)
        wire.sendall(b"x\r\n")


def _an_answer_now_and_then(wire: socket.socket) -> None:
    """Answer everything right, each time as late as can be."""
    with wire.makefile("rb") as said:
        while line := said.readline():
            time.sleep(0.15)
            is_data = line.upper().startswith(b"DATA")
            wire.sendall(b"354 Go on\r\n" if is_data else b"250 OK\r\n")


def _no_goodbye(wire: socket.socket) -> None:
    """Take a mail as it should be, and never let go."""
    with wire.makefile("rb") as said:
        while line := said.readline():
            word = line.strip().upper()
            if word == b"QUIT":
                _a_word_at_a_time(wire)
            wire.sendall(b"354 Go on\r\n" if word == b"DATA" else b"250 OK\r\n")
            while word == b"DATA" and line != b".\r\n":
                line = said.readline()
            if word == b"DATA":
                wire.sendall(b"250 OK\r\n")


def _nothing(wire: socket.socket) -> None:
    while wire.recv(4096):
        pass


@contextmanager
def _slow_server(greeting: bytes, then: Lines) -> Iterator[int]:
    """Greet whoever comes, and then be slow with them."""

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                wire, _ = listening.accept()
                with wire, suppress(OSError):
                    wire.sendall(greeting)
                    then(wire)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=20)


@pytest.mark.parametrize(
    ("greeting", "then"),
    [
        (b"", _a_word_at_a_time),
        (b"220 hello\r\n", _a_word_at_a_time),
        (b"220 hello\r\n", _an_answer_now_and_then),
    ],
    ids=["greeting", "answers", "all-of-it"],
)
def test_a_server_that_is_slow_with_everything_is_left_in_time(
    greeting: bytes, then: Lines
) -> None:
    with _slow_server(greeting, then) as port:
        transport = SmtpTransport("127.0.0.1", port, timeout=0.3, deadline=0.4)
        began = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            transport.send(_mail())
        assert 0.4 <= time.monotonic() - began < 2
        transport.close()
    assert caught.value.reason == "The mail server did not answer in time."


def test_a_slow_handshake_is_left_in_time() -> None:
    with _slow_server(b"\x16\x03\x03", _nothing) as port:
        transport = SmtpTransport("127.0.0.1", port, implicit_tls=True, timeout=9, deadline=0.3)
        with pytest.raises(UnreachableError, match="did not answer in time"):
            transport.send(_mail())


def test_a_connection_that_was_good_once_is_left_in_time_too() -> None:
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


def test_goodbye_does_not_take_for_ever() -> None:
    with _slow_server(b"220 hello\r\n", _no_goodbye) as port:
        transport = SmtpTransport("127.0.0.1", port, timeout=0.3)
        transport.send(_mail())
        began = time.monotonic()
        transport.close()
        assert 0.3 <= time.monotonic() - began < 2


def test_all_the_time_of_a_mail_is_over_before_its_lease() -> None:
    assert DEADLINE + TIMEOUT < LEASE_SECONDS


def test_logs_in_over_starttls(tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    box = Mailbox()
    with mail_server(box, tls=tls) as port:
        url = f"smtp://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}?starttls=1"
        with closing(open_transport(url, trusting)) as transport:
            transport.send(_mail())
    assert len(box.envelopes) == 1


def test_password_is_sent_over_starttls_unless_somebody_says_otherwise(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """Nobody has to ask for it; a server that offers none gets no password."""
    login = f"{USER}:{quote(PASSWORD, safe='')}"
    box = Mailbox()
    with (
        mail_server(box, tls=tls) as port,
        closing(open_transport(f"smtp://{login}@127.0.0.1:{port}", trusting)) as transport,
    ):
        transport.send(_mail())
    assert len(box.envelopes) == 1
    with mail_server(box) as port:
        error = _refusal(f"smtp://{login}@127.0.0.1:{port}")
        assert isinstance(error, UnreachableError)
        assert error.reason == (
            "The mail server does not offer STARTTLS. "
            "Set starttls=0 in MAIL_URL to send without encryption."
        )
        assert len(box.envelopes) == 1
        # Without a password it is asked for only where somebody says so.
        with closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport:
            transport.send(_mail())
    assert len(box.envelopes) == 2


def test_starttls_0_sends_the_password_in_the_clear() -> None:
    box = Mailbox()
    login = f"{USER}:{quote(PASSWORD, safe='')}"
    with (
        mail_server(box, authenticator=knows, auth_require_tls=False) as port,
        closing(open_transport(f"smtp://{login}@127.0.0.1:{port}?starttls=0")) as transport,
    ):
        transport.send(_mail())
    assert len(box.envelopes) == 1


def test_speaks_tls_from_the_start_where_the_url_says_smtps(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    box = Mailbox()
    with mail_server(box, ssl_context=tls) as port:
        with closing(open_transport(f"smtps://127.0.0.1:{port}", trusting)) as transport:
            transport.send(_mail())
        assert isinstance(_refusal(f"smtps://127.0.0.1:{port}"), UnreachableError)
    assert len(box.envelopes) == 1


def test_a_certificate_nobody_vouches_for_gets_no_password(tls: ssl.SSLContext) -> None:
    box = Mailbox()
    with mail_server(box, tls=tls) as port:
        error = _refusal(f"smtp://{USER}:x@127.0.0.1:{port}?starttls=1")
    assert isinstance(error, UnreachableError)
    assert "certificate" in error.reason
    assert not box.envelopes


def test_a_server_without_starttls_gets_neither_password_nor_mail() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        error = _refusal(f"smtp://{USER}:x@127.0.0.1:{port}?starttls=1")
    assert isinstance(error, UnreachableError)
    assert not box.envelopes


def test_a_wrong_password_is_told_without_the_password(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    with mail_server(Mailbox(), tls=tls) as port:
        error = _refusal(f"smtp://{USER}:{'wrong'}@127.0.0.1:{port}?starttls=1", trusting)
    assert isinstance(error, UnreachableError)
    assert error.reason == "The mail server rejected the login (535)."


@pytest.mark.parametrize(
    ("to", "international"), [("jörg@example.org", True), ("bob@example.org", False)]
)
def test_smtputf8_is_asked_for_only_by_an_address_that_needs_it(
    to: str, *, international: bool
) -> None:
    box = Mailbox()
    with (
        mail_server(box, enable_SMTPUTF8=True) as port,
        closing(open_transport(f"smtp://127.0.0.1:{port}")) as transport,
    ):
        transport.send(_mail(to=to))
    assert box.envelopes[0].rcpt_tos == [to]
    assert box.envelopes[0].smtp_utf8 is international


def test_a_server_without_smtputf8_cannot_reach_such_an_address() -> None:
    with mail_server(Mailbox(), enable_SMTPUTF8=False) as port:
        transport = open_transport(f"smtp://127.0.0.1:{port}")
        with closing(transport), pytest.raises(UndeliverableError) as caught:
            transport.send(_mail(to="jörg@example.org"))
    assert caught.value.permanent


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
def test_a_url_that_names_no_transport_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        open_transport(url)
    assert "s3cr" not in str(caught.value)


def test_a_folder_gets_one_file_a_mail(tmp_path: Path) -> None:
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


def test_only_the_service_reads_the_folder(tmp_path: Path) -> None:
    open_transport(f"file://{tmp_path}/mail").send(_mail(7))
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    (file,) = (tmp_path / "mail").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_relative_folder_is_under_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_transport("file:var/my%20mail").send(_mail(7))
    assert len(list((tmp_path / "var" / "my mail").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file is in the way")
    with pytest.raises(UnreachableError):
        open_transport(f"file:{tmp_path}/mail").send(_mail())
