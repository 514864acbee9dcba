"""Limits: how many projects and invite links there may be."""

from __future__ import annotations

from collegium.refusals import Conflict


def check_project_quota(count: int, limit: int) -> None:
    """Require that an organisation has fewer projects than the limit.

    Args:
        count: present number.
        limit: maximum number.

    Raises:
        Conflict: ``organisation.too_many_projects``.
    """
    if count >= limit:
        raise Conflict("organisation.too_many_projects", most=limit)


def check_invite_link_quota(count: int, limit: int) -> None:
    """Require that a scope has fewer usable invite links than the limit.

    Args:
        count: present number.
        limit: maximum number.

    Raises:
        Conflict: ``invite_link.too_many``.
    """
    if count >= limit:
        raise Conflict("invite_link.too_many", most=limit)
