"""A deleted account leaves nothing personal anywhere in the database."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.db.tables import outbox as mail_rows
from collegium.db.tables import rate_limits as try_rows
from collegium.invitations import actions as invitation_actions
from collegium.outbox import actions as outbox_actions
from collegium.outbox import queries as outbox_queries
from collegium.scopes.groups import actions as group_actions
from collegium.settings import Settings
from collegium.worker.worker import Worker
from tests.groups.scene import Groups
from tests.support.browser import Browser
from tests.support.browser import text as page_text
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import World

# Each holds a word that stands nowhere else.
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
}
OTHERS = (
    *("xqformer@", "xqnext@", "xqinvited", "xqmessage", "xqextra", "xqkeyname", "xqtoken"),
    *("xqwebsite", "xqscholar", "xqdevice", "xqtyped", "203.0.113.77", "xqold", "xqcomment"),
)


def everything(database: Database) -> Iterator[tuple[str, str]]:
    """Yield every value of every text or JSON column of every table, and where it stands."""
    with database.engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            if table.startswith("sqlite_"):
                continue
            for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                for column, value in row.items():
                    if isinstance(value, (str, dict, list)):
                        told = value if isinstance(value, str) else json.dumps(value)
                        yield f"{table}.{column}", told


def found(database: Database) -> set[tuple[str, str]]:
    """Where something of the person is still told, and which mark that is."""
    marks = [value.split("@")[0].lower() for value in MARKS.values()]
    marks += [mark.rstrip("@").lower() for mark in OTHERS]
    return {
        (where, mark)
        for where, value in everything(database)
        for mark in marks
        if mark in value.lower()
    }


class Life:
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
            username, is_staff=True, details={"name": "xqold"}, affiliations=["xqold"], **values
        )
        self.groups = Groups(world, site)

    def live(self) -> None:
        for step in (
            self.change_addresses,
            self.change_profile,
            self.be_invited,
            self.invite_others,
            self.ask,
            self.keep_keys_and_tokens,
            self.sign_in,
            self.look_after_mails,
        ):
            step()

    def change_addresses(self) -> None:
        path = f"/api/users/{self.person.uuid}/change_email/"
        for email in (MARKS["email"], "xqnext@example.org"):
            asked = self.site.post(path, self.world.staff, json={"email": email})
            assert asked.status_code == 200, asked.text
            if email == MARKS["email"]:
                code = self.code_sent_to(email)
                done = self.site.post("/api/users/confirm_email/", json={"code": code})
                assert done.status_code == 200, done.text

    def code_sent_to(self, email: str) -> str:
        """The code of the newest mail to an address."""
        Worker(self.world.database, self.world.settings, self.world.vault).once()
        folder = Path(self.world.settings.mail_url.removeprefix("file:"))
        mails = [mail.read_text() for mail in sorted(folder.glob("*.eml"))]
        found = [
            code
            for mail in mails
            if f"To: {email}" in mail
            for code in re.findall(r"/user_email_change/([0-9a-f]{32})/", mail)
        ]
        return str(found[-1])

    def change_profile(self) -> None:
        path = f"/api/users/{self.person.uuid}/"
        for name in ("xqold", MARKS["job_title"]):
            body = {"job_title": name, "description": name, "phone_number": MARKS["phone_number"]}
            answer = self.site.request("PATCH", path, self.world.staff, json=body)
            assert answer.status_code == 200, answer.text
        body = {"website": "http://xqwebsite.org", "google_scholar": "xqscholar"}
        shown = self.groups.call("PATCH", self.person, "user", self.person.id, json=body)
        assert shown.status_code == 200, shown.text

    def be_invited(self) -> None:
        world = self.world
        details: dict[str, Any] = {
            "full_name": "xqinvited",
            "native_name": "xqinvited",
            "phone_number": MARKS["phone_number"],
            "organization": "xqinvited",
            "job_title": "xqinvited",
            "extra_text": "Dear xqinvited",
        }
        for number, email in enumerate(
            (MARKS["email"], "XQEMAIL@Example.org", "xqformer@example.org")
        ):
            place = self.project if number == 0 else self.second
            uuid = world.invite(self.owner, email, "PROJECT.MEMBER", place, **details)
            if number == 0:
                with world.database.write() as tx:
                    actor = self.actor()
                    invitation_actions.accept(tx, actor, world.settings, uuid)
        lead = world.person("lead")
        group = self.groups.found(lead, "Club")
        with world.database.write() as tx:
            reached = group_actions.lock_and_recheck(tx, lead.actor, group)
            wish = group_actions.MemberChange(MARKS["email"])
            group_actions.change(tx, lead.actor, world.settings, reached, None, [wish])

    def actor(self) -> Any:
        from collegium.sign_in.tokens.actions import actor_of  # noqa: PLC0415 - used once

        with self.world.database.read() as tx:
            return actor_of(account_queries.by_id(tx, self.person.id), "203.0.113.77", "request")

    def invite_others(self) -> None:
        details = {"extra_text": "Yours, xqextra"}
        with self.world.database.write() as tx:
            from collegium.access import queries as access_queries  # noqa: PLC0415 - used once
            from collegium.access.rules import ScopeKind  # noqa: PLC0415 - used once
            from collegium.roles import queries as role_queries  # noqa: PLC0415 - used once

            actor = self.actor()
            reached = access_queries.get_visible(tx, actor, ScopeKind.PROJECT, self.project.uuid)
            role: Any = role_queries.named(tx, "PROJECT.MEMBER", None)
            details |= {"email": "somebody@example.org"}
            invitation_actions.create(tx, actor, self.world.settings, reached, role, details)

    def ask(self) -> None:
        link = self.world.open(self.owner, "PROJECT.MEMBER", self.second)
        request = self.world.ask(self.person, link, "xqmessage")
        path = f"/api/user-permission-requests/{request}/reject/"
        answer = self.site.post(path, self.owner, json={"comment": "xqcomment"})
        assert answer.status_code == 200, answer.text

    def keep_keys_and_tokens(self) -> None:
        body = {"name": "xqkeyname", "public_key": new_key("xqkeyname")}
        answer = self.site.post("/api/keys/", self.person, json=body)
        assert answer.status_code == 201, answer.text
        with self.world.database.write() as tx:
            from collegium.sign_in.tokens import actions as token_actions  # noqa: PLC0415 - used once

            token_actions.issue_personal(tx, self.world.vault, self.actor(), "xqtoken")
        told = self.site.post("/api/auth/device/", json={"client_name": "xqdevice"}).json()
        with self.world.database.write() as tx:
            from collegium.sign_in.devices import actions as device_actions  # noqa: PLC0415 - used once

            device = device_actions.get_pending_by_code(tx, self.world.vault, told["user_code"])
            device_actions.approve(tx, self.actor(), device.uuid)

    def sign_in(self) -> None:
        for name in (MARKS["username"], "xqtyped"):
            body = {"username": name, "password": "xqtyped-password"}
            assert self.site.post("/api-auth/password/", json=body).status_code == 401
        browser = Browser(self.site)
        browser.open("/forgotten_password/")
        assert browser.send("/forgotten_password/", address=MARKS["email"]).status_code < 500

    def look_after_mails(self) -> None:
        world = self.world
        Worker(world.database, world.settings, world.vault).once()
        with world.database.write() as tx:
            row: Any = tx.fetch_one(
                Statement(select(mail_rows.c.id).where(mail_rows.c.recipient == MARKS["email"]))
            )
            tx.execute(
                Statement(mail_rows.update().where(mail_rows.c.id == row.id).values(state="failed"))
            )
            outbox_actions.discard(tx, world.staff.actor, row.id)


def delete(life: Life) -> None:
    answer = life.site.request("DELETE", f"/api/users/{life.person.uuid}/", life.world.staff)
    assert answer.status_code == 204, answer.text


def test_nothing_of_a_deleted_account_is_left_in_any_table(
    site: Site, world: World, database: Database
) -> None:
    life = Life(world, site)
    life.live()
    before = {mark for _, mark in found(database)}
    missing = {value.split("@")[0].lower() for value in MARKS.values()} - before
    assert not missing, "the life tells too little"
    with database.read() as tx:
        count = len(tx.fetch_all(Statement(select(events.c.id))))
    delete(life)
    assert found(database) == set()
    # What happened stays, under a neutral name.
    with database.read() as tx:
        rows = tx.fetch_all(Statement(select(events)))
        assert len(rows) > count
        names = {row.actor_name for row in rows if row.actor_id == life.person.id}
        assert names == {f"Deleted account {life.person.id}"}
        row: Any = account_queries.by_id(tx, life.person.id)
    assert account_queries.full_name(row) == f"Deleted account {life.person.id}"
    shown = site.get("/api/events/?page_size=300", world.staff)
    assert shown.status_code == 200
    assert f"~deleted-{life.person.id}" in shown.text


def test_whoever_deletes_the_own_account_is_not_named_by_that(
    site: Site, world: World, database: Database
) -> None:
    life = Life(world, site)
    assert site.request("DELETE", f"/api/users/{life.person.uuid}/", life.person).status_code == 204
    assert found(database) == set()


def test_others_keep_what_is_theirs(site: Site, world: World, database: Database) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    gone, stays = world.person("gone"), world.person("stays")
    twin = world.person("twin", email=stays.email)
    for person in (gone, stays):
        uuid = world.invite(owner, person.email, "PROJECT.MEMBER", place, extra_text="Welcome")
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, gone.uuid)
        # Two share this address, and one of them is still there.
        account_actions.delete(tx, world.staff.actor, twin.uuid)
    row = world.invitation(uuid)
    assert (row.email, row.state, row.extra_text) == (stays.email, "pending", "Welcome")
    with database.read() as tx:
        mails = tx.fetch_all(Statement(select(mail_rows.c.recipient)))
    assert [mail.recipient for mail in mails] == [stays.email]
    assert site.post(f"/api/user-invitations/{uuid}/accept/", stays).status_code == 200


def test_invitation_to_a_deleted_account_lets_nobody_in(
    site: Site, world: World, database: Database
) -> None:
    owner, gone, finder = world.person("owner"), world.person("gone"), world.person("finder")
    place = world.project(world.organisation(owner=owner))
    uuid = world.invite(owner, gone.email, "PROJECT.MEMBER", place)
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, gone.uuid)
    assert site.post(f"/api/user-invitations/{uuid}/accept/", finder).status_code == 404
    assert world.invitation(uuid).state == "canceled"
    assert world.grants_in(place) == []
    with database.read() as tx:
        kinds = [row.kind for row in tx.fetch_all(Statement(select(events).order_by(events.c.id)))]
    assert "invitation.canceled" in kinds


def test_the_address_of_a_deleted_invitation_goes_with_the_account(
    site: Site, world: World, database: Database
) -> None:
    owner, gone, stays = world.person("owner"), world.person("xqgone"), world.person("stays")
    place = world.project(world.organisation(owner=owner))
    for person in (gone, stays):
        uuid = world.invite(owner, person.email, "PROJECT.MEMBER", place)
        assert site.post(f"/api/user-invitations/{uuid}/delete/", world.staff).status_code == 200
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, gone.uuid)
    assert not [where for where, value in everything(database) if "xqgone" in value.lower()]
    with database.read() as tx:
        query = select(events.c.payload).where(events.c.kind == "invitation.deleted")
        rows = tx.fetch_all(Statement(query.order_by(events.c.id)))
    assert [row.payload.get("email") for row in rows] == [None, stays.email]


def test_an_address_that_was_only_asked_for_is_somebody_else_s(
    site: Site, world: World, database: Database
) -> None:
    owner, asker = world.person("owner"), world.person("asker")
    place = world.project(world.organisation(owner=owner))
    uuid = world.invite(owner, "new@example.org", "PROJECT.MEMBER", place)
    path = f"/api/users/{asker.uuid}/change_email/"
    for email in ("new@example.org", "other@example.org", "new@example.org"):
        assert site.post(path, world.staff, json={"email": email}).status_code == 200
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, asker.uuid)
    row = world.invitation(uuid)
    assert (row.email, row.state) == ("new@example.org", "pending")
    with database.read() as tx:
        rows = tx.fetch_all(Statement(select(mail_rows.c.recipient, mail_rows.c.kind)))
        kept = tx.fetch_all(
            Statement(select(events.c.payload).where(events.c.account_id == asker.id))
        )
    assert [(one.recipient, one.kind) for one in rows] == [
        ("new@example.org", "invitation_created")
    ]
    assert "@" not in str(kept)


def test_a_failed_login_keeps_no_name_that_was_typed(
    site: Site, world: World, database: Database
) -> None:
    person = world.person("ada")
    for name in ("ada", "my secret password"):
        site.post("/api-auth/password/", json={"username": name, "password": "x"})
    with database.read() as tx:
        query = select(events).where(events.c.kind == "login.failed").order_by(events.c.id)
        known, unknown = tx.fetch_all(Statement(query))
    assert known.account_id == person.id
    assert unknown.account_id is None
    for row in (known, unknown):
        assert set(row.payload) == {"address"}
    assert all("my secret password" not in value for _, value in everything(database))


DAYS = 86400


@pytest.mark.parametrize("days", [30, 5])
def test_sent_mails_are_deleted_after_their_retention(
    world: World, database: Database, make_settings: Callable[..., Settings], days: int
) -> None:
    settings = make_settings(**({"outbox_retention": "5d"} if days == 5 else {}))
    kept = timedelta(days=days)
    assert settings.outbox_retention == kept.total_seconds()
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    uuid = world.invite(owner, "new@example.org", "PROJECT.MEMBER", place)
    clock = [datetime.now(UTC)]
    now = clock[0]

    def states() -> list[str]:
        with database.read() as tx:
            return sorted(row.state for row in tx.fetch_all(Statement(select(mail_rows.c.state))))

    worker = Worker(database, settings, world.vault, clock=lambda: clock[0])
    worker.once()
    assert states() == ["sent"]
    with database.write(now) as tx:
        for state in ("obsolete", "failed", "queued"):
            values = {"kind": "x", "recipient": "x@example.org", "payload": {}, "state": state}
            times = {
                "created_at": now,
                "next_attempt_at": now + timedelta(days=400),
                "finished_at": now,
            }
            tx.execute(Statement(mail_rows.insert().values(**values, **times)))
    clock[0] = now + kept - timedelta(minutes=1)
    worker.once()
    assert {"failed", "queued", "sent", "obsolete"} == set(states())
    assert world.invitation(uuid).mail_id is not None
    # Mails that went out since are kept; what could not be sent is for people to look at.
    clock[0] = now + kept + timedelta(minutes=1)
    worker.once()
    assert "obsolete" not in states()
    assert {"failed", "queued"} <= set(states())
    assert world.invitation(uuid).mail_id is None


def test_an_invitation_whose_mail_was_deleted_is_still_a_mailed_one(
    site: Site, world: World, database: Database
) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    uuid = world.invite(owner, "new@example.org", "PROJECT.MEMBER", place)
    other = world.invite(owner, "ada@example.org", "PROJECT.MEMBER", place)
    Worker(database, world.settings, world.vault).once()
    ada = world.person("ada", email="ada@example.org")
    path = f"/api/user-invitations/{uuid}/"
    assert site.post(f"{path}cancel/", owner).status_code == 200
    with database.write() as tx:
        invitation_actions.decline(tx, ada.actor, world.settings, other, 1)

    def told() -> tuple[Any, str]:
        page = Browser(site).sign_in(world, owner).open(f"/project/{place.uuid}/invitations/")
        shown = [site.get(f"/api/user-invitations/{one}/", owner).json() for one in (uuid, other)]
        return shown, page_text(page)

    before = told()
    assert [one["state"] for one in before[0]] == ["canceled", "rejected"]
    assert {one["execution_state"] for one in before[0]} == {"OK"}
    assert "rejected by staff" not in before[1]
    with database.write() as tx:
        outbox_queries.purge(tx, tx.now + timedelta(days=1), 10)
    assert world.invitation(uuid).mail_id is None
    assert told() == before


def test_many_old_mails_are_deleted_in_batches(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    rows = [
        {
            "kind": "x",
            "recipient": f"x{number}@example.org",
            "payload": "{}",
            "state": "sent",
            "created_at": old.isoformat(),
            "next_attempt_at": old.isoformat(),
            "finished_at": old.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        }
        for number in range(1203)
    ]
    columns = ", ".join(rows[0])
    values = ", ".join(f":{name}" if name != "payload" else "'{}'" for name in rows[0])
    with database.engine.begin() as connection:
        statement = text(f"INSERT INTO outbox ({columns}) VALUES ({values})")
        for row in rows:
            connection.execute(statement, {k: v for k, v in row.items() if k != "payload"})
    counts: list[int] = []
    sweep = outbox_queries.purge

    def noted(*given: Any) -> int:
        counts.append(sweep(*given))
        return counts[-1]

    monkeypatch.setattr(outbox_queries, "purge", noted)
    Worker(database, world.settings, world.vault).once()
    assert counts == [500, 500, 203]
    with database.read() as tx:
        assert tx.fetch_all(Statement(select(mail_rows.c.id))) == []


def test_network_addresses_of_tries_are_forgotten_after_a_day(
    site: Site, world: World, database: Database
) -> None:
    site.post("/api-auth/password/", json={"username": "x", "password": "x"})
    with database.read() as tx:
        assert any("127.0.0.1" in row.subject for row in tx.fetch_all(Statement(select(try_rows))))
    late = datetime.now(UTC) + timedelta(hours=25)
    Worker(database, world.settings, world.vault, clock=lambda: late).once()
    with database.read() as tx:
        assert tx.fetch_all(Statement(select(try_rows))) == []
