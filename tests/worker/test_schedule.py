"""What time alone brings about: told once, by however many workers, and watched from outside."""

from __future__ import annotations

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
from collegium.db.statements import Row, Statement
from collegium.db.tables import events, invitations, organisations, outbox, projects, roles
from collegium.invitations import actions as invitation_actions
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler as Time
from collegium.worker.worker import Worker
from tests.conftest import KEY
from tests.support.serving import Service
from tests.support.world import Person, Place, World
from tests.worker.scene import Clock, Recorder, words

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
WEEK = 7 * DAY
ROLE = "PROJECT.MEMBER"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC))


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def place(world: World, owner: Person) -> Place:
    return world.organisation(owner=owner)


@pytest.fixture
def project(world: World, place: Place) -> Place:
    return world.project(place)


@pytest.fixture
def pay(world: World, clock: Clock) -> Callable[[], list[tuple[str, str]]]:
    """Let a worker do what is due; give the kinds of the mails that went out, and to whom."""

    def one() -> list[tuple[str, str]]:
        out = Recorder()
        Worker(world.database, world.settings, world.vault, out, clock=clock).once()
        return [(mail["X-Collegium-Mail"], mail["To"]) for mail in out.sent]

    return one


def told(world: World, kind: str) -> list[Row]:
    """The entries of history of one kind."""
    statement = select(events).where(events.c.kind == kind).order_by(events.c.id)
    with world.database.read() as tx:
        return tx.fetch_all(Statement(statement))


def change(world: World, table: Table, **values: Any) -> None:
    statement = update(table).values({name: bindparam(name) for name in values})
    with world.database.write() as tx:
        tx.execute(Statement(statement), **values)


def do(
    world: World, action: Callable[..., Any], *details: Any, now: datetime | None = None
) -> None:
    with world.database.write(now) as tx:
        action(tx, *details)


# Ended.


def test_an_expired_invitation_is_told_to_its_maker_once(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
) -> None:
    uuid = world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    assert pay() == [("invitation_created", "bob@example.org")]
    change(world, invitations, reminded_at=clock.now)
    clock.now += WEEK - TICK
    assert pay() == []
    assert told(world, "invitation.expired") == []
    clock.now += TICK
    assert pay() == [("invitation_expired", owner.email)]
    (event,) = told(world, "invitation.expired")
    assert (event.actor_id, event.scope_id) == (None, project.id)
    # The state is read off the clock, and nothing else is needed to send it anew.
    assert world.invitation(uuid).state == "pending"
    for _ in range(2):
        clock.forward(days=30)
        assert pay() == []
    assert len(told(world, "invitation.expired")) == 1
    # Sent again it has all its time again, and its end is news again.
    do(world, invitation_actions.send, owner.actor, world.settings, uuid, now=clock.now)
    assert pay() == [("invitation_created", "bob@example.org")]
    assert world.invitation(uuid).expires_at == clock.now + WEEK
    clock.forward(days=6, minutes=1)
    assert pay() == [("invitation_created", "bob@example.org")]
    clock.forward(days=1)
    assert pay() == [("invitation_expired", owner.email)]


def test_what_was_taken_or_called_back_ends_without_a_word(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
) -> None:
    bob = world.person("bob")
    taken = world.invite(owner, bob.email, ROLE, project, clock.now)
    back = world.invite(owner, "eve@example.org", ROLE, project, clock.now)
    pay()
    do(world, invitation_actions.accept, bob.actor, world.settings, taken, now=clock.now)
    do(world, invitation_actions.cancel, owner.actor, back, now=clock.now)
    assert pay() == [("invitation_accepted", owner.email)]
    clock.forward(days=400)
    assert pay() == []


def test_a_worker_that_was_away_for_long_says_only_what_is_still_so(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
) -> None:
    """Neither an invitation that has ended, nor a reminder of it."""
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    clock.forward(days=90)
    assert pay() == [("invitation_expired", owner.email)]


