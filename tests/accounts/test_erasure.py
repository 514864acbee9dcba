"""Erasure: a deleted account leaves no personal data in the database."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, inspect, select, text

from collegium.access import queries as access_queries
from collegium.access.rules import Actor, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import events, rate_limits
from collegium.db.tables import outbox as outbox_table
from collegium.invitations import actions as invitation_actions
from collegium.outbox import actions as outbox_actions
from collegium.outbox import queries as outbox_queries
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.settings import Settings
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.worker.worker import Worker
from tests.groups.scene import Groups
from tests.support.browser import Browser
from tests.support.browser import text as page_text
from tests.support.mails import mail_text, sent_mails
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, Place, World

# Values of the account; each has a word that occurs nowhere else.
MARKS = {
    "username": "xqusername",
    "email": "xqemail@example.org",
    "first_name": "Xqfirst",
    "last_name": "Xqlast",
    "native_name": "Xqnative",
    "job_title": "Xqjob",
    "phone_number": "+999 777 555 333",
    "organization": "Xqorganization",
    "civil_number": "xqcivil",
    "description": "Xqdescription",
    "preferred_language": "xqlang",
    "identity_source": "xqsource",
    "slug": "xqslug",
    "personal_title": "Xqtitle",
    "place_of_birth": "Xqbirthplace",
    "address": "Xqstreet",
    "organization_registry_code": "Xqregistry",
    "deactivation_reason": "Xqreason",
}
OTHER_MARKS = (
    *("xqformer@", "xqnext@", "xqinvited", "xqmessage", "xqextra", "xqkeyname", "xqtoken"),
    *("xqwebsite", "xqscholar", "xqdevice", "xqtyped", "203.0.113.77", "xqold", "xqcomment"),
)


def text_values(database: Database) -> Iterator[tuple[str, str]]:
    """Yield every value of the text and JSON columns of all tables, with its column."""
    with database.engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            if table.startswith("sqlite_"):
                continue
            for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                for column, value in row.items():
                    if isinstance(value, (str, dict, list)):
                        yield (
                            f"{table}.{column}",
                            value if isinstance(value, str) else json.dumps(value),
                        )


def find_marks(database: Database) -> set[tuple[str, str]]:
    """Return the columns with personal data of the account, and the marks in them."""
    marks = [value.split("@")[0].lower() for value in MARKS.values()]
    marks += [mark.rstrip("@").lower() for mark in OTHER_MARKS]
    return {
        (column, mark)
        for column, value in text_values(database)
        for mark in marks
        if mark in value.lower()
    }


def rows_of(database: Database, table: Table) -> list[Any]:
    with database.read() as tx:
        return tx.fetch_all(Statement(select(table).order_by(*table.primary_key)))


def delete(world: World, person: Person) -> None:
    with world.database.write() as tx:
        account_actions.delete(tx, world.staff.actor, person.uuid)


class MarkedAccount:
    """An account with a mark in every field, that does everything an account can do."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site = world, site
        self.owner = world.person("owner")
        self.organisation = world.organisation(owner=self.owner)
        self.project = world.project(self.organisation)
        self.second = world.project(self.organisation)
        values = {**MARKS, "birth_date": date(1970, 1, 1), "email": "xqformer@example.org"}
        username = str(values.pop("username"))
        self.person = world.person(
            username,
            is_staff=True,
            details={"name": "xqold"},
            affiliations=["xqold"],
            eduperson_assurance=["xqold"],
            attribute_sources={"email": {"source": "xqold"}},
            **values,
        )
        self.path = f"/api/users/{self.person.uuid}/"
        self.groups = Groups(world, site)

    def do_everything(self) -> None:
        for step in (
            self.change_addresses,
            self.change_profile,
            self.be_invited,
            self.invite,
            self.lose_a_role,
            self.request_to_join,
            self.create_keys_and_tokens,
            self.fail_to_sign_in,
            self.discard_a_mail,
        ):
            step()

    def change_addresses(self) -> None:
        for email in (MARKS["email"], "xqnext@example.org"):
            body = {"email": email}
            response = self.site.post(f"{self.path}change_email/", self.world.staff, json=body)
            assert response.status_code == 200, response.text
            if email == MARKS["email"]:
                (mail,) = sent_mails(self.world, "change_email_request")
                code = re.findall(r"/user_email_change/([0-9a-f]{32})/", mail_text(mail))[0]
                response = self.site.post("/api/users/confirm_email/", json={"code": code})
                assert response.status_code == 200, response.text

    def change_profile(self) -> None:
        for name in ("xqold", MARKS["job_title"]):
            body = {"job_title": name, "description": name, "phone_number": MARKS["phone_number"]}
            response = self.site.request("PATCH", self.path, self.world.staff, json=body)
            assert response.status_code == 200, response.text
        body = {"website": "http://xqwebsite.org", "google_scholar": "xqscholar"}
        response = self.groups.call("PATCH", self.person, "user", self.person.id, json=body)
        assert response.status_code == 200, response.text

    def be_invited(self) -> None:
        world = self.world
        names = ("full_name", "native_name", "organization", "job_title")
        details: dict[str, Any] = {
            **dict.fromkeys(names, "xqinvited"),
            "phone_number": MARKS["phone_number"],
            "extra_text": "Dear xqinvited",
        }
        accepted = world.invite(
            self.owner, MARKS["email"], "PROJECT.MEMBER", self.project, **details
        )
        with world.database.write() as tx:
            invitation_actions.accept(tx, self.actor(), world.settings, accepted)
        for email in ("XQEMAIL@Example.org", "xqformer@example.org"):
            world.invite(self.owner, email, "PROJECT.MEMBER", self.second, **details)
        changed = world.invite(self.owner, MARKS["email"], "PROJECT.ADMIN", self.second)
        path, body = f"/api/user-invitations/{changed}/", {"email": "somebody.else@example.org"}
        assert self.site.request("PATCH", path, self.owner, json=body).status_code == 200
        lead = world.person("lead")
        group = self.groups.create(lead, "Club")
        with world.database.write() as tx:
            access = group_actions.lock_group_and_authorise(tx, lead.actor, group)
            member = group_actions.MemberChange(MARKS["email"])
            group_actions.change(tx, lead.actor, world.settings, access, None, [member])

    def actor(self) -> Actor:
        with self.world.database.read() as tx:
            row: Any = account_queries.by_id(tx, self.person.id)
        return token_actions.actor_of(row, "203.0.113.77", "request")

    def invite(self) -> None:
        details = {"extra_text": "Yours, xqextra", "email": "somebody@example.org"}
        actor = self.actor()
        with self.world.database.write() as tx:
            access = access_queries.get_visible(tx, actor, ScopeKind.PROJECT, self.project.uuid)
            role: Any = role_queries.by_name_or_uuid(tx, "PROJECT.MEMBER", None)
            invitation_actions.create(tx, actor, self.world.settings, access, role, details)

    def lose_a_role(self) -> None:
        world = self.world
        world.give_role(self.person, "PROJECT.ADMIN", self.second)
        rows = [row for row in world.grants_in(self.second) if row.account_id == self.person.id]
        path = f"/api/user-permissions/{rows[0].uuid}/revoke/"
        response = self.site.post(path, world.staff, json={"reason": "xqreason"})
        assert response.status_code == 200, response.text

    def request_to_join(self) -> None:
        link = self.world.create_link(self.owner, "PROJECT.MEMBER", self.second)
        request = self.world.ask(self.person, link, "xqmessage")
        path = f"/api/user-permission-requests/{request}/reject/"
        response = self.site.post(path, self.owner, json={"comment": "xqcomment"})
        assert response.status_code == 200, response.text

    def create_keys_and_tokens(self) -> None:
        body = {"name": "xqkeyname", "public_key": new_key("xqkeyname")}
        response = self.site.post("/api/keys/", self.person, json=body)
        assert response.status_code == 201, response.text
        body = {"client_name": "xqdevice"}
        code = self.site.post("/api/auth/device/", json=body).json()["user_code"]
        actor = self.actor()
        with self.world.database.write() as tx:
            token_actions.issue_personal(tx, self.world.vault, actor, "xqtoken")
            device = device_actions.get_pending_by_code(tx, self.world.vault, code)
            device_actions.approve(tx, actor, device.uuid)

    def fail_to_sign_in(self) -> None:
        for name in (MARKS["username"], "xqtyped"):
            body = {"username": name, "password": "xqtyped-password"}
            assert self.site.post("/api-auth/password/", json=body).status_code == 401
        browser = Browser(self.site)
        browser.open("/forgotten_password/")
        assert browser.send("/forgotten_password/", address=MARKS["email"]).status_code < 500

    def discard_a_mail(self) -> None:
        world = self.world
        Worker(world.database, world.settings, world.vault).once()
        recipients = {row.recipient: row.id for row in rows_of(world.database, outbox_table)}
        mail = recipients[MARKS["email"]]
        failed = outbox_table.update().where(outbox_table.c.id == mail).values(state="failed")
        with world.database.write() as tx:
            tx.execute(Statement(failed))
            outbox_actions.discard(tx, world.staff.actor, mail)


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation(owner=owner))


