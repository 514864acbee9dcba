"""The schedule: expiry, reminders, scheduled invitations, ended roles; each notified once."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, bindparam, select, update

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.db.statements import Statement
from collegium.db.tables import events, invitations, organisations, outbox, projects, roles
from collegium.invitations import actions as invitation_actions
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from collegium.worker.worker import Worker
from tests.conftest import KEY
from tests.support.serving import Service
from tests.support.world import Place, World
from tests.worker.scene import Clock, Recorder, words

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
WEEK = 7 * DAY
ROLE = "PROJECT.MEMBER"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    # E-mails about roles have tests of their own.
    return make_settings(rate_limits="false", role_notifications="false")


class Timeline:
    """An organisation with an owner and a project, and a clock for the worker."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock(datetime.now(UTC))
        self.owner = world.person("owner")
        self.organisation = world.organisation(owner=self.owner)
        self.project = world.project(self.organisation)

    def invite(self, email: str = "bob@example.org", project: Place | None = None) -> str:
        """Invite as the owner; return the UUID."""
        return self.world.invite(self.owner, email, ROLE, project or self.project, self.clock.now)

    def starting_project(self, after: timedelta) -> Place:
        return self.world.project(self.organisation, start_date=(self.clock.now + after).date())

    def worker(self, out: Recorder) -> Worker:
        world = self.world
        return Worker(world.database, world.settings, world.vault, out, clock=self.clock)

    def deliver(self) -> list[tuple[str, str]]:
        """Run a worker once; return kind and recipient of each mail sent."""
        self.worker(out := Recorder()).once()
        return kinds(out.sent)

    def run_schedule(self) -> int:
        return Scheduler(self.world.database, self.world.settings, self.clock).run()

    def events(self, kind: str) -> list[Any]:
        statement = select(events).where(events.c.kind == kind).order_by(events.c.id)
        with self.world.database.read() as tx:
            return tx.fetch_all(Statement(statement))

    def update_all(self, table: Table, **values: Any) -> None:
        statement = update(table).values({name: bindparam(name) for name in values})
        with self.world.database.write() as tx:
            tx.execute(Statement(statement), **values)

    def act(self, action: Callable[..., Any], *arguments: Any) -> None:
        with self.world.database.write(self.clock.now) as tx:
            action(tx, *arguments)


@pytest.fixture
def timeline(world: World) -> Timeline:
    return Timeline(world)


def kinds(mails: list[EmailMessage]) -> list[tuple[str, str]]:
    return [(mail["X-Collegium-Mail"], mail["To"]) for mail in mails]


def test_inviter_is_notified_once_of_an_expired_invitation(timeline: Timeline) -> None:
    uuid = timeline.invite()
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    timeline.update_all(invitations, reminded_at=timeline.clock.now)
    timeline.clock.now += WEEK - TICK
    assert timeline.deliver() == []
    assert timeline.events("invitation.expired") == []
    timeline.clock.now += TICK
    assert timeline.deliver() == [("invitation_expired", timeline.owner.email)]
    (event,) = timeline.events("invitation.expired")
    assert (event.actor_id, event.scope_id) == (None, timeline.project.id)
    # The stored state does not change: it can be sent again.
    assert timeline.world.invitation(uuid).state == "pending"
    for _ in range(2):
        timeline.clock.forward(days=30)
        assert timeline.deliver() == []
    assert len(timeline.events("invitation.expired")) == 1
    # Sent again it has its full lifetime, and its end is notified again.
    timeline.act(invitation_actions.send, timeline.owner.actor, timeline.world.settings, uuid)
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    assert timeline.world.invitation(uuid).expires_at == timeline.clock.now + WEEK
    timeline.clock.forward(days=6, minutes=1)
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    timeline.clock.forward(days=1)
    assert timeline.deliver() == [("invitation_expired", timeline.owner.email)]


def test_accepted_or_cancelled_invitation_sends_no_expiry_notice(timeline: Timeline) -> None:
    bob = timeline.world.person("bob")
    accepted = timeline.invite(bob.email)
    cancelled = timeline.invite("eve@example.org")
    timeline.deliver()
    timeline.act(invitation_actions.accept, bob.actor, timeline.world.settings, accepted)
    timeline.act(invitation_actions.cancel, timeline.owner.actor, cancelled)
    assert timeline.deliver() == [("invitation_accepted", timeline.owner.email)]
    timeline.clock.forward(days=400)
    assert timeline.deliver() == []