def test_the_end_of_an_invitation_that_nobody_made_stops_nothing(
    world: World, owner: Person, place: Place, project: Place, clock: Clock, pay: Callable[[], Any]
) -> None:
    world.seat(world.person(), "CUSTOMER.OWNER", place)
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    other = world.invite(world.staff, "eve@example.org", ROLE, project, clock.now)
    change(world, invitations, created_by=None, reminded_at=clock.now)
    pay()
    do(world, account_actions.delete, world.staff.actor, owner.uuid)
    clock.forward(days=8)
    assert pay() == []
    assert len(told(world, "invitation.expired")) == 2
    assert world.invitation(other).expiry_notified_at is not None


def test_more_than_one_helping_is_done_at_once(
    world: World, owner: Person, project: Place, clock: Clock
) -> None:
    uuids = [
        world.invite(owner, f"p{at}@example.org", ROLE, project, clock.now) for at in range(120)
    ]
    clock.forward(days=8)
    assert Time(world.database, world.settings, clock).run() == 120
    assert all(world.invitation(uuid).expiry_notified_at is not None for uuid in uuids)
    assert Time(world.database, world.settings, clock).run() == 0


# About to end.


def test_one_reminder_one_day_before_the_end(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
) -> None:
    uuid = world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    pay()
    clock.now += WEEK - DAY - TICK
    assert pay() == []
    clock.now += TICK
    assert pay() == [("invitation_created", "bob@example.org")]
    assert pay() == []
    # Mailed again by hand, and not once more by the clock.
    do(world, invitation_actions.send, owner.actor, world.settings, uuid, now=clock.now)
    assert len(pay()) == 1
    clock.forward(hours=23)
    assert pay() == []


@pytest.mark.parametrize("lifetime", ["25h", "30h", "47h"])
def test_invitation_of_a_day_and_a_half_is_reminded_of_when_a_day_is_left(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
    make_settings: Callable[..., Settings],
    lifetime: str,
) -> None:
    world.settings = make_settings(invitation_lifetime=lifetime)
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    assert len(pay()) == 1
    clock.now += timedelta(seconds=world.settings.invitation_lifetime) - DAY - TICK
    assert pay() == []
    clock.now += TICK
    assert pay() == [("invitation_created", "bob@example.org")]
    clock.forward(hours=23)
    assert pay() == []


@pytest.mark.parametrize("closed", ["blocked", "archived"])
def test_reminder_waits_for_a_closed_organisation_to_open_in_time(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
    closed: str,
) -> None:
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    pay()
    change(world, organisations, **{closed: True})
    clock.forward(days=6, hours=1)
    assert pay() == []
    change(world, organisations, **{closed: False})
    assert pay() == [("invitation_created", "bob@example.org")]


@pytest.mark.parametrize("lifetime", ["2s", "23h", "1d"])
def test_what_lives_no_longer_than_a_day_needs_no_reminder(
    world: World,
    owner: Person,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
    make_settings: Callable[..., Settings],
    lifetime: str,
) -> None:
    world.settings = make_settings(invitation_lifetime=lifetime)
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    assert len(pay()) == 1
    clock.now += timedelta(seconds=world.settings.invitation_lifetime) - TICK
    assert pay() == []
    clock.now += TICK
    assert pay() == [("invitation_expired", owner.email)]


@pytest.mark.parametrize("dead", ["blocked", "archived", "role", "inviter"])
def test_nobody_is_reminded_of_what_cannot_be_accepted(
    world: World,
    owner: Person,
    place: Place,
    project: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
    dead: str,
) -> None:
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    pay()
    clock.forward(days=6, hours=1)
    match dead:
        case "role":
            change(world, roles, is_active=False)
        case "inviter":
            world.unseat(owner, "CUSTOMER.OWNER", place)
        case _:
            change(world, organisations, **{dead: True})
    assert pay() == []
    assert Time(world.database, world.settings, clock).run() == 0


# Held.


def test_an_invitation_that_was_held_begins_with_its_project_and_all_its_time(
    world: World,
    owner: Person,
    place: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
) -> None:
    starts = (clock.now + 30 * DAY).date()
    project = world.project(place, start_date=starts)
    uuid = world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    assert world.invitation(uuid).state == "held"
    # It would have expired three times over: time does not count while it is held.
    begins = datetime(starts.year, starts.month, starts.day, tzinfo=UTC)
    clock.now = begins - TICK
    assert pay() == []
    assert world.invitation(uuid).state == "held"
    clock.now = begins
    assert pay() == [("invitation_created", "bob@example.org")]
    row = world.invitation(uuid)
    assert (row.state, row.created_at, row.expires_at) == ("pending", begins, begins + WEEK)
    assert len(told(world, "invitation.released")) == 1
    assert pay() == []
    clock.now = begins + WEEK - TICK
    assert pay() == [("invitation_created", "bob@example.org")]
    bob = world.person("bob")
    do(world, invitation_actions.accept, bob.actor, world.settings, uuid, now=clock.now)
    assert [grant.username for grant in world.grants_in(project)] == ["bob"]


