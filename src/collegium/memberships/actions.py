"""What can be done to the team of a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from collegium.access.queries import hold
from collegium.access.rules import TEAM, Kind, may, may_give
from collegium.events import queries as event_queries
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.scopes.actions import Place, check_open, grant, joined, settle

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from collegium.access.queries import Reached
    from collegium.access.rules import Actor, Permission
    from collegium.db.database import Write
    from collegium.db.statements import Row


class Seat(NamedTuple):
    """A place in a team: who, in which role, where."""

    reached: Reached
    role: Row
    account: Row


def add(tx: Write, actor: Actor, seat: Seat, until: datetime | None) -> None:
    """Give somebody a role in a scope that the actor reached with the right to.

    Refuses: Conflict ``organisation.unavailable``, ``role.other_kind``, ``role.inactive``,
    ``membership.own_role`` and ``grant.exists``, Forbidden ``role.above_ceiling``,
    Invalid ``grant.ends_in_the_past``.
    """
    right = TEAM[Kind(seat.reached.scope.kind)].grant
    seat = _judge(tx, actor, seat, right)
    if seat.role.kind != seat.reached.scope.kind:
        raise Conflict("role.other_kind")
    if not seat.role.is_active:
        raise Conflict("role.inactive")
    membership_rules.check_end(until, tx.now)
    scope = seat.reached.scope
    in_group = scope.kind == Kind.GROUP
    if in_group and membership_queries.in_scope(tx, seat.account.id, scope.id):
        raise Conflict("grant.exists")
    grant(tx, actor, seat.account.id, seat.role.id, _place(seat), by=actor.id, until=until)
    _record(tx, "role.granted", actor, seat, until)
    if in_group:
        joined(tx, actor, seat.account.id, scope.id)


def update(tx: Write, actor: Actor, seat: Seat, until: datetime | None) -> bool:
    """Set the end of somebody's grant; None: without end. Tell whether it is another one.

    Refuses: as ``add``, and NotFound ``grant.unknown`` when there is no such grant now,
    Conflict ``scope.last_owner`` when the last owner would be given an end.
    """
    seat = _judge(tx, actor, seat, TEAM[Kind(seat.reached.scope.kind)].regrant)
    membership_rules.check_end(until, tx.now)
    held = membership_queries.held(tx, seat.account.id, seat.role.id, seat.reached.scope.id)
    if held is None:
        raise NotFound("grant.unknown")
    if until == held.until:
        return False
    if until is not None:
        _keep_an_owner(tx, seat, held)
    membership_queries.set_end(tx, held.id, until)
    _record(tx, "role.updated", actor, seat, until)
    if until is None:
        # A role without end is what a request asks for.
        settle(tx, actor, seat.account.id, seat.role.id, _place(seat), by=actor.id)
    return True


def exchange(tx: Write, actor: Actor, seat: Seat, role: Row) -> None:
    """Give somebody another role in place of the one they have, with the same end.

    Refuses: as ``remove`` for the one and as ``add`` for the other, and NotFound
    ``grant.unknown`` when the one is not held now.
    """
    kind = Kind(seat.reached.scope.kind)
    seat = _judge(tx, actor, seat, TEAM[kind].revoke)
    given = _judge(tx, actor, seat._replace(role=role), TEAM[kind].grant)
    if role.kind != kind:
        raise Conflict("role.other_kind")
    if not role.is_active:
        raise Conflict("role.inactive")
    scope, account = seat.reached.scope.id, seat.account.id
    held = membership_queries.held(tx, account, seat.role.id, scope)
    if held is None:
        raise NotFound("grant.unknown")
    if role.id == seat.role.id:
        raise Conflict("grant.exists")
    if not membership_rules.is_owner_role(kind, role.name):
        _keep_an_owner(tx, seat, held)
    membership_queries.end(tx, held.id, actor.id)
    grant(tx, actor, account, role.id, _place(seat), by=actor.id, until=held.until)
    _record(tx, "role.revoked", actor, seat, tx.now)
    _record(tx, "role.granted", actor, given, held.until)


def remove(tx: Write, actor: Actor, seat: Seat) -> None:
    """Take a role away; nothing happens when it is not held.

    Refuses: Conflict ``membership.own_role`` and ``scope.last_owner``,
    Forbidden ``role.above_ceiling``.
    """
    seat = _judge(tx, actor, seat, TEAM[Kind(seat.reached.scope.kind)].revoke)
    held = membership_queries.held(tx, seat.account.id, seat.role.id, seat.reached.scope.id)
    if held is None:
        return
    _keep_an_owner(tx, seat, held)
    membership_queries.end(tx, held.id, actor.id)
    _record(tx, "role.revoked", actor, seat, tx.now)


def tell_ended(tx: Write, grant: int) -> bool:
    """Write down that the time of a grant is over; tell whether it was to be done."""
    ended = membership_queries.end_run_out(tx, grant)
    if ended is None:
        return False
    event_queries.record(
        tx,
        "role.expired",
        None,
        scope=ended.scope_id,
        account=ended.account_id,
        role=ended.role_name,
        scope_name=ended.scope_name,
        username=ended.username,
        until=ended.until.isoformat(),
    )
    return True


def _place(seat: Seat) -> Place:
    return Place(seat.reached.scope.id, seat.reached.scope.kind)


def _judge(tx: Write, actor: Actor, seat: Seat, right: Permission) -> Seat:
    # The rules below speak of the whole team; two managers at once must take turns.
    seat = seat._replace(reached=hold(tx, actor, seat.reached, right))
    carried = role_queries.permissions_of(tx, [seat.role.id]).get(seat.role.id, [])
    check_may(actor, seat.reached, right, seat.account.id, carried)
    return seat


def check_may(
    actor: Actor, reached: Reached, right: Permission, account: int, carried: Collection[str]
) -> None:
    """Let somebody use a right of the team on somebody's role.

    Args:
        account: the number of whom it is about.
        carried: the permissions of the role.

    Refuses: Forbidden ``permission.missing`` and ``role.above_ceiling``,
    Conflict ``membership.own_role`` and, save for taking a role away,
    ``organisation.unavailable``.
    """
    scope = reached.scope
    if not may(actor, reached.held, right):
        raise Forbidden("permission.missing")
    if right is not TEAM[Kind(scope.kind)].revoke:
        check_open(scope)
    from_below = not actor.is_staff and right not in reached.above
    if from_below and account == actor.id and scope.kind != Kind.ORGANISATION:
        raise Conflict("membership.own_role")
    if not may_give(actor, reached.held, carried):
        raise Forbidden("role.above_ceiling")


def _keep_an_owner(tx: Write, seat: Seat, held: Row) -> None:
    scope = seat.reached.scope
    if held.until is None and membership_rules.is_owner_role(scope.kind, seat.role.name):
        others = membership_queries.other_owners(tx, scope.id, held.id)
        membership_rules.keep_an_owner(scope.kind, seat.role.name, others)


def _record(tx: Write, kind: str, actor: Actor, seat: Seat, until: datetime | None) -> None:
    event_queries.record(
        tx,
        kind,
        actor,
        scope=seat.reached.scope.id,
        account=seat.account.id,
        role=seat.role.name,
        scope_name=seat.reached.scope.name,
        username=seat.account.username,
        until=until.isoformat() if until else None,
    )
