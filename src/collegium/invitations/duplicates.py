"""Who of a list of people is invited already, or has a role, before invitations are created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collegium.access.queries import ScopeAccess
from collegium.access.rules import KINDS, Actor, require_permission
from collegium.db.database import ReadTransaction
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import OpenInvitation
from collegium.memberships import queries as membership_queries
from collegium.memberships.queries import MemberRole
from collegium.roles.queries import RoleRow
from collegium.text.email_addresses import comparable_address


class PlannedInvitation(NamedTuple):
    """An invitation that somebody wants to create."""

    email: str
    role: RoleRow


class Duplicate(NamedTuple):
    """A planned invitation that exists already.

    Args:
        existing: the open invitation; None if an earlier one of the list is the same.
    """

    planned: PlannedInvitation
    existing: OpenInvitation | None


class Membership(NamedTuple):
    """A role that an invited person has in the scope already."""

    planned: PlannedInvitation
    held: MemberRole


def find(
    tx: ReadTransaction,
    actor: Actor,
    scope_access: ScopeAccess,
    planned: Sequence[PlannedInvitation],
) -> tuple[list[Duplicate], list[Membership]]:
    """Return which planned invitations exist already, and which roles their people have.

    The number of statements does not depend on the length of the list.

    Args:
        scope_access: the scope and the actor's permissions there.

    Raises:
        Forbidden: ``permission.missing`` without the permission to invite, which also shows the
            members and the invitations of the scope.
    """
    scope = scope_access.scope
    require_permission(actor, scope_access.permissions, KINDS[scope.kind].grant)
    keys = [comparable_address(each.email) for each in planned]
    emails = list(dict.fromkeys(keys))
    open_invitations: dict[tuple[str, int], OpenInvitation | None] = {}
    for row in invitation_queries.open_to(tx, scope.id, emails):
        open_invitations.setdefault((row.email_comparable, row.role_id), row)
    roles_by_email: dict[str, list[MemberRole]] = {}
    for held in membership_queries.roles_of_emails(tx, scope.id, emails):
        roles_by_email.setdefault(held.email_comparable, []).append(held)
    duplicates, memberships = [], []
    for each, email in zip(planned, keys, strict=True):
        key = (email, each.role.id)
        if key in open_invitations:
            duplicates.append(Duplicate(each, open_invitations[key]))
        open_invitations.setdefault(key)
        memberships += [Membership(each, held) for held in roles_by_email.get(email, ())]
    return duplicates, memberships
