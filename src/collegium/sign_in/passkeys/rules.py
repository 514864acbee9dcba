"""Pure rules of passkeys: limits, and for which addresses they work."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from collegium import hosts

CEREMONY_SECONDS: Final = 5 * 60
"""Time from the start of a ceremony until its end, in seconds."""

PASSKEYS_MAX: Final = 20
"""Maximum number of active passkeys of an account."""

NAME_MAX: Final = 150
REASON_MAX: Final = 500


class Purpose(StrEnum):
    """What a ceremony is for. It is good for nothing else."""

    REGISTRATION = "registration"
    SIGN_IN = "sign_in"
    """To sign in with nothing but the passkey. The device must verify the person."""
    SECOND_FACTOR = "second_factor"
    """To sign in after the password."""
    CONFIRM = "confirm"
    """To confirm in a session who is signed in."""


class RelyingParty(NamedTuple):
    """What passkeys are bound to (WebAuthn, section 5.4.2).

    Args:
        id: the domain.
        name: the name that devices show.
        origins: the origins of the pages that may use passkeys.
    """

    id: str
    name: str
    origins: list[str]


def relying_party(base_url: str, homeport_url: str | None, name: str) -> RelyingParty | None:
    """Return the relying party of a service; None if its address is no domain.

    Args:
        base_url: the setting ``BASE_URL``.
        homeport_url: the setting ``HOMEPORT_URL``, a front end that may use passkeys too.
        name: the name of the service.
    """
    domain = urlsplit(base_url).hostname or ""
    if not domain or hosts.comparable_ip_address(domain) is not None:
        return None
    urls = [base_url, *([homeport_url] if homeport_url else [])]
    return RelyingParty(domain, name, [origin for url in urls if (origin := hosts.origin(url))])


def needs_verification(purpose: str, *, is_user_verified: bool) -> bool:
    """Return whether the device must verify the person, with a finger or a PIN for example.

    Args:
        purpose: purpose of the ceremony.
        is_user_verified: whether the device did so when the passkey was registered.
    """
    return purpose == Purpose.SIGN_IN or is_user_verified
