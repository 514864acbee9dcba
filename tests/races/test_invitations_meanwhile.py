"""An invitation or its account changes while an action waits for it."""

from typing import Any

import pytest
from sqlalchemy import select

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import events, invitations, outbox
from collegium.invitations import actions as invitation_actions
from collegium.invite_links import actions as invite_link_actions
from collegium.memberships import actions as membership_actions
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.roles import queries as role_queries
from tests.proof.invariants import broken
from tests.races.test_waiting import GroupScene, overlap, refusal
from tests.support.world import Person, World


class Invited:
    """A group with two owners, and Ann, who is invited to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.group = GroupScene(world)
        self.ann = world.person("ann")
        self.uuid = ""

    def update(self, tx: WriteTransaction, **changes: Any) -> None:
        """Change Ann's account, as staff."""
        account_actions.update(
            tx,
            self.world.staff.actor,
            self.world.settings,
            self.ann.uuid,
            changes,
            agrees_to_policy=False,
        )

    def change_member(self, tx: WriteTransaction, **flags: bool) -> None:
        self.group.change_member(tx, self.group.olga, self.ann, **flags)

    def invite(self) -> None:
        with self.world.database.write() as tx:
            self.change_member(tx)
        self.uuid = self.row().uuid

    def create(self, tx: WriteTransaction) -> None:
        """Invite Ann as the page does, which has loaded her account before."""
        reached: Any = access_queries.permissions_in_scope(tx, self.group.olga.actor, self.group.id)
        role: Any = role_queries.by_name_or_uuid(tx, "GROUP.MEMBER", None, {"group"})
        account = account_queries.by_uuid(tx, self.ann.uuid)
        invitation_actions.create(
            tx, self.group.olga.actor, self.world.settings, reached, role, {}, account
        )

    def act(self, action: str, who: Person) -> Any:
        name = f"{action}_own" if action in {"accept", "decline"} else action
        function: Any = getattr(invitation_actions, name)
        settings = () if action in {"cancel", "decline"} else (self.world.settings,)
        return lambda tx: function(tx, who.actor, *settings, self.uuid)

    def row(self) -> Any:
        statement = select(invitations).where(invitations.c.account_id == self.ann.id)
        with self.world.database.read() as tx:
            return tx.fetch_one(Statement[Any](statement))


@pytest.fixture
def invited(world: World) -> Invited:
    return Invited(world)


def test_invitation_of_a_deactivated_account_can_be_cancelled(
    invited: Invited, database: Database
) -> None:
    invited.invite()
    (canceled,) = overlap(
        database,
        lambda tx: invited.update(tx, is_active=False),
        invited.act("cancel", invited.group.olga),
    )
    # In a group, cancelling twice is allowed.
    assert canceled.state == "canceled", canceled
    assert invited.row().state == "canceled"


@pytest.mark.parametrize("action", ["accept", "decline"])
def test_invitation_of_a_deactivated_account_cannot_be_answered(
    invited: Invited, database: Database, action: str
) -> None:
    invited.invite()
    (refused,) = overlap(
        database, lambda tx: invited.update(tx, is_active=False), invited.act(action, invited.ann)
    )
    assert (type(refused), refused.code) == (Conflict, "invitation.wrong_state")
    assert refused.facts["state"] == "canceled"
    assert invited.row().state == "canceled"


@pytest.mark.parametrize("before", [True, False])
def test_deactivated_account_is_not_invited_to_a_group(
    invited: Invited, database: Database, before: bool
) -> None:
    if before:
        invited.invite()
    (refused,) = overlap(
        database,
        lambda tx: invited.update(tx, is_active=False),
        lambda tx: invited.change_member(tx, is_manager=True),
    )
    assert isinstance(refused, (Conflict, Invalid)), refused
    assert refused.code == ("group.people" if database.is_sqlite else "group.no_account")
    assert (invited.row() and invited.row().state) == ("canceled" if before else None)


@pytest.mark.parametrize("how", ["change_member", "create"])
def test_invitation_goes_to_the_current_address_of_its_account(
    invited: Invited, database: Database, how: str
) -> None:
    def move(tx: WriteTransaction) -> None:
        invited.update(tx, email="ann@elsewhere.example")

    (refused,) = overlap(database, move, getattr(invited, how))
    if database.is_sqlite and how == "change_member":
        # It begins when no account has the address any more.
        assert refused.facts["problems"] == {invited.ann.email: "unknown"}
        return
    assert refused is None
    assert invited.row().email == "ann@elsewhere.example"


