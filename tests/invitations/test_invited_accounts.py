"""Accounts created for invitees who have none, if the operator enables it."""

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
from collegium.accounts.rules import usernames_for
from collegium.db.statements import Statement
from collegium.db.tables import accounts as account_table
from collegium.db.tables import events, roles
from collegium.db.tables import outbox as outbox_table
from collegium.invitations import actions as invitation_actions
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UndeliverableError
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.worker import invited_accounts
from collegium.worker.worker import LEASE_SECONDS, Worker
from tests.support.site import Site
from tests.support.world import Person, Place, World
from tests.worker.scene import Clock, Recorder, words

TEMPORARY = UndeliverableError("451 Come back later", permanent=False)
PERMANENT = UndeliverableError("550 No such person", permanent=True)
CREATED, APPROVED = "invitation_created", "invitation_approved"
ADDRESS = "bob@example.org"


class Invitees:
    """Invites people to a project, runs the worker, and reads the result."""

    def __init__(self, world: World, owner: Person, project: Place) -> None:
        self.world = world
        self.owner = owner
        self.project = project
        self.clock = Clock(datetime.now(UTC) + timedelta(minutes=1))

    def invite(self, email: str = ADDRESS, **details: Any) -> str:
        return self.world.invite(self.owner, email, "PROJECT.MEMBER", self.project, **details)

    def deliver(
        self, error: UndeliverableError | None = None, settings: Settings | None = None
    ) -> list[EmailMessage]:
        """Deliver due e-mails, or fail with an error; return those that were sent."""
        transport = Recorder(error)
        self.worker(transport, settings).once()
        return transport.sent

    def worker(self, transport: Recorder, settings: Settings | None = None) -> Worker:
        world = self.world
        settings = settings or world.settings
        return Worker(world.database, settings, world.vault, transport, clock=self.clock)

    def accounts(self, email: str = ADDRESS) -> list[Any]:
        statement = select(account_table).where(account_table.c.email == email)
        return self._rows(statement.order_by(account_table.c.id))

    def all_accounts(self) -> list[Any]:
        return self._rows(select(account_table))

    def outbox(self) -> list[Any]:
        return self._rows(select(outbox_table).order_by(outbox_table.c.id))

    def _rows(self, statement: Any) -> list[Any]:
        with self.world.database.read() as tx:
            return tx.fetch_all(Statement[Any](statement))

    def cancel(self, uuid: str) -> None:
        with self.world.database.write() as tx:
            invitation_actions.cancel(tx, self.owner.actor, uuid)

    def change_account(self, account: int, **values: Any) -> None:
        with self.world.database.write() as tx:
            account_queries.change(tx, account, values)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(
        invitation_create_missing_user="true", rate_limits="false", role_notifications="false"
    )


@pytest.fixture
def invitees(world: World, owner: Person, project: Place) -> Invitees:
    return Invitees(world, owner, project)


def kinds(mails: list[EmailMessage]) -> list[str]:
    return [mail["X-Collegium-Mail"] for mail in mails]


def credentials(mail: EmailMessage) -> dict[str, str]:
    """Return user name and password, after checking that both parts of the e-mail have them."""
    match = re.search(r"User name: (\S+)\n\s+Password:\s+(\S+)\n", words(mail, "plain"))
    assert match is not None
    for value in match.groups():
        assert f">{value}</code>" in words(mail, "html")
    return {"username": match[1], "password": match[2]}


def sign_in(site: Site, mail: EmailMessage) -> str:
    """Sign in with the credentials of an e-mail, and return the token."""
    response = site.post("/api-auth/password/", json=credentials(mail))
    assert response.status_code == 200, response.text
    return str(response.json()["token"])


