"""Access subnets, without a database: the ranges say what the networks say."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise

import pytest

from collegium.access.subnets.rules import denied_ranges, position


def is_open(subnets: str, address: str) -> bool:
    at = position(address)
    return not any(low <= at <= high for low, high in denied_ranges(subnets))


@pytest.mark.parametrize(
    ("subnets", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("10.0.0.0/8", "10.0.0.0", "9.255.255.255"),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        # A network may be named by any of its addresses.
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
def test_who_stands_inside_gets_in_and_who_stands_outside_does_not(
    subnets: str, inside: str, outside: str
) -> None:
    assert is_open(subnets, inside)
    assert not is_open(subnets, outside)


@pytest.mark.parametrize("address", ["", "unix:/run/socket", "testclient", "300.1.1.1"])
def test_an_address_that_cannot_be_told_is_in_no_network(address: str) -> None:
    for subnets in ("10.0.0.0/8", "::/0", "0.0.0.0/0,::/0", "nonsense"):
        assert not is_open(subnets, address)
    assert is_open("", address)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("::1", "00" * 15 + "01"),
        (" 1.2.3.4 ", "00" * 10 + "ffff" + "01020304"),
        ("2001:db8::ff", "20010db8" + "00" * 11 + "ff"),
        ("", ""),
    ],
)
def test_an_address_lies_where_rows_that_were_written_long_ago_expect_it(
    address: str, kept: str
) -> None:
    assert position(address).hex() == kept


@pytest.mark.parametrize("subnets", ["", " ", ",", " , "])
def test_without_subnets_there_is_no_range(subnets: str) -> None:
    assert denied_ranges(subnets) == []


def test_subnets_that_are_none_let_nobody_in() -> None:
    assert not is_open("nonsense", "192.0.2.1")
    assert not is_open("nonsense", "2001:db8::1")


def test_the_ranges_follow_each_other_without_touching() -> None:
    found = denied_ranges("10.0.0.0/8,10.1.0.0/16,9.0.0.0/8,2001:db8::/32")
    assert all(low <= high for low, high in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    assert len(found) == 3


def test_the_ranges_agree_with_the_networks_for_any_of_them() -> None:
    dice = random.Random(7)  # noqa: S311 - nothing to hide
    for _ in range(200):
        networks = [
            ip_network((dice.getrandbits(32), dice.randrange(33)), strict=False)
            if dice.random() < 0.5
            # Not so wide as to hold all of IPv4, which is a part of IPv6 here.
            else ip_network((2**127 + dice.getrandbits(126), dice.randrange(1, 129)), strict=False)
            for _ in range(dice.randrange(1, 6))
        ]
        subnets = ",".join(map(str, networks))
        for network in networks:
            for number in (-1, 0, network.num_addresses - 1, network.num_addresses):
                of: type[IPv4Address | IPv6Address] = type(network.network_address)
                try:
                    address = of(int(network.network_address) + number)
                except ValueError:
                    continue
                expected = any(ip_address(address) in one for one in networks)
                assert is_open(subnets, str(address)) is expected, (subnets, address)
