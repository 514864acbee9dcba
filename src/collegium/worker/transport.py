"""Transports for e-mail: what they have in common, and the folder of files.

A transport sends or raises. The worker decides when to retry. No error text holds a credential.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from collegium.outbox.outcomes import UnreachableError
from collegium.worker.mail_policy import POLICY, POLICY_UTF8

if TYPE_CHECKING:
    import ssl

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


class CheckedTransport(Transport, Protocol):
    """A transport that ``collegium doctor`` can check."""

    def check(self) -> None:
        """Check that messages can be sent, without sending one.

        Raises:
            UnreachableError: No message can be sent at the moment.
        """


def open_transport(mail_url: str, context: ssl.SSLContext | None = None) -> CheckedTransport:
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
    from collegium.worker.smtp import SmtpTransport  # noqa: PLC0415 - few need it; asyncio takes memory

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
                file.write(as_bytes(message))
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


def as_bytes(message: EmailMessage) -> bytes:
    """Return a message as it is sent."""
    is_ascii = "".join(envelope(message)).isascii()
    return message.as_bytes(policy=POLICY if is_ascii else POLICY_UTF8)


def envelope(message: EmailMessage) -> tuple[str, str]:
    """Return the addresses of the sender and of the one recipient."""
    return message["From"].addresses[0].addr_spec, message["To"].addresses[0].addr_spec


def _file_name(message: EmailMessage) -> str:
    match = re.fullmatch(r"<outbox\.(\d+)@.*>", str(message["Message-ID"]).strip())
    if match is None:
        raise ValueError("a mail without the number of its row")
    kind = re.sub(r"[^a-z0-9_]", "", str(message["X-Collegium-Mail"]))
    return f"{int(match[1]):010}-{kind}.eml"
