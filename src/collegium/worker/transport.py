"""Transports for e-mail: a folder of files, or an SMTP server.

A transport sends or raises. The worker decides when to retry. No error text holds a credential.
"""

import os
import re
import smtplib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from collegium.integrations.http_client import Deadline
from collegium.outbox.outcomes import UndeliverableError, UnreachableError

TIMEOUT: Final = 20.0
"""Timeout for each reply of a mail server, in seconds."""

DEADLINE: Final = 90.0
"""Timeout for one e-mail in total, in seconds. It is shorter than the worker's lease."""

_SMTP_PERMANENT: Final = 500
_SMTP_CLOSING: Final = 421
_SMTP_OK: Final = 250
_DEFAULT_PORTS: Final = {"smtp": 25, "smtps": 465}


class Transport(Protocol):
    """What the worker needs from a transport. Not thread-safe."""

    def send(self, message: EmailMessage) -> None:
        """Send a message to its one recipient.

        Raises:
            UndeliverableError: This message was not sent.
            UnreachableError: No message can be sent at the moment.
        """

    def close(self) -> None:
        """Close the connection, if any. A later ``send`` opens it again."""


def open_transport(
    mail_url: str, context: ssl.SSLContext | None = None
) -> "FileTransport | SmtpTransport":
    """Return the transport that ``MAIL_URL`` names, without connecting.

    Args:
        context: TLS context to use instead of the system's certificates.

    Raises:
        ValueError: The URL names no transport. The message does not quote the URL.
    """
    try:
        url = urlsplit(mail_url)
        port = url.port
    except ValueError:
        # The message of this exception may quote the password.
        raise ValueError("MAIL_URL is not a URL; %-encode the credentials in it") from None
    if url.scheme == "file" and url.path and not url.netloc:
        return FileTransport(Path(unquote(url.path)))
    if url.scheme not in _DEFAULT_PORTS or not url.hostname:
        raise ValueError("MAIL_URL must begin with file:, smtp:// or smtps://")
    if url.query not in {"", "starttls=0", "starttls=1"}:
        raise ValueError("MAIL_URL has no options other than starttls=1 and starttls=0")
    return SmtpTransport(
        url.hostname,
        port or _DEFAULT_PORTS[url.scheme],
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        implicit_tls=url.scheme == "smtps",
        # STARTTLS is required with a password, unless the operator disables it: otherwise the
        # password could be read on the way.
        starttls=url.query == "starttls=1" or bool(url.username and url.query != "starttls=0"),
        context=context,
    )


class FileTransport:
    """A folder with one ``.eml`` file per e-mail. Sending an entry again overwrites its file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: EmailMessage) -> None:
        """Write the message to a temporary file and rename it, so that no reader sees half of it.

        Raises:
            UnreachableError: The folder is not writable.
        """
        with self._temporary_file() as name:
            with name.open("wb") as file:
                file.write(_as_bytes(message))
                file.flush()
                os.fsync(file.fileno())
            name.replace(self._folder / _file_name(message))

    def check(self) -> None:
        """Check that the folder is writable, and leave no file there.

        Raises:
            UnreachableError: The folder is not writable.
        """
        with self._temporary_file():
            pass

    @contextmanager
    def _temporary_file(self) -> Iterator[Path]:
        """Yield the path of a new file, which is deleted afterwards unless it was renamed.

        Raises:
            UnreachableError: The folder is not writable.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".tmp")
            os.close(descriptor)
            try:
                yield Path(name)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise UnreachableError(
                f"The mail folder cannot be written: {error.strerror}."
            ) from error

    def close(self) -> None:
        """Do nothing: no file is kept open."""


def _as_bytes(message: EmailMessage) -> bytes:
    # Headers are UTF-8 only where an address cannot be written in ASCII, as in SMTP (RFC 6532).
    return message.as_bytes(policy=default.clone(utf8=not "".join(_envelope(message)).isascii()))


