"""HTTP client for other services, which may answer slowly, endlessly or not at all.

Never call it inside a transaction: it would hold locks while it waits.

No request reaches an internal address (loopback, a private network, the metadata service of a
cloud) unless its host is named as meant: a person who may enter a URL must not reach through us
what only we can reach (server-side request forgery). A name is resolved once, and the connection
goes to the address that was checked, so that a second, different answer of the DNS changes nothing.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, NamedTuple, Self
from urllib.request import getproxies, proxy_bypass

from collegium import hosts, tracing

OK: Final = 200
_TOKEN_MAX: Final = 16 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_BITS: Final = 0xFFFFFFFF
# Anycast relays of 6to4, which Python counts as global.
_RELAYS: Final = IPv4Network("192.88.99.0/24")


class Timeouts(NamedTuple):
    """Timeouts in seconds: to connect, for each further byte, and for the whole request."""

    connect: float = 5.0
    read: float = 5.0
    total: float = 10.0


class RequestFailedError(Exception):
    """There is no usable response. It contains neither the address nor the response."""


class InternalAddressError(RequestFailedError):
    """The URL leads to an internal address that is not named as meant."""


class Deadline:
    """Cuts connections when the time is over, whatever the server does.

    The timeouts of the client library count from byte to byte. A server that sends one byte every
    other second could keep a connection open for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut_connections)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()

    def watch(self, sock: socket.socket) -> None:
        """Cut this connection too when the time is over."""
        # A duplicate, because TLS takes over the original socket.
        with self._lock:
            self._sockets.append(sock.dup())
        if self.is_over:
            self._cut_connections()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Register new connections; httpx calls this at every step of a request."""
        if event == "connection.connect_tcp.complete":
            self.watch(info["return_value"].get_extra_info("socket"))

    def _cut_connections(self) -> None:
        self.is_over = True
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def send_request(
    method: str,
    url: str,
    timeouts: Timeouts,
    deadline: float,
    body_max: int | None,
    *,
    internal_hosts: Collection[str],
    verify_tls: bool = True,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[int, bytes]:
    """Send one request; return the status, and the body if the status is 200.

    Redirects are not followed. Compressed responses are refused, because their size is unknown.

    Args:
        timeouts: timeouts of the request.
        deadline: the time, of ``time.monotonic()``, by which everything must be done.
        body_max: maximum bytes of the body; None to ignore the body.
        internal_hosts: hosts, each as ``host`` or ``host:port``, whose addresses may be internal.
        verify_tls: whether the certificate of the server must be valid.

    Raises:
        InternalAddressError: The URL leads to an internal address that is not named as meant.
        RequestFailedError: for every other failure.
    """
    import httpx  # noqa: PLC0415 - slow to import, and few installations use it

    try:
        target = httpx.URL(url)
        proxy = _proxy_for(target.scheme, target.host)
        authority = target.netloc.decode("ascii")
        addresses = check_host(
            f"{target.scheme}://{authority}",
            internal_hosts,
            deadline,
            is_resolved_elsewhere=bool(proxy),
        )
        options["headers"] = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **(headers or {}),
            "Host": authority,
        }
        # Certificates are checked for the host of the URL.
        extensions = {"sni_hostname": target.raw_host.decode("ascii")}
        # A proxy connects by itself.
        for address in [target.host] if proxy else addresses:
            with (
                suppress(httpx.ConnectError, httpx.ConnectTimeout),
                tracing.client_span(
                    method, {"http.request.method": method, "server.address": target.host}
                ) as span,
            ):
                answer = _send(
                    method,
                    target.copy_with(host=address),
                    timeouts,
                    deadline,
                    body_max,
                    client={"verify": _one_tls_context(verify=verify_tls), "proxy": proxy},
                    extensions=extensions,
                    **options,
                )
                span.set_attribute("http.response.status_code", answer[0])
                return answer
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError):
        # The original error names the address, so it is suppressed.
        raise RequestFailedError from None
    raise RequestFailedError


def _send(
    method: str,
    url: Any,
    timeouts: Timeouts,
    deadline: float,
    body_max: int | None,
    *,
    client: Mapping[str, Any],
    extensions: Mapping[str, Any],
    **options: Any,
) -> tuple[int, bytes]:
    import httpx  # noqa: PLC0415 - slow to import, and few installations use it

    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise RequestFailedError
    httpx_timeouts = httpx.Timeout(
        min(timeouts.read, seconds), connect=min(timeouts.connect, seconds)
    )
    with (
        Deadline(seconds) as cutter,
        httpx.Client(
            timeout=httpx_timeouts, follow_redirects=False, trust_env=False, **client
        ) as http,
        http.stream(
            method, url, extensions={**extensions, "trace": cutter.trace}, **options
        ) as response,
    ):
        if body_max is None or response.status_code != OK:
            return response.status_code, b""
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > body_max:
                raise RequestFailedError
        if cutter.is_over or response.headers.get("content-encoding", "identity") != "identity":
            raise RequestFailedError
        return response.status_code, bytes(body)


def _one_tls_context(*, verify: bool) -> ssl.SSLContext:
    # Many first requests at once would each read them: all processors for seconds.
    with _tls_lock:
        return _tls_context(verify=verify)


_tls_lock: Final = threading.Lock()


@cache
def _tls_context(*, verify: bool) -> ssl.SSLContext:
    """Return the context of all connections; reading every root certificate takes long."""
    import httpx  # noqa: PLC0415 - slow to import, and few installations use it

    return httpx.create_ssl_context(verify=verify)


def _proxy_for(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy that the environment names for a host, if any."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def host_and_port(url: str) -> str:
    """Return ``host:port`` of a URL, as an entry of ``internal_hosts``; "" if it has no host.

    A URL that the operator has configured names its own host as meant.
    """
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    parsed = hosts.host(authority)
    port = parsed and (parsed.port or _PORTS.get(scheme.lower()))
    return f"{parsed.name}:{port}" if parsed and port else ""


def is_named(url: str, internal_hosts: Collection[str]) -> bool:
    """Return whether the host of a URL is among the hosts that may be internal."""
    named = host_and_port(url)
    return bool(named) and (named in internal_hosts or named.rpartition(":")[0] in internal_hosts)


def check_host(
    url: str,
    internal_hosts: Collection[str],
    deadline: float,
    *,
    is_resolved_elsewhere: bool = False,
) -> list[str]:
    """Return the addresses of the host of a URL, in the order in which to try them.

    Args:
        internal_hosts: hosts, each as ``host`` or ``host:port``, whose addresses may be internal.
        deadline: the time, of ``time.monotonic()``, by which the name must be resolved.
        is_resolved_elsewhere: whether a proxy resolves the name, so that it may be unknown here.

    Raises:
        InternalAddressError: One of the addresses is internal.
        RequestFailedError: The URL is invalid, or the name has no address.
    """
    host, _, port = host_and_port(url).rpartition(":")
    if not host:
        raise RequestFailedError
    addresses = _resolve(host.strip("[]"), int(port), deadline)
    if not addresses and not is_resolved_elsewhere:
        raise RequestFailedError
    if not is_named(url, internal_hosts) and any(map(is_internal, addresses)):
        raise InternalAddressError
    return addresses


def _resolve(host: str, port: int, deadline: float) -> list[str]:
    """Return the addresses of a host; none if there are none or the DNS is too slow."""
    found: list[str] = []

    def look_up() -> None:
        with suppress(OSError, UnicodeError):
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))

    # The resolver of the system has no timeout of its own.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0))
    return list(found)


def is_internal(address: str) -> bool:
    """Return whether an IP address is not one of the public internet.

    IPv6 addresses that contain an IPv4 address (mapped, 6to4, NAT64) count as that one. Teredo
    addresses are internal.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return True
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = IPv4Address(int(ip) & _IPV4_BITS)
        if inner is not None:
            return is_internal(str(inner))
        if ip.is_site_local:
            return True
    elif ip in _RELAYS:
        return True
    return not ip.is_global or ip.is_multicast or ip.is_reserved


def is_header_safe(token: str) -> bool:
    """Return whether a token may be sent in a header."""
    return (
        token.isascii()
        and token.isprintable()
        and " " not in token
        and 0 < len(token) <= _TOKEN_MAX
    )
