"""E-mail through an SMTP server, in conversations that end at a deadline whatever the server does.

The library is asynchronous. The event loop runs only during a conversation, so that the worker
stays synchronous.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from typing import Any, Final

import aiosmtplib

from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.worker.transport import as_bytes, envelope

TIMEOUT: Final = 20.0
"""Timeout for each reply of a mail server, in seconds."""

DEADLINE: Final = 90.0
"""Timeout for one e-mail in total, in seconds. It is shorter than the worker's lease."""

_FRESH: Final = 1.0  # seconds; a connection used since then is not asked whether it lives
_SMTP_PERMANENT: Final = 500
_SMTP_CLOSING: Final = 421


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
        self._smtp: aiosmtplib.SMTP | None = None
        self._connection: asyncio.BaseTransport | None = None
        # The event loop of the connection; it runs only while this transport talks to the server.
        self._runner: asyncio.Runner | None = None
        # Only where the thread of the caller has an event loop that runs.
        self._thread: ThreadPoolExecutor | None = None
        self._last_used_at = 0.0

    def send(self, message: EmailMessage) -> None:
        """Send the message to the server.

        Raises:
            UndeliverableError: The server refused the message, or the connection broke.
            UnreachableError: The server accepts no connection, login or sender, or takes too long.
        """
        self._run(self._send(message), self._deadline)

    def check(self) -> None:
        """Connect and log in.

        Raises:
            UnreachableError: The server accepts no connection or login, or takes too long.
        """
        self._run(self._live_connection(), self._deadline)

    def close(self) -> None:
        """Send QUIT and close the connection."""
        if self._smtp is not None:
            with suppress(UndeliverableError, OSError, aiosmtplib.SMTPException):
                self._run(self._quit(self._smtp), self._timeout)

    def _run(self, conversation: Coroutine[Any, Any, object], seconds: float) -> None:
        """Talk to the server; cut the connection after ``seconds``.

        Raises:
            UndeliverableError: See ``send``.
        """
        if self._thread is None and not _has_running_loop():
            self._converse(conversation, seconds)
            return
        self._thread = self._thread or ThreadPoolExecutor(1, "smtp")
        try:
            self._thread.submit(self._converse, conversation, seconds).result()
        finally:
            if self._smtp is None:
                self._thread.shutdown()
                self._thread = None

    def _converse(self, conversation: Coroutine[Any, Any, object], seconds: float) -> None:
        self._runner = self._runner or asyncio.Runner()
        try:
            self._runner.run(asyncio.wait_for(conversation, seconds))
        except TimeoutError:
            self._disconnect()
            raise UnreachableError("The mail server did not answer in time.") from None
        finally:
            if self._smtp is None:
                self._runner.close()
                self._runner = None

    async def _send(self, message: EmailMessage) -> None:
        smtp, was_used = await self._live_connection()
        sender, recipient = envelope(message)
        try:
            if not await self._begin(smtp, sender, recipient, was_used=was_used):
                # The server limits the messages of a connection, so a new connection is needed.
                self._disconnect()
                await self._send(message)
                return
            await smtp.rcpt(recipient, encoding="utf-8")
            await smtp.data(as_bytes(message))
            self._last_used_at = time.monotonic()
        except aiosmtplib.SMTPSenderRefused as error:
            await _reset(smtp)
            raise UnreachableError(
                f"The mail server does not accept e-mails from this service: {_format_reply(error)}"
            ) from error
        except (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError) as error:
            await _reset(smtp)
            raise _refused_error(error) from error
        except (OSError, aiosmtplib.SMTPException) as error:
            self._disconnect()
            # This message may be the cause, so the next one is tried on a new connection.
            raise UndeliverableError(
                "The connection to the mail server was lost.", permanent=False
            ) from error

    async def _begin(
        self, smtp: aiosmtplib.SMTP, sender: str, recipient: str, *, was_used: bool
    ) -> bool:
        """Say who sends; return False if a connection that was used is about to close.

        Raises:
            UndeliverableError: The server does not accept the characters of the addresses.
            aiosmtplib.SMTPException: The server refused the sender, or the connection broke.
        """
        await smtp._ehlo_or_helo_if_needed()  # noqa: SLF001 - says what the server supports
        options = ["BODY=8BITMIME"] if smtp.supports_extension("8bitmime") else []
        encoding = "ascii"
        if not (sender + recipient).isascii():
            encoding = "utf-8"
            if not smtp.supports_extension("smtputf8"):
                reason = "The mail server does not accept addresses with characters outside ASCII."
                raise UndeliverableError(reason, permanent=True)
            options.append("SMTPUTF8")
        try:
            await smtp.mail(sender, options=options, encoding=encoding)
        except aiosmtplib.SMTPSenderRefused as error:
            if error.code != _SMTP_CLOSING or not was_used:
                raise
            return False
        except (OSError, aiosmtplib.SMTPServerDisconnected):
            if not was_used:
                raise
            return False
        return True

    async def _quit(self, smtp: aiosmtplib.SMTP) -> None:
        try:
            await smtp.quit()
        finally:
            self._disconnect()

    async def _live_connection(self) -> tuple[aiosmtplib.SMTP, bool]:
        """Return a connection that responds, and whether it was used before.

        Raises:
            UnreachableError: The server accepts no connection or login.
        """
        if self._smtp is not None:
            if time.monotonic() < self._last_used_at + _FRESH:
                return self._smtp, True
            with suppress(OSError, aiosmtplib.SMTPException):
                await self._smtp.noop()
                return self._smtp, True
            self._disconnect()
        try:
            self._smtp = await self._connect()
            self._connection = self._smtp.transport
        except (OSError, aiosmtplib.SMTPException) as error:
            raise UnreachableError(_unreachable_reason(error)) from error
        return self._smtp, False

    async def _connect(self) -> aiosmtplib.SMTP:
        context = self._context
        if context is None and (self._implicit_tls or self._starttls):
            context = ssl.create_default_context()  # reads all root certificates
        smtp = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            local_hostname=_own_name(),
            timeout=self._timeout,
            use_tls=self._implicit_tls,
            # STARTTLS follows here, so that a server without it gets a clear message.
            start_tls=False,
            tls_context=context,
        )
        await smtp.connect()
        try:
            if self._starttls and not self._implicit_tls:
                await _start_tls(smtp)
            if self._user:
                await smtp.login(self._user, self._password)
        except BaseException:
            _abort(smtp, smtp.transport)
            raise
        return smtp

    def _disconnect(self) -> None:
        if self._smtp is not None:
            _abort(self._smtp, self._connection)
            self._smtp = None


