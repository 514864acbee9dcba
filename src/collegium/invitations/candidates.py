"""Whom a list of invitations can invite: who is a member or invited already, or has no account."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from collegium.access.queries import ScopeRow
from collegium.access.rules import KINDS
from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction
from collegium.invitations import queries as invitation_queries
from collegium.memberships import queries as membership_queries


class Obstacle(StrEnum):
    """Why an address cannot be invited to a role."""

    MEMBER = "member"
    INVITED = "invited"
    NO_ACCOUNT = "no_account"
    """A group invites accounts."""


class Candidates(NamedTuple):
    """What is known of the addresses of a list, in comparable form.

    Args:
        one_role: whether an account has one role in this scope, so any role there is an obstacle.
        members: addresses with the ids of roles that their accounts have.
        invited: addresses with the ids of roles to which they have open invitations.
        accounts: addresses with an active account; None where accounts do not matter.
    """

    one_role: bool
    members: frozenset[tuple[str, int]]
    invited: frozenset[tuple[str, int]]
    accounts: frozenset[str] | None

    def obstacle(self, key: str, role: int) -> Obstacle | None:
        """Return why an address cannot be invited to a role; None if it can.

        Args:
            key: the address in comparable form.
            role: id of the role; 0 in a scope with one role for each account.
        """
        place = (key, 0 if self.one_role else role)
        if place in self.members:
            return Obstacle.MEMBER
        if place in self.invited:
            return Obstacle.INVITED
        if self.accounts is not None and key not in self.accounts:
            return Obstacle.NO_ACCOUNT
        return None


def load(tx: ReadTransaction, scope: ScopeRow, keys: Collection[str]) -> Candidates:
    """Return what is known of some addresses in a scope.

    The number of statements does not depend on the number of addresses.

    Args:
        keys: addresses in comparable form.
    """
    kind = KINDS[scope.kind]
    emails = sorted(keys)
    if not emails:
        return Candidates(kind.one_role, frozenset(), frozenset(), frozenset())
    members = {
        (row.email_comparable, 0 if kind.one_role else row.role_id)
        for row in membership_queries.roles_of_emails(tx, scope.id, emails)
    }
    if not kind.invites_accounts:
        invited = {
            (row.email_comparable, row.role_id)
            for row in invitation_queries.open_to(tx, scope.id, emails)
        }
        return Candidates(kind.one_role, frozenset(members), frozenset(invited), None)
    accounts = account_queries.active_by_email(tx, emails)
    with_open = invitation_queries.accounts_with_open(
        tx, scope.id, {row.id for row in accounts.values()}
    )
    invited = {(key, 0) for key, row in accounts.items() if row.id in with_open}
    return Candidates(kind.one_role, frozenset(members), frozenset(invited), frozenset(accounts))
