"""Comparable forms of host names, origins, addresses and networks."""

from ipaddress import ip_network

import pytest

from collegium import hosts


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("members.example.org", "members.example.org", None),
        ("Members.EXAMPLE.org.", "members.example.org", None),
        ("members.example.org:443", "members.example.org", 443),
        ("members.example.org:", "members.example.org", None),
        ("MÜNCHEN.example:80", "xn--mnchen-3ya.example", 80),
        ("xn--Mnchen-3ya.example", "xn--mnchen-3ya.example", None),
        ("a_b.example", "a_b.example", None),
        ("10.0.0.5:8000", "10.0.0.5", 8000),
        ("[::1]", "[::1]", None),
        ("[0:0:0:0:0:0:0:1]:8000", "[::1]", 8000),
        ("[2001:DB8::1]", "[2001:db8::1]", None),
    ],
)
def test_host_is_normalised(text: str, name: str, port: int | None) -> None:
    assert hosts.host(text) == (name, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "a b",
        "a,b",
        "a/b",
        "a@b",
        "a:b",
        "a:99999",
        "a:-1",
        "a:1:2",
        "a:²",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%25eth0]",
        "[1.2.3.4]",
        "\x00",
        "a" * 300,
        "*.example.org",
        "<script>",
    ],
)
def test_invalid_host_is_none(text: str) -> None:
    assert hosts.host(text) is None


def test_origin_is_normalised() -> None:
    for text, origin in (
        ("https://Members.Example.org:443", "https://members.example.org"),
        ("HTTPS://members.example.org/a/b", "https://members.example.org"),
        ("http://members.example.org:443", "http://members.example.org:443"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("null", None),
        ("", None),
        ("ftp://a.example", None),
        ("https://u@a.example", None),
        ("https://[::1", None),
        ("https://a.example:x", None),
    ):
        assert hosts.origin(text) == origin, text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9:4711 ", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:4711", "203.0.113.9"),
        ("::FFFF:CB00:7109", "203.0.113.9"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("203.0.113", None),
        ("203.0.113.9:x", None),
        ("203.0.113.9, 10.0.0.1", None),
        ("[2001:db8::1]x", None),
        ("010.0.0.1", None),
        ("1" * 5000, None),
    ],
)
def test_address_is_normalised(text: str, address: str | None) -> None:
    assert hosts.comparable_ip_address(text) == address


def test_networks_contain_mapped_ipv4_addresses() -> None:
    networks = (hosts.network("10.0.0.0/8"), hosts.network("::ffff:192.0.2.1"), ip_network("::1"))
    for text, is_within in (
        ("::ffff:10.1.2.3", True),
        ("[::ffff:10.1.2.3]:1", True),
        ("192.0.2.1", True),
        ("::1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", False),
    ):
        assert hosts.is_within(hosts.comparable_ip_address(text) or "", networks) is is_within, text
    assert hosts.is_within("", networks) is False
