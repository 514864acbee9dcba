"""Receive request bodies with limits on their number, source and duration, and decode them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from threading import Lock
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from falcon import (
    HTTP_408,
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPError,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
)
from multipart import MultipartError, MultipartParser, MultipartPart, parse_options_header

from collegium.settings import THREADS
from collegium.values import invalid

BODY_MAX: Final = 2 * 1024 * 1024
"""Maximum size of a request body in bytes; the largest legitimate body is a picture."""

SENDERS: Final = THREADS // 2
"""Maximum number of bodies received at once; half of the threads serve requests without a body."""

SENDERS_NETWORK: Final = 32
"""Maximum number of bodies received at once from one IPv4 address or one IPv6 network."""

BODY_SECONDS: Final = 60
"""Maximum time for a body to arrive; the largest accepted body then needs 35 kB a second."""

STALE_SECONDS: Final = 0.2
"""A body that received nothing for this long may be dropped for another one if slots run out."""

ESCAPES_MAX: Final = 200_000
"""Maximum number of percent signs in a form; decoding one is slower than a plain character."""

NESTED_MAX: Final = 30_000
"""Maximum number of lists and objects in a JSON body; each costs an allocation."""

_CHUNK_BYTES: Final = 16 * 1024


class _IncomingBody:
    """One body that is being received.

    Args:
        network: network of the client, taking trusted proxies into account.
    """

    def __init__(self, source: Any, network: str) -> None:
        self.network = network
        self.started_at = self.last_read_at = monotonic()
        self._source = source
        self._is_dropped = False

    def read(self, length: int | None, max_length: int) -> bytes:
        """Read the body; see ``Bodies.read``."""
        chunks = []
        size = 0
        while size != length:
            chunk = self._read_chunk(
                _CHUNK_BYTES if length is None else min(_CHUNK_BYTES, length - size)
            )
            self.last_read_at = monotonic()
            chunks.append(chunk)
            size += len(chunk)
            if size > max_length:
                raise HTTPContentTooLarge
            if not chunk:
                if length is not None:
                    raise HTTPBadRequest  # the client closed the connection early
                break
            if self._is_dropped or self.last_read_at > self.started_at + BODY_SECONDS:
                raise HTTPError(HTTP_408)
        return b"".join(chunks)

    def _read_chunk(self, size: int) -> bytes:
        try:
            chunk: bytes = self._source.read(size)
        except TimeoutError:
            raise HTTPError(HTTP_408) from None
        except ConnectionAbortedError:
            raise HTTPBadRequest from None  # the client closed the connection early
        except ConnectionError:
            if self._is_dropped:
                raise HTTPError(HTTP_408) from None
            raise HTTPServiceUnavailable from None  # the server is shutting down
        return chunk

    def drop(self) -> None:
        """Abort the read; the thread that reads answers 408."""
        self._is_dropped = True
        self._source.cancel()


class Bodies:
    """All bodies that this process is receiving.

    If all slots are in use, the body that has been idle for longest is dropped. A body that arrives
    together with its request is therefore always read.

    Args:
        max_bodies: maximum number of bodies at once.
        max_per_network: maximum number of bodies at once from one network.
    """

    def __init__(self, max_bodies: int, max_per_network: int) -> None:
        self._max_bodies = max_bodies
        self._max_per_network = max_per_network
        self._lock = Lock()
        self._active: set[_IncomingBody] = set()
        self._networks: dict[str, set[_IncomingBody]] = {}

    def read(self, source: Any, length: int | None, max_length: int, network: str) -> bytes:
        """Return a body as bytes.

        Args:
            source: file-like object; its ``read`` may return less than requested, and its
                ``cancel`` aborts a read.
            length: announced length in bytes; None: read to the end.
            max_length: maximum length in bytes.
            network: network of the client, taking trusted proxies into account.

        Raises:
            HTTPTooManyRequests: 429, if the network sends too many bodies.
            HTTPServiceUnavailable: 503, if too many bodies arrive at all, or the server is shutting
                down.
            HTTPError: 408, if the body took too long or was dropped for another one.
            HTTPBadRequest: 400, if the connection was closed early.
            HTTPContentTooLarge: 413, if there are more than ``max_length`` bytes.
        """
        body = _IncomingBody(source, network)
        self._register(body)
        try:
            return body.read(length, max_length)
        finally:
            with self._lock:
                self._unregister(body)

    def _register(self, body: _IncomingBody) -> None:
        with self._lock:
            from_network = self._networks.get(body.network, ())
            if len(from_network) >= self._max_per_network and not self._drop_idlest(from_network):
                raise HTTPTooManyRequests
            if len(self._active) >= self._max_bodies and not self._drop_idlest(self._active):
                raise HTTPServiceUnavailable
            self._active.add(body)
            self._networks.setdefault(body.network, set()).add(body)

    def _drop_idlest(self, bodies: Iterable[_IncomingBody]) -> bool:
        """Drop the body that has been idle for longest; return False if none was idle."""
        idlest = min(bodies, key=lambda body: body.last_read_at)
        if monotonic() - idlest.last_read_at < STALE_SECONDS:
            return False
        self._unregister(idlest)
        idlest.drop()
        return True

    def _unregister(self, body: _IncomingBody) -> None:
        self._active.discard(body)
        from_network = self._networks.get(body.network)
        if from_network is not None:
            from_network.discard(body)
            if not from_network:
                del self._networks[body.network]


FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"


def media_type(header: str) -> tuple[str, str]:
    """Return the media type in a ``Content-Type`` header in lower case, and its boundary."""
    name, options = parse_options_header(header)  # type: ignore[no-untyped-call]  # the library has no types
    return name.lower(), options.get("boundary", "")


def parse_json(body: bytes, decode: Callable[[bytes], Any]) -> dict[str, Any]:
    """Return the JSON object in a body.

    Args:
        decode: the decoder, whose errors the messages of the protocol quote.

    Raises:
        InvalidValueError: ``body.nested``, ``body.recursion``, ``body.json`` or ``body.object``.
    """
    if _count(body, b"[", NESTED_MAX) + _count(body, b"{", NESTED_MAX) > NESTED_MAX:
        raise invalid("body.nested")
    try:
        parsed = decode(body)
    except RecursionError as error:
        raise invalid("body.recursion", error=error) from None
    except (ValueError, msgspec.DecodeError) as error:
        raise invalid("body.json", error=error) from None
    if not isinstance(parsed, dict):
        raise invalid("body.object", type=type(parsed).__name__)
    return parsed


def _count(body: bytes, mark: bytes, maximum: int) -> int:
    """Return how often a character is in a body, at most one more than a maximum.

    ``bytes.count`` compares each byte, which takes 2 ms for the largest body. Few bodies contain
    many brackets, and ``bytes.find`` skips what lies between them.
    """
    number, at = 0, body.find(mark)
    while at >= 0 and number <= maximum:
        number, at = number + 1, body.find(mark, at + 1)
    return number


def parse_urlencoded(body: bytes, encoding: str, max_fields: int) -> list[tuple[str, str]]:
    """Return the names and values of a URL-encoded form.

    Args:
        encoding: encoding of the characters that are not escaped.
        max_fields: maximum number of fields.

    Raises:
        InvalidValueError: ``body.escapes`` or ``body.form``.
    """
    if b"%" in body and body.count(b"%") > ESCAPES_MAX:
        raise invalid("body.escapes")
    try:
        return parse_qsl(
            body.decode(encoding),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=max_fields,
        )
    except ValueError as error:
        raise invalid("body.form", error=error) from None


def parse_multipart(
    body: bytes, boundary: str, read_part: Callable[[MultipartPart], Any], max_fields: int
) -> list[tuple[str, Any]]:
    """Return the names and values of the parts of a multipart body.

    Args:
        read_part: returns the value of a part.
        max_fields: maximum number of parts.

    Raises:
        InvalidValueError: ``body.multipart``.
    """
    try:
        # The body is in memory already, so no part of it needs a file on disk.
        parts = MultipartParser(  # type: ignore[no-untyped-call]  # the library has no types
            BytesIO(body), boundary, len(body), part_limit=max_fields, spool_limit=len(body) + 1
        )
        return [(part.name, read_part(part)) for part in parts]
    except (MultipartError, ValueError, LookupError) as error:  # LookupError: unknown charset
        raise invalid("body.multipart", error=error) from None
