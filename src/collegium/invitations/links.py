"""URLs that lead to an invitation, an invite link or the pages of a scope."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import ScopeKind
from collegium.invitations.queries import InvitationRow
from collegium.security.crypto import Vault
from collegium.settings import Settings

MAILED: Final = "invitation"
"""The signing purpose of links that are only mailed to the invited address, and so prove it."""

SHARED_BY_INVITER: Final = "invitation handed on"
"""The signing purpose of links that an inviter shares by other means. They prove no address."""


def to_invitation(
    settings: Settings, vault: Vault, invitation: InvitationRow, purpose: str = MAILED
) -> str:
    """Return the URL of an invitation, at the front end if one is configured.

    Args:
        purpose: ``MAILED``, or ``SHARED_BY_INVITER`` for a link that is shown to somebody other
            than the invitee.
    """
    if settings.homeport_url:
        return f"{settings.homeport_url.rstrip('/')}/invitation/{invitation.uuid}/"
    token = vault.sign(purpose, invitation.uuid, invitation.link_version)
    return f"{settings.base_url.rstrip('/')}/invitation/{token}/"


def scope_path(kind: str, uuid: str, scope_id: int) -> str:
    """Return the path of the pages of a scope; groups are addressed by their id, not their UUID."""
    return f"/group/{scope_id}/team/" if kind == ScopeKind.GROUP else f"/{kind}/{uuid}/"


def to_invite_link(settings: Settings, uuid: str) -> str:
    """Return the URL of an invite link."""
    return f"{settings.base_url.rstrip('/')}/open_invitation/{uuid}/"