def test_deleted_account_leaves_no_personal_data_in_any_table(
    site: Site, world: World, database: Database
) -> None:
    account = MarkedAccount(world, site)
    account.do_everything()
    missing = {value.split("@")[0].lower() for value in MARKS.values()} - {
        mark for _, mark in find_marks(database)
    }
    assert not missing, "the account does too little"
    count = len(rows_of(database, events))
    assert site.request("DELETE", account.path, world.staff).status_code == 204
    assert find_marks(database) == set()
    # The events stay, under a neutral name.
    rows, neutral = rows_of(database, events), f"Deleted account {account.person.id}"
    assert len(rows) > count
    assert {row.actor_name for row in rows if row.actor_id == account.person.id} == {neutral}
    with database.read() as tx:
        row: Any = account_queries.by_id(tx, account.person.id)
    assert account_queries.full_name(row) == neutral
    response = site.get("/api/events/?page_size=300", world.staff)
    assert response.status_code == 200
    assert f"~deleted-{account.person.id}" in response.text


def test_account_that_deletes_itself_is_not_named_by_the_event(
    site: Site, world: World, database: Database
) -> None:
    account = MarkedAccount(world, site)
    assert site.request("DELETE", account.path, account.person).status_code == 204
    assert find_marks(database) == set()


def test_erasure_keeps_invitations_and_mails_of_others(
    site: Site, world: World, database: Database, owner: Person, project: Place
) -> None:
    deleted, other = world.person("deleted"), world.person("other")
    same_address = world.person("same", email=other.email)
    for person in (deleted, other):
        uuid = world.invite(owner, person.email, "PROJECT.MEMBER", project, extra_text="Welcome")
    delete(world, deleted)
    delete(world, same_address)
    row = world.invitation(uuid)
    assert (row.email, row.state, row.extra_text) == (other.email, "pending", "Welcome")
    assert [mail.recipient for mail in rows_of(database, outbox_table)] == [other.email]
    assert site.post(f"/api/user-invitations/{uuid}/accept/", other).status_code == 200