def test_invitee_without_an_account_gets_one_and_can_accept(
    world: World, site: Site, project: Place, invitees: Invitees
) -> None:
    email = "Bob.O'Brien+x@Example.org"
    details = {
        "job_title": "Reader",
        "organization": "Royal Society",
        "phone_number": "+44 1",
        "native_name": "Roibeárd",
    }
    uuid = invitees.invite(email, full_name="  Robert  James O'Brien ", **details)
    (mail,) = invitees.deliver()
    assert kinds([mail]) == [APPROVED]
    assert mail["To"] == email
    assert mail["Subject"] == "Olga Lee invites you to join Atlas"
    assert credentials(mail)["username"] == "bob.obrien+x"
    (account,) = invitees.accounts(email)
    assert (account.first_name, account.last_name) == ("Robert", "James O'Brien")
    assert {name: getattr(account, name) for name in details} == details
    assert account.is_active
    assert not account.is_staff | account.is_support | account.is_identity_manager
    assert account.registration_method == "default"
    assert account.civil_number is None
    token = sign_in(site, mail)
    assert site.post(f"/api/user-invitations/{uuid}/accept/", token).status_code == 200
    assert account.id in {grant.account_id for grant in world.grants_in(project)}
    row = invitees.outbox()[0]
    assert (row.kind, row.state, row.recipient) == (APPROVED, "sent", email)


def test_email_with_credentials_has_the_usual_invitation_link(
    world: World, invitees: Invitees
) -> None:
    uuid = invitees.invite()
    (mail,) = invitees.deliver()
    for part in ("plain", "html"):
        match = re.search(r"/invitation/([^/\s]+)/", words(mail, part))
        assert match is not None
        assert world.vault.unsign("invitation", match[1]) == [uuid, 1]


def test_no_account_is_created_without_the_setting(
    invitees: Invitees, make_settings: Callable[..., Settings]
) -> None:
    invitees.invite()
    assert kinds(invitees.deliver(settings=make_settings(role_notifications="false"))) == [CREATED]
    assert invitees.accounts() == []


def test_audit_log_names_the_invitation_of_a_created_account(
    world: World, invitees: Invitees
) -> None:
    uuid = invitees.invite()
    invitees.deliver()
    (account,) = invitees.accounts()
    created = Statement[Any](select(events).where(events.c.kind == "account.created"))
    with world.database.read() as tx:
        (row,) = [row for row in tx.fetch_all(created) if row.account_id == account.id]
    assert row.payload == {"username": "bob", "invitation": uuid}
    assert (row.actor_id, row.actor_name) == (None, "")


def test_initial_password_is_neither_stored_nor_logged(world: World, invitees: Invitees) -> None:
    invitees.invite()
    with capture_logs() as logs:
        (mail,) = invitees.deliver()
    (account,) = invitees.accounts()
    assert account.password.startswith("$argon2id$")
    with world.database.read() as tx:
        stored = [
            tx.fetch_all(Statement[Any](select(table)))
            for table in (account_table, events, outbox_table)
        ]
    assert credentials(mail)["password"] not in f"{stored} {logs}"


@pytest.mark.parametrize(
    ("account", "details"),
    [
        pytest.param({"email": "BOB@example.org"}, {}, id="address"),
        pytest.param({"email": ADDRESS, "is_active": False}, {}, id="deactivated"),
        pytest.param({"username": ADDRESS}, {}, id="name"),
        pytest.param({"civil_number": "EE1"}, {"civil_number": "EE1"}, id="civil-number"),
        pytest.param({"email": ADDRESS}, {"civil_number": "EE1"}, id="another-number"),
        pytest.param(
            {"username": "bob", "email": ADDRESS, "password": hash_password("chosen by staff")},
            {},
            id="unused",
        ),
    ],
)
def test_invitee_with_an_account_gets_no_second_one(
    world: World, invitees: Invitees, account: dict[str, Any], details: dict[str, Any]
) -> None:
    values = {"username": "robert", "email": "robert@example.org", **account}
    world.person(values.pop("username"), **values)
    before = invitees.all_accounts()
    invitees.invite(**details)
    assert kinds(invitees.deliver()) == [CREATED]
    assert invitees.all_accounts() == before


def test_taken_user_name_gets_a_numeric_suffix(
    world: World, site: Site, invitees: Invitees
) -> None:
    world.person("bob", email="another@example.org")
    world.person("bob-2", email="third@example.org")
    invitees.invite()
    (mail,) = invitees.deliver()
    assert credentials(mail)["username"] == "bob-3"
    sign_in(site, mail)


