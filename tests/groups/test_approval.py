"""Where staff decide who is invited, they decide on the role that they were shown."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Row, Statement
from collegium.db.tables import invitations, outbox
from collegium.invitations import group_actions as group_invitation_actions
from collegium.outbox.outcomes import ObsoleteError
from collegium.settings import Settings
from collegium.worker import mails
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import Person, World


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(only_staff_can_invite_users="true")


class Case:
    """A group whose owner has invited somebody, and what staff are mailed of it."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.olga, self.alice = (groups.world.person(name) for name in ("olga", "alice"))
        self.group = groups.found(self.olga)

    def wish(self, who: Person | None = None, **flags: bool) -> None:
        body = {"users": {self.alice.email: flags}}
        answer = self.groups.call("PATCH", who or self.olga, "group", self.group, json=body)
        assert answer.status_code == 200, answer.text

    @property
    def row(self) -> Row:
        with self.groups.world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(invitations.select()))
        return row

    def asked(self) -> list[tuple[str, str]]:
        """The role and the link to approve of every mail to staff that still has a point."""
        world, found = self.groups.world, []
        with world.database.read() as tx:
            for row in tx.fetch_all(Statement(outbox.select().order_by(outbox.c.id))):
                if row.kind == "invitation_requested" and row.recipient == world.staff.email:
                    try:
                        message = mails.render(tx, world.settings, world.vault, row)
                    except ObsoleteError:
                        continue
                    body = message.get_body(("plain",))
                    assert body is not None
                    text = " ".join(body.get_content().split())
                    role = re.search("Group (member|manager|owner|lead)", text)
                    link = re.search(r"/invitation_approve/([^/\s]+)/", text)
                    assert role, text
                    assert link, text
                    found.append((role[1], link[1]))
        return found

    def decide(self, link: str) -> httpx.Response:
        return self.groups.site.post("/api/user-invitations/approve/", json={"token": link})

    def accept(self) -> int:
        uuid = self.row.uuid
        return self.groups.get(self.alice, "invitation", uuid, "accept").status_code


@pytest.fixture
def case(groups: Groups) -> Case:
    return Case(groups)


def test_role_that_is_raised_after_staff_were_asked_is_not_approved_by_the_old_link(
    case: Case,
) -> None:
    case.wish()
    ((role, old),) = case.asked()
    assert role == "member"
    case.wish(is_owner=True)
    ((role, new),) = case.asked()
    assert role == "owner"
    refused = case.decide(old)
    assert (refused.status_code, refused.json()) == (400, ["Invalid invitation UUID."])
    page = case.groups.site.get(f"/invitation_approve/{old}/")
    assert page.status_code == 410
    assert case.row.state == "requested"
    assert case.accept() == 400
    assert case.decide(new).status_code == 200
    assert case.accept() == 200
    assert case.groups.role_of(case.group, case.alice) == "GROUP.OWNER"


def test_role_that_is_raised_after_staff_approved_waits_for_them_again(case: Case) -> None:
    case.wish()
    ((_, link),) = case.asked()
    assert case.decide(link).status_code == 200
    assert case.row.state == "pending"
    case.wish(is_manager=True)
    assert (case.row.state, case.row.approved_by) == ("requested", None)
    assert case.accept() == 400
    assert case.groups.get(case.alice, "invitation").json()["count"] == 0
    ((role, new),) = case.asked()
    assert role == "manager"
    assert case.decide(link).status_code == 400
    assert case.decide(new).status_code == 200
    assert case.accept() == 200
    assert case.groups.role_of(case.group, case.alice) == "GROUP.MANAGER"


@pytest.mark.parametrize("first", [{"is_owner": True}, {"is_manager": True}])
def test_role_that_is_lowered_is_decided_anew_too(case: Case, first: dict[str, bool]) -> None:
    case.wish(None, **first)
    ((_, old),) = case.asked()
    case.wish()
    ((role, _),) = case.asked()
    assert role == "member"
    assert case.decide(old).status_code == 400
    assert case.row.state == "requested"


def test_same_wish_again_asks_nobody_again_and_keeps_the_links(case: Case) -> None:
    case.wish(is_manager=True)
    ((_, link),) = case.asked()
    case.wish(is_manager=True)
    assert len(case.asked()) == 1
    assert case.decide(link).status_code == 200
    case.wish(is_manager=True)
    assert case.row.state == "pending"
    assert case.accept() == 200


def test_wish_of_staff_needs_nobody_else(case: Case) -> None:
    staff = case.groups.world.staff
    case.wish()
    ((_, old),) = case.asked()
    case.wish(staff, is_owner=True)
    assert case.row.state == "pending"
    assert case.asked() == []
    assert case.decide(old).status_code == 400
    # And an owner who changes what staff have offered asks staff.
    case.wish(is_manager=True)
    assert case.row.state == "requested"


