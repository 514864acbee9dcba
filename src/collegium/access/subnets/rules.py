"""Access subnets: from which addresses an organisation is to be seen at all.

Kept as their complement, the ranges from which it is closed. So an organisation without subnets
has no row, and the question is one: does the address lie in one of the organisation's ranges?
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

_LAST: Final = 2**128 - 1
_MAPPED: Final = 0xFFFF << 32  # where IPv4 lies within IPv6

NO_ADDRESS: Final = -1
"""Where a request stands of which no address is known: before all others, in no network."""


def is_denied(subnets: str) -> list[tuple[bytes, bytes]]:
    """Give the ranges, both ends included, from which an organisation is closed.

    Args:
        subnets: networks, separated by commas; what is none lets nobody in. Empty: open to all.
    """
    parts = [part for part in map(str.strip, subnets.split(",")) if part]
    if not parts:
        return []
    ranges = []
    at = NO_ADDRESS
    for low, high in sorted(filter(None, map(_bounds, parts))):
        if low > at:
            ranges.append((_packed(at), _packed(low - 1)))
        at = max(at, high + 1)
    if at <= _LAST:
        ranges.append((_packed(at), _packed(_LAST)))
    return ranges


@lru_cache(maxsize=4096)
def position(address: str) -> bytes:
    """Give an address as it lies among the ranges, IPv4 as a part of IPv6."""
    try:
        return _packed(_number(ip_address(address.strip())))
    except ValueError:
        return _packed(NO_ADDRESS)


def _bounds(text: str) -> tuple[int, int] | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return _number(network.network_address), _number(network.broadcast_address)


def _number(address: IPv4Address | IPv6Address) -> int:
    return int(address) + (_MAPPED if address.version == 4 else 0)  # noqa: PLR2004 - IPv4


def _packed(number: int) -> bytes:
    return b"" if number == NO_ADDRESS else number.to_bytes(16, "big")
