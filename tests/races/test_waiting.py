"""An action that had to wait for another is judged by what it finds then, on both databases."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, select, text

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.invitations import actions as invitation_actions
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import actions as membership_actions
from collegium.memberships import leaving
from collegium.memberships import queries as membership_queries
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound, Refusal
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups.actions import MemberChange
from collegium.scopes.projects import actions as project_actions
from tests.proof.invariants import broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from collegium.db.database import Database, WriteTransaction
    from tests.support.world import Person, Place, World

    Deed = Callable[[WriteTransaction], Any]

_DELETED = Statement(
    select(events.c.id).where(
        events.c.kind == "account.deleted", events.c.account_id == bindparam("account")
    )
)
_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def then(database: Database, first: Deed, second: Deed) -> Any:
    """Do an action and another that begins before it commits; return the second result."""
    return then_all(database, first, second)[0]


def then_all(database: Database, first: Deed, *others: Deed) -> list[Any]:
    """Do an action, and others that begin, one by one, before it is committed.

    Gives what they gave, or the refusals that they met.
    """

    def do(action: Deed) -> Any:
        try:
            with database.write() as tx:
                return action(tx)
        except Refusal as refusal:
            return refusal

    with ThreadPoolExecutor(len(others)) as pool:
        later = []
        with database.write() as tx:
            first(tx)
            for action in others:
                later.append(pool.submit(do, action))
                end = time.monotonic() + 5
                while not _all_wait(database, later) and time.monotonic() < end:
                    time.sleep(0.01)
        return [one.result(timeout=20) for one in later]


def _all_wait(database: Database, later: list[Future[Any]]) -> bool:
    if database.is_sqlite:
        return True  # one writes at a time, and whoever else wants to waits before it begins
    with database.engine.connect() as connection:
        waiting = connection.execute(_WAITS).scalar()
    return waiting == sum(not one.done() for one in later)


class House:
    """An organisation with two owners and a project, and what can be done there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.staff = world.staff
        self.olga, self.otto, self.ada = (world.person(name) for name in ("olga", "otto", "ada"))
        self.lab = world.organisation(owner=self.olga)
        self.project = world.project(self.lab)

    def _seat(
        self, tx: WriteTransaction, who: Person, role: str, place: Place
    ) -> membership_actions.RoleAssignment:
        reached = access_queries.get_visible(tx, self.staff.actor, place.kind, place.uuid)
        account = account_queries.by_uuid(tx, who.uuid)
        return membership_actions.RoleAssignment(
            reached, role_queries.named(tx, role, None), account
        )

    def give(self, tx: WriteTransaction, who: Person, role: str, place: Place) -> None:
        membership_actions.add(tx, self.staff.actor, self._seat(tx, who, role, place), None)

    def give_for_good(self, tx: WriteTransaction, who: Person, role: str, place: Place) -> None:
        membership_actions.update(tx, self.staff.actor, self._seat(tx, who, role, place), None)

    def take(self, tx: WriteTransaction, who: Person, role: str, place: Place) -> None:
        membership_actions.remove(tx, self.staff.actor, self._seat(tx, who, role, place))

    def delete(self, tx: WriteTransaction, who: Person) -> None:
        account_actions.delete(tx, self.staff.actor, who.uuid)

    def switch_off(self, tx: WriteTransaction, who: Person) -> None:
        settings, change = self.world.settings, {"is_active": False}
        account_actions.update(tx, self.staff.actor, settings, who.uuid, change, agrees=False)

    def accept(self, tx: WriteTransaction, who: Person, uuid: str) -> None:
        invitation_actions.accept(tx, who.actor, self.world.settings, uuid)

    def send(self, tx: WriteTransaction, uuid: str) -> None:
        invitation_actions.send(tx, self.olga.actor, self.world.settings, uuid)

    def cancel(self, tx: WriteTransaction, uuid: str) -> None:
        invitation_actions.cancel(tx, self.olga.actor, uuid)

    def remove_project(self, tx: WriteTransaction) -> None:
        place = self.project
        reached = access_queries.get_visible(tx, self.staff.actor, place.kind, place.uuid)
        project_actions.delete(tx, self.staff.actor, reached)

    def invited(self, who: Person) -> str:
        return self.world.invite(self.olga, who.email, "PROJECT.MEMBER", self.project)

    def held(self, who: Person) -> list[Any]:
        """What somebody holds, ended or not counted."""
        with self.world.database.read() as tx:
            return membership_queries.open_grants(tx, who.id)

    def owners(self) -> set[int]:
        with self.world.database.read() as tx:
            now = datetime.now(UTC)
            return {row.account_id for row in membership_queries.grants_at(tx, self.lab.id, now)}