def test_late_worker_sends_neither_expired_invitation_nor_reminder(timeline: Timeline) -> None:
    timeline.invite()
    timeline.clock.forward(days=90)
    assert timeline.deliver() == [("invitation_expired", timeline.owner.email)]


def test_expiry_without_inviter_is_recorded_without_a_mail(timeline: Timeline) -> None:
    timeline.world.give_role(timeline.world.person(), "CUSTOMER.OWNER", timeline.organisation)
    timeline.invite()
    staff, now = timeline.world.staff, timeline.clock.now
    other = timeline.world.invite(staff, "eve@example.org", ROLE, timeline.project, now)
    timeline.update_all(invitations, created_by=None, reminded_at=timeline.clock.now)
    timeline.deliver()
    timeline.act(account_actions.delete, timeline.world.staff.actor, timeline.owner.uuid)
    timeline.clock.forward(days=8)
    assert timeline.deliver() == []
    assert len(timeline.events("invitation.expired")) == 2
    assert timeline.world.invitation(other).expiry_notified_at is not None


def test_one_run_handles_more_than_one_batch(timeline: Timeline) -> None:
    uuids = [timeline.invite(f"p{at}@example.org") for at in range(120)]
    timeline.clock.forward(days=8)
    # With the notice of the role of the owner.
    assert timeline.run_schedule() == 121
    assert all(timeline.world.invitation(uuid).expiry_notified_at is not None for uuid in uuids)
    assert timeline.run_schedule() == 0


def test_reminder_is_sent_once_one_day_before_the_end(timeline: Timeline) -> None:
    uuid = timeline.invite()
    timeline.deliver()
    timeline.clock.now += WEEK - DAY - TICK
    assert timeline.deliver() == []
    timeline.clock.now += TICK
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    assert timeline.deliver() == []
    # Nobody waits for a reminder, as somebody may for the first e-mail.
    with timeline.world.database.read() as tx:
        is_bulk = tx.fetch_all(Statement[bool](select(outbox.c.is_bulk).order_by(outbox.c.id)))
    assert is_bulk == [False, True]
    # Sent again by hand, it needs no second reminder.
    timeline.act(invitation_actions.send, timeline.owner.actor, timeline.world.settings, uuid)
    assert len(timeline.deliver()) == 1
    timeline.clock.forward(hours=23)
    assert timeline.deliver() == []


@pytest.mark.parametrize("closed", ["blocked", "archived"])
def test_reminder_waits_while_the_organisation_is_closed(timeline: Timeline, closed: str) -> None:
    timeline.invite()
    timeline.deliver()
    timeline.update_all(organisations, **{closed: True})
    timeline.clock.forward(days=6, hours=1)
    assert timeline.deliver() == []
    assert timeline.run_schedule() == 0
    timeline.update_all(organisations, **{closed: False})
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]


@pytest.mark.parametrize("lifetime", ["2s", "23h", "1d", "25h", "30h", "47h"])
def test_only_an_invitation_of_more_than_a_day_is_reminded(
    timeline: Timeline, make_settings: Callable[..., Settings], lifetime: str
) -> None:
    settings = timeline.world.settings = make_settings(
        invitation_lifetime=lifetime, role_notifications="false"
    )
    timeline.invite()
    assert len(timeline.deliver()) == 1
    end = timeline.clock.now + timedelta(seconds=settings.invitation_lifetime)
    if lifetime in {"25h", "30h", "47h"}:
        timeline.clock.now = end - DAY - TICK
        assert timeline.deliver() == []
        timeline.clock.now += TICK
        assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    timeline.clock.now = end - TICK
    assert timeline.deliver() == []
    timeline.clock.now = end
    assert timeline.deliver() == [("invitation_expired", timeline.owner.email)]


@pytest.mark.parametrize("lost", ["role", "inviter"])
def test_invitation_that_cannot_be_accepted_has_no_reminder(timeline: Timeline, lost: str) -> None:
    timeline.invite()
    timeline.deliver()
    timeline.clock.forward(days=6, hours=1)
    if lost == "role":
        timeline.update_all(roles, is_active=False)
    else:
        timeline.world.remove_role(timeline.owner, "CUSTOMER.OWNER", timeline.organisation)
    assert timeline.deliver() == []
    assert timeline.run_schedule() == 0


