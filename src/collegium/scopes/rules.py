"""How much there may be in one organisation, project or group."""

from __future__ import annotations

from collegium.refusals import Conflict


def check_project_quota(count: int, most: int) -> None:
    """Let an organisation have another project only while it has few enough.

    Refuses: Conflict ``organisation.too_many_projects``.
    """
    if count >= most:
        raise Conflict("organisation.too_many_projects", most=most)


def check_invite_link_quota(count: int, most: int) -> None:
    """Let a scope have another open invite link only while it has few enough.

    Refuses: Conflict ``open_invitation.too_many``.
    """
    if count >= most:
        raise Conflict("open_invitation.too_many", most=most)