@pytest.fixture
def house(world: World) -> House:
    return House(world)


ENDS = ["delete", "switch_off"]


def test_an_account_that_is_deleted_loses_what_it_is_given_meanwhile(
    house: House, database: Database
) -> None:
    give = partial(house.give, who=house.ada, role="PROJECT.MEMBER", place=house.project)
    assert then(database, give, partial(house.delete, who=house.ada)) is None
    assert house.held(house.ada) == []


@pytest.mark.parametrize("end", ENDS)
def test_an_account_that_has_ended_meanwhile_takes_no_invitation(
    house: House, database: Database, end: str
) -> None:
    uuid = house.invited(house.ada)
    accept = partial(house.accept, who=house.ada, uuid=uuid)
    refused = then(database, partial(getattr(house, end), who=house.ada), accept)
    # An invitation to an address goes with the account that had it.
    gone = end == "delete"
    expected = (NotFound, "invitation.unknown") if gone else (Conflict, "account.inactive")
    assert (type(refused), refused.code) == expected
    assert house.held(house.ada) == []
    assert house.world.invitation(uuid).state == ("canceled" if gone else "pending")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("role", ["CUSTOMER.OWNER", "PROJECT.MEMBER"])
def test_an_account_that_has_ended_meanwhile_is_given_no_role(
    house: House, database: Database, end: str, role: str
) -> None:
    place = house.lab if role == "CUSTOMER.OWNER" else house.project
    seat: list[membership_actions.RoleAssignment] = []

    def read_then_end(tx: WriteTransaction) -> None:
        seat.append(house._seat(tx, house.ada, role, place))
        getattr(house, end)(tx, house.ada)

    def give(tx: WriteTransaction) -> None:
        membership_actions.add(tx, house.staff.actor, seat[0], None)

    refused = then(database, read_then_end, give)
    assert (type(refused), refused.code) == (Conflict, "account.inactive")
    assert house.held(house.ada) == []


def test_an_account_that_has_ended_meanwhile_asks_for_nothing(
    house: House, database: Database, world: World
) -> None:
    link = world.open(house.olga, "PROJECT.MEMBER", house.project)

    def ask(tx: WriteTransaction) -> None:
        join_request_actions.submit(tx, house.ada.actor, world.settings, link)

    refused = then(database, partial(house.delete, who=house.ada), ask)
    assert (type(refused), refused.code) == (Conflict, "account.inactive")


def test_an_account_is_deleted_once(house: House, database: Database) -> None:
    delete = partial(house.delete, who=house.ada)
    refused = then(database, delete, delete)
    assert (type(refused), refused.code) == (NotFound, "account.unknown")
    with database.read() as tx:
        told = tx.fetch_all(_DELETED, account=house.ada.id)
    assert len(told) == 1


def test_who_deletes_an_account_and_who_lets_others_in_do_not_wait_for_each_other(
    house: House, database: Database
) -> None:
    # Of the laboratory nothing is known when the action begins; the project is locked by then.
    house.world.seat(house.ada, "PROJECT.MEMBER", house.project)
    first = partial(house.give, who=house.ada, role="CUSTOMER.OWNER", place=house.lab)
    delete = partial(house.delete, who=house.ada)
    other = partial(house.give, who=house.otto, role="PROJECT.MEMBER", place=house.project)
    assert then_all(database, first, delete, other) == [None, None]
    assert house.held(house.ada) == []
    assert len(house.held(house.otto)) == 1