@pytest.mark.parametrize("closed", ["blocked", "archived"])
def test_a_closed_organisation_lets_nothing_begin_until_it_opens(
    world: World,
    owner: Person,
    place: Place,
    clock: Clock,
    pay: Callable[[], list[tuple[str, str]]],
    closed: str,
) -> None:
    project = world.project(place, start_date=(clock.now + DAY).date())
    uuid = world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    change(world, organisations, **{closed: True})
    clock.forward(days=3)
    assert pay() == []
    assert world.invitation(uuid).state == "held"
    change(world, organisations, **{closed: False})
    assert pay() == [("invitation_created", "bob@example.org")]


def test_a_start_that_was_put_off_is_waited_for(
    world: World, owner: Person, place: Place, clock: Clock, pay: Callable[[], list[Any]]
) -> None:
    project = world.project(place, start_date=(clock.now + DAY).date())
    world.invite(owner, "bob@example.org", ROLE, project, clock.now)
    change(world, projects, start_date=(clock.now + 9 * DAY).date())
    clock.forward(days=8)
    assert pay() == []
    clock.forward(days=1)
    assert len(pay()) == 1


# Grants.


def test_a_grant_that_has_ended_is_written_down_once(
    world: World, project: Place, clock: Clock, pay: Callable[[], list[Any]]
) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    until = clock.now + DAY
    world.seat(ada, ROLE, project, until)
    world.seat(bob, ROLE, project)
    clock.now = until - TICK
    assert pay() == []
    assert told(world, "role.expired") == []
    clock.now = until
    for _ in range(3):
        assert pay() == []
        (event,) = told(world, "role.expired")
    assert (event.account_id, event.scope_id, event.actor_id) == (ada.id, project.id, None)
    assert event.payload["role"] == ROLE
    assert event.payload["until"] == until.isoformat()
    with world.database.read(clock.now) as tx:
        seen = access_queries.permissions_in_scope(tx, ada.actor, project.id)
        assert seen is not None
        assert not seen.permissions


# Several workers.


def test_two_workers_at_once_tell_each_news_once(
    world: World, owner: Person, place: Place, project: Place, clock: Clock
) -> None:
    each = 6
    later = world.project(place, start_date=(clock.now + DAY).date())
    for at in range(each):
        ended = clock.now - WEEK
        world.invite(owner, f"old{at}@example.org", ROLE, project, ended)
        world.invite(owner, f"late{at}@example.org", ROLE, project, ended + 2 * DAY)
        world.invite(owner, f"held{at}@example.org", ROLE, later, clock.now)
        world.seat(world.person(f"guest{at}"), ROLE, project, clock.now + timedelta(hours=1))
    change(world, outbox, state="sent")
    clock.forward(days=1, hours=1)
    out = [Recorder() for _ in range(2)]
    gate = threading.Barrier(2)

    def work(recorder: Recorder) -> None:
        worker = Worker(world.database, world.settings, world.vault, recorder, clock=clock)
        gate.wait(timeout=20)
        worker.once()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, recorder) for recorder in out]:
            done.result(timeout=60)
    sent = [mail for recorder in out for mail in recorder.sent]
    assert Counter((mail["X-Collegium-Mail"], mail["To"]) for mail in sent) == Counter(
        [("invitation_expired", owner.email)] * each
        + [("invitation_created", f"late{at}@example.org") for at in range(each)]
        + [("invitation_created", f"held{at}@example.org") for at in range(each)]
    )
    for kind in ("invitation.expired", "invitation.released", "role.expired"):
        assert len(told(world, kind)) == each, kind


# From outside, with the program itself.


