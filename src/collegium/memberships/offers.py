"""Offers: the roles that an invitation, an invite link or a join request leads to.

One place says whether an offer can still be granted: by an actor, by its sponsor, and at all. Who
may give a role directly is checked in ``memberships.actions``, by the same rule:
``access.rules.refusal_to_grant``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import select

from collegium.access.queries import OrganisationState, ScopeAccess, is_active, permissions_in_scope
from collegium.access.rules import (
    KINDS,
    Actor,
    Permission,
    ScopeKind,
    may_grant,
    refusal_to_grant,
)
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement, any_of
from collegium.db.tables import grants, role_permissions
from collegium.lists.sql_hints import no_index
from collegium.refusals import Conflict, Forbidden
from collegium.roles import queries as role_queries
from collegium.roles.availability import queries as availability_queries
from collegium.scopes.queries import RoleInScope


class _HeldPermission:
    account_id: int
    scope_id: int
    permission: str


_PERMISSIONS_BY_ACCOUNT = Statement[_HeldPermission](
    select(grants.c.account_id, grants.c.scope_id, role_permissions.c.permission)
    .join(role_permissions, role_permissions.c.role_id == grants.c.role_id)
    .where(
        any_of(grants.c.account_id, "accounts", plan_once=True),
        any_of(no_index(grants.c.scope_id), "scopes", plan_once=True),
        is_active(),
    )
)


class Sponsored(RoleInScope):
    """An invitation or invite link: its sponsor must still be able to grant what it offers."""

    sponsor_id: int | None
    sponsor_is_active: bool | None
    sponsor_is_staff: bool | None


S = TypeVar("S", bound=Sponsored)


class Offer(NamedTuple):
    """What a person gets in a scope.

    Args:
        role_ids: ids of the roles.
        is_active: whether all these roles are active.
        creates_projects: whether a project is created for each admitted person.
    """

    role_ids: tuple[int, ...]
    is_active: bool
    creates_projects: bool = False


def check_may_grant(
    tx: ReadTransaction, actor: Actor, scope_access: ScopeAccess, offer: Offer
) -> None:
    """Require that the actor may grant an offer.

    Raises:
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``role.not_available``, ``role.concealed``.
    """
    needed = {KINDS[scope_access.scope.kind].grant}
    if offer.creates_projects:
        needed.add(Permission.PROJECT_CREATE)
    permissions, is_staff = scope_access.permissions, actor.is_staff
    refusal = refusal_to_grant(needed, permissions, (), is_staff=is_staff) or refusal_to_grant(
        (), permissions, permissions_to_grant(tx, offer), is_staff=is_staff
    )
    if refusal:
        raise Forbidden(refusal)
    scope = scope_access.scope
    if scope.kind != ScopeKind.GROUP:
        availability_queries.check_available(tx, offer.role_ids, scope.parent_id or scope.id)


def obstacle(row: OrganisationState, offer: Offer) -> str:
    """Return why nobody can be granted an offer today; empty if it is available.

    Args:
        row: loaded with its scope: ``blocked archived``.

    Returns:
        ``role.inactive``, ``organisation.unavailable`` or an empty string.
    """
    if not offer.is_active:
        return "role.inactive"
    return "organisation.unavailable" if row.blocked or row.archived else ""


def check_available(row: OrganisationState, offer: Offer) -> None:
    """Require that an offer could be granted today.

    Raises:
        Conflict: ``role.inactive``, ``organisation.unavailable``.
    """
    if code := obstacle(row, offer):
        raise Conflict(code)


def can_read_but_not_grant(
    tx: ReadTransaction, actor: Actor, row: RoleInScope, offer: Offer
) -> bool:
    """Return whether the actor may read an invitation or invite link, but not grant what it offers.

    Its UUID is a capability of the invitee, and of actors who could grant the role anyway. It must
    not become one for actors who only read, nor for actors who may invite here but not to a role
    above their own ceiling.
    """
    # ``ignore_subnets``: calling from a network outside the access subnets, where the actor may
    # read nothing, must not avoid that rule.
    access = permissions_in_scope(tx, actor, row.scope_id, ignore_subnets=True)
    permissions = access.permissions if access else frozenset[str]()
    grant = KINDS[row.scope_kind].grant
    can_read = actor.is_support or Permission.INVITATION_LIST in permissions or grant in permissions
    return can_read and not may_grant(
        row.scope_kind, permissions, permissions_to_grant(tx, offer), is_staff=actor.is_staff
    )


def ids_with_able_sponsor(
    tx: ReadTransaction, rows: Sequence[S], offer_of: Callable[[S], Offer]
) -> set[int]:
    """Return the ids of the invitations or invite links whose sponsors may still grant the offer.

    The number of queries does not depend on the number of rows.
    """
    sponsors = {row.sponsor_id for row in rows if row.sponsor_id is not None}
    if not sponsors:
        return set()
    permissions: dict[tuple[int | None, int], set[str]] = {}
    scope_ids = {scope_id for row in rows for scope_id in (row.scope_id, row.organisation_id)}
    for held in tx.fetch_all(
        _PERMISSIONS_BY_ACCOUNT, accounts=list(sponsors), scopes=list(scope_ids), now=tx.now
    ):
        permissions.setdefault((held.account_id, held.scope_id), set()).add(held.permission)
    offers = [offer_of(row) for row in rows]
    by_role = role_queries.permissions_of(tx, {role for offer in offers for role in offer.role_ids})
    empty: set[str] = set()
    # Many rows of a list have the same sponsor, scope and offer.
    judged: dict[tuple[int | None, int, Offer], bool] = {}
    for row, offer in zip(rows, offers, strict=True):
        key = (row.sponsor_id, row.scope_id, offer)
        if key not in judged:
            judged[key] = bool(row.sponsor_is_active) and may_grant(
                row.scope_kind,
                permissions.get((row.sponsor_id, row.scope_id), empty)
                | permissions.get((row.sponsor_id, row.organisation_id), empty),
                _permissions_to_grant(offer, by_role),
                is_staff=bool(row.sponsor_is_staff),
            )
    return {
        row.id
        for row, offer in zip(rows, offers, strict=True)
        if judged[row.sponsor_id, row.scope_id, offer]
    }


def permissions_to_grant(tx: ReadTransaction, offer: Offer) -> set[str]:
    """Return the permissions that are needed to grant an offer, besides adding members."""
    return _permissions_to_grant(offer, role_queries.permissions_of(tx, offer.role_ids))


def _permissions_to_grant(offer: Offer, by_role: Mapping[int, Collection[str]]) -> set[str]:
    names = {name for role in offer.role_ids for name in by_role.get(role, ())}
    return names | {Permission.PROJECT_CREATE} if offer.creates_projects else names