def _to_be_the_last_owner(house: House) -> Deed:
    """Make Otto an owner for a day, and give what makes him the last one that has no end."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    house.world.seat(house.otto, "CUSTOMER.OWNER", house.lab, tomorrow)

    def first(tx: WriteTransaction) -> None:
        house.give_for_good(tx, house.otto, "CUSTOMER.OWNER", house.lab)
        house.take(tx, house.olga, "CUSTOMER.OWNER", house.lab)

    return first


def test_who_has_become_the_last_owner_meanwhile_is_not_deleted(
    house: House, database: Database
) -> None:
    first = _to_be_the_last_owner(house)
    refused = then(database, first, partial(house.delete, who=house.otto))
    assert (type(refused), refused.code) == (Conflict, "account.last_owner")
    assert house.owners() == {house.otto.id}


def test_who_has_become_the_last_owner_meanwhile_does_not_leave(
    house: House, database: Database
) -> None:
    first = _to_be_the_last_owner(house)
    (grant,) = house.held(house.otto)
    with database.read() as tx:
        (own,) = membership_queries.own(tx, house.otto.id)
    assert own.id == grant.id
    refused = then(database, first, lambda tx: leaving.leave(tx, house.otto.actor, own.uuid))
    assert (type(refused), refused.code) == (Conflict, "scope.last_owner")
    assert house.owners() == {house.otto.id}


def test_of_two_owners_who_are_deleted_at_once_one_stays(house: House, database: Database) -> None:
    house.world.seat(house.otto, "CUSTOMER.OWNER", house.lab)
    first, second = (partial(house.delete, who=who) for who in (house.olga, house.otto))
    refused = then(database, first, second)
    assert (type(refused), refused.code) == (Conflict, "account.last_owner")
    assert house.owners() == {house.otto.id}


@pytest.mark.parametrize("what", ["invite", "open", "send"])
def test_nothing_is_offered_in_a_scope_that_has_gone_meanwhile(
    house: House, database: Database, world: World, what: str
) -> None:
    old, settings, actor = (
        house.invited(house.ada),
        world.settings,
        house.olga.actor,
    )
    with database.write() as tx:
        house.cancel(tx, old)
        reached = access_queries.get_visible(tx, actor, house.project.kind, house.project.uuid)
        role: Any = role_queries.named(tx, "PROJECT.MEMBER", None)
    email = {"email": house.ada.email}
    actions: dict[str, Deed] = {
        "invite": lambda tx: invitation_actions.create(tx, actor, settings, reached, role, email),
        "open": lambda tx: invite_link_actions.create(tx, actor, settings, reached, role, None, {}),
        "send": lambda tx: house.send(tx, old),
    }
    refused = then(database, house.remove_project, actions[what])
    assert isinstance(refused, NotFound), refused
    assert broken(database) == []
    assert world.invitation(old).state == "canceled"


def test_an_invitation_that_is_called_back_and_sent_at_once_is_sent(
    house: House, database: Database
) -> None:
    uuid = house.invited(house.ada)
    cancel, send = partial(house.cancel, uuid=uuid), partial(house.send, uuid=uuid)
    assert then(database, cancel, send) is None
    row = house.world.invitation(uuid)
    assert (row.state, row.link_version) == ("pending", 2)
    with database.write() as tx:
        house.cancel(tx, uuid)
    assert then(database, send, send) is None, "the second one mails again what the first revived"
    row = house.world.invitation(uuid)
    assert (row.state, row.link_version) == ("pending", 3)


class Band:
    """A group with two owners and a member."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.olga, self.otto, self.ada = (world.person(name) for name in ("olga", "otto", "ada"))
        with world.database.write() as tx:
            self.number = group_actions.create(tx, self.olga.actor, "Band")
            for number, (who, name) in enumerate(
                ((self.otto, "GROUP.OWNER"), (self.ada, "GROUP.MEMBER"))
            ):
                role: Any = role_queries.named(tx, name, None, groups=True)
                membership_queries.grant(
                    tx, f"{number:032x}", who.id, role.id, self.number, None, None
                )

    def wish(self, tx: WriteTransaction, by: Person, who: Person, **flags: bool) -> None:
        reached = group_actions.lock_and_recheck(tx, by.actor, self.number)
        wishes = [MemberChange(who.email, **flags)]
        group_actions.change(tx, by.actor, self.world.settings, reached, None, wishes)

    def exchange(self, tx: WriteTransaction, by: Person, who: Person, role: str, new: str) -> None:
        """Give another role, as the page of the team does."""
        reached: Any = access_queries.permissions_in_scope(tx, by.actor, self.number)
        account: Any = account_queries.by_uuid(tx, who.uuid)
        first, second = (role_queries.named(tx, name, None, groups=True) for name in (role, new))
        seat = membership_actions.RoleAssignment(reached, first, account)
        assert second is not None
        membership_actions.change_role(tx, by.actor, seat, second)

    def roles(self) -> dict[str, str]:
        with self.world.database.read() as tx:
            rows = membership_queries.grants_at(tx, self.number, datetime.now(UTC))
        return {row.username: row.role_name for row in rows}


