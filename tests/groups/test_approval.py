"""Approval by staff of invitations to groups: it covers one role and one address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.invitations import actions as invitation_actions
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import Person, World

OTHER_EMAIL = "alice@elsewhere.example"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(only_staff_can_invite_users="true")


class Case:
    """A group whose owner invites somebody."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.staff = groups.world.staff
        self.olga, self.alice = groups.people("olga", "alice")
        self.group = groups.create(self.olga)

    def invite(self, inviter: Person | None = None, **flags: Any) -> None:
        body = {"users": {self.alice.email: flags}}
        response = self.groups.call("PATCH", inviter or self.olga, "group", self.group, json=body)
        assert response.status_code == 200, response.text

    @property
    def row(self) -> Any:
        with self.groups.world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(invitations.select()))
        return row

    @property
    def approval(self) -> tuple[str, int | None]:
        return self.row.state, self.row.approved_by

    def approval_mails(self) -> list[tuple[str, str]]:
        """Return the role and the link of each e-mail to staff that is not obsolete."""
        links = []
        for kind, recipient, text in self.groups.mails():
            if kind == "invitation_requested" and recipient == self.staff.email:
                role = re.search("Group (member|manager|owner|lead)", text)
                link = re.search(r"/invitation_approve/([^/\s]+)/", text)
                assert role, text
                assert link, text
                links.append((role[1], link[1]))
        return links

    def approval_link(self, role: str) -> str:
        ((mailed_role, link),) = self.approval_mails()
        assert mailed_role == role
        return link

    def approve(self, link: str) -> httpx.Response:
        return self.groups.site.post("/api/user-invitations/approve/", json={"token": link})

    def accept(self) -> int:
        return self.groups.get(self.alice, "invitation", self.row.uuid, "accept").status_code

    def invite_and_approve(self, role: str, **flags: Any) -> str:
        self.invite(**flags)
        link = self.approval_link(role)
        assert self.approve(link).status_code == 200
        assert self.approval == ("pending", self.staff.id)
        return link

    def check_approval_is_needed(self, role: str, old_link: str) -> None:
        """Check that only a new link approves, and that the invitee gets the role then."""
        assert self.approval == ("requested", None)
        refused = self.approve(old_link)
        assert (refused.status_code, refused.json()) == (400, ["Invalid invitation UUID."])
        assert self.groups.site.get(f"/invitation_approve/{old_link}/").status_code == 410
        assert self.approval == ("requested", None)
        assert self.accept() == 400
        assert self.groups.get(self.alice, "invitation").json()["count"] == 0
        assert self.approve(self.approval_link(role)).status_code == 200
        self.check_acceptance(role)

    def check_acceptance(self, role: str) -> None:
        assert self.accept() == 200
        assert self.groups.role_of(self.group, self.alice) == f"GROUP.{role.upper()}"

    def change_email(self, email: str) -> None:
        """Have staff ask for another address of the invitee, who confirms it."""
        world, site = self.groups.world, self.groups.site
        path = f"/api/users/{self.alice.uuid}/change_email/"
        response = site.post(path, self.staff, json={"email": email})
        assert response.status_code == 200, response.text
        with world.database.read() as tx:
            change = email_change_queries.of_account(tx, self.alice.id)
        assert change is not None
        code = world.vault.derive_code(self.alice.id, email, change.created_at.isoformat())
        response = site.post("/api/users/confirm_email/", json={"code": code})
        assert response.status_code == 200, response.text

    def expire(self) -> None:
        with self.groups.world.database.write() as tx:
            tx.execute(Statement(invitations.update().values(expires_at=tx.now)))


@pytest.fixture
def case(groups: Groups) -> Case:
    return Case(groups)


