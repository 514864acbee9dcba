"""Every state and every action over HTTP: the transition of the table, or the documented refusal.

The table is in ``rules``; ``tests/rules`` compares it with the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, bindparam, select, update

from collegium.api.waldur.schemas import STATES
from collegium.db.statements import Statement
from collegium.db.tables import outbox, projects
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.invitations.rules import Action, State
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from tests.support.site import Site
from tests.support.world import Person, Place, World

PATH = "/api/user-invitations/"
TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)
LONG_AGO = timedelta(days=30)
WEEK = timedelta(days=7)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false", only_staff_can_invite_users="true")


@pytest.fixture
def organisation(world: World, owner: Person) -> Place:
    return world.organisation(owner=owner)


def mails(world: World, kind: str) -> list[Any]:
    statement = select(outbox).where(outbox.c.kind == kind).order_by(outbox.c.id)
    with world.database.read() as tx:
        return tx.fetch_all(Statement(statement))


def change(world: World, table: Table, **values: Any) -> None:
    """Change every row of a table."""
    statement = update(table).values({name: bindparam(name) for name in values})
    with world.database.write() as tx:
        tx.execute(Statement(statement), **values)


class Invited:
    """An invitation in a state, reached by actions."""

    def __init__(
        self, world: World, site: Site, owner: Person, organisation: Place, state: State
    ) -> None:
        self.world = world
        self.site = site
        self.invitee = world.person()
        starts = TOMORROW if state is State.HELD else None
        self.project = world.project(organisation, start_date=starts)
        self.uuid = world.invite(
            owner if state in {State.REQUESTED, State.REJECTED} else world.staff,
            self.invitee.email,
            "PROJECT.MEMBER",
            self.project,
            now=datetime.now(UTC) - LONG_AGO if state is State.EXPIRED else None,
        )
        actions = {
            State.ACCEPTED: Action.ACCEPT,
            State.REJECTED: Action.REJECT,
            State.CANCELED: Action.CANCEL,
        }
        if state in actions:
            assert self.do(actions[state]).status_code == 200
        assert self.shown_state == STATES[state]

    @property
    def row(self) -> Any:
        return self.world.invitation(self.uuid)

    @property
    def shown_state(self) -> str:
        return str(self.site.get(f"{PATH}{self.uuid}/", self.world.staff).json()["state"])

    def do(self, action: Action) -> httpx.Response:
        if action in {Action.APPROVE, Action.REJECT}:
            now = int(datetime.now(UTC).timestamp())
            facts = (self.world.staff.uuid, self.uuid, self.row.link_version, now)
            token = self.world.vault.sign(getattr(approvals, action.name), *facts)
            return self.site.post(f"{PATH}{action}/", json={"token": token})
        person = self.invitee if action is Action.ACCEPT else self.world.staff
        return self.site.post(f"{PATH}{self.uuid}/{action}/", person)

    def release(self) -> bool:
        with self.world.database.write() as tx:
            return invitation_actions.release(tx, self.world.settings, self.row.id)


@pytest.fixture
def invited(
    world: World, site: Site, owner: Person, organisation: Place
) -> Callable[[State], Invited]:
    return lambda state: Invited(world, site, owner, organisation, state)


REFUSALS: dict[str, tuple[int, Any]] = {
    "accept": (404, {"detail": "No Invitation matches the given query."}),
    "cancel": (400, ["Only pending or planned invitations can be canceled."]),
    "send": (400, ["Only pending, expired and canceled invitations can be resent."]),
    "approve": (400, ["Invalid invitation UUID."]),
    "reject": (400, ["Invalid invitation UUID."]),
    # This API has no such action.
    "decline": (404, {"detail": "Not found."}),
}


@pytest.mark.parametrize("state", State)
def test_actions_follow_the_transition_table(
    invited: Callable[[State], Invited], world: World, state: State
) -> None:
    for action in (*(Action[name.upper()] for name in REFUSALS), Action.RELEASE):
        invitation = invited(state)
        if action is Action.RELEASE:
            change(world, projects, start_date=TODAY)
        before = invitation.row
        is_allowed = action is not Action.DECLINE and state in action.states
        target = action.after(state) if is_allowed else None
        if action is Action.RELEASE:
            assert invitation.release() is (target is not None), action
        else:
            response = invitation.do(action)
            if target is None:
                assert (response.status_code, response.json()) == REFUSALS[str(action)], action
            else:
                assert response.status_code == 200, (action, response.text)
        assert invitation.shown_state == STATES[target or state], action
        if target is None:
            assert invitation.row == before, action
            continue
        members = [row.username for row in world.grants_in(invitation.project)]
        is_accepted = action is Action.ACCEPT
        assert members == ([invitation.invitee.actor.username] if is_accepted else [])
        # An invitation that becomes pending has its full lifetime, and is mailed.
        becomes_pending = target is State.PENDING and state is not State.PENDING
        row = invitation.row
        assert (row.created_at > before.created_at) is becomes_pending
        assert row.expires_at - row.created_at == WEEK
        mailed = [mail.payload["invitation"] for mail in mails(world, "invitation_created")]
        assert mailed[-1:] == [row.id] or target is not State.PENDING
        # Renewing makes earlier links invalid.
        is_renewed = action is Action.SEND and becomes_pending
        assert row.link_version == before.link_version + is_renewed
        assert (row.approved_by is None) is (action is not Action.APPROVE)
        if action not in {Action.SEND, Action.RELEASE}:
            assert invitation.do(action).status_code == REFUSALS[str(action)][0], action


@pytest.mark.parametrize("state", State)
def test_invitation_is_visible_to_others_only_while_pending(
    invited: Callable[[State], Invited], world: World, site: Site, state: State
) -> None:
    invitation, stranger = invited(state), world.person()
    path = f"{PATH}{invitation.uuid}/"
    response = site.post(f"{path}check/")
    if state is State.PENDING:
        assert (response.status_code, response.json()) == (200, {"email": invitation.invitee.email})
    else:
        assert (response.status_code, response.content) == (404, b"")
    status = 200 if state is State.PENDING else 404
    assert site.get(f"{path}details/", stranger).status_code == status
    assert site.get(f"{path}details/", world.staff).json()["state"] == STATES[state]
    # The invitee's list has it while it is pending or scheduled, the list of others never.
    rows = site.get(PATH, invitation.invitee).json()
    is_listed = state in {State.PENDING, State.HELD}
    assert [row["uuid"] for row in rows] == ([invitation.uuid] if is_listed else [])
    assert site.get(PATH, stranger).json() == []


@pytest.mark.parametrize("state", State)
def test_only_staff_can_delete_an_invitation_in_any_state(
    invited: Callable[[State], Invited], world: World, site: Site, owner: Person, state: State
) -> None:
    path = f"{PATH}{invited(state).uuid}/"
    assert site.post(f"{path}delete/", owner).status_code == 403
    response = site.post(f"{path}delete/", world.staff)
    assert response.json() == {"detail": "Invitation has been successfully deleted."}
    assert site.get(path, world.staff).status_code == 404
    assert site.post(f"{path}delete/", world.staff).status_code == 404
    assert site.post(f"{path}check/").status_code == 404


@pytest.mark.parametrize("state", State)
def test_who_may_send_an_invitation_deletes_it_in_any_state(
    invited: Callable[[State], Invited], world: World, site: Site, owner: Person, state: State
) -> None:
    invitation = invited(state)
    member = world.person()
    world.give_role(member, "PROJECT.MEMBER", invitation.project)
    path = f"{PATH}{invitation.uuid}/"
    assert site.request("DELETE", path, member).status_code == 404
    is_shown = state in {State.PENDING, State.HELD}
    assert site.request("DELETE", path, invitation.invitee).status_code == (
        403 if is_shown else 404
    )
    response = site.request("DELETE", path, owner)
    assert (response.status_code, response.content) == (204, b"")
    assert site.request("DELETE", path, owner).status_code == 404
    assert site.get(path, world.staff).status_code == 404


def test_approval_cannot_be_bypassed_by_schedule_or_resending(
    world: World, site: Site, owner: Person, organisation: Place
) -> None:
    project = world.project(organisation, start_date=TOMORROW)
    by_staff = world.invite(world.staff, "bob@example.org", "PROJECT.MEMBER", project)
    by_owner = world.invite(owner, "eve@example.org", "PROJECT.MEMBER", project)

    def states() -> tuple[str, str]:
        return world.invitation(by_staff).state, world.invitation(by_owner).state

    def statuses(uuid: str) -> list[int]:
        actions = ("cancel", "send")
        return [site.post(f"{PATH}{uuid}/{action}/", owner).status_code for action in actions]

    assert states() == ("held", "requested")
    # An owner who resends an invitation of staff needs approval for it.
    assert statuses(by_staff) == [200, 200]
    assert states() == ("requested", "requested")
    assert statuses(by_owner) == [400, 400]
    change(world, projects, start_date=TODAY)
    assert Scheduler(world.database, world.settings).run() == 0
    assert states() == ("requested", "requested")
    assert mails(world, "invitation_created") == []
    recipients = [mail.recipient for mail in mails(world, "invitation_requested")]
    assert recipients == [world.staff.email] * 2


def test_approved_invitation_waits_for_its_project_and_stays_approved(
    world: World, site: Site, owner: Person, invited: Callable[..., Invited]
) -> None:
    invitation = invited(State.REQUESTED)
    change(world, projects, start_date=TOMORROW)
    assert invitation.do(Action.APPROVE).status_code == 200
    assert invitation.shown_state == "project"
    for action, state in (("cancel", "canceled"), ("send", "project")):
        assert site.post(f"{PATH}{invitation.uuid}/{action}/", owner).status_code == 200
        assert invitation.shown_state == state
    assert mails(world, "invitation_created") == []
    change(world, projects, start_date=TODAY)
    assert Scheduler(world.database, world.settings).run() == 1
    assert invitation.shown_state == "pending"
    assert len(mails(world, "invitation_created")) == 1


@pytest.mark.parametrize("token", [None, "", "   ", 7, ["x"], {"a": 1}, "x" * 2000, "a.b.c", "é"])
def test_invalid_approval_token_is_refused(site: Site, token: Any) -> None:
    missing = ["token is required parameter"]
    for action in ("approve", "reject"):
        response = site.post(f"{PATH}{action}/", json={"token": token})
        assert response.status_code == 400
        is_text = bool(token) and isinstance(token, str)
        assert response.json() == (["Invalid signature."] if is_text else missing)
    bodies: tuple[dict[str, Any], ...] = ({}, {"json": {}}, {"data": {}})
    for body in bodies:
        response = site.post(f"{PATH}approve/", **body)
        assert (response.status_code, response.json()) == (400, missing)
    assert site.post(f"{PATH}reject/", json=["x"]).status_code == 400


def test_approval_token_is_bound_to_purpose_invitation_time_and_staff(
    world: World, site: Site, owner: Person, invited: Callable[..., Invited]
) -> None:
    invitation = invited(State.REQUESTED)
    assert invitation.row.link_version == 1
    chief = world.person("chief", is_staff=True)
    now = int(datetime.now(UTC).timestamp())
    eight_days_ago = now - 8 * 86400
    staff, uuid, unknown = chief.uuid, invitation.uuid, "0" * 32
    facts = (staff, uuid, 1, now)

    def refusal(action: str, purpose: str, *signed: Any) -> Any:
        token = world.vault.sign(purpose, *signed)
        response = site.post(f"{PATH}{action}/", json={"token": token})
        assert response.status_code == 400, response.text
        return response.json()

    for action, purpose in (
        ("approve", approvals.REJECT),
        ("reject", approvals.APPROVE),
        ("approve", "invitation"),
    ):
        assert refusal(action, purpose, *facts) == ["Invalid signature."], purpose
    for signed, message in (
        ((staff, uuid), "Invalid payload."),
        ((1, 2, 3, 4), "Invalid payload."),
        ((unknown, uuid, 1, now), "Invalid user UUID."),
        ((owner.uuid, uuid, 1, now), "Invalid user UUID."),
        ((staff, unknown, 1, now), "Invalid invitation UUID."),
        ((staff, uuid, 2, now), "Invalid invitation UUID."),
        ((staff, uuid, 1, eight_days_ago), "Invalid signature."),
    ):
        assert refusal("approve", approvals.APPROVE, *signed) == [message], signed
    for values in ({"is_staff": False}, {"is_staff": True, "is_active": False}):
        path = f"/api/users/{staff}/"
        assert site.request("PATCH", path, world.staff, json=values).status_code == 200
        assert refusal("approve", approvals.APPROVE, *facts) == ["Invalid user UUID."]
    assert invitation.shown_state == "requested"
    assert invitation.do(Action.APPROVE).status_code == 200


def test_guesses_and_emails_are_rate_limited(
    world: World,
    organisation: Place,
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
) -> None:
    site, person = make_site(make_settings()), world.person()
    first, second = world.project(organisation), world.project(organisation)
    uuid = world.invite(world.staff, person.email, "PROJECT.MEMBER", first)
    link = world.create_link(world.staff, "PROJECT.MEMBER", second, allow_multiple_requests=True)

    def repeat(count: int, path: str, person: Person | None = None, **body: Any) -> list[int]:
        return [site.post(path, person, json=body).status_code for _ in range(count)]

    # Guesses count together, whatever is guessed.
    assert repeat(12, f"{PATH}approve/", token="guess") == [400] * 11 + [429]
    assert repeat(1, f"{PATH}reject/", token="guess") == [429]
    assert repeat(1, f"{PATH}{'0' * 32}/check/") == [429]
    # E-mails to one address, and to those who decide on requests.
    assert repeat(7, f"{PATH}{uuid}/send/", world.staff) == [200] * 6 + [429]
    path = f"/api/user-group-invitations/{link}/submit_request/"
    assert repeat(12, path, person) == [200] * 11 + [429]
    response = site.post(path, person)
    assert 0 < int(response.headers["Retry-After"]) <= 30
    assert response.json()["detail"].startswith("Request was throttled. Expected available in ")
    # Other accounts are not limited.
    assert repeat(1, path, world.person()) == [200]
