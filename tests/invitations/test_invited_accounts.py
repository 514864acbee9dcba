"""Where the operator says so, whoever is invited and has no account gets one, by mail alone."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.statements import Row, Statement
from collegium.db.tables import accounts as account_rows
from collegium.db.tables import events, roles
from collegium.db.tables import outbox as outbox_rows
from collegium.invitations import actions as invitation_actions
from collegium.invitations import invited_accounts
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UndeliverableError
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.worker.worker import LEASE_SECONDS, Worker
from tests.support.site import Site
from tests.support.world import Person, Place, World
from tests.worker.scene import Clock, Recorder, words

LATER = UndeliverableError("451 Come back later", permanent=False)
NEVER = UndeliverableError("550 No such person", permanent=True)
CREATED, APPROVED = "invitation_created", "invitation_approved"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(invitation_create_missing_user="true", rate_limits="false")


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def place(world: World, owner: Person) -> Place:
    return world.project(world.organisation(owner=owner))


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC) + timedelta(minutes=1))


@pytest.fixture
def invite(world: World, owner: Person, place: Place) -> Callable[..., str]:
    def one(email: str = "bob@example.org", **details: Any) -> str:
        return world.invite(owner, email, "PROJECT.MEMBER", place, **details)

    return one


@pytest.fixture
def pay(world: World, clock: Clock) -> Callable[..., list[EmailMessage]]:
    """Pay what is due, and give the mails that went out."""

    def one(says_no: UndeliverableError | None = None, **others: Any) -> list[EmailMessage]:
        out = Recorder(says_no)
        settings = others.get("settings", world.settings)
        Worker(world.database, settings, world.vault, out, clock=clock).once()
        return out.sent

    return one


def kinds(mails: list[EmailMessage]) -> list[str]:
    return [mail["X-Collegium-Mail"] for mail in mails]


def credentials(mail: EmailMessage) -> dict[str, str]:
    """User name and password, from both parts of a mail."""
    text = words(mail, "plain")
    found = re.search(r"User name: (\S+)\n\s+Password:\s+(\S+)\n", text)
    assert found is not None
    html = words(mail, "html")
    assert f">{found[1]}</code>" in html
    assert f">{found[2]}</code>" in html
    return {"username": found[1], "password": found[2]}


def people(world: World, email: str = "bob@example.org") -> list[Row]:
    statement = select(account_rows).where(account_rows.c.email == email)
    with world.database.read() as tx:
        return tx.fetch_all(Statement(statement.order_by(account_rows.c.id)))


def mail_rows(world: World) -> list[Row]:
    with world.database.read() as tx:
        return tx.fetch_all(Statement(select(outbox_rows).order_by(outbox_rows.c.id)))


def change(world: World, account: int, **values: Any) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, account, values)


def log_in(site: Site, said: dict[str, str]) -> str:
    answer = site.post("/api-auth/password/", json=said)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def test_somebody_without_an_account_gets_one_and_accepts_with_it(
    world: World,
    site: Site,
    place: Place,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    uuid = invite(
        "Bob.O'Brien+x@Example.org",
        full_name="  Robert  James O'Brien ",
        job_title="Reader",
        organization="Royal Society",
        phone_number="+44 1",
        native_name="Roibeárd",
    )
    (mail,) = pay()
    assert kinds([mail]) == [APPROVED]
    assert mail["To"] == "Bob.O'Brien+x@Example.org"
    assert mail["Subject"] == f"Owner Lee invites you to join {place.name}"
    said = credentials(mail)
    assert said["username"] == "bob.obrien+x"
    (account,) = people(world, "Bob.O'Brien+x@Example.org")
    assert (account.first_name, account.last_name) == ("Robert", "James O'Brien")
    assert (account.job_title, account.organization) == ("Reader", "Royal Society")
    assert (account.phone_number, account.native_name) == ("+44 1", "Roibeárd")
    assert account.is_active
    assert not account.is_staff | account.is_support | account.is_identity_manager
    assert account.registration_method == "default"
    assert account.civil_number is None
    token = log_in(site, said)
    assert site.post(f"/api/user-invitations/{uuid}/accept/", token).status_code == 200
    assert account.id in {grant.account_id for grant in world.grants_in(place)}
    row = mail_rows(world)[0]
    assert (row.kind, row.state, row.recipient) == (APPROVED, "sent", mail["To"])


def test_the_link_is_the_one_of_every_invitation(
    world: World, invite: Callable[..., str], pay: Callable[..., list[EmailMessage]]
) -> None:
    uuid = invite()
    (mail,) = pay()
    for part in ("plain", "html"):
        found = re.search(r"/invitation/([^/\s]+)/", words(mail, part))
        assert found is not None
        assert world.vault.unsign("invitation", found[1]) == [uuid, 1]


def test_nobody_gets_an_account_unless_the_operator_says_so(
    world: World,
    invite: Callable[..., str],
    make_settings: Callable[..., Settings],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    invite()
    assert kinds(pay(settings=make_settings())) == [CREATED]
    assert people(world) == []


def test_the_history_tells_of_which_invitation_an_account_came(
    world: World, invite: Callable[..., str], pay: Callable[..., list[EmailMessage]]
) -> None:
    uuid = invite()
    pay()
    (account,) = people(world)
    told = select(events).where(events.c.kind == "account.created")
    with world.database.read() as tx:
        rows = [row for row in tx.fetch_all(Statement(told)) if row.account_id == account.id]
    (row,) = rows
    assert row.payload == {"username": "bob", "invitation": uuid}
    assert (row.actor_id, row.actor_name) == (None, "")


def test_the_password_rests_nowhere(
    world: World, invite: Callable[..., str], pay: Callable[..., list[EmailMessage]]
) -> None:
    invite()
    with capture_logs() as logs:
        (mail,) = pay()
    password = credentials(mail)["password"]
    (account,) = people(world)
    assert account.password.startswith("$argon2id$")
    with world.database.read() as tx:
        kept = [
            tx.fetch_all(Statement(select(table))) for table in (account_rows, events, outbox_rows)
        ]
    assert password not in f"{kept} {logs}"


@pytest.mark.parametrize(
    ("known", "invited"),
    [
        pytest.param({"email": "BOB@example.org"}, {}, id="address"),
        pytest.param({"email": "bob@example.org", "is_active": False}, {}, id="switched-off"),
        pytest.param({"username": "bob@example.org"}, {}, id="name"),
        pytest.param({"civil_number": "EE1"}, {"civil_number": "EE1"}, id="civil-number"),
        pytest.param({"email": "bob@example.org"}, {"civil_number": "EE1"}, id="another-number"),
    ],
)
def test_whoever_has_an_account_keeps_it_and_is_invited_as_ever(
    world: World,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
    known: dict[str, Any],
    invited: dict[str, Any],
) -> None:
    values = {"username": "robert", "email": "robert@example.org", **known}
    world.person(values.pop("username"), **values)
    with world.database.read() as tx:
        before = tx.fetch_all(Statement(select(account_rows)))
    invite(**invited)
    assert kinds(pay()) == [CREATED]
    with world.database.read() as tx:
        assert tx.fetch_all(Statement(select(account_rows))) == before


def test_an_account_that_was_never_used_is_not_taken_for_one_of_ours(
    world: World, invite: Callable[..., str], pay: Callable[..., list[EmailMessage]]
) -> None:
    world.person("bob", password=hash_password("chosen by staff"))
    invite()
    assert kinds(pay()) == [CREATED]


def test_a_name_that_is_taken_stays_with_whom_it_belongs_to(
    world: World, site: Site, invite: Callable[..., str], pay: Callable[..., list[EmailMessage]]
) -> None:
    world.person("bob", email="another@example.org")
    world.person("bob-2", email="third@example.org")
    invite()
    (mail,) = pay()
    said = credentials(mail)
    assert said["username"] == "bob-3"
    log_in(site, said)


def test_a_name_is_found_where_hundreds_are_taken(world: World) -> None:
    names = ["bob", *(f"bob-{number}" for number in range(2, 250))]
    with world.database.write() as tx:
        for name in names:
            account_actions.create(
                tx, None, world.settings, world.vault, {"username": name, "email": "x@example.org"}
            )
        before = tx.statements
        assert invited_accounts._free_username(tx, "bob@example.org") == "bob-250"
        assert tx.statements - before == 3


def test_no_account_is_made_that_could_not_accept(
    world: World,
    owner: Person,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    invite("locked@example.org", civil_number="EE1")
    assert kinds(pay()) == [CREATED]
    canceled = invite("canceled@example.org")
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, canceled)
    assert pay() == []
    invite("unvouched@example.org")
    change(world, owner.id, is_active=False)
    assert kinds(pay()) == [CREATED]
    change(world, owner.id, is_active=True)
    invite("roleless@example.org")
    with world.database.write() as tx:
        closed = update(roles).where(roles.c.name == "PROJECT.MEMBER").values(is_active=False)
        tx.execute(Statement(closed))
    assert kinds(pay()) == [CREATED]
    for name in ("locked", "canceled", "unvouched", "roleless"):
        assert people(world, f"{name}@example.org") == []


def test_a_mail_tried_again_tells_the_same_and_makes_nothing_twice(
    world: World,
    site: Site,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    invite()
    assert pay(LATER) == []
    (account,) = people(world)
    (row,) = mail_rows(world)
    assert (row.kind, row.state, row.payload["account"]) == (APPROVED, "queued", account.id)
    clock.forward(minutes=1)
    first = pay(LATER)
    clock.forward(hours=1)
    (mail,) = pay()
    assert first == []
    assert people(world) == [account]
    assert credentials(mail)["username"] == account.username
    log_in(site, credentials(mail))


class _Killed(BaseException):
    """What no worker survives."""


def test_a_worker_that_dies_after_making_the_account_leaves_the_rest_to_the_next(
    world: World,
    site: Site,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    invite()
    seen: list[EmailMessage] = []

    class Deadly(Recorder):
        def send(self, message: EmailMessage) -> None:
            seen.append(message)
            raise _Killed

    with pytest.raises(_Killed):
        Worker(world.database, world.settings, world.vault, Deadly(), clock=clock).once()
    assert pay() == []
    clock.forward(seconds=LEASE_SECONDS)
    (mail,) = pay()
    assert credentials(mail) == credentials(seen[0])
    assert len(people(world)) == 1
    log_in(site, credentials(mail))


def test_a_worker_that_dies_before_the_account_is_kept_leaves_none(
    world: World,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invite()

    def die(*_all: object) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(outbox_queries, "change_kind", die)
        with pytest.raises(_Killed):
            pay()
    assert people(world) == []
    clock.forward(seconds=LEASE_SECONDS)
    assert kinds(pay()) == [APPROVED]
    assert len(people(world)) == 1


def test_a_worker_whose_lease_ran_out_makes_no_account(
    world: World,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invite()
    sent: list[EmailMessage] = []

    def lose_the_lease(password: str) -> str:
        monkeypatch.undo()
        clock.forward(seconds=LEASE_SECONDS)
        sent.extend(pay())
        return hash_password(password)

    monkeypatch.setattr(invited_accounts, "hash_password", lose_the_lease)
    with capture_logs() as logs:
        assert pay() == []
    assert kinds(sent) == [APPROVED]
    (account,) = people(world)
    (row,) = mail_rows(world)
    assert (row.state, row.payload["account"]) == ("sent", account.id)
    assert any("result arrived too late" in line["event"] for line in logs)


@pytest.mark.parametrize("number", [2, 6])
def test_invitations_of_one_person_at_one_moment_make_one_account(
    world: World, clock: Clock, invite: Callable[..., str], number: int
) -> None:
    world.person("bob", email="another@example.org")
    for turn in range(number):
        invite("Bob@example.org" if turn % 2 else "bob@example.org")
    together = threading.Barrier(number)
    outs = [Recorder(before=lambda: None) for _ in range(number)]

    def one(out: Recorder) -> int:
        together.wait(timeout=20)
        return Worker(world.database, world.settings, world.vault, out, clock=clock).once()

    with ThreadPoolExecutor(number) as pool:
        assert sum(pool.map(one, outs)) == number
    told = Counter(kind for out in outs for kind in kinds(out.sent))
    assert told == {APPROVED: 1, CREATED: number - 1}
    assert len(people(world) + people(world, "Bob@example.org")) == 1


def test_a_second_invitation_does_not_tell_the_password_again(
    world: World, invite: Callable[..., str], pay: Callable[..., list[EmailMessage]]
) -> None:
    invite()
    assert kinds(pay()) == [APPROVED]
    invite()
    assert kinds(pay()) == [CREATED]
    assert len(people(world)) == 1


def test_an_invitation_sent_again_tells_them_again_until_they_were_used(
    world: World,
    site: Site,
    owner: Person,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    uuid = invite()
    (first,) = pay()

    def again() -> list[EmailMessage]:
        with world.database.write() as tx:
            invitation_actions.send(tx, owner.actor, world.settings, uuid)
        return pay()

    (second,) = again()
    assert credentials(second) == credentials(first)
    log_in(site, credentials(second))
    assert kinds(again()) == [CREATED]
    assert len(people(world)) == 1


@pytest.mark.parametrize("end", ["given up", "canceled", "deleted"])
def test_who_never_got_the_password_gets_it_with_the_next_invitation(
    world: World,
    site: Site,
    owner: Person,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
    end: str,
) -> None:
    uuid = invite()
    pay(NEVER if end == "given up" else LATER)
    with world.database.write() as tx:
        if end == "canceled":
            invitation_actions.cancel(tx, owner.actor, uuid)
        if end == "deleted":
            invitation_actions.delete(tx, world.staff.actor, uuid)
    clock.forward(minutes=1)
    assert pay() == []
    invite()
    (mail,) = pay()
    assert len(people(world)) == 1
    log_in(site, credentials(mail))


@pytest.mark.parametrize("change_to", ["password", "login", "off", "address"])
def test_between_two_tries_the_account_may_become_somebodys_own(
    world: World,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
    change_to: str,
) -> None:
    invite()
    pay(LATER)
    (account,) = people(world)
    changes: dict[str, dict[str, Any]] = {
        "password": {"password": hash_password("another one")},
        "login": {"last_login_at": clock.now},
        "off": {"is_active": False},
        "address": {"email": "elsewhere@example.org"},
    }
    change(world, account.id, **changes[change_to])
    clock.forward(minutes=1)
    (mail,) = pay()
    assert kinds([mail]) == [CREATED]
    assert account.username not in words(mail, "plain")
    (row,) = mail_rows(world)
    assert (row.kind, set(row.payload) - {"reminder"}) == (CREATED, {"invitation"})


def test_account_that_is_deleted_between_two_tries_is_mailed_no_more(
    world: World,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    invite()
    pay(LATER)
    (account,) = people(world)
    with world.database.write() as tx:
        account_actions.delete(tx, world.staff.actor, account.uuid)
    clock.forward(minutes=1)
    assert pay() == []


def test_the_setting_may_be_taken_back_between_two_tries(
    world: World,
    site: Site,
    clock: Clock,
    invite: Callable[..., str],
    make_settings: Callable[..., Settings],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    invite()
    pay(LATER)
    clock.forward(minutes=1)
    (mail,) = pay(settings=make_settings())
    log_in(site, credentials(mail))


def test_an_invitation_canceled_after_the_account_was_made_makes_the_mail_void(
    world: World,
    owner: Person,
    clock: Clock,
    invite: Callable[..., str],
    pay: Callable[..., list[EmailMessage]],
) -> None:
    uuid = invite()
    pay(LATER)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuid)
    clock.forward(minutes=1)
    assert pay() == []
    (row,) = mail_rows(world)
    assert (row.state, row.kind) == ("obsolete", APPROVED)