def test_invitation_to_a_deleted_account_is_cancelled(
    site: Site, world: World, database: Database, owner: Person, project: Place
) -> None:
    deleted, finder = world.person("deleted"), world.person("finder")
    uuid = world.invite(owner, deleted.email, "PROJECT.MEMBER", project)
    delete(world, deleted)
    assert site.post(f"/api/user-invitations/{uuid}/accept/", finder).status_code == 404
    assert world.invitation(uuid).state == "canceled"
    assert world.grants_in(project) == []
    assert "invitation.canceled" in {row.kind for row in rows_of(database, events)}


def test_address_of_a_deleted_invitation_is_erased_with_its_account(
    site: Site, world: World, database: Database, owner: Person, project: Place
) -> None:
    deleted, other = world.person("xqdeleted"), world.person("other")
    for person in (deleted, other):
        uuid = world.invite(owner, person.email, "PROJECT.MEMBER", project)
        assert site.post(f"/api/user-invitations/{uuid}/delete/", world.staff).status_code == 200
    delete(world, deleted)
    assert not [column for column, value in text_values(database) if "xqdeleted" in value.lower()]
    rows = [row for row in rows_of(database, events) if row.kind == "invitation.deleted"]
    assert [row.payload.get("email") for row in rows] == [None, other.email]


def test_erasure_keeps_an_address_that_was_requested_but_never_confirmed(
    site: Site, world: World, database: Database, owner: Person, project: Place
) -> None:
    requester = world.person("requester")
    uuid = world.invite(owner, "new@example.org", "PROJECT.MEMBER", project)
    path = f"/api/users/{requester.uuid}/change_email/"
    for email in ("new@example.org", "other@example.org", "new@example.org"):
        assert site.post(path, world.staff, json={"email": email}).status_code == 200
    delete(world, requester)
    row = world.invitation(uuid)
    assert (row.email, row.state) == ("new@example.org", "pending")
    mails = [(mail.recipient, mail.kind) for mail in rows_of(database, outbox_table)]
    assert mails == [("new@example.org", "invitation_created")]
    payloads = [row.payload for row in rows_of(database, events) if row.account_id == requester.id]
    assert "@" not in str(payloads)


