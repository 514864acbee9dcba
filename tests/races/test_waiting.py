"""An action that waited for another is decided by the state after it, on both databases."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database, WriteTransaction
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
from tests.races.conftest import outcome
from tests.support.world import Person, Place, World

Action = Callable[[WriteTransaction], Any]
_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def refusal(database: Database, first: Action, second: Action) -> tuple[type[Refusal], str]:
    """Return kind and code of the refusal of an action that overlaps with another."""
    (result,) = overlap(database, first, second)
    assert isinstance(result, Refusal), result
    return type(result), result.code


def overlap(database: Database, first: Action, *others: Action) -> list[Any]:
    """Run an action, and start others, one by one, before it is committed.

    Return the results of the others, or their refusals.
    """

    def do(action: Action) -> Any:
        with database.write() as tx:
            return action(tx)

    with ThreadPoolExecutor(len(others)) as pool:
        later = []
        with database.write() as tx:
            first(tx)
            for action in others:
                later.append(pool.submit(outcome, do, action))
                end = time.monotonic() + 5
                while not _all_wait(database, later) and time.monotonic() < end:
                    time.sleep(0.01)
        return [future.result(timeout=20) for future in later]


def _all_wait(database: Database, later: list[Future[Any]]) -> bool:
    if database.is_sqlite:
        return True  # other writers wait before they begin
    with database.engine.connect() as connection:
        waiting = connection.execute(_WAITS).scalar()
    return waiting == sum(not future.done() for future in later)


class OrganisationScene:
    """An organisation with two owners and a project, and actions there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.staff = world.staff
        self.olga, self.otto, self.ada = (world.person(name) for name in ("olga", "otto", "ada"))
        self.organisation = world.organisation(owner=self.olga)
        self.project = world.project(self.organisation)

    def _assignment(
        self, tx: WriteTransaction, who: Person, role: str, place: Place
    ) -> membership_actions.RoleAssignment:
        reached = access_queries.get_visible(tx, self.staff.actor, place.kind, place.uuid)
        row, account = (
            role_queries.existing(tx, role),
            account_queries.existing(tx, who.id),
        )
        return membership_actions.RoleAssignment(reached, row, account)

    def grant(self, tx: WriteTransaction, who: Person, role: str, place: Place) -> None:
        membership_actions.add(tx, self.staff.actor, self._assignment(tx, who, role, place), None)

    def make_permanent(self, tx: WriteTransaction, who: Person, role: str, place: Place) -> None:
        membership_actions.update(
            tx, self.staff.actor, self._assignment(tx, who, role, place), None
        )

    def revoke(self, tx: WriteTransaction, who: Person, role: str, place: Place) -> None:
        membership_actions.remove(tx, self.staff.actor, self._assignment(tx, who, role, place))

    def delete(self, tx: WriteTransaction, who: Person) -> None:
        account_actions.delete(tx, self.staff.actor, who.uuid)

    def deactivate(self, tx: WriteTransaction, who: Person) -> None:
        settings, change = self.world.settings, {"is_active": False}
        account_actions.update(
            tx, self.staff.actor, settings, who.uuid, change, agrees_to_policy=False
        )

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

    def invite(self, who: Person) -> str:
        return self.world.invite(self.olga, who.email, "PROJECT.MEMBER", self.project)

    def open_grants(self, who: Person) -> list[Any]:
        with self.world.database.read() as tx:
            return membership_queries.open_grants(tx, who.id)

    def owners(self) -> set[int]:
        with self.world.database.read() as tx:
            now = datetime.now(UTC)
            return {
                row.account_id
                for row in membership_queries.grants_at(tx, self.organisation.id, now)
            }


@pytest.fixture
def scene(world: World) -> OrganisationScene:
    return OrganisationScene(world)


def test_account_given_a_role_during_its_deletion_loses_it(
    scene: OrganisationScene, database: Database
) -> None:
    grant = partial(scene.grant, who=scene.ada, role="PROJECT.MEMBER", place=scene.project)
    assert overlap(database, grant, partial(scene.delete, who=scene.ada)) == [None]
    assert scene.open_grants(scene.ada) == []


