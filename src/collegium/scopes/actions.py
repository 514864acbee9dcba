"""What organisations, projects and groups have in common: when somebody joins, when they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.invitations import queries as invitation_queries
from collegium.invite_links import queries as invite_link_queries
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests import rules as join_request_rules
from collegium.join_requests.rules import State
from collegium.memberships import queries as membership_queries
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict
from collegium.roles import queries as role_queries
from collegium.scopes import queries as scope_queries
from collegium.sign_in.tokens.actions import actor_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row


def check_open(row: Row) -> None:
    """Let nothing be made, given, changed or deleted in an organisation that is closed.

    Taking away stays possible: removing a member, cancelling and rejecting an invitation, closing
    a link, leaving, declining, withdrawing.

    Args:
        row: a scope, or something that was loaded with its scope: ``blocked archived``.

    Refuses: Conflict ``organisation.unavailable``.
    """
    if row.blocked or row.archived:
        raise Conflict("organisation.unavailable")


class ScopeRef(NamedTuple):
    """A scope in which a role is given: its id and its kind."""

    id: int
    kind: str


def grant(
    tx: WriteTransaction,
    actor: Actor | None,
    account: int,
    role: int,
    place: ScopeRef,
    *,
    by: int | None,
    until: datetime | None = None,
    again: bool = False,
    besides: int = 0,
) -> None:
    """Write a grant, and approve the join requests that it fulfils.

    Every grant is written here. The scope is locked.

    Args:
        actor: the account that acts; None where a link approves by itself.
        by: the id of the account that gives the role; None where a link approves by itself.
        again: as ``memberships.grant``.
        besides: the id of a request that the caller decides itself.

    Refuses: as ``memberships.grant``.
    """
    membership_queries.grant(tx, uuid4().hex, account, role, place.id, until, by, again=again)
    finish_join(tx, actor, account, role, place, by=by, besides=besides)


def finish_join(
    tx: WriteTransaction,
    actor: Actor | None,
    account: int,
    role: int,
    place: ScopeRef,
    *,
    by: int | None,
    besides: int = 0,
) -> None:
    """Approve the pending requests of an account that a role it now holds fulfils.

    In a group, which has one role a person, every role does. A request that also makes a project
    is fulfilled by nothing but its own approval.

    Args:
        by: the id of the account that gave the role; None where a link approved by itself.
        besides: the id of a request that the caller decides itself.
    """
    waiting = [
        request
        for request in join_request_queries.pending_of(tx, account, place.id)
        if request.id != besides and not request.auto_create_project
    ]
    if not waiting:
        return
    carried = role_queries.permissions_of(tx, {role, *(request.role_id for request in waiting)})
    giver = _granted_by(tx, actor, by)
    # Nobody is mailed that they did something, nor twice that something was done.
    is_told = bool(besides) or (actor is not None and actor.id == account)
    for request in waiting:
        asked = request.role_id
        if place.kind != ScopeKind.GROUP and not join_request_rules.is_fulfilled(
            asked, carried.get(asked, ()), role, carried.get(role, ())
        ):
            continue
        join_request_queries.step(tx, request, State.APPROVED, by, is_automatic=by is None)
        event_queries.record(
            tx,
            "request.approved",
            giver,
            scope=place.id,
            account=account,
            role=request.role_name,
            scope_name=request.scope_name,
            username=request.username,
            request_uuid=request.uuid,
        )
        if not is_told and notifications_enabled(request):
            outbox_queries.enqueue(tx, mails.StructureRoleGranted(request.email, request.id))
            is_told = True


def _granted_by(tx: WriteTransaction, actor: Actor | None, by: int | None) -> Actor | None:
    """Return who gave a role, for the audit log: an invitation is accepted by somebody else."""
    if by is None or (actor is not None and actor.id == by):
        return actor if by is not None else None
    account = account_queries.by_id(tx, by)
    return None if account is None else actor_of(account)


def notifications_enabled(request: Row) -> bool:
    """Tell whether the account that asked can be mailed about its request."""
    return bool(request.account_is_active and request.notifications_enabled and request.email)


def close_pending_after_join(
    tx: WriteTransaction, actor: Actor | None, account: int, scope: int
) -> None:
    """Close the invitations to a group of somebody who has just joined it.

    There is one role a person in a group, so nothing that is still open could be answered.

    Args:
        scope: number of the group, which is locked.
    """
    for uuid in invitation_queries.close_of(tx, scope, account):
        event_queries.record(tx, "invitation.canceled", actor, scope=scope, invitation=uuid)


def end_invitations(tx: WriteTransaction, actor: Actor | None, account: int) -> None:
    """Cancel the open invitations to groups of an account that cannot be used any more.

    They are the account's, so nobody else could accept them.

    Args:
        account: id of the account, which is locked.
    """
    for row in invitation_queries.close_of_account(tx, account):
        event_queries.record(
            tx, "invitation.canceled", actor, scope=row.scope_id, invitation=row.uuid
        )


def notify_staff(tx: WriteTransaction, invitation: int) -> None:
    """Mail every member of staff the question whether an invitation may go out, as it is now.

    Args:
        invitation: its number.
    """
    row: Any = invitation_queries.by_id(tx, invitation)
    for one in join_request_queries.staff(tx):
        outbox_queries.enqueue(
            tx, mails.InvitationRequested(one.email, row.id, one.id, row.generation)
        )


def change_account(tx: WriteTransaction, account: int, values: Mapping[str, Any]) -> None:
    """Write columns of an account; what staff decide by its address they are asked again.

    Refuses: as ``accounts.change``.
    """
    for invitation in account_queries.change(tx, account, values):
        notify_staff(tx, invitation)


def delete_scope(tx: WriteTransaction, actor: Actor, scope: int) -> None:
    """End everything that leads into a scope or out of it, and hide it; its history stays.

    Args:
        scope: number of a scope that is locked, and whose end was judged before.
    """
    invitation_queries.close_all(tx, scope)
    invite_link_queries.cancel_all(tx, scope)
    join_request_queries.close_all(tx, scope)
    membership_queries.end_all(tx, scope, actor.id)
    scope_queries.remove(tx, scope)
