"""The links by which somebody comes to an invitation, and to a team."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access.rules import ScopeKind

if TYPE_CHECKING:
    from collegium.db.statements import Row
    from collegium.security.crypto import Vault
    from collegium.settings import Settings

MAILED: Final = "invitation"
"""What a link is signed for that only the invited address gets, and so proves it."""

SHARED_BY_INVITER: Final = "invitation handed on"
"""What a link is signed for that somebody in charge hands on; it proves nothing of an address."""


def to_invitation(settings: Settings, vault: Vault, invitation: Row, purpose: str = MAILED) -> str:
    """Give the link to an invitation, at the front end where there is one.

    Args:
        purpose: ``MAILED``, or ``HANDED_ON`` for whoever is shown it instead of being mailed it.
    """
    if settings.homeport_url:
        return f"{settings.homeport_url.rstrip('/')}/invitation/{invitation.uuid}/"
    token = vault.sign(purpose, invitation.uuid, invitation.generation)
    return f"{settings.base_url.rstrip('/')}/invitation/{token}/"


def scope_path(kind: str, uuid: str, number: int) -> str:
    """Give the path of the pages about a scope; groups are known by their numbers."""
    return f"/group/{number}/team/" if kind == ScopeKind.GROUP else f"/{kind}/{uuid}/"


def to_invite_link(settings: Settings, uuid: str) -> str:
    """Give the link to an open invitation."""
    return f"{settings.base_url.rstrip('/')}/open_invitation/{uuid}/"