@pytest.fixture
def band(world: World) -> Band:
    return Band(world)


def test_of_two_owners_who_take_each_others_place_one_does(band: Band, database: Database) -> None:
    first = partial(
        band.exchange, by=band.olga, who=band.otto, role="GROUP.OWNER", new="GROUP.MEMBER"
    )
    second = partial(
        band.exchange, by=band.otto, who=band.olga, role="GROUP.LEAD", new="GROUP.MEMBER"
    )
    refused = then(database, first, second)
    assert (type(refused), refused.code) == (Forbidden, "permission.missing")
    assert band.roles() == {"olga": "GROUP.LEAD", "otto": "GROUP.MEMBER", "ada": "GROUP.MEMBER"}


def test_of_two_who_hand_their_role_over_at_once_both_do_and_an_owner_is_there(
    band: Band, database: Database
) -> None:
    hand_over = partial(band.wish, by=band.olga, who=band.ada, is_owner=True)
    leave = partial(_leave, band=band, who=band.olga)
    assert then(database, hand_over, leave) is None
    assert band.roles() == {"otto": "GROUP.OWNER", "ada": "GROUP.OWNER"}
    refused = then(
        database,
        partial(_leave, band=band, who=band.otto),
        partial(_leave, band=band, who=band.ada),
    )
    assert (type(refused), refused.code) == (Conflict, "scope.last_owner")
    assert band.roles() == {"ada": "GROUP.OWNER"}


def _leave(tx: WriteTransaction, band: Band, who: Person) -> None:
    group_actions.leave(tx, who.actor, band.number)


def test_who_is_removed_from_a_group_is_given_no_other_role_in_it(
    band: Band, database: Database
) -> None:
    remove = partial(band.wish, by=band.olga, who=band.ada, removes=True)
    promote = partial(
        band.exchange, by=band.otto, who=band.ada, role="GROUP.MEMBER", new="GROUP.MANAGER"
    )
    refused = then(database, remove, promote)
    assert (type(refused), refused.code) == (NotFound, "grant.unknown")
    again = then(database, lambda _tx: None, remove)
    assert (type(again), again.facts["problems"]) == (Invalid, {band.ada.email: "not_member"})
    assert set(band.roles()) == {"olga", "otto"}


def test_who_is_let_in_to_a_group_can_be_removed_at_once(band: Band, database: Database) -> None:
    bob = band.world.person("bob")
    with database.write() as tx:
        uuid = group_actions.join(tx, bob.actor, band.number)[0].uuid

    def let_in(tx: WriteTransaction) -> None:
        join_request_actions.approve(
            tx, band.otto.actor, band.world.settings, uuid, None, groups=True
        )

    remove = partial(band.wish, by=band.olga, who=bob, removes=True)
    assert then(database, let_in, remove) is None
    assert "bob" not in band.roles()


def test_who_is_switched_off_meanwhile_is_no_owner_that_counts(
    band: Band, database: Database
) -> None:
    def switch_off(tx: WriteTransaction) -> None:
        world, change = band.world, {"is_active": False}
        account_actions.update(
            tx, world.staff.actor, world.settings, band.otto.uuid, change, agrees=False
        )
        access_queries.lock_scope(tx, band.number)

    refused = then(database, switch_off, partial(_leave, band=band, who=band.olga))
    assert (type(refused), refused.code) == (Conflict, "scope.last_owner")
    assert band.roles()["olga"] == "GROUP.LEAD"