@pytest.mark.parametrize("end", ["delete", "deactivate"])
def test_deleted_or_deactivated_account_cannot_accept(
    scene: OrganisationScene, database: Database, end: str
) -> None:
    uuid = scene.invite(scene.ada)
    accept = partial(scene.accept, who=scene.ada, uuid=uuid)
    # Deleting an account cancels the invitations to its address.
    gone = end == "delete"
    expected = (NotFound, "invitation.unknown") if gone else (Conflict, "account.inactive")
    assert refusal(database, partial(getattr(scene, end), who=scene.ada), accept) == expected
    assert scene.open_grants(scene.ada) == []
    assert scene.world.invitation(uuid).state == ("canceled" if gone else "pending")


@pytest.mark.parametrize("end", ["delete", "deactivate"])
@pytest.mark.parametrize("role", ["CUSTOMER.OWNER", "PROJECT.MEMBER"])
def test_deleted_or_deactivated_account_is_given_no_role(
    scene: OrganisationScene, database: Database, end: str, role: str
) -> None:
    place = scene.organisation if role == "CUSTOMER.OWNER" else scene.project
    assignment: list[membership_actions.RoleAssignment] = []

    def read_then_end(tx: WriteTransaction) -> None:
        assignment.append(scene._assignment(tx, scene.ada, role, place))
        getattr(scene, end)(tx, scene.ada)

    def grant(tx: WriteTransaction) -> None:
        membership_actions.add(tx, scene.staff.actor, assignment[0], None)

    assert refusal(database, read_then_end, grant) == (Conflict, "account.inactive")
    assert scene.open_grants(scene.ada) == []


def test_deleted_account_cannot_ask_to_join(
    scene: OrganisationScene, database: Database, world: World
) -> None:
    link = world.create_link(scene.olga, "PROJECT.MEMBER", scene.project)

    def ask(tx: WriteTransaction) -> None:
        join_request_actions.submit(tx, scene.ada.actor, world.settings, link)

    delete = partial(scene.delete, who=scene.ada)
    assert refusal(database, delete, ask) == (Conflict, "account.inactive")


def test_account_is_deleted_once(scene: OrganisationScene, database: Database) -> None:
    delete = partial(scene.delete, who=scene.ada)
    assert refusal(database, delete, delete) == (NotFound, "account.unknown")
    deletions = select(events.c.id).where(
        events.c.kind == "account.deleted", events.c.account_id == scene.ada.id
    )
    with database.read() as tx:
        assert len(tx.fetch_all(Statement(deletions))) == 1


def test_deleting_an_account_and_adding_members_do_not_deadlock(
    scene: OrganisationScene, database: Database
) -> None:
    # The deletion knows nothing of the organisation when it begins; it has locked the project.
    scene.world.give_role(scene.ada, "PROJECT.MEMBER", scene.project)
    first = partial(scene.grant, who=scene.ada, role="CUSTOMER.OWNER", place=scene.organisation)
    delete = partial(scene.delete, who=scene.ada)
    other = partial(scene.grant, who=scene.otto, role="PROJECT.MEMBER", place=scene.project)
    assert overlap(database, first, delete, other) == [None, None]
    assert scene.open_grants(scene.ada) == []
    assert len(scene.open_grants(scene.otto)) == 1