def _envelope(message: EmailMessage) -> tuple[str, str]:
    return message["From"].addresses[0].addr_spec, message["To"].addresses[0].addr_spec


def _file_name(message: EmailMessage) -> str:
    match = re.fullmatch(r"<outbox\.(\d+)@.*>", str(message["Message-ID"]).strip())
    if match is None:
        raise ValueError("a mail without the number of its row")
    kind = re.sub(r"[^a-z0-9_]", "", str(message["X-Collegium-Mail"]))
    return f"{int(match[1]):010}-{kind}.eml"


class _Connection(smtplib.SMTP):
    """An SMTP connection that a ``Deadline`` can cut.

    Args:
        tls: TLS context for TLS from the start (smtps); None for a plain connection.
    """

    def __init__(
        self, host: str, port: int, timeout: float, deadline: Deadline, tls: ssl.SSLContext | None
    ) -> None:
        self._deadline = deadline
        self._tls = tls
        self._socket_copy: socket.socket | None = None
        super().__init__(host, port, timeout=timeout)

    def set_deadline(self, deadline: Deadline) -> None:
        """Let another deadline cut the connection from now on."""
        if self._socket_copy is not None:
            deadline.watch(self._socket_copy)

    def close(self) -> None:
        """Close the connection and the duplicate of its socket."""
        super().close()
        if self._socket_copy is not None:
            self._socket_copy.close()
            self._socket_copy = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        # ``smtplib`` calls this method to connect, so that subclasses can replace it.
        sock = _connect_socket(host, port, timeout, self._deadline)
        # A duplicate, because TLS takes over the original socket.
        self._socket_copy = sock.dup()
        self.set_deadline(self._deadline)
        if self._tls is None:
            return sock
        try:
            return self._tls.wrap_socket(sock, server_hostname=host)
        except BaseException:
            self.close()
            raise


def _connect_socket(host: str, port: int, timeout: float, deadline: Deadline) -> socket.socket:
    """Connect to the first address of a host that accepts, within the deadline.

    Raises:
        OSError: No address accepted; the error of the first one.
    """
    first_error: OSError | None = None
    for family, socket_type, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, socket_type, protocol)
        try:
            sock.settimeout(max(min(timeout, deadline.seconds_left()), 0.001))
            sock.connect(address)
        except OSError as error:
            sock.close()
            first_error = first_error or error
        else:
            sock.settimeout(timeout)
            return sock
    raise first_error or OSError("a host without an address")


