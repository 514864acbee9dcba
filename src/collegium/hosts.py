"""Comparable forms of host names, origins and network addresses.

``BASE_URL``, ``ALLOWED_HOSTS``, ``Host``, ``Origin`` and the headers of proxies are read by the
same functions, so that two spellings of one host compare equal. The module imports nothing that
reads settings.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import idna

from collegium.caching import cache_short

Network = IPv4Network | IPv6Network

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names by which a machine reaches itself."""

_NAME: Final = re.compile(r"[a-z0-9_~-]+(?:\.[a-z0-9_~-]+)*")
_NAME_MAX: Final = 253
_PORTS: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65535
_MAPPED_BITS: Final = 96
_ADDRESS_MAX: Final = 80
"""Length of the longest spelling of an address, with zone, port and quotes, in characters."""


class Host(NamedTuple):
    """A host in comparable form (lower case, IDNA, IPv6 in brackets) and its port, if given."""

    name: str
    port: int | None = None

    def origin(self, scheme: str) -> str:
        """Return ``scheme://host[:port]``, without the default port of the scheme."""
        port = "" if self.port in {None, _PORTS.get(scheme)} else f":{self.port}"
        return f"{scheme}://{self.name}{port}"


@cache_short(maxsize=1024)
def host(text: str) -> Host | None:
    """Return the host and the port, if any, of a ``Host`` header or of the authority of a URL.

    Returns None when the text is not exactly one host.
    """
    if len(text) > _NAME_MAX + 10:
        return None
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        is_whole = bracket and (not rest or rest.startswith(":"))
        name, port = (_literal(literal) if is_whole else ""), rest[1:]
    else:
        typed_name, _, port = text.partition(":")
        name = _name(typed_name)
    if not name or not re.fullmatch("[0-9]{0,5}", port, re.ASCII) or int(port or 0) > _PORT_MAX:
        return None
    return Host(name, int(port) if port else None)


def _literal(text: str) -> str:
    try:
        return f"[{IPv6Address(text).compressed}]" if "%" not in text else ""
    except ValueError:
        return ""


def _name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(text.removesuffix("."), uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            return ""
    return name if len(name) <= _NAME_MAX and _NAME.fullmatch(name) else ""


@cache_short(maxsize=256)
def origin(url: str) -> str | None:
    """Return ``scheme://host[:port]`` of an http or https URL; None when it has no valid host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    parsed = host(parts.netloc) if parts.scheme in _PORTS and "@" not in parts.netloc else None
    return parsed.origin(parts.scheme) if parsed else None


@cache_short(maxsize=4096)
def comparable_ip_address(text: str) -> str | None:
    """Return the comparable form of an IP address; None when the text is not one.

    Accepts the spellings of proxies: with a port, brackets, quotes or a zone. An IPv4-mapped IPv6
    address becomes the IPv4 address.
    """
    if len(text) > _ADDRESS_MAX:
        return None
    literal = text.strip().strip('"')
    if literal.startswith("["):
        literal, _, rest = literal[1:].partition("]")
        if rest and not (rest[0] == ":" and rest[1:].isdigit()):
            return None
    elif literal.count(":") == 1:
        literal, _, port = literal.partition(":")
        if not port.isdigit():
            return None
    try:
        ip = ip_address(literal.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip)


@lru_cache(maxsize=4096)
def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    """Tell whether an address in its comparable form belongs to one of the networks."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)


def is_loopback(text: str) -> bool:
    """Tell whether an address to listen on is reachable from this machine only."""
    ip = comparable_ip_address(text)
    return text == "localhost" or (ip is not None and ip_address(ip).is_loopback)


def network(text: str) -> Network:
    """Return the network of an address or of a CIDR range.

    A range of IPv4-mapped IPv6 addresses becomes the IPv4 range.

    Raises:
        ValueError: The text is neither, or host bits are set.
    """
    parsed = ip_network(text.strip().replace("[", "").replace("]", ""))
    if isinstance(parsed, IPv6Network):
        mapped = parsed.network_address.ipv4_mapped
        if mapped is not None and parsed.prefixlen >= _MAPPED_BITS:
            return IPv4Network((mapped, parsed.prefixlen - _MAPPED_BITS))
    return parsed
