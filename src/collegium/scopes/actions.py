"""Actions that organisations, projects and groups have in common.

Granting a role and what follows from it, joining, and deletion. Actions on existing members are in
``memberships``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from collegium.access.queries import OrganisationState
from collegium.access.rules import KINDS, Actor, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import Action as InvitationAction
from collegium.invite_links import queries as invite_link_queries
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests import rules as join_request_rules
from collegium.join_requests.queries import JoinRequestRow
from collegium.join_requests.rules import Action as JoinRequestAction
from collegium.join_requests.transitions import move
from collegium.memberships import queries as membership_queries
from collegium.memberships.admission import check_may_have
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.rules import GrantSource
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict
from collegium.roles import queries as role_queries
from collegium.scopes import queries as scope_queries
from collegium.sign_in.tokens.actions import actor_of


def check_open(row: OrganisationState) -> None:
    """Require that the organisation is neither blocked nor archived.

    A blocked or archived organisation accepts no additions, grants, changes or deletions. Taking
    away remains possible: removing a member, cancelling or rejecting an invitation, cancelling an
    invite link, leaving, declining, withdrawing.

    Args:
        row: a scope, or a row that was loaded with its scope.

    Raises:
        Conflict: ``organisation.unavailable``.
    """
    if row.blocked or row.archived:
        raise Conflict("organisation.unavailable")


class ScopeRef(NamedTuple):
    """The id and kind of a scope in which a role is granted."""

    id: int
    kind: str


def grant(
    tx: WriteTransaction,
    actor: Actor | None,
    account: int,
    role: int,
    scope: ScopeRef,
    *,
    by: int | None,
    source: GrantSource,
    until: datetime | None = None,
    replaces: bool = False,
    former: int | None = None,
    excluded_request: int = 0,
    uuid: str = "",
) -> int:
    """Write a grant, and approve the join requests that it fulfils. Return the id of the grant.

    The person is told, unless they did it themselves, or an e-mail about a join request tells them.

    All grants go through this function. The caller has locked the scope.

    Args:
        actor: the account that acts; None for auto-approval and claim rules.
        by: id of the account that grants the role; None for auto-approval and claim rules.
        until: end of the grant, UTC; None for no end.
        replaces: as ``memberships.queries.grant``.
        former: id of the grant that this one replaces; None if it replaces none.
        excluded_request: id of a join request that the caller decides itself.
        uuid: of the grant; a new one by default.

    Raises:
        Conflict: as ``memberships.admission.check_may_have`` and ``memberships.queries.grant``.
    """
    if scope.kind != ScopeKind.GROUP:
        check_may_have(tx, account, role, scope.id)
    grant_id = membership_queries.grant(
        tx,
        uuid or uuid4().hex,
        account,
        role,
        scope.id,
        until,
        by,
        source=source,
        replaces=replaces,
    )
    is_notified = finish_join(
        tx, actor, account, role, scope, by=by, excluded_request=excluded_request
    )
    if not is_notified:
        notice_actions.granted(tx, actor, grant_id, former)
    return grant_id


def finish_join(
    tx: WriteTransaction,
    actor: Actor | None,
    account: int,
    role: int,
    scope: ScopeRef,
    *,
    by: int | None,
    excluded_request: int = 0,
) -> bool:
    """Approve the pending requests of an account that its new role fulfils.

    A person has one role in a group, so there every role fulfils every request. A request that
    also creates a project is only fulfilled by its own approval.

    Return whether an e-mail about a join request tells the person of the role.

    Args:
        by: id of the account that granted the role; None for auto-approval.
        excluded_request: id of a join request that the caller decides itself.
    """
    pending = [
        request
        for request in join_request_queries.list_pending(tx, account, scope.id)
        if request.id != excluded_request and not request.auto_create_project
    ]
    if not pending:
        return bool(excluded_request)
    by_role = role_queries.permissions_of(tx, {role, *(request.role_id for request in pending)})
    granter = _load_granter(tx, actor, by)
    # No e-mail about the recipient's own action, and only one e-mail for several requests.
    is_notified = bool(excluded_request)
    is_own = actor is not None and actor.id == account
    for request in pending:
        requested_role = request.role_id
        if not KINDS[scope.kind].one_role and not join_request_rules.is_fulfilled(
            requested_role, by_role.get(requested_role, ()), role, by_role.get(role, ())
        ):
            continue
        move(tx, granter, request, JoinRequestAction.APPROVE, by)
        if not is_own and not is_notified and notifications_enabled(request):
            outbox_queries.enqueue(tx, mails.JoinRequestApproved(request.email, request.id))
            is_notified = True
    return is_notified


def _load_granter(tx: WriteTransaction, actor: Actor | None, by: int | None) -> Actor | None:
    """Return who granted a role, for the audit log: the invitee accepts, but the inviter grants."""
    if by is None or (actor is not None and actor.id == by):
        return actor if by is not None else None
    account = account_queries.by_id(tx, by)
    return None if account is None else actor_of(account)


def notifications_enabled(request: JoinRequestRow) -> bool:
    """Return whether the requester can and wants to be e-mailed about a join request."""
    return bool(request.account_is_active and request.notifications_enabled and request.email)


def close_invitations(
    tx: WriteTransaction, actor: Actor | None, account: int, **scope: int
) -> None:
    """Cancel the open invitations to groups of an account that cannot accept them any more.

    They invite this account, so no other account could accept them.

    Args:
        account: id of the account, which has joined the group or can no longer be used.
        scope: ``scope``, the id of a locked group; by default all groups, with the account locked.
    """
    for row in invitation_queries.close(tx, account=account, **scope):
        event_queries.record(tx, actor, InvitationAction.CLOSE.event.of(row))


def notify_staff(tx: WriteTransaction, invitation_id: int) -> None:
    """Queue an e-mail to every member of staff that asks to approve or reject an invitation.

    Args:
        invitation_id: id of the invitation.
    """
    row = invitation_queries.existing(tx, invitation_id)
    for staff in join_request_queries.staff(tx):
        outbox_queries.enqueue(
            tx, mails.InvitationRequested(staff.email, row.id, staff.id, row.link_version)
        )


def change_account(tx: WriteTransaction, account: int, values: Mapping[str, Any]) -> None:
    """Update columns of an account; ask staff again about invitations whose address this changes.

    Raises:
        Invalid, Conflict: as ``accounts.queries.change``.
    """
    for invitation in account_queries.change(tx, account, values):
        notify_staff(tx, invitation)


def close_offers(tx: WriteTransaction, scope: int) -> None:
    """Cancel the open invitations, invite links and join requests of a locked scope."""
    invitation_queries.close(tx, scope=scope)
    invite_link_queries.cancel_all(tx, scope)
    join_request_queries.cancel_all(tx, scope)


def delete_scope(tx: WriteTransaction, actor: Actor, scope: int) -> None:
    """Delete a scope: cancel its invitations, invite links and requests, and end its grants.

    The row is only hidden, and its events remain.

    Args:
        scope: id of a locked scope; the caller has checked that it may be deleted.
    """
    close_offers(tx, scope)
    notice_actions.removing_all(tx, actor, scope)
    membership_queries.end_all(tx, scope, actor.id)
    scope_queries.remove(tx, scope)