class Watched:
    """A service whose clock is hurried by settings, and what it mails."""

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
        self.role = next(
            role["uuid"] for role in self.get("/api/roles/?page_size=50") if role["name"] == ROLE
        )
        self.customer = self.made("/api/customers/", name="Royal Society")
        self.project = self.made("/api/projects/", name="Engines", customer=self.customer["url"])
        self.owner = self.person("owner")
        self.manager = next(
            role["uuid"] for role in self.get("/api/roles/") if role["name"] == "CUSTOMER.OWNER"
        )
        path = f"/api/customers/{self.customer['uuid']}/add_user/"
        me = self.get("/api/users/me/", self.owner)["uuid"]
        self.made(path, role=self.manager, user=me)

    def get(self, path: str, token: str = "") -> Any:
        return self.service.call("GET", path, token or self.boss).json()

    def post(self, path: str, token: str = "", **body: Any) -> httpx.Response:
        return self.service.call("POST", path, token, json=body)

    def made(self, path: str, token: str = "", **body: Any) -> Any:
        answer = self.post(path, token or self.boss, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def person(self, name: str) -> str:
        """Make an account and log in."""
        made = self.made("/api/users/", username=name, email=f"{name}@example.org")
        password = "a quiet harbour 41"
        path = f"/api/users/{made['uuid']}/change_password/"
        assert self.post(path, self.boss, new_password=password).status_code == 200
        answer = self.post("/api-auth/password/", username=name, password=password)
        return str(answer.json()["token"])

    def invite(self, token: str, email: str) -> dict[str, Any]:
        scope = self.project["url"]
        made: dict[str, Any] = self.made(
            "/api/user-invitations/", token, scope=scope, role=self.role, email=email
        )
        return made

    def state(self, invited: dict[str, Any]) -> str:
        return str(self.get(f"/api/user-invitations/{invited['uuid']}/")["state"])

    def mailed(self) -> list[EmailMessage]:
        """Let ``collegium worker --once`` run, and give what it has sent."""
        folder = self.service.folder / "var" / "mail"
        before = set(folder.glob("*.eml"))
        done = self.service.run("worker", "--once")
        assert done.returncode == 0, done.stderr
        new = sorted(set(folder.glob("*.eml")) - before, key=lambda file: file.stat().st_mtime_ns)
        mails = [message_from_bytes(file.read_bytes(), policy=default) for file in new]
        # The accounts here have a password set by staff, which their owners hear of.
        return [mail for mail in mails if mail["X-Collegium-Mail"] != "password_changed"]

    def links(self, mail: EmailMessage, kind: str) -> str:
        (link,) = re.findall(rf"/{kind}/([^/\s]+)/", words(mail, "plain"))
        return str(link)

    def decide(self, act: str, token: str) -> tuple[int, Any]:
        path = f"/api/user-invitations/{act}/"
        answer = self.service.call("POST", path, json={"token": token})
        return answer.status_code, answer.json()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[str], Watched]]:
    """Start a service on a database, and end it."""
    watched: list[Watched] = []

    def one(url: str) -> Watched:
        watched.append(Watched(tmp_path, url))
        return watched[-1]

    yield one
    for one_of_them in watched:
        one_of_them.service.stop()


def kinds(mails: list[EmailMessage]) -> list[tuple[str, str]]:
    return [(mail["X-Collegium-Mail"], mail["To"]) for mail in mails]