def test_free_user_name_takes_three_statements(world: World) -> None:
    names = ["bob", *(f"bob-{number}" for number in range(2, 250))]
    with world.database.write() as tx:
        for name in names:
            account_actions.create(
                tx, None, world.settings, world.vault, {"username": name, "email": "x@example.org"}
            )
        before = tx.statements
        assert account_queries.free_username(tx, usernames_for(ADDRESS)) == "bob-250"
        assert tx.statements - before == 3


def test_no_account_is_created_if_the_invitation_cannot_be_accepted(
    world: World, owner: Person, invitees: Invitees
) -> None:
    invitees.invite("locked@example.org", civil_number="EE1")
    assert kinds(invitees.deliver()) == [CREATED]
    invitees.cancel(invitees.invite("cancelled@example.org"))
    assert invitees.deliver() == []
    invitees.invite("unsponsored@example.org")
    invitees.change_account(owner.id, is_active=False)
    assert kinds(invitees.deliver()) == [CREATED]
    invitees.change_account(owner.id, is_active=True)
    invitees.invite("roleless@example.org")
    with world.database.write() as tx:
        disabled = update(roles).where(roles.c.name == "PROJECT.MEMBER").values(is_active=False)
        tx.execute(Statement[Any](disabled))
    assert kinds(invitees.deliver()) == [CREATED]
    for name in ("locked", "cancelled", "unsponsored", "roleless"):
        assert invitees.accounts(f"{name}@example.org") == []


def test_retried_email_has_the_same_credentials_and_one_account(
    site: Site, invitees: Invitees
) -> None:
    invitees.invite()
    assert invitees.deliver(TEMPORARY) == []
    (account,) = invitees.accounts()
    (row,) = invitees.outbox()
    assert (row.kind, row.state, row.payload["account"]) == (APPROVED, "queued", account.id)
    invitees.clock.forward(minutes=1)
    assert invitees.deliver(TEMPORARY) == []
    invitees.clock.forward(hours=1)
    (mail,) = invitees.deliver()
    assert invitees.accounts() == [account]
    assert credentials(mail)["username"] == account.username
    sign_in(site, mail)


class _KilledError(BaseException):
    """Ends a worker without clean-up."""


def test_worker_killed_after_creating_the_account_is_resumed(
    site: Site, invitees: Invitees
) -> None:
    invitees.invite()
    sent: list[EmailMessage] = []

    class KillingTransport(Recorder):
        def send(self, message: EmailMessage) -> None:
            sent.append(message)
            raise _KilledError

    with pytest.raises(_KilledError):
        invitees.worker(KillingTransport()).once()
    assert invitees.deliver() == []
    invitees.clock.forward(seconds=LEASE_SECONDS)
    (mail,) = invitees.deliver()
    assert credentials(mail) == credentials(sent[0])
    assert len(invitees.accounts()) == 1
    sign_in(site, mail)