def test_scheduled_invitation_gets_its_full_lifetime_at_project_start(timeline: Timeline) -> None:
    starts = (timeline.clock.now + 30 * DAY).date()
    project = timeline.starting_project(30 * DAY)
    uuid = timeline.invite(project=project)
    assert timeline.world.invitation(uuid).state == "held"
    # Its lifetime begins when the project starts.
    begins = datetime(starts.year, starts.month, starts.day, tzinfo=UTC)
    timeline.clock.now = begins - TICK
    assert timeline.deliver() == []
    assert timeline.world.invitation(uuid).state == "held"
    timeline.clock.now = begins
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    row = timeline.world.invitation(uuid)
    assert (row.state, row.created_at, row.expires_at) == ("pending", begins, begins + WEEK)
    assert len(timeline.events("invitation.released")) == 1
    assert timeline.deliver() == []
    timeline.clock.now = begins + WEEK - TICK
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]
    bob = timeline.world.person("bob")
    timeline.act(invitation_actions.accept, bob.actor, timeline.world.settings, uuid)
    assert [grant.username for grant in timeline.world.grants_in(project)] == ["bob"]


@pytest.mark.parametrize("closed", ["blocked", "archived"])
def test_scheduled_invitation_waits_while_the_organisation_is_closed(
    timeline: Timeline, closed: str
) -> None:
    uuid = timeline.invite(project=timeline.starting_project(DAY))
    timeline.update_all(organisations, **{closed: True})
    timeline.clock.forward(days=3)
    assert timeline.deliver() == []
    assert timeline.world.invitation(uuid).state == "held"
    timeline.update_all(organisations, **{closed: False})
    assert timeline.deliver() == [("invitation_created", "bob@example.org")]


def test_scheduled_invitation_waits_for_a_postponed_start(timeline: Timeline) -> None:
    timeline.invite(project=timeline.starting_project(DAY))
    timeline.update_all(projects, start_date=(timeline.clock.now + 9 * DAY).date())
    timeline.clock.forward(days=8)
    assert timeline.deliver() == []
    timeline.clock.forward(days=1)
    assert len(timeline.deliver()) == 1


def test_ended_grant_is_recorded_once(timeline: Timeline) -> None:
    ada, bob = timeline.world.person("ada"), timeline.world.person("bob")
    until = timeline.clock.now + DAY
    timeline.world.give_role(ada, ROLE, timeline.project, until)
    timeline.world.give_role(bob, ROLE, timeline.project)
    timeline.clock.now = until - TICK
    assert timeline.deliver() == []
    assert timeline.events("role.expired") == []
    timeline.clock.now = until
    for _ in range(3):
        assert timeline.deliver() == []
        (event,) = timeline.events("role.expired")
    assert (event.account_id, event.scope_id, event.actor_id) == (ada.id, timeline.project.id, None)
    assert event.payload["role"] == ROLE
    assert event.payload["until"] == until.isoformat()
    with timeline.world.database.read(timeline.clock.now) as tx:
        access = access_queries.permissions_in_scope(tx, ada.actor, timeline.project.id)
        assert access is not None
        assert not access.permissions


def test_two_workers_notify_each_change_once(timeline: Timeline) -> None:
    each = 6
    world, project = timeline.world, timeline.starting_project(DAY)
    for at in range(each):
        timeline.invite(f"held{at}@example.org", project)
        end = timeline.clock.now + timedelta(hours=1)
        world.give_role(world.person(f"guest{at}"), ROLE, timeline.project, end)
    timeline.clock.now -= WEEK
    for at in range(each):
        timeline.invite(f"old{at}@example.org")
    timeline.clock.forward(days=2)
    for at in range(each):
        timeline.invite(f"late{at}@example.org")
    timeline.clock.forward(days=5)
    timeline.update_all(outbox, state="sent")
    timeline.clock.forward(days=1, hours=1)
    out = [Recorder() for _ in range(2)]
    barrier = threading.Barrier(2)

    def work(recorder: Recorder) -> None:
        worker = timeline.worker(recorder)
        barrier.wait(timeout=20)
        worker.once()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work, recorder) for recorder in out]:
            future.result(timeout=60)
    sent = [mail for recorder in out for mail in recorder.sent]
    assert Counter(kinds(sent)) == Counter(
        [("invitation_expired", timeline.owner.email)] * each
        + [("invitation_created", f"late{at}@example.org") for at in range(each)]
        + [("invitation_created", f"held{at}@example.org") for at in range(each)]
    )
    for kind in ("invitation.expired", "invitation.released", "role.expired"):
        assert len(timeline.events(kind)) == each, kind