def _become_last_owner(scene: OrganisationScene) -> Action:
    """Make Otto an owner for a day; return an action that makes him the last permanent owner."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    scene.world.give_role(scene.otto, "CUSTOMER.OWNER", scene.organisation, tomorrow)

    def first(tx: WriteTransaction) -> None:
        scene.make_permanent(tx, scene.otto, "CUSTOMER.OWNER", scene.organisation)
        scene.revoke(tx, scene.olga, "CUSTOMER.OWNER", scene.organisation)

    return first


def test_account_that_became_the_last_owner_is_not_deleted(
    scene: OrganisationScene, database: Database
) -> None:
    first, delete = _become_last_owner(scene), partial(scene.delete, who=scene.otto)
    assert refusal(database, first, delete) == (Conflict, "account.last_owner")
    assert scene.owners() == {scene.otto.id}


def test_account_that_became_the_last_owner_cannot_leave(
    scene: OrganisationScene, database: Database
) -> None:
    first = _become_last_owner(scene)
    (grant,) = scene.open_grants(scene.otto)
    with database.read() as tx:
        (own,) = membership_queries.of_account(tx, scene.otto.id)
    assert own.id == grant.id

    def leave(tx: WriteTransaction) -> None:
        leaving.leave(tx, scene.otto.actor, own.uuid)

    assert refusal(database, first, leave) == (Conflict, "scope.last_owner")
    assert scene.owners() == {scene.otto.id}


def test_of_two_owners_deleted_at_once_one_remains(
    scene: OrganisationScene, database: Database
) -> None:
    scene.world.give_role(scene.otto, "CUSTOMER.OWNER", scene.organisation)
    first, second = (partial(scene.delete, who=who) for who in (scene.olga, scene.otto))
    assert refusal(database, first, second) == (Conflict, "account.last_owner")
    assert scene.owners() == {scene.otto.id}


@pytest.mark.parametrize("kind", ["invite", "open", "send"])
def test_deleted_scope_gets_no_invitation_or_link(
    scene: OrganisationScene, database: Database, world: World, kind: str
) -> None:
    old, settings, actor = scene.invite(scene.ada), world.settings, scene.olga.actor
    with database.write() as tx:
        scene.cancel(tx, old)
        reached = access_queries.get_visible(tx, actor, scene.project.kind, scene.project.uuid)
        role: Any = role_queries.by_name_or_uuid(tx, "PROJECT.MEMBER", None)
    email = {"email": scene.ada.email}
    actions: dict[str, Action] = {
        "invite": lambda tx: invitation_actions.create(tx, actor, settings, reached, role, email),
        "open": lambda tx: invite_link_actions.create(tx, actor, settings, reached, role, None, {}),
        "send": lambda tx: scene.send(tx, old),
    }
    assert refusal(database, scene.remove_project, actions[kind])[0] is NotFound
    assert broken(database) == []
    assert world.invitation(old).state == "canceled"


def test_invitation_cancelled_and_sent_at_once_is_sent(
    scene: OrganisationScene, database: Database
) -> None:
    uuid = scene.invite(scene.ada)
    cancel, send = partial(scene.cancel, uuid=uuid), partial(scene.send, uuid=uuid)
    assert overlap(database, cancel, send) == [None]
    row = scene.world.invitation(uuid)
    assert (row.state, row.link_version) == ("pending", 2)
    with database.write() as tx:
        scene.cancel(tx, uuid)
    # The second one resends what the first one renewed.
    assert overlap(database, send, send) == [None]
    row = scene.world.invitation(uuid)
    assert (row.state, row.link_version) == ("pending", 3)


class GroupScene:
    """A group with two owners and a member."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.olga, self.otto, self.ada = (world.person(name) for name in ("olga", "otto", "ada"))
        with world.database.write() as tx:
            self.id = group_actions.create(tx, self.olga.actor, "GroupScene")
            for who, name in ((self.otto, "GROUP.OWNER"), (self.ada, "GROUP.MEMBER")):
                role: Any = role_queries.by_name_or_uuid(tx, name, None, {"group"})
                uuid = f"{who.id:032x}"
                membership_queries.grant(tx, uuid, who.id, role.id, self.id, None, None)

    def change_member(self, tx: WriteTransaction, by: Person, who: Person, **flags: bool) -> None:
        reached = group_actions.lock_group_and_authorise(tx, by.actor, self.id)
        changes = [MemberChange(who.email, **flags)]
        group_actions.change(tx, by.actor, self.world.settings, reached, None, changes)

    def change_role(
        self, tx: WriteTransaction, by: Person, who: Person, role: str, new: str
    ) -> None:
        """Change a role as the members page does."""
        reached: Any = access_queries.permissions_in_scope(tx, by.actor, self.id)
        account: Any = account_queries.by_uuid(tx, who.uuid)
        first, second = (role_queries.existing(tx, name) for name in (role, new))
        assignment = membership_actions.RoleAssignment(reached, first, account)
        membership_actions.change_role(tx, by.actor, assignment, second)

    def leave(self, tx: WriteTransaction, who: Person) -> None:
        group_actions.leave(tx, who.actor, self.id)

    def roles(self) -> dict[str, str]:
        with self.world.database.read() as tx:
            rows = membership_queries.grants_at(tx, self.id, datetime.now(UTC))
        return {row.username: row.role_name for row in rows}