def test_failed_login_stores_no_entered_name(site: Site, world: World, database: Database) -> None:
    person = world.person("ada")
    for name in ("ada", "my secret password"):
        site.post("/api-auth/password/", json={"username": name, "password": "x"})
    known, unknown = (row for row in rows_of(database, events) if row.kind == "login.failed")
    assert (known.account_id, unknown.account_id) == (person.id, None)
    for row in (known, unknown):
        assert set(row.payload) == {"address"}
    assert all("my secret password" not in value for _, value in text_values(database))


@pytest.mark.parametrize("days", [30, 5])
def test_sent_mails_are_deleted_after_their_retention(
    world: World,
    database: Database,
    make_settings: Callable[..., Settings],
    owner: Person,
    project: Place,
    days: int,
) -> None:
    settings = make_settings(**({"outbox_retention": "5d"} if days == 5 else {}))
    retention = timedelta(days=days)
    assert settings.outbox_retention == retention.total_seconds()
    uuid = world.invite(owner, "new@example.org", "PROJECT.MEMBER", project)
    now = datetime.now(UTC)
    clock = [now]

    def states() -> list[str]:
        return sorted(row.state for row in rows_of(database, outbox_table))

    worker = Worker(database, settings, world.vault, clock=lambda: clock[0])
    worker.once()
    assert states() == ["sent"]
    values = {"kind": "x", "recipient": "x@example.org", "payload": {}, "finished_at": now}
    values |= {"created_at": now, "next_attempt_at": now + timedelta(days=400)}
    with database.write(now) as tx:
        for state in ("obsolete", "failed", "queued"):
            tx.execute(Statement(outbox_table.insert().values(**values, state=state)))
    clock[0] = now + retention - timedelta(minutes=1)
    worker.once()
    assert {"failed", "queued", "sent", "obsolete"} == set(states())
    assert world.invitation(uuid).mail_id is not None
    # Mails sent since then are kept, and so are those that were not sent.
    clock[0] = now + retention + timedelta(minutes=1)
    worker.once()
    assert "obsolete" not in states()
    assert {"failed", "queued"} <= set(states())
    assert world.invitation(uuid).mail_id is None


def test_invitation_looks_the_same_after_its_mail_was_deleted(
    site: Site, world: World, database: Database, owner: Person, project: Place
) -> None:
    ada = world.person("ada")
    cancelled = world.invite(owner, "new@example.org", "PROJECT.MEMBER", project)
    declined = world.invite(owner, ada.email, "PROJECT.MEMBER", project)
    Worker(database, world.settings, world.vault).once()
    assert site.post(f"/api/user-invitations/{cancelled}/cancel/", owner).status_code == 200
    with database.write() as tx:
        invitation_actions.decline(tx, ada.actor, world.settings, declined, 1)

    def shown() -> tuple[Any, str]:
        page = Browser(site).sign_in(world, owner).open(f"/project/{project.uuid}/invitations/")
        paths = (f"/api/user-invitations/{uuid}/" for uuid in (cancelled, declined))
        return [site.get(path, owner).json() for path in paths], page_text(page)

    before = invitations, page = shown()
    assert [invitation["state"] for invitation in invitations] == ["canceled", "rejected"]
    assert {invitation["execution_state"] for invitation in invitations} == {"OK"}
    assert "rejected by staff" not in page
    with database.write() as tx:
        outbox_queries.purge(tx, tx.now + timedelta(days=1), 10)
    assert world.invitation(cancelled).mail_id is None
    assert shown() == before


def test_many_old_mails_are_deleted_in_batches(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    times = dict.fromkeys(("created_at", "next_attempt_at", "finished_at"), old)
    values = {"kind": "x", "payload": {}, "state": "sent", **times}
    with database.engine.begin() as connection:
        connection.execute(
            outbox_table.insert(),
            [{**values, "recipient": f"x{number}@example.org"} for number in range(1203)],
        )
    counts: list[int] = []
    purge = outbox_queries.purge

    def counted(*args: Any) -> int:
        counts.append(purge(*args))
        return counts[-1]

    monkeypatch.setattr(outbox_queries, "purge", counted)
    Worker(database, world.settings, world.vault).once()
    assert counts == [500, 500, 203]
    assert rows_of(database, outbox_table) == []


def test_network_addresses_of_rate_limits_are_deleted_after_a_day(
    site: Site, world: World, database: Database
) -> None:
    site.post("/api-auth/password/", json={"username": "x", "password": "x"})
    assert any("127.0.0.1" in row.subject for row in rows_of(database, rate_limits))
    later = datetime.now(UTC) + timedelta(hours=25)
    Worker(database, world.settings, world.vault, clock=lambda: later).once()
    assert rows_of(database, rate_limits) == []
