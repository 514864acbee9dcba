"""Rules of grants: when they may end, and which roles own a scope."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from collegium.access.rules import KINDS, ScopeKind
from collegium.invite_links.rules import matches_restrictions
from collegium.refusals import Invalid

UNDO: Final = timedelta(minutes=15)
"""How long the person who removed a role can give it back with one button."""


class GrantSource(StrEnum):
    """Where a grant comes from."""

    MANUAL = "manual"
    """Somebody with the permission added the member, or changed their role."""
    INVITATION = "invitation"
    JOIN_REQUEST = "join_request"
    RULE = "rule"
    """What an identity provider says about the person."""


class Restrictions(NamedTuple):
    """Whom an organisation or project admits; three empty lists admit everybody.

    Args:
        email_patterns: one must match the whole address.
        affiliations: one must be an affiliation of the person.
        identity_sources: one must be the source of the person's account.
    """

    email_patterns: Sequence[str] = ()
    affiliations: Sequence[str] = ()
    identity_sources: Sequence[str] = ()


class Applicant(NamedTuple):
    """What restrictions look at in an account."""

    email: str
    affiliations: Collection[str]
    identity_source: str


def is_admitted(restrictions: Restrictions, applicant: Applicant) -> bool:
    """Return whether a scope admits a person; one match is enough."""
    return matches_restrictions(
        restrictions.affiliations,
        restrictions.email_patterns,
        restrictions.identity_sources,
        of_account=applicant.affiliations,
        email=applicant.email,
        source=applicant.identity_source,
    )


def check_end(until: datetime | None, now: datetime) -> None:
    """Require an end in the future.

    Args:
        until: UTC; None for no end.

    Raises:
        Invalid: ``grant.ends_in_the_past``.
    """
    if until is not None and until <= now:
        raise Invalid("grant.ends_in_the_past", field="until")


def is_active(ended_at: datetime | None, valid_until: datetime | None, now: datetime) -> bool:
    """Return whether a grant has neither been ended nor reached its end."""
    return ended_at is None and (valid_until is None or valid_until > now)


def is_owner_role(kind: str, role_name: str) -> bool:
    """Return whether a role is an owner role of this kind of scope."""
    return role_name in KINDS[kind].owner_roles


def may_list_people(role_names: Collection[str]) -> bool:
    """Return whether an account with these roles in an organisation may list all its people."""
    readers = KINDS[ScopeKind.ORGANISATION].owner_roles | {"CUSTOMER.SUPPORT"}
    return not readers.isdisjoint(role_names)