class SmtpTransport:
    """An SMTP server. One connection sends many messages, until it breaks or is closed."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str = "",
        password: str = "",
        implicit_tls: bool = False,
        starttls: bool = False,
        context: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
    ) -> None:
        if not (user + password).isascii():
            raise ValueError("MAIL_URL: user name and password must be ASCII")
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._implicit_tls = implicit_tls
        self._starttls = starttls
        self._context = context
        self._timeout = timeout
        self._deadline = deadline
        self._smtp: _Connection | None = None

    def send(self, message: EmailMessage) -> None:
        """Send the message to the server.

        Raises:
            UndeliverableError: The server refused the message, or the connection broke.
            UnreachableError: The server accepts no connection, login or sender, or takes too long.
        """
        with Deadline(self._deadline) as deadline:
            try:
                self._send(message, deadline)
            except UndeliverableError as error:
                if error.permanent or not deadline.is_over:
                    raise
                self._disconnect()
                raise UnreachableError("The mail server did not answer in time.") from error

    def _send(self, message: EmailMessage, deadline: Deadline) -> None:
        smtp, was_used = self._live_connection(deadline)
        try:
            sender, recipient = _envelope(message)
            smtp.send_message(message, sender, [recipient])
        except smtplib.SMTPSenderRefused as error:
            if error.smtp_code != _SMTP_CLOSING or not was_used:
                reply = _format_reply(error.smtp_code, error.smtp_error)
                raise UnreachableError(
                    f"The mail server does not accept e-mails from this service: {reply}"
                ) from error
            # The server limits the messages of a connection, so a new connection is needed.
            self._quit(deadline)
            self._send(message, deadline)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, text),) = error.recipients.values()
            raise _refused_error(code, text) from error
        except smtplib.SMTPDataError as error:
            raise _refused_error(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            reason = "The mail server does not accept addresses with characters outside ASCII."
            raise UndeliverableError(reason, permanent=True) from error
        except OSError as error:  # SMTPException is a subclass
            self._disconnect()
            # This message may be the cause, so the next one is tried on a new connection.
            raise UndeliverableError(
                "The connection to the mail server was lost.", permanent=False
            ) from error

    def check(self) -> None:
        """Connect and log in.

        Raises:
            UnreachableError: The server accepts no connection or login.
        """
        with Deadline(self._deadline) as deadline:
            self._live_connection(deadline)

    def close(self) -> None:
        """Send QUIT and close the connection."""
        with Deadline(self._timeout) as deadline:
            self._quit(deadline)

    def _quit(self, deadline: Deadline) -> None:
        if self._smtp is not None:
            self._smtp.set_deadline(deadline)
            with suppress(OSError):
                self._smtp.quit()
            self._disconnect()

    def _live_connection(self, deadline: Deadline) -> tuple[_Connection, bool]:
        """Return a connection that responds, and whether it was used before.

        Raises:
            UnreachableError: The server accepts no connection or login.
        """
        if self._smtp is not None:
            self._smtp.set_deadline(deadline)
            with suppress(OSError):
                if self._smtp.noop()[0] == _SMTP_OK:
                    return self._smtp, True
            self._disconnect()
        try:
            self._smtp = self._connect(deadline)
        except OSError as error:
            raise UnreachableError(_unreachable_reason(error)) from error
        return self._smtp, False

    def _connect(self, deadline: Deadline) -> _Connection:
        context = self._context or ssl.create_default_context()
        tls = context if self._implicit_tls else None
        smtp = _Connection(self._host, self._port, self._timeout, deadline, tls)
        try:
            if self._starttls and not self._implicit_tls:
                _start_tls(smtp, context)
            smtp.ehlo_or_helo_if_needed()
            if self._user:
                smtp.login(self._user, self._password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _disconnect(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None


def _refused_error(code: int, text: bytes | str) -> UndeliverableError:
    reason = f"The mail server refused the e-mail: {_format_reply(code, text)}"
    return UndeliverableError(reason, permanent=code >= _SMTP_PERMANENT)


def _format_reply(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"


def _start_tls(smtp: smtplib.SMTP, context: ssl.SSLContext) -> None:
    smtp.ehlo_or_helo_if_needed()
    if not smtp.has_extn("starttls"):
        raise _NoStartTlsError
    smtp.starttls(context=context)


class _NoStartTlsError(smtplib.SMTPException):
    """The server does not offer STARTTLS."""


# Reasons why there is no connection; the first class that matches is used. The server's reply to a
# login is never repeated, because it may quote the credentials.
_REASONS: Final[tuple[tuple[type[OSError], str], ...]] = (
    (
        _NoStartTlsError,
        "does not offer STARTTLS. Set starttls=0 in MAIL_URL to send without encryption",
    ),
    (smtplib.SMTPAuthenticationError, "rejected the login ({error.smtp_code})"),
    (smtplib.SMTPNotSupportedError, "does not support the required encryption or login"),
    (smtplib.SMTPResponseException, "refused the connection ({error.smtp_code})"),
    (smtplib.SMTPServerDisconnected, "closed the connection"),
    (smtplib.SMTPException, "offers no supported login method"),
    (ssl.SSLCertVerificationError, "has a certificate that is not trusted: {error.verify_message}"),
    (ssl.SSLError, "supports no common encryption"),
    (TimeoutError, "does not answer"),
    (OSError, "cannot be reached: {error.strerror}"),
)


def _unreachable_reason(error: OSError) -> str:
    template = next(template for kind, template in _REASONS if isinstance(error, kind))
    return f"The mail server {template.format(error=error)}."
