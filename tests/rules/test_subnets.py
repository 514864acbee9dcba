"""Access subnets as ranges of denied addresses."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise

import pytest

from collegium.access.subnets.rules import denied_ranges, position


def is_open(subnets: str, address: str) -> bool:
    key = position(address)
    return not any(low <= key <= high for low, high in denied_ranges(subnets))


@pytest.mark.parametrize(
    ("subnets", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("10.0.0.0/8", "10.0.0.0", "9.255.255.255"),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        # Any address of a network names it.
        ("10.1.2.3/8", "10.255.255.255", "11.0.0.0"),
        ("2001:db8::1/32", "2001:db8::", "2001:db9::"),
        ("192.0.2.0/25, 192.0.2.128/25", "192.0.2.128", "192.0.3.0"),
        ("10.0.0.0/8,10.1.0.0/16,2001:db8::/32", "2001:db8::1", "2001:db9::1"),
        ("2001:db8::/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "10.0.0.1"),
        ("2001:db8::/32", "2001:db8::%eth0", "fe80::1%eth0"),
        ("0.0.0.0/0", "192.0.2.1", "2001:db8::1"),
        ("::/1", "::", "8000::"),
        ("8000::/1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::"),
        ("::/0", "192.0.2.1", "no address"),
        (f"{'ffff:' * 7}fffe", f"{'ffff:' * 7}fffe", f"{'ffff:' * 7}ffff"),
        ("nonsense, 192.0.2.0/24", "192.0.2.1", "192.0.3.1"),
    ],
)
def test_addresses_inside_subnets_are_allowed_and_others_denied(
    subnets: str, inside: str, outside: str
) -> None:
    assert is_open(subnets, inside)
    assert not is_open(subnets, outside)


@pytest.mark.parametrize("address", ["", "unix:/run/socket", "testclient", "300.1.1.1"])
def test_invalid_address_is_in_no_network(address: str) -> None:
    for subnets in ("10.0.0.0/8", "::/0", "0.0.0.0/0,::/0", "nonsense"):
        assert not is_open(subnets, address)
    assert is_open("", address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("::1", "00" * 15 + "01"),
        (" 1.2.3.4 ", "00" * 10 + "ffff" + "01020304"),
        ("2001:db8::ff", "20010db8" + "00" * 11 + "ff"),
        ("", ""),
    ],
)
def test_position_of_an_address_is_stable(address: str, expected: str) -> None:
    assert position(address).hex() == expected


@pytest.mark.parametrize("subnets", ["", " ", ",", " , "])
def test_without_subnets_no_range_is_denied(subnets: str) -> None:
    assert denied_ranges(subnets) == []


def test_invalid_subnets_deny_everything() -> None:
    assert not is_open("nonsense", "192.0.2.1")
    assert not is_open("nonsense", "2001:db8::1")


def test_denied_ranges_are_sorted_and_disjoint() -> None:
    ranges = denied_ranges("10.0.0.0/8,10.1.0.0/16,9.0.0.0/8,2001:db8::/32")
    assert all(low <= high for low, high in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    assert len(ranges) == 3


def test_denied_ranges_agree_with_random_networks() -> None:
    rng = random.Random(7)  # noqa: S311 - no secret
    for _ in range(200):
        networks = [
            ip_network((rng.getrandbits(32), rng.randrange(33)), strict=False)
            if rng.random() < 0.5
            # Does not contain IPv4, which is a part of IPv6 here.
            else ip_network((2**127 + rng.getrandbits(126), rng.randrange(1, 129)), strict=False)
            for _ in range(rng.randrange(1, 6))
        ]
        subnets = ",".join(map(str, networks))
        for network in networks:
            for number in (-1, 0, network.num_addresses - 1, network.num_addresses):
                version: type[IPv4Address | IPv6Address] = type(network.network_address)
                try:
                    address = version(int(network.network_address) + number)
                except ValueError:
                    continue
                expected = any(ip_address(address) in other for other in networks)
                assert is_open(subnets, str(address)) is expected, (subnets, address)