@pytest.mark.parametrize("approved", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    [("member", "owner"), ("member", "manager"), ("owner", "member"), ("manager", "member")],
)
def test_change_of_the_role_needs_another_approval(
    case: Case, first: str, second: str, *, approved: bool
) -> None:
    flags: dict[str, Any] = {
        "member": {},
        "manager": {"is_manager": True},
        "owner": {"is_owner": True},
    }
    case.invite(**flags[first])
    link = case.approval_link(first)
    if approved:
        assert case.approve(link).status_code == 200
        assert case.row.state == "pending"
    case.invite(**flags[second])
    case.check_approval_is_needed(second, link)


def test_same_role_again_needs_no_other_approval(case: Case) -> None:
    case.invite(is_manager=True)
    link = case.approval_link("manager")
    case.invite(is_manager=True)
    assert case.approval_link("manager")
    assert case.approve(link).status_code == 200
    case.invite(is_manager=True)
    assert case.row.state == "pending"
    assert case.accept() == 200


def test_change_by_staff_needs_no_approval(case: Case) -> None:
    case.invite()
    link = case.approval_link("member")
    case.invite(case.staff, is_owner=True)
    assert case.row.state == "pending"
    assert case.approval_mails() == []
    assert case.approve(link).status_code == 400
    # A change by an owner needs approval again.
    case.invite(is_manager=True)
    assert case.row.state == "requested"


def test_invitation_of_the_same_role_by_staff_approves(case: Case) -> None:
    case.invite(is_manager=True)
    case.invite(case.staff, is_manager=True)
    assert case.approval == ("pending", case.staff.id)
    assert case.accept() == 200


def test_expired_approval_does_not_cover_another_role(case: Case) -> None:
    case.invite_and_approve("member")
    case.expire()
    case.invite(is_owner=True)
    assert case.approval == ("requested", None)


def test_change_of_the_address_before_approval_invalidates_the_link(case: Case) -> None:
    case.invite()
    old = case.approval_link("member")
    case.change_email(OTHER_EMAIL)
    new = case.approval_link("member")
    assert OTHER_EMAIL in case.groups.site.get(f"/invitation_approve/{new}/").text
    case.check_approval_is_needed("member", old)
    assert case.row.email == OTHER_EMAIL


def test_change_of_the_address_after_approval_needs_another_approval(case: Case) -> None:
    link = case.invite_and_approve("manager", is_manager=True)
    # Another spelling of the same mailbox is no other address.
    case.change_email("Alice@EXAMPLE.org")
    assert case.approval == ("pending", case.staff.id)
    case.change_email(OTHER_EMAIL)
    case.check_approval_is_needed("manager", link)


@pytest.mark.parametrize("end", ["expired", "canceled"])
def test_change_of_the_address_does_not_revive_an_invitation(
    case: Case, world: World, end: str
) -> None:
    case.invite_and_approve("member")
    if end == "expired":
        case.expire()
    else:
        assert case.groups.get(case.olga, "invitation", case.row.uuid, "cancel").status_code == 200
    state = case.row.state
    case.change_email(OTHER_EMAIL)
    assert case.row.state == state
    assert case.approval_mails() == []
    with world.database.write() as tx:
        invitation_actions.send(tx, case.olga.actor, world.settings, case.row.uuid)
    assert case.approval == ("requested", None)
    assert case.approval_link("member")


def test_invitation_by_staff_needs_no_approval_of_another_address(case: Case) -> None:
    case.invite(case.staff)
    case.change_email(OTHER_EMAIL)
    assert (case.row.state, case.row.email) == ("pending", OTHER_EMAIL)
    assert case.approval_mails() == []


def test_change_of_the_role_needs_no_approval_by_default(
    make_settings: Callable[..., Settings], world: World, make_site: Callable[[Settings], Site]
) -> None:
    world.settings = make_settings()
    case = Case(Groups(world, make_site(world.settings)))
    case.invite()
    case.invite(is_manager=True)
    assert case.row.state == "pending"
    assert case.approval_mails() == []
    case.check_acceptance("manager")