@pytest.fixture
def group(world: World) -> GroupScene:
    return GroupScene(world)


def test_only_one_of_two_owners_demotes_the_other(group: GroupScene, database: Database) -> None:
    first = partial(
        group.change_role, by=group.olga, who=group.otto, role="GROUP.OWNER", new="GROUP.MEMBER"
    )
    second = partial(
        group.change_role, by=group.otto, who=group.olga, role="GROUP.LEAD", new="GROUP.MEMBER"
    )
    assert refusal(database, first, second) == (Forbidden, "permission.missing")
    assert group.roles() == {"olga": "GROUP.LEAD", "otto": "GROUP.MEMBER", "ada": "GROUP.MEMBER"}


def test_owner_can_leave_after_another_became_owner(group: GroupScene, database: Database) -> None:
    hand_over = partial(group.change_member, by=group.olga, who=group.ada, is_owner=True)
    olga, otto, ada = (partial(group.leave, who=who) for who in (group.olga, group.otto, group.ada))
    assert overlap(database, hand_over, olga) == [None]
    assert group.roles() == {"otto": "GROUP.OWNER", "ada": "GROUP.OWNER"}
    assert refusal(database, otto, ada) == (Conflict, "scope.last_owner")
    assert group.roles() == {"ada": "GROUP.OWNER"}


def test_removed_member_is_given_no_other_role(group: GroupScene, database: Database) -> None:
    remove = partial(group.change_member, by=group.olga, who=group.ada, removes=True)
    promote = partial(
        group.change_role, by=group.otto, who=group.ada, role="GROUP.MEMBER", new="GROUP.MANAGER"
    )
    assert refusal(database, remove, promote) == (NotFound, "grant.unknown")
    (second,) = overlap(database, lambda _tx: None, remove)
    assert (type(second), second.facts["problems"]) == (Invalid, {group.ada.email: "not_member"})
    assert set(group.roles()) == {"olga", "otto"}


def test_member_approved_at_the_moment_can_be_removed(
    group: GroupScene, database: Database
) -> None:
    bob = group.world.person("bob")
    with database.write() as tx:
        uuid = group_actions.join(tx, bob.actor, group.id)[0].uuid

    def approve(tx: WriteTransaction) -> None:
        join_request_actions.approve(tx, group.otto.actor, group.world.settings, uuid, None)

    remove = partial(group.change_member, by=group.olga, who=bob, removes=True)
    assert overlap(database, approve, remove) == [None]
    assert "bob" not in group.roles()


def test_deactivated_owner_does_not_count(group: GroupScene, database: Database) -> None:
    def deactivate(tx: WriteTransaction) -> None:
        world, change = group.world, {"is_active": False}
        account_actions.update(
            tx, world.staff.actor, world.settings, group.otto.uuid, change, agrees_to_policy=False
        )
        access_queries.lock_scope(tx, group.id)

    leave = partial(group.leave, who=group.olga)
    assert refusal(database, deactivate, leave) == (Conflict, "scope.last_owner")
    assert group.roles()["olga"] == "GROUP.LEAD"
