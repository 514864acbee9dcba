"""Outgoing requests reach no internal address that nobody has named as meant."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from collegium.integrations import http_client
from collegium.integrations.http_client import (
    InternalAddressError,
    RequestFailedError,
    is_internal,
    send_request,
)
from tests.support.remote import HASTE, Answering, Asked
from tests.support.tls import write_certificate

PUBLIC: Final = "93.184.215.14"


class Echo(Answering):
    """A server that says hello and keeps the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    @property
    def port(self) -> int:
        return int(urlsplit(self.base).port or 0)

    def answer(self, asked: Asked) -> None:
        self.asked.append((asked.path, asked.headers["Host"]))
        asked.send(200, b"hello")


@pytest.fixture
def echo() -> Iterator[Echo]:
    yield from Echo().running()


def fetch(url: str, internal_hosts: Collection[str] = (), **options: Any) -> bytes:
    end = time.monotonic() + HASTE.total
    return send_request("GET", url, HASTE, end, 100, internal_hosts=internal_hosts, **options)[1]


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let the resolver give these addresses, one after the other; return the names it is asked."""
    names: list[str] = []

    def getaddrinfo(host: str, port: int, *_more: object, **_named: object) -> list[Any]:
        names.append(host)
        address = answers[min(len(names), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((one, False) for one in (PUBLIC, "2606:4700::1111", "::ffff:93.184.215.14")),
        *((one, False) for one in ("2002:5db8:d70e::1", "64:ff9b::93.184.215.14")),
        *((one, True) for one in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::", "::1")),
        *((one, True) for one in ("10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1")),
        *((one, True) for one in ("169.254.169.254", "fe80::1", "fe80::1%lo", "fec0::1")),
        *((one, True) for one in ("fd00:ec2::254", "224.0.0.1", "ff02::1", "255.255.255.255")),
        *((one, True) for one in ("240.0.0.1", "192.0.2.1", "198.18.0.1", "192.88.99.1")),
        *((one, True) for one in ("::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::1")),
        *((one, True) for one in ("64:ff9b::10.0.0.5", "64:ff9b:1::1", "2001:db8::1")),
        # Teredo.
        *((one, True) for one in ("2001:0:5db8:d70e:0:0:f5ff:fffa", "no address", "")),
    ],
)
def test_only_addresses_of_the_public_internet_are_not_internal(
    address: str, expected: bool
) -> None:
    assert is_internal(address) is expected


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
def test_internal_host_is_reached_only_if_it_is_named(echo: Echo, host: str) -> None:
    url = f"http://{host}:{echo.port}/x"
    for internal_hosts in ((), ("elsewhere.example",), (f"{host}:1",), ("*",)):
        with pytest.raises(InternalAddressError):
            fetch(url, internal_hosts)
    assert echo.asked == []
    for named in (host, f"{host}:{echo.port}"):
        normal = http_client.host_and_port(f"http://{named}/").removesuffix(":80")
        assert fetch(url, (normal,)) == b"hello"
    assert len(echo.asked) == 2


def test_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second, different answer of the DNS (DNS rebinding) changes nothing."""
    names = resolve(monkeypatch, PUBLIC, "127.0.0.1")
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *_more: object, **_named: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(RequestFailedError):
        fetch("http://rebind.example/")
    assert (names, connected) == (["rebind.example"], [(PUBLIC, 80)])


def test_next_address_is_tried_when_one_does_not_answer(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: int, *_more: object, **_named: object) -> list[Any]:
        addresses = ("127.0.0.2", "127.0.0.1") if host == "two.test" else (host,)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert fetch(f"http://two.test:{echo.port}/x", ("two.test",)) == b"hello"
    # One internal address among public ones is enough to refuse the name.
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_more, **_named: [(0, 0, 0, "", (one, 80)) for one in (PUBLIC, "10.0.0.5")],
    )
    with pytest.raises(InternalAddressError):
        fetch("http://two.test/")


def test_certificate_is_checked_for_the_name_in_the_url(
    echo: Echo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resolve(monkeypatch, "127.0.0.1")
    echo.speak_tls(write_certificate(tmp_path, "login.test"))
    url = f"https://login.test:{echo.port}/x"
    named = ("login.test", "other.test")
    with pytest.raises(RequestFailedError):
        fetch(url, named)  # nobody trusts its certificate
    assert fetch(url, named, verify_tls=False) == b"hello"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    http_client._tls_context.cache_clear()
    try:
        assert fetch(url, named) == b"hello"
        with pytest.raises(RequestFailedError):
            fetch(url.replace("login", "other"), named)
    finally:
        http_client._tls_context.cache_clear()
    assert echo.asked == [("/x", f"login.test:{echo.port}")] * 2


def test_request_through_a_proxy_is_checked_too(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{echo.port}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(InternalAddressError):
        fetch("http://10.0.0.5/")
    # A name that only the proxy can resolve.
    assert fetch("http://nowhere.invalid/y") == b"hello"
    assert echo.asked == [("http://nowhere.invalid/y", "nowhere.invalid")]
    # The exceptions are those for the name, though the connection goes to an address.
    monkeypatch.setenv("NO_PROXY", "direct.test")
    resolve(monkeypatch, "127.0.0.1")
    assert fetch(f"http://direct.test:{echo.port}/z", ("direct.test",)) == b"hello"
    assert echo.asked[1:] == [("/z", f"direct.test:{echo.port}")]


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://a.example/", "http:///x", "http://[::1"])
def test_invalid_url_fails_like_a_server_that_is_down(url: str) -> None:
    with pytest.raises(RequestFailedError):
        fetch(url)