async def _reset(smtp: aiosmtplib.SMTP) -> None:
    """End a message that was refused, so that the connection can send the next one."""
    with suppress(OSError, aiosmtplib.SMTPException):
        await smtp.rset()


def _abort(smtp: aiosmtplib.SMTP, connection: asyncio.BaseTransport | None) -> None:
    """Close a connection without waiting for the end of TLS: the event loop is about to stop."""
    smtp.close()
    if isinstance(connection, asyncio.Transport):
        connection.abort()


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _own_name() -> str:
    """Return the name in EHLO: a host name with its domain, or an IP address (RFC 5321, 4.1.3)."""
    name = socket.getfqdn()
    return name if "." in name else "[127.0.0.1]"


async def _start_tls(smtp: aiosmtplib.SMTP) -> None:
    await smtp.ehlo()
    if not smtp.supports_extension("starttls"):
        raise _NoStartTlsError
    await smtp.starttls()


def _refused_error(error: aiosmtplib.SMTPResponseException) -> UndeliverableError:
    reason = f"The mail server refused the e-mail: {_format_reply(error)}"
    return UndeliverableError(reason, permanent=error.code >= _SMTP_PERMANENT)


def _format_reply(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {error.message}"


class _NoStartTlsError(aiosmtplib.SMTPException):
    """The server does not offer STARTTLS."""

    def __init__(self) -> None:
        super().__init__("no STARTTLS")


# Reasons why there is no connection; the first class that matches is used. The server's reply to a
# login is never repeated, because it may quote the credentials.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (
        _NoStartTlsError,
        "does not offer STARTTLS. Set starttls=0 in MAIL_URL to send without encryption",
    ),
    (aiosmtplib.SMTPAuthenticationError, "rejected the login ({error.code})"),
    (aiosmtplib.SMTPResponseException, "refused the connection ({error.code})"),
    (ssl.SSLCertVerificationError, "has a certificate that is not trusted: {error.verify_message}"),
    (ssl.SSLError, "supports no common encryption"),
    (TimeoutError, "does not answer"),
    (aiosmtplib.SMTPServerDisconnected, "closed the connection"),
    (aiosmtplib.SMTPConnectError, "closed the connection"),
    (aiosmtplib.SMTPException, "offers no supported login method"),
    (OSError, "cannot be reached: {reason}"),
)


def _unreachable_reason(error: Exception) -> str:
    # The library wraps the errors of the operating system.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    template = next(template for kind, template in _REASONS if isinstance(cause, kind))
    return f"The mail server {template.format(error=cause, reason=_system_reason(cause))}."


def _system_reason(error: Exception) -> str:
    """Return the reason of the operating system, without the address that asyncio puts into it."""
    number = getattr(error, "errno", None)
    if number is None:
        return "no address of its name accepts a connection"
    # The numbers of name resolution are negative and have texts of their own.
    return os.strerror(number) if number > 0 else str(getattr(error, "strerror", ""))