class Program:
    """The real program with short lifetimes, and the mails that it sends."""

    def __init__(self, folder: Path, url: str) -> None:
        self.service = Service(
            folder,
            {
                "database_url": url,
                "secret_key": KEY,
                "rate_limits": "false",
                "invitation_lifetime": "2s",
                "invitation_max_age": "1h",
                "only_staff_can_invite_users": "true",
            },
        )
        self.boss = self.service.staff()
        self.chief = self.service.staff("chief")
        self.service.start("--no-worker")
        roles = {role["name"]: role["uuid"] for role in self.get("/api/roles/?page_size=50")}
        self.role = roles[ROLE]
        self.customer = self.create("/api/customers/", name="Royal Society")
        self.project = self.create("/api/projects/", name="Engines", customer=self.customer["url"])
        self.owner = self.person("owner")
        path = f"/api/customers/{self.customer['uuid']}/add_user/"
        user = self.get("/api/users/me/", self.owner)["uuid"]
        self.create(path, role=roles["CUSTOMER.OWNER"], user=user)

    def get(self, path: str, token: str = "") -> Any:
        return self.service.call("GET", path, token or self.boss).json()

    def post(self, path: str, token: str = "", **body: Any) -> httpx.Response:
        return self.service.call("POST", path, token, json=body)

    def create(self, path: str, token: str = "", **body: Any) -> Any:
        response = self.post(path, token or self.boss, **body)
        assert response.status_code == 201, response.text
        return response.json()

    def person(self, name: str) -> str:
        """Create an account and sign in; return the token."""
        user = self.create("/api/users/", username=name, email=f"{name}@example.org")
        password = "a quiet harbour 41"
        path = f"/api/users/{user['uuid']}/change_password/"
        assert self.post(path, self.boss, new_password=password).status_code == 200
        response = self.post("/api-auth/password/", username=name, password=password)
        return str(response.json()["token"])

    def invite(self, token: str, email: str) -> dict[str, Any]:
        body = {"scope": self.project["url"], "role": self.role, "email": email}
        invitation: dict[str, Any] = self.create("/api/user-invitations/", token, **body)
        return invitation

    def state(self, invited: dict[str, Any]) -> str:
        return str(self.get(f"/api/user-invitations/{invited['uuid']}/")["state"])

    def deliver(self) -> list[EmailMessage]:
        """Run ``collegium worker --once``; return the mails that it sent."""
        folder = self.service.folder / "var" / "mail"
        before = set(folder.glob("*.eml"))
        run = self.service.run("worker", "--once")
        assert run.returncode == 0, run.stderr
        new = sorted(set(folder.glob("*.eml")) - before, key=lambda file: file.stat().st_mtime_ns)
        mails = [message_from_bytes(file.read_bytes(), policy=default) for file in new]
        # Staff set the passwords here, which is notified too.
        return [mail for mail in mails if mail["X-Collegium-Mail"] != "password_changed"]

    def links(self, mail: EmailMessage, kind: str) -> str:
        (link,) = re.findall(rf"/{kind}/([^/\s]+)/", words(mail, "plain"))
        return str(link)

    def decide(self, act: str, token: str) -> tuple[int, Any]:
        path = f"/api/user-invitations/{act}/"
        response = self.service.call("POST", path, json={"token": token})
        return response.status_code, response.json()


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Start the program with a database; stop it after the test."""
    started: list[Program] = []

    def start(url: str) -> Program:
        started.append(Program(tmp_path, url))
        return started[-1]

    yield start
    for program in started:
        program.service.stop()


def test_invitation_expires_and_is_sent_again_in_the_real_program(
    start_program: Callable[[str], Program], url: str
) -> None:
    program = start_program(url)
    bob = program.person("bob")
    invited = program.invite(program.boss, "bob@example.org")
    path = f"/api/user-invitations/{invited['uuid']}/"
    assert invited["state"] == "pending"
    began = datetime.fromisoformat(invited["created"])
    assert datetime.fromisoformat(invited["expires"]) - began == timedelta(seconds=2)
    left = (datetime.fromisoformat(invited["expires"]) - datetime.now(UTC)).total_seconds()
    time.sleep(max(left, 0) + 0.01)
    # It has expired without a run of the worker.
    assert program.state(invited) == "expired"
    response = program.post(f"{path}check/")
    assert (response.status_code, response.content) == (404, b"")
    assert program.post(f"{path}accept/", bob).status_code == 404
    assert program.get("/api/user-invitations/?state=expired")[0]["uuid"] == invited["uuid"]
    # The unsent invitation is obsolete; the expiry is notified once.
    assert kinds(program.deliver()) == [("invitation_expired", "boss@example.org")]
    assert program.deliver() == []

    program.service.environment["COLLEGIUM_INVITATION_LIFETIME"] = "7d"
    program.service.stop()
    program.service.start("--no-worker")
    assert program.post(f"{path}send/", program.boss).status_code == 200
    (mail,) = program.deliver()
    first = program.links(mail, "invitation")
    assert program.service.call("GET", f"/invitation/{first}/").status_code == 200
    assert program.post(f"{path}cancel/", program.boss).status_code == 200
    assert program.post(f"{path}send/", program.boss).status_code == 200
    (mail,) = program.deliver()
    second = program.links(mail, "invitation")
    pages = [program.service.call("GET", f"/invitation/{link}/") for link in (first, second)]
    assert [page.status_code for page in pages] == [404, 200]
    assert program.post(f"{path}accept/", bob).status_code == 200
    assert kinds(program.deliver()) == [("invitation_accepted", "boss@example.org")]


def test_staff_decide_by_the_links_in_their_mails(
    start_program: Callable[[str], Program], new_sqlite: str
) -> None:
    program = start_program(new_sqlite)
    first, second, third = (
        program.invite(program.owner, f"{name}@example.org") for name in ("one", "two", "three")
    )
    assert {row["state"] for row in (first, second, third)} == {"requested"}
    assert program.post(f"/api/user-invitations/{first['uuid']}/check/").status_code == 404
    mails = program.deliver()
    staff = ["boss@example.org", "chief@example.org"]
    assert kinds(mails) == [("invitation_requested", to) for to in staff * 3]
    # It does not expire before the decision.
    time.sleep(2.1)
    assert program.state(first) == "requested"
    links = [
        {act: program.links(mail, f"invitation_{act}") for act in ("approve", "reject")}
        for mail in mails
    ]
    invalid = (400, ["Invalid signature."])
    assert program.decide("approve", links[0]["reject"]) == invalid
    assert program.decide("reject", links[0]["approve"]) == invalid
    # GET changes nothing.
    for act in ("approve", "reject"):
        program.service.call("GET", f"/invitation_{act}/{links[0][act]}/")
    assert program.state(first) == "requested"

    approved = program.decide("approve", links[0]["approve"])
    assert approved == (200, {"detail": "Invitation has been approved."})
    invitation = program.get(f"/api/user-invitations/{first['uuid']}/")
    # Its lifetime begins with the approval.
    assert invitation["state"] == "pending"
    assert invitation["created"] > first["expires"]
    used = (400, ["Invalid invitation UUID."])
    # No link decides again.
    assert program.decide("approve", links[0]["approve"]) == used
    assert program.decide("approve", links[1]["approve"]) == used
    assert program.decide("reject", links[1]["reject"]) == used

    rejected = program.decide("reject", links[3]["reject"])
    assert rejected == (200, {"detail": "Invitation has been rejected."})
    assert program.state(second) == "rejected"
    assert program.decide("reject", links[3]["reject"]) == used
    sent = kinds(program.deliver())
    assert sent.count(("invitation_rejected", "owner@example.org")) == 1
    assert not [to for kind, to in sent if kind == "invitation_created" and to != "one@example.org"]

    # Former staff cannot decide, and an old link decides nothing.
    chief = next(row for row in program.get("/api/users/") if row["username"] == "chief")
    path = f"/api/users/{chief['uuid']}/"
    program.service.call("PATCH", path, program.boss, json={"is_staff": False})
    assert program.decide("approve", links[5]["approve"]) == (400, ["Invalid user UUID."])
    program.service.environment["COLLEGIUM_INVITATION_MAX_AGE"] = "1s"
    program.service.stop()
    program.service.start("--no-worker")
    assert program.decide("approve", links[4]["approve"]) == invalid
    assert program.state(third) == "requested"
