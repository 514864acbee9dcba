"""Calculate the address ranges from which access subnets hide an organisation.

The database stores the complement of the subnets, because the check is then simple: an organisation
is hidden if the client address lies in one of its stored ranges. An organisation without subnets
has no rows.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Final

_LAST_ADDRESS: Final = 2**128 - 1
_IPV4_MAPPED: Final = 0xFFFF << 32  # offset of the IPv4-mapped addresses in IPv6

NO_ADDRESS: Final = -1
"""The position of a request without a known address: before all addresses, in no subnet."""


def denied_ranges(subnets: str) -> list[tuple[bytes, bytes]]:
    """Return the ranges, both ends included, from which an organisation is hidden.

    Args:
        subnets: networks separated by commas. An empty text hides the organisation from nobody. A
            part that is no network admits nobody.
    """
    parts = [part for part in map(str.strip, subnets.split(",")) if part]
    if not parts:
        return []
    ranges = []
    next_address = NO_ADDRESS
    for low, high in sorted(filter(None, map(_bounds, parts))):
        if low > next_address:
            ranges.append((_to_bytes(next_address), _to_bytes(low - 1)))
        next_address = max(next_address, high + 1)
    if next_address <= _LAST_ADDRESS:
        ranges.append((_to_bytes(next_address), _to_bytes(_LAST_ADDRESS)))
    return ranges


@lru_cache(maxsize=4096)
def position(address: str) -> bytes:
    """Return the position of an address among the ranges: 16 bytes, IPv4 mapped into IPv6.

    An invalid address has the position of ``NO_ADDRESS``, which is empty.
    """
    try:
        return _to_bytes(_to_integer(ip_address(address.strip())))
    except ValueError:
        return _to_bytes(NO_ADDRESS)


def _bounds(text: str) -> tuple[int, int] | None:
    try:
        network = ip_interface(text).network
    except ValueError:
        return None
    return _to_integer(network.network_address), _to_integer(network.broadcast_address)


def _to_integer(address: IPv4Address | IPv6Address) -> int:
    return int(address) + (_IPV4_MAPPED if address.version == 4 else 0)  # noqa: PLR2004 - IPv4


def _to_bytes(number: int) -> bytes:
    return b"" if number == NO_ADDRESS else number.to_bytes(16)