def test_worker_killed_before_commit_leaves_no_account(
    invitees: Invitees, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitees.invite()

    def kill(*_args: object) -> None:
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(outbox_queries, "change_kind", kill)
        with pytest.raises(_KilledError):
            invitees.deliver()
    assert invitees.accounts() == []
    invitees.clock.forward(seconds=LEASE_SECONDS)
    assert kinds(invitees.deliver()) == [APPROVED]
    assert len(invitees.accounts()) == 1


def test_worker_with_an_expired_lease_creates_no_account(
    invitees: Invitees, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitees.invite()
    sent: list[EmailMessage] = []

    def lose_the_lease(password: str) -> str:
        monkeypatch.undo()
        invitees.clock.forward(seconds=LEASE_SECONDS)
        sent.extend(invitees.deliver())
        return hash_password(password)

    monkeypatch.setattr(invited_accounts, "hash_password", lose_the_lease)
    with capture_logs() as logs:
        assert invitees.deliver() == []
    assert kinds(sent) == [APPROVED]
    (account,) = invitees.accounts()
    (row,) = invitees.outbox()
    assert (row.state, row.payload["account"]) == ("sent", account.id)
    assert any("result arrived too late" in line["event"] for line in logs)


@pytest.mark.parametrize("number", [2, 6])
def test_concurrent_invitations_of_one_address_create_one_account(
    world: World, invitees: Invitees, number: int
) -> None:
    world.person("bob", email="another@example.org")
    for index in range(number):
        invitees.invite("Bob@example.org" if index % 2 else ADDRESS)
    barrier = threading.Barrier(number)
    transports = [Recorder() for _ in range(number)]

    def run(transport: Recorder) -> int:
        barrier.wait(timeout=20)
        return invitees.worker(transport).once()

    with ThreadPoolExecutor(number) as pool:
        assert sum(pool.map(run, transports)) == number
    sent = Counter(kind for transport in transports for kind in kinds(transport.sent))
    assert sent == {APPROVED: 1, CREATED: number - 1}
    assert len(invitees.accounts() + invitees.accounts("Bob@example.org")) == 1


def test_second_invitation_does_not_repeat_the_password(invitees: Invitees) -> None:
    for kind in (APPROVED, CREATED):
        invitees.invite()
        assert kinds(invitees.deliver()) == [kind]
    assert len(invitees.accounts()) == 1


def test_resent_invitation_repeats_credentials_until_they_are_used(
    world: World, site: Site, owner: Person, invitees: Invitees
) -> None:
    uuid = invitees.invite()
    (first,) = invitees.deliver()

    def resend() -> list[EmailMessage]:
        with world.database.write() as tx:
            invitation_actions.send(tx, owner.actor, world.settings, uuid)
        return invitees.deliver()

    (second,) = resend()
    assert credentials(second) == credentials(first)
    sign_in(site, second)
    assert kinds(resend()) == [CREATED]
    assert len(invitees.accounts()) == 1


@pytest.mark.parametrize("end", ["failed", "cancelled", "deleted"])
def test_undelivered_credentials_are_sent_with_the_next_invitation(
    world: World, site: Site, invitees: Invitees, end: str
) -> None:
    uuid = invitees.invite()
    invitees.deliver(PERMANENT if end == "failed" else TEMPORARY)
    if end == "cancelled":
        invitees.cancel(uuid)
    if end == "deleted":
        with world.database.write() as tx:
            invitation_actions.delete(tx, world.staff.actor, uuid)
    invitees.clock.forward(minutes=1)
    assert invitees.deliver() == []
    invitees.invite()
    (mail,) = invitees.deliver()
    assert len(invitees.accounts()) == 1
    sign_in(site, mail)


@pytest.mark.parametrize("change", ["password", "sign-in", "deactivated", "address"])
def test_retry_sends_no_credentials_after_the_account_changed(
    invitees: Invitees, change: str
) -> None:
    invitees.invite()
    invitees.deliver(TEMPORARY)
    (account,) = invitees.accounts()
    changes: dict[str, dict[str, Any]] = {
        "password": {"password": hash_password("another one")},
        "sign-in": {"last_login_at": invitees.clock.now},
        "deactivated": {"is_active": False},
        "address": {"email": "elsewhere@example.org"},
    }
    invitees.change_account(account.id, **changes[change])
    invitees.clock.forward(minutes=1)
    (mail,) = invitees.deliver()
    assert kinds([mail]) == [CREATED]
    assert account.username not in words(mail, "plain")
    (row,) = invitees.outbox()
    assert (row.kind, set(row.payload) - {"reminder", "link_version"}) == (CREATED, {"invitation"})


def test_retry_sends_credentials_after_the_setting_was_turned_off(
    site: Site, invitees: Invitees, make_settings: Callable[..., Settings]
) -> None:
    invitees.invite()
    invitees.deliver(TEMPORARY)
    invitees.clock.forward(minutes=1)
    (mail,) = invitees.deliver(settings=make_settings(role_notifications="false"))
    sign_in(site, mail)


@pytest.mark.parametrize("end", ["cancelled", "account deleted"])
def test_retry_sends_nothing_after_cancelling_or_account_deletion(
    world: World, invitees: Invitees, end: str
) -> None:
    uuid = invitees.invite()
    invitees.deliver(TEMPORARY)
    (account,) = invitees.accounts()
    if end == "cancelled":
        invitees.cancel(uuid)
    else:
        with world.database.write() as tx:
            account_actions.delete(tx, world.staff.actor, account.uuid)
    invitees.clock.forward(minutes=1)
    assert invitees.deliver() == []
    if end == "cancelled":
        (row,) = invitees.outbox()
        assert (row.state, row.kind) == ("obsolete", APPROVED)
