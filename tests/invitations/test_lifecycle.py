"""Every state and every act, over the wire: the table's move, or the refusal that is described.

The tables are those of ``rules``; ``tests/rules`` holds them against the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, bindparam, select, update

from collegium.api.waldur.schemas import STATES
from collegium.db.statements import Row, Statement
from collegium.db.tables import outbox, projects
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.invitations import rules as invitation_rules
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from tests.support.site import Site
from tests.support.world import Person, Place, World

TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)
LONG_AGO = timedelta(days=30)
WEEK = timedelta(days=7)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false", only_staff_can_invite_users="true")


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def place(world: World, owner: Person) -> Place:
    return world.organisation(owner=owner)


def mails(world: World, kind: str) -> list[Row]:
    statement = select(outbox).where(outbox.c.kind == kind).order_by(outbox.c.id)
    with world.database.read() as tx:
        return tx.fetch_all(Statement(statement))


def change(world: World, table: Table, **values: Any) -> None:
    """Change every row of a table, as time or an operator may."""
    statement = update(table).values({name: bindparam(name) for name in values})
    with world.database.write() as tx:
        tx.execute(Statement(statement), **values)


# Invitations.


class Invited:
    """An invitation in a state of its own, reached by the acts that lead there."""

    def __init__(
        self, world: World, site: Site, owner: Person, place: Place, state: invitation_rules.State
    ) -> None:
        self.world = world
        self.site = site
        self.state = state
        self.taker = world.person()
        self.project = world.project(
            place, start_date=TOMORROW if state is invitation_rules.State.HELD else None
        )
        asks = state in {invitation_rules.State.REQUESTED, invitation_rules.State.REJECTED}
        expired = state is invitation_rules.State.EXPIRED
        self.uuid = world.invite(
            owner if asks else world.staff,
            self.taker.email,
            "PROJECT.MEMBER",
            self.project,
            now=datetime.now(UTC) - LONG_AGO if expired else None,
        )
        act = {
            invitation_rules.State.ACCEPTED: invitation_rules.Action.ACCEPT,
            invitation_rules.State.REJECTED: invitation_rules.Action.REJECT,
            invitation_rules.State.CANCELED: invitation_rules.Action.CANCEL,
        }.get(state)
        if act is not None:
            assert self.do(act).status_code == 200
        assert self.shown == STATES[state]

    @property
    def row(self) -> Row:
        return self.world.invitation(self.uuid)

    @property
    def shown(self) -> str:
        path = f"/api/user-invitations/{self.uuid}/"
        return str(self.site.get(path, self.world.staff).json()["state"])

    def link(self, purpose: str) -> str:
        now = int(datetime.now(UTC).timestamp())
        staff = self.world.staff
        return self.world.vault.sign(purpose, staff.uuid, self.uuid, self.row.link_version, now)

    def do(self, act: invitation_rules.Action) -> httpx.Response:
        path = "/api/user-invitations/"
        match act:
            case invitation_rules.Action.APPROVE | invitation_rules.Action.REJECT:
                purpose = getattr(approvals, act.name)
                return self.site.post(f"{path}{act}/", json={"token": self.link(purpose)})
            case invitation_rules.Action.ACCEPT:
                return self.site.post(f"{path}{self.uuid}/accept/", self.taker)
            case _:
                return self.site.post(f"{path}{self.uuid}/{act}/", self.world.staff)

    def release(self) -> bool:
        with self.world.database.write() as tx:
            return invitation_actions.release(tx, self.world.settings, self.row.id)


@pytest.fixture
def invited(
    world: World, site: Site, owner: Person, place: Place
) -> Callable[[invitation_rules.State], Invited]:
    return lambda state: Invited(world, site, owner, place, state)


# What only another wire has: here there is no such thing, whatever the state.
ELSEWHERE = {act for act in invitation_rules.Action if act == "decline"}
REFUSED: dict[str, tuple[int, Any]] = {
    "accept": (404, {"detail": "No Invitation matches the given query."}),
    "cancel": (400, ["Only pending or planned invitations can be canceled."]),
    "send": (400, ["Only pending, expired and canceled invitations can be resent."]),
    "approve": (400, ["Invalid invitation UUID."]),
    "reject": (400, ["Invalid invitation UUID."]),
    "decline": (404, {"detail": "Not found."}),
}


@pytest.mark.parametrize("state", invitation_rules.State)
def test_an_invitation_moves_as_in_the_table_and_not_otherwise(
    invited: Callable[[invitation_rules.State], Invited],
    world: World,
    state: invitation_rules.State,
) -> None:
    for act in invitation_rules.Action:
        one = invited(state)
        if act is invitation_rules.Action.RELEASE:
            change(world, projects, start_date=TODAY)
        before = one.row
        leads_to = None if act in ELSEWHERE else invitation_rules.TRANSITIONS.get((state, act))
        if act is invitation_rules.Action.RELEASE:
            assert one.release() is (leads_to is not None), act
        else:
            answer = one.do(act)
            if leads_to is None:
                assert (answer.status_code, answer.json()) == REFUSED[act], act
            else:
                assert answer.status_code == 200, (act, answer.text)
        assert one.shown == STATES[leads_to or state], act
        if leads_to is None:
            # Nothing at all has changed.
            assert one.row == before, act
            continue
        granted = [row.username for row in one.world.grants_in(one.project)]
        assert granted == (
            [one.taker.actor.username] if act is invitation_rules.Action.ACCEPT else []
        )
        begins = (
            leads_to is invitation_rules.State.PENDING
            and state is not invitation_rules.State.PENDING
        )
        # What comes to life has all its time, and its mail goes out.
        assert (one.row.created_at > before.created_at) is begins
        assert one.row.expires_at - one.row.created_at == WEEK
        told = [row.payload["invitation"] for row in mails(one.world, "invitation_created")]
        assert told[-1:] == [one.row.id] or leads_to is not invitation_rules.State.PENDING
        # Whoever got it before must not come in by what they got then.
        revived = act is invitation_rules.Action.SEND and begins
        assert one.row.link_version == before.link_version + revived
        assert (one.row.approved_by is None) is (act is not invitation_rules.Action.APPROVE)
        # No second time, but for a mail.
        if act not in {invitation_rules.Action.SEND, invitation_rules.Action.RELEASE}:
            assert one.do(act).status_code == REFUSED[act][0], act


@pytest.mark.parametrize("state", invitation_rules.State)
def test_an_invitation_is_open_to_others_in_one_state_only(
    invited: Callable[[invitation_rules.State], Invited],
    world: World,
    site: Site,
    state: invitation_rules.State,
) -> None:
    one = invited(state)
    path = f"/api/user-invitations/{one.uuid}/"
    answer = site.post(f"{path}check/")
    if state is invitation_rules.State.PENDING:
        assert (answer.status_code, answer.json()) == (200, {"email": one.taker.email})
    else:
        assert (answer.status_code, answer.content) == (404, b"")
    stranger = world.person()
    open_to = 200 if state is invitation_rules.State.PENDING else 404
    assert site.get(f"{path}details/", stranger).status_code == open_to
    assert site.get(f"{path}details/", world.staff).json()["state"] == STATES[state]
    # The invitee sees it in a list while it waits for them, others never.
    listed = site.get("/api/user-invitations/", one.taker).json()
    waits = state in {invitation_rules.State.PENDING, invitation_rules.State.HELD}
    assert [row["uuid"] for row in listed] == ([one.uuid] if waits else [])
    assert site.get("/api/user-invitations/", stranger).json() == []


@pytest.mark.parametrize("state", invitation_rules.State)
def test_staff_remove_an_invitation_in_any_state_and_nobody_else_does(
    invited: Callable[[invitation_rules.State], Invited],
    site: Site,
    owner: Person,
    state: invitation_rules.State,
) -> None:
    one = invited(state)
    path = f"/api/user-invitations/{one.uuid}/"
    assert site.post(f"{path}delete/", owner).status_code == 403
    answer = site.post(f"{path}delete/", one.world.staff)
    assert answer.json() == {"detail": "Invitation has been successfully deleted."}
    assert site.get(path, one.world.staff).status_code == 404
    assert site.post(f"{path}delete/", one.world.staff).status_code == 404
    assert site.post(f"{path}check/").status_code == 404


def test_who_asks_staff_gets_not_around_them(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    """Neither by a project that has not begun, nor by calling back and sending anew."""
    project = world.project(place, start_date=TOMORROW)
    by_staff = world.invite(world.staff, "bob@example.org", "PROJECT.MEMBER", project)
    by_owner = world.invite(owner, "eve@example.org", "PROJECT.MEMBER", project)

    def state(uuid: str) -> str:
        return str(world.invitation(uuid).state)

    def do(uuid: str, act: str) -> int:
        return site.post(f"/api/user-invitations/{uuid}/{act}/", owner).status_code

    assert (state(by_staff), state(by_owner)) == ("held", "requested")
    # What the staff let out before, the owner cannot make their own.
    assert (do(by_staff, "cancel"), do(by_staff, "send")) == (200, 200)
    assert state(by_staff) == "requested"
    assert (do(by_owner, "cancel"), do(by_owner, "send")) == (400, 400)
    change(world, projects, start_date=TODAY)
    assert Scheduler(world.database, world.settings).run() == 0
    assert (state(by_staff), state(by_owner)) == ("requested", "requested")
    assert len(mails(world, "invitation_created")) == 0
    # One mail for each of them.
    assert [mail.recipient for mail in mails(world, "invitation_requested")] == [
        world.staff.email,
        world.staff.email,
    ]


def test_what_staff_have_approved_waits_for_its_project_and_stays_approved(
    world: World, site: Site, owner: Person, place: Place, invited: Callable[..., Invited]
) -> None:
    one = invited(invitation_rules.State.REQUESTED)
    change(world, projects, start_date=TOMORROW)
    assert one.do(invitation_rules.Action.APPROVE).status_code == 200
    assert one.shown == "project"
    path = f"/api/user-invitations/{one.uuid}/"
    for act, state in (("cancel", "canceled"), ("send", "project")):
        assert site.post(f"{path}{act}/", owner).status_code == 200
        assert one.shown == state
    assert mails(world, "invitation_created") == []
    change(world, projects, start_date=TODAY)
    assert Scheduler(world.database, world.settings).run() == 1
    assert one.shown == "pending"
    assert len(mails(world, "invitation_created")) == 1


@pytest.mark.parametrize("token", [None, "", "   ", 7, ["x"], {"a": 1}, "x" * 2000, "a.b.c", "é"])
def test_what_is_no_token_is_told_so(site: Site, token: Any) -> None:
    for act in ("approve", "reject"):
        path = f"/api/user-invitations/{act}/"
        answer = site.post(path, json={"token": token})
        assert answer.status_code == 400
        no_text = not token or not isinstance(token, str)
        said = "token is required parameter" if no_text else "Invalid signature."
        assert answer.json() == [said]
    bodies: tuple[dict[str, Any], ...] = ({}, {"json": {}}, {"data": {}})
    for body in bodies:
        answer = site.post("/api/user-invitations/approve/", **body)
        assert (answer.status_code, answer.json()) == (400, ["token is required parameter"])
    assert site.post("/api/user-invitations/reject/", json=["x"]).status_code == 400


def test_a_token_decides_for_what_it_was_signed_and_for_who_is_staff_then(
    world: World, site: Site, owner: Person, place: Place, invited: Callable[..., Invited]
) -> None:
    one = invited(invitation_rules.State.REQUESTED)
    chief = world.person("chief", is_staff=True)
    now = int(datetime.now(UTC).timestamp())

    def decide(act: str, *facts: Any, purpose: str | None = None) -> Any:
        token = world.vault.sign(purpose or f"invitation_{act}", *facts)
        answer = site.post(f"/api/user-invitations/{act}/", json={"token": token})
        assert answer.status_code == 400, answer.text
        return answer.json()

    facts = (chief.uuid, one.uuid, 1, now)
    assert one.row.link_version == 1
    assert decide("approve", *facts, purpose=approvals.REJECT) == ["Invalid signature."]
    assert decide("reject", *facts, purpose=approvals.APPROVE) == ["Invalid signature."]
    assert decide("approve", *facts, purpose="invitation") == ["Invalid signature."]
    assert decide("approve", chief.uuid, one.uuid) == ["Invalid payload."]
    assert decide("approve", 1, 2, 3, 4) == ["Invalid payload."]
    assert decide("approve", "0" * 32, one.uuid, 1, now) == ["Invalid user UUID."]
    assert decide("approve", owner.uuid, one.uuid, 1, now) == ["Invalid user UUID."]
    assert decide("approve", chief.uuid, "0" * 32, 1, now) == ["Invalid invitation UUID."]
    assert decide("approve", chief.uuid, one.uuid, 2, now) == ["Invalid invitation UUID."]
    eight_days = 8 * 86400
    assert decide("approve", chief.uuid, one.uuid, 1, now - eight_days) == ["Invalid signature."]
    for lost in ({"is_staff": False}, {"is_staff": True, "is_active": False}):
        path = f"/api/users/{chief.uuid}/"
        assert site.request("PATCH", path, world.staff, json=lost).status_code == 200
        assert decide("approve", *facts) == ["Invalid user UUID."]
    assert one.shown == "requested"
    assert one.do(invitation_rules.Action.APPROVE).status_code == 200


def test_who_guesses_or_mails_too_much_has_to_wait(
    world: World,
    place: Place,
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
) -> None:
    site = make_site(make_settings())
    asker = world.person()
    uuid = world.invite(world.staff, asker.email, "PROJECT.MEMBER", world.project(place))
    link = world.open(
        world.staff, "PROJECT.MEMBER", world.project(place), allow_multiple_requests=True
    )

    def times(count: int, path: str, who: Person | None = None, **body: Any) -> list[int]:
        return [site.post(path, who, json=body).status_code for _ in range(count)]

    # Guesses: ten are free, and the eleventh costs.
    for act in ("approve", "reject"):
        expected = [400] * 11 + [429] if act == "approve" else [429]
        path = f"/api/user-invitations/{act}/"
        assert times(len(expected), path, token="guess") == expected
    path = f"/api/user-invitations/{'0' * 32}/check/"
    assert times(12, path) == [404] * 11 + [429]
    # Mails: to one address that somebody chose, and to everybody who may decide.
    path = f"/api/user-invitations/{uuid}/send/"
    assert times(7, path, world.staff) == [200] * 6 + [429]
    path = f"/api/user-group-invitations/{link}/submit_request/"
    assert times(12, path, asker) == [200] * 11 + [429]
    answer = site.post(path, asker)
    assert 0 < int(answer.headers["Retry-After"]) <= 30
    assert answer.json()["detail"].startswith("Request was throttled. Expected available in ")
    # Others are not held up by it.
    assert times(1, path, world.person()) == [200]