def test_staff_who_wish_for_what_waits_for_them_have_agreed(case: Case) -> None:
    case.wish(is_manager=True)
    case.wish(case.groups.world.staff, is_manager=True)
    assert (case.row.state, case.row.approved_by) == ("pending", case.groups.world.staff.id)
    assert case.accept() == 200


def test_expired_approval_does_not_cover_another_role(case: Case, world: World) -> None:
    case.wish()
    ((_, link),) = case.asked()
    assert case.decide(link).status_code == 200
    with world.database.write() as tx:
        tx.execute(Statement(invitations.update().values(expires_at=tx.now)))
    case.wish(is_owner=True)
    assert (case.row.state, case.row.approved_by) == ("requested", None)


def move(case: Case, email: str) -> None:
    """Have staff ask for another address of the invitee, who confirms it."""
    world, site = case.groups.world, case.groups.site
    path = f"/api/users/{case.alice.uuid}/change_email/"
    answer = site.post(path, world.staff, json={"email": email})
    assert answer.status_code == 200, answer.text
    with world.database.read() as tx:
        change = email_change_queries.of_account(tx, case.alice.id)
    assert change is not None
    code = world.vault.derive_code(case.alice.id, email, change.created_at.isoformat())
    answer = site.post("/api/users/confirm_email/", json={"code": code})
    assert answer.status_code == 200, answer.text


def test_address_that_changes_after_staff_were_asked_is_not_approved_by_the_old_link(
    case: Case,
) -> None:
    case.wish()
    ((_, old),) = case.asked()
    move(case, "alice@elsewhere.example")
    assert case.decide(old).status_code == 400
    assert case.groups.site.get(f"/invitation_approve/{old}/").status_code == 410
    assert case.row.state == "requested"
    ((_, new),) = case.asked()
    assert "alice@elsewhere.example" in case.groups.site.get(f"/invitation_approve/{new}/").text
    assert case.decide(new).status_code == 200
    assert case.row.email == "alice@elsewhere.example"
    assert case.accept() == 200


def test_address_that_changes_after_staff_approved_is_decided_anew(case: Case) -> None:
    case.wish(is_manager=True)
    ((_, link),) = case.asked()
    assert case.decide(link).status_code == 200
    # Another spelling of the same mailbox is no other address.
    move(case, "Alice@EXAMPLE.org")
    assert (case.row.state, case.row.approved_by) == ("pending", case.groups.world.staff.id)
    move(case, "alice@elsewhere.example")
    assert (case.row.state, case.row.approved_by) == ("requested", None)
    assert case.accept() == 400
    ((role, new),) = case.asked()
    assert role == "manager"
    assert case.decide(new).status_code == 200
    assert case.accept() == 200
    assert case.groups.role_of(case.group, case.alice) == "GROUP.MANAGER"


@pytest.mark.parametrize("end", ["expired", "canceled"])
def test_approval_of_another_address_does_not_bring_an_invitation_back(
    case: Case, world: World, end: str
) -> None:
    case.wish()
    ((_, link),) = case.asked()
    assert case.decide(link).status_code == 200
    if end == "expired":
        with world.database.write() as tx:
            tx.execute(Statement(invitations.update().values(expires_at=tx.now)))
    else:
        assert case.groups.get(case.olga, "invitation", case.row.uuid, "cancel").status_code == 200
    state = case.row.state
    move(case, "alice@elsewhere.example")
    assert case.row.state == state
    assert case.asked() == []
    with world.database.write() as tx:
        group_invitation_actions.send(tx, case.olga.actor, world.settings, case.row.uuid)
    assert (case.row.state, case.row.approved_by) == ("requested", None)
    assert len(case.asked()) == 1


def test_staff_who_invited_themselves_need_not_be_asked_about_another_address(case: Case) -> None:
    case.wish(case.groups.world.staff)
    move(case, "alice@elsewhere.example")
    assert (case.row.state, case.row.email) == ("pending", "alice@elsewhere.example")
    assert case.asked() == []


def test_without_that_setting_another_role_is_offered_at_once(
    make_settings: Callable[..., Settings], world: World, make_site: Callable[[Settings], Site]
) -> None:
    world.settings = make_settings()
    case = Case(Groups(world, make_site(world.settings)))
    case.wish()
    case.wish(is_manager=True)
    assert case.row.state == "pending"
    assert case.asked() == []
    assert case.accept() == 200
    assert case.groups.role_of(case.group, case.alice) == "GROUP.MANAGER"