def test_invitation_gets_the_new_address_of_its_account(
    invited: Invited, database: Database
) -> None:
    invited.invite()

    def move(tx: WriteTransaction) -> None:
        invited.update(tx, email="ann@elsewhere.example")

    overlap(database, move, invited.act("cancel", invited.group.olga))
    canceled = invited.row()
    assert (canceled.state, canceled.email) == ("canceled", "ann@elsewhere.example")


def test_invitation_is_deleted_once(world: World, database: Database) -> None:
    olga, ada = world.person("olga"), world.person("ada")
    lab = world.organisation(owner=olga)
    uuid = world.invite(world.staff, ada.email, "CUSTOMER.OWNER", lab)

    def delete(tx: WriteTransaction) -> None:
        invitation_actions.delete(tx, world.staff.actor, uuid)

    assert refusal(database, delete, delete) == (NotFound, "invitation.unknown")
    deletions = select(events.c.id).where(events.c.kind == "invitation.deleted")
    with database.read() as tx:
        assert len(tx.fetch_all(Statement[Any](deletions))) == 1


def test_invitation_accepted_and_deleted_at_once_gives_the_role(
    world: World, database: Database
) -> None:
    olga, ada = world.person("olga"), world.person("ada")
    lab = world.organisation(owner=olga)
    uuid = world.invite(world.staff, ada.email, "CUSTOMER.OWNER", lab)
    results = overlap(
        database,
        lambda tx: invitation_actions.accept(tx, ada.actor, world.settings, uuid),
        lambda tx: invitation_actions.delete(tx, world.staff.actor, uuid),
    )
    assert results == [None]
    assert [row.username for row in world.grants_in(lab)] == ["olga", "ada"]
    assert world.invitation(uuid) is None


@pytest.mark.parametrize("how", ["revoke", "delete"])
@pytest.mark.parametrize("what", ["invitation", "link"])
def test_account_that_lost_the_right_creates_no_invitation_and_no_invite_link(
    world: World, database: Database, how: str, what: str
) -> None:
    olga, mia = world.person("olga"), world.person("mia")
    project = world.project(world.organisation(owner=olga))
    world.give_role(mia, "PROJECT.MANAGER", project)
    with database.read() as tx:
        reached = access_queries.get_visible(tx, mia.actor, project.kind, project.uuid)
        by_olga = access_queries.get_visible(tx, olga.actor, project.kind, project.uuid)
        manager: Any = role_queries.by_name_or_uuid(tx, "PROJECT.MANAGER", None)
        member: Any = role_queries.by_name_or_uuid(tx, "PROJECT.MEMBER", None)
        account: Any = account_queries.by_uuid(tx, mia.uuid)
    assignment = membership_actions.RoleAssignment(by_olga, manager, account)

    def end(tx: WriteTransaction) -> None:
        if how == "delete":
            account_actions.delete(tx, world.staff.actor, mia.uuid)
        else:
            membership_actions.remove(tx, olga.actor, assignment)

    def create(tx: WriteTransaction) -> None:
        context = (tx, mia.actor, world.settings, reached, member)
        if what == "link":
            invite_link_actions.create(*context, None, {})
        else:
            invitation_actions.create(*context, {"email": mia.email})

    assert refusal(database, end, create) == (NotFound, "project.unknown")
    with database.read() as read:
        mails = read.fetch_all(Statement[Any](select(outbox.c.recipient)))
    assert mia.email not in {mail.recipient for mail in mails}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("sent_first", [True, False])
def test_invitation_of_a_deleted_account_is_not_renewed(
    world: World, database: Database, *, sent_first: bool, moved: bool
) -> None:
    olga, ada = world.person("olga"), world.person("ada")
    lab = world.organisation(owner=olga)
    uuid = world.invite(world.staff, ada.email, "CUSTOMER.OWNER", lab)
    with database.write() as tx:
        invitation_actions.cancel(tx, world.staff.actor, uuid)
        if moved:  # the invitation names an earlier address of the account
            changes = {"email": "ada@elsewhere.example"}
            account_actions.update(
                tx, world.staff.actor, world.settings, ada.uuid, changes, agrees_to_policy=False
            )

    def send(tx: WriteTransaction) -> None:
        invitation_actions.send(tx, world.staff.actor, world.settings, uuid)

    def delete(tx: WriteTransaction) -> None:
        account_actions.delete(tx, world.staff.actor, ada.uuid)

    actions = (send, delete) if sent_first else (delete, send)
    (refused,) = overlap(database, *actions)
    if sent_first:
        assert refused is None
    else:
        assert isinstance(refused, Conflict)
    row = world.invitation(uuid)
    assert (row.state, row.email) == ("canceled", "")
    with database.read() as read:
        mails = read.fetch_all(Statement[Any](select(outbox.c.kind, outbox.c.recipient)))
    assert [mail for mail in mails if mail.recipient in {"", ada.email}] == []
    assert broken(database) == []