def test_the_whole_life_of_an_invitation_within_seconds(
    watch: Callable[[str], Watched], url: str
) -> None:
    """Made, mailed, ended, told, sent again: with nothing but settings and the program itself."""
    watched = watch(url)
    bob = watched.person("bob")
    invited = watched.invite(watched.boss, "bob@example.org")
    path = f"/api/user-invitations/{invited['uuid']}/"
    assert invited["state"] == "pending"
    began = datetime.fromisoformat(invited["created"])
    assert datetime.fromisoformat(invited["expires"]) - began == timedelta(seconds=2)
    left = (datetime.fromisoformat(invited["expires"]) - datetime.now(UTC)).total_seconds()
    time.sleep(max(left, 0) + 0.01)
    # It is over at once, whether or not a worker has looked.
    assert watched.state(invited) == "expired"
    answer = watched.post(f"{path}check/")
    assert (answer.status_code, answer.content) == (404, b"")
    assert watched.post(f"{path}accept/", bob).status_code == 404
    assert watched.get("/api/user-invitations/?state=expired")[0]["uuid"] == invited["uuid"]
    # The mail that had not left has lost its point; the news goes out once.
    assert kinds(watched.mailed()) == [("invitation_expired", "boss@example.org")]
    assert watched.mailed() == []

    watched.service.environment["COLLEGIUM_INVITATION_LIFETIME"] = "7d"
    watched.service.stop()
    watched.service.start("--no-worker")
    assert watched.post(f"{path}send/", watched.boss).status_code == 200
    (mail,) = watched.mailed()
    first = watched.links(mail, "invitation")
    assert watched.service.call("GET", f"/invitation/{first}/").status_code == 200
    assert watched.post(f"{path}cancel/", watched.boss).status_code == 200
    assert watched.post(f"{path}send/", watched.boss).status_code == 200
    (mail,) = watched.mailed()
    second = watched.links(mail, "invitation")
    pages = [watched.service.call("GET", f"/invitation/{link}/") for link in (first, second)]
    assert [page.status_code for page in pages] == [404, 200]
    assert watched.post(f"{path}accept/", bob).status_code == 200
    assert kinds(watched.mailed()) == [("invitation_accepted", "boss@example.org")]


def test_staff_decide_by_the_links_in_their_mails(
    watch: Callable[[str], Watched], new_sqlite: str
) -> None:
    watched = watch(new_sqlite)
    one, two, three = (
        watched.invite(watched.owner, f"{name}@example.org") for name in ("one", "two", "three")
    )
    assert {row["state"] for row in (one, two, three)} == {"requested"}
    assert watched.post(f"/api/user-invitations/{one['uuid']}/check/").status_code == 404
    mails = watched.mailed()
    staff = ["boss@example.org", "chief@example.org"]
    assert kinds(mails) == [("invitation_requested", to) for to in staff * 3]
    # While nobody has decided it does not end.
    time.sleep(2.1)
    assert watched.state(one) == "requested"
    links = [
        {act: watched.links(mail, f"invitation_{act}") for act in ("approve", "reject")}
        for mail in mails
    ]
    invalid = (400, ["Invalid signature."])
    assert watched.decide("approve", links[0]["reject"]) == invalid
    assert watched.decide("reject", links[0]["approve"]) == invalid
    # The page that a scanner opens changes nothing.
    for act in ("approve", "reject"):
        watched.service.call("GET", f"/invitation_{act}/{links[0][act]}/")
    assert watched.state(one) == "requested"

    approved = watched.decide("approve", links[0]["approve"])
    assert approved == (200, {"detail": "Invitation has been approved."})
    shown = watched.get(f"/api/user-invitations/{one['uuid']}/")
    # Its time begins when it may go out.
    assert shown["state"] == "pending"
    assert shown["created"] > one["expires"]
    used = (400, ["Invalid invitation UUID."])
    # Neither this link nor any other decides again.
    assert watched.decide("approve", links[0]["approve"]) == used
    assert watched.decide("approve", links[1]["approve"]) == used
    assert watched.decide("reject", links[1]["reject"]) == used

    rejected = watched.decide("reject", links[3]["reject"])
    assert rejected == (200, {"detail": "Invitation has been rejected."})
    assert watched.state(two) == "rejected"
    assert watched.decide("reject", links[3]["reject"]) == used
    told = kinds(watched.mailed())
    assert told.count(("invitation_rejected", "owner@example.org")) == 1
    assert not [to for kind, to in told if kind == "invitation_created" and to != "one@example.org"]

    # Who is not staff any more does not decide; nor does anybody by an old link.
    chief = next(row for row in watched.get("/api/users/") if row["username"] == "chief")
    lost = {"is_staff": False}
    watched.service.call("PATCH", f"/api/users/{chief['uuid']}/", watched.boss, json=lost)
    assert watched.decide("approve", links[5]["approve"]) == (400, ["Invalid user UUID."])
    watched.service.environment["COLLEGIUM_INVITATION_MAX_AGE"] = "1s"
    watched.service.stop()
    watched.service.start("--no-worker")
    assert watched.decide("approve", links[4]["approve"]) == invalid
    assert watched.state(three) == "requested"
