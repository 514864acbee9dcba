"""E-mails to people about their roles: who gets which, once, and what they may learn from it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import func, select

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import outbox, role_notices
from collegium.memberships import actions as membership_actions
from collegium.memberships import leaving
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.notices import queries as notice_queries
from collegium.memberships.notices.rules import COLLECT
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups.actions import MemberChange
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from collegium.worker.worker import Worker
from tests.claim_rules.scene import GROUPS, add_rule, change_rule
from tests.groups.scene import Groups
from tests.sign_in.identity_scene import add_provider, arrive, link
from tests.sign_in.identity_scene import person as claims_of
from tests.support.mails import mail_text
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World
from tests.worker.scene import Clock, Recorder

MEMBER, MANAGER, OWNER = "PROJECT.MEMBER", "PROJECT.MANAGER", "CUSTOMER.OWNER"
DAY = timedelta(days=1)
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Team:
    """A project with a manager, and the worker, whose clock the test moves."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site = world, site
        self.clock = Clock(datetime.now(UTC))
        self.owner, self.manager, self.ada = map(world.person, ("owner", "manager", "ada"))
        self.organisation = world.organisation("Royal Society", owner=self.owner)
        self.project = world.project(self.organisation, "Analytical Engines")
        world.give_role(self.manager, MANAGER, self.project)
        self.recorder = Recorder()
        self.worker = self.worker_with()
        self.mails(DAY / 24)

    def worker_with(self, transport: Any = None, **settings: Any) -> Worker:
        world = self.world
        changed = world.settings if not settings else Settings(**settings)
        return Worker(
            world.database, changed, world.vault, transport or self.recorder, clock=self.clock
        )

    def mails(self, after: timedelta = COLLECT * 2) -> list[EmailMessage]:
        """Let time pass, run the worker; return the e-mails about roles."""
        self.clock.now += after
        self.recorder.sent.clear()
        self.worker.once()
        self.clock.now += COLLECT
        self.worker.once()
        return [mail for mail in self.recorder.sent if mail["X-Collegium-Mail"].startswith("role_")]

    def kinds(self, after: timedelta = COLLECT * 2) -> list[tuple[str, str]]:
        """Return the kind and the recipient of each."""
        return [
            (mail["X-Collegium-Mail"].removeprefix("role_"), str(mail["To"]).partition("@")[0])
            for mail in self.mails(after)
        ]

    def change(self, what: str, who: Person, place: Place | None = None, **values: Any) -> None:
        """Add, update or delete the role of Ada through the API."""
        body = {"user": self.ada.uuid, "role": MEMBER, **values}
        path = f"{(place or self.project).path}{what}_user/"
        response = self.site.post(path, who, json=body)
        assert response.is_success, response.text

    def all_kinds(self) -> list[str]:
        with self.world.database.read() as tx:
            return sorted(tx.fetch_all(Statement[str](select(outbox.c.kind))))

    def waiting(self) -> int:
        statement = Statement[int](select(func.count().label("n")).select_from(role_notices))
        with self.world.database.read() as tx:
            return tx.fetch_only(statement)


@pytest.fixture
def team(world: World, site: Site) -> Team:
    return Team(world, site)


def test_person_is_told_once_of_a_role_that_was_given_changed_and_removed(team: Team) -> None:
    team.change("add", team.manager)
    (mail,) = team.mails()
    assert (mail["X-Collegium-Mail"], mail["To"]) == ("role_granted", team.ada.email)
    assert "Analytical Engines" in mail["Subject"]
    for part in ("plain", "html"):
        text = mail_text(mail, part)
        assert "Manager Lee" in text
        assert "Royal Society" in text
    end = (team.clock.now + 100 * DAY).isoformat()
    team.change("update", team.manager, expiration_time=end)
    (mail,) = team.mails()
    assert mail["X-Collegium-Mail"] == "role_changed"
    assert "now until" in mail_text(mail)
    team.change("delete", team.manager)
    (mail,) = team.mails()
    assert mail["X-Collegium-Mail"] == "role_removed"
    # Ada does not see the project any more: as in the audit log, it is not said who acted, but whom
    # she may ask only among those whom she still sees.
    assert "Analytical Engines" in mail_text(mail)
    assert "Manager Lee" not in mail_text(mail)
    assert "contact the people who manage it" in mail_text(mail)
    assert team.mails(DAY) == []


def test_nobody_is_told_what_they_did_themselves_or_another_email_says(team: Team) -> None:
    world = team.world
    uuid = world.invite(team.manager, team.ada.email, MEMBER, team.project)
    assert team.site.post(f"/api/user-invitations/{uuid}/accept/", team.ada, json={}).is_success
    bob, eve = world.person("bob"), world.person("eve")
    link = world.create_link(team.manager, MEMBER, team.project)
    for asker, decision in ((bob, "approve"), (eve, "")):
        request = world.ask(asker, link)
        if decision:
            path = f"/api/user-permission-requests/{request}/{decision}/"
            assert team.site.post(path, team.manager, json={}).is_success
    # The role of Eve fulfils her request, whose approval is mailed.
    body = {"user": eve.uuid, "role": MEMBER}
    assert team.site.post(f"{team.project.path}add_user/", team.manager, json=body).is_success
    assert team.kinds() == []
    assert team.all_kinds().count("structure_role_granted") == 2
    # Leaving is one's own action too.
    (grant,) = [row for row in world.grants_in(team.project) if row.account_id == bob.id]
    with world.database.write() as tx:
        leaving.leave(tx, bob.actor, grant.uuid)
    assert team.kinds() == []


@pytest.mark.parametrize("undone", [True, False])
def test_what_is_undone_within_a_minute_is_not_told(team: Team, undone: bool) -> None:
    team.change("add", team.manager)
    if undone:
        team.change("delete", team.manager)
    assert team.kinds() == ([] if undone else [("granted", "ada")])
    if undone:
        return
    team.change("delete", team.manager)
    team.change("add", team.manager)
    assert team.kinds() == []
    uuid = next(row.uuid for row in team.world.grants_in(team.project) if row.username == "ada")
    team.change("delete", team.manager)
    with team.world.database.write() as tx:
        access = access_queries.get_visible_by_id(tx, team.manager.actor, team.project.id)
        membership_actions.undo_removal(tx, team.manager.actor, access, uuid)
    assert team.kinds() == []
    # With another end it is news.
    team.change("delete", team.manager)
    team.change("add", team.manager, expiration_time=(team.clock.now + 60 * DAY).isoformat())
    assert team.kinds() == [("granted", "ada")]


def test_everything_of_a_minute_comes_in_one_email_of_its_kind(team: Team) -> None:
    places = [team.world.project(team.organisation) for _ in range(22)]
    for place in places:
        team.world.give_role(team.ada, MEMBER, place)
    (mail,) = team.mails()
    assert "22 new roles" in mail["Subject"]
    assert "and 2 more" in mail_text(mail)
    assert team.waiting() == 0


def test_another_role_is_told_as_one_change(team: Team) -> None:
    team.change("add", team.manager)
    assert team.kinds() == [("granted", "ada")]
    world = team.world
    with world.database.write() as tx:
        access = access_queries.get_visible(
            tx, team.manager.actor, team.project.kind, team.project.uuid
        )
        target = membership_actions.RoleAssignment(
            access, world.role(MEMBER), account_queries.existing(tx, team.ada.id)
        )
        membership_actions.change_role(tx, world.staff.actor, target, world.role("PROJECT.ADMIN"))
    (mail,) = team.mails()
    assert mail["X-Collegium-Mail"] == "role_changed"
    assert "instead of" in mail_text(mail)


def test_end_of_a_role_is_announced_twice_and_told_once(team: Team) -> None:
    end = team.clock.now + 30 * DAY
    team.change("add", team.manager, expiration_time=end.isoformat())
    assert team.kinds() == [("granted", "ada")]
    assert team.kinds(15 * DAY) == []
    (mail,) = team.mails(2 * DAY)
    assert mail["X-Collegium-Mail"] == "role_ending"
    assert "Manager Lee" in mail_text(mail)
    assert team.kinds(9 * DAY) == []
    assert team.kinds(2.5 * DAY) == [("ending", "ada")]
    assert team.kinds(1 * DAY) == []
    (mail,) = team.mails(2 * DAY)
    assert mail["X-Collegium-Mail"] == "role_ended"
    assert team.kinds(30 * DAY) == []


def test_late_worker_sends_only_the_reminder_that_is_still_true(team: Team) -> None:
    end = team.clock.now + 30 * DAY
    team.change("add", team.manager, expiration_time=end.isoformat())
    assert team.kinds() == [("granted", "ada")]
    # Nothing ran on the fourteenth day before.
    assert team.kinds(28.5 * DAY) == [("ending", "ada")]
    # Nothing ran for two weeks after the end.
    assert team.kinds(16 * DAY) == []


def test_near_end_is_not_told_twice_and_a_later_one_is_announced_again(team: Team) -> None:
    team.change("add", team.manager, expiration_time=(team.clock.now + 10 * DAY).isoformat())
    assert team.kinds() == [("granted", "ada")]
    assert team.kinds(DAY) == []
    assert team.kinds(7.5 * DAY) == [("ending", "ada")]
    team.change("update", team.manager, expiration_time=(team.clock.now + 40 * DAY).isoformat())
    assert team.kinds() == [("changed", "ada")]
    assert team.kinds(27 * DAY) == [("ending", "ada")]


def test_reminder_of_a_role_that_was_removed_meanwhile_is_not_sent(team: Team) -> None:
    team.change("add", team.manager, expiration_time=(team.clock.now + 30 * DAY).isoformat())
    assert team.kinds() == [("granted", "ada")]
    team.clock.now += 17 * DAY
    schedule = Scheduler(team.world.database, team.world.settings, team.clock)
    schedule.run()
    assert team.waiting() == 1
    team.clock.now += COLLECT
    schedule.run()
    assert team.waiting() == 0
    # It is queued now. Two workers make one of it.
    assert team.all_kinds().count("role_ending") == 1
    team.change("delete", team.manager)
    assert team.kinds() == [("removed", "ada")]


def test_two_workers_take_different_notices(world: World, site: Site) -> None:
    team = Team(world, site)
    team.change("add", team.manager)
    later = team.clock.now + COLLECT * 2
    with world.database.write(later) as tx:
        assert len(notice_queries.take(tx, later, 10, 10)) == 1
        assert notice_queries.take(tx, later, 10, 10) == []
        assert notice_actions.remind(tx) == 0


@pytest.mark.parametrize("count", [2, 6])
def test_deletion_of_a_scope_adds_all_notices_with_one_statement(
    team: Team, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    people = [team.world.person() for _ in range(count)]
    for person in people:
        team.world.give_role(person, MEMBER, team.project)
    assert len(team.mails()) == count
    with record_statements(monkeypatch) as statements:
        assert team.site.request("DELETE", team.project.path, team.owner).is_success
    assert len([one for one in statements if "INSERT INTO role_notices" in one]) == 1
    assert not [one for one in statements if "INSERT INTO outbox" in one]
    mails = team.mails()
    assert {mail["To"] for mail in mails} == {one.email for one in (team.manager, *people)}
    assert len(mails) == count + 1
    assert "was deleted" in mail_text(mails[0])


def test_email_names_nobody_who_acted_as_somebody_else(team: Team) -> None:
    headers = {"X-Impersonated-User-Uuid": team.manager.uuid}
    body = {"user": team.ada.uuid, "role": MEMBER}
    path = f"{team.project.path}add_user/"
    response = team.site.post(path, team.world.staff, headers=headers, json=body)
    assert response.is_success, response.text
    (mail,) = team.mails()
    text = mail_text(mail)
    assert "Staff Lee" not in text
    assert "Manager Lee" not in text


def test_email_about_a_hidden_scope_says_no_more_than_the_person_knew(team: Team) -> None:
    team.change("add", team.manager)
    team.mails()
    team.change("delete", team.manager)
    newcomer = team.world.person("newcomer")
    team.world.give_role(newcomer, MANAGER, team.project)
    # Ada sees the account elsewhere, and must not learn that it manages this project now.
    elsewhere = team.world.project(team.world.organisation("Elsewhere"))
    for person in (team.ada, newcomer):
        team.world.give_role(person, MEMBER, elsewhere)
    renamed = team.site.request(
        "PATCH", team.project.path, team.owner, json={"name": "Secret Engines"}
    )
    assert renamed.is_success, renamed.text
    (mail,) = [mail for mail in team.mails() if mail["X-Collegium-Mail"] == "role_removed"]
    assert mail["To"] == team.ada.email
    for text in (mail["Subject"], mail_text(mail), mail_text(mail, "html")):
        assert "Secret" not in text
        assert "Newcomer" not in text
    # Somebody who still sees the scope learns who did it, as in the audit log.
    bob = team.world.person("bob")
    team.world.give_role(bob, OWNER, team.organisation)
    team.world.give_role(bob, MEMBER, team.project)
    team.mails()
    team.change("delete", team.manager, user=bob.uuid)
    (mail,) = team.mails()
    assert "removed by Manager Lee" in mail_text(mail)
    assert "Secret Engines" in mail_text(mail)


@pytest.mark.parametrize(
    "values", [{"is_active": False}, {"notifications_enabled": False}, {"email": ""}]
)
def test_account_that_gets_no_emails_is_not_told(team: Team, values: dict[str, Any]) -> None:
    team.change("add", team.manager)
    with team.world.database.write() as tx:
        account_queries.change(tx, team.ada.id, values)
    assert team.kinds() == []
    assert team.site.request("DELETE", team.project.path, team.owner).is_success
    assert team.waiting() == 1
    assert team.kinds() == [("removed", "manager")]


def test_deleted_account_leaves_no_notice_and_gets_no_email(team: Team) -> None:
    team.change("add", team.manager)
    assert team.waiting() == 1
    with team.world.database.write() as tx:
        account_actions.delete(tx, team.world.staff.actor, team.ada.uuid)
    assert team.waiting() == 0
    assert team.kinds() == []


@sqlite_only
def test_operator_turns_emails_about_roles_off(
    team: Team, make_settings: Callable[..., Settings]
) -> None:
    team.world.settings = make_settings(role_notifications="false")
    team.worker = team.worker_with()
    team.change("add", team.manager, expiration_time=(team.clock.now + 30 * DAY).isoformat())
    assert team.kinds() == []
    assert team.waiting() == 0
    assert team.kinds(29 * DAY) == []


def test_person_with_a_claim_rule_is_told_of_all_its_roles_in_one_email(
    world: World, site: Site
) -> None:
    team = Team(world, site)
    provider = add_provider(world, **GROUPS)
    world.give_role(world.person(), OWNER, team.organisation)
    uuid = add_rule(world, team.organisation, OWNER, project_role=MEMBER, template="Lab")
    change_rule(world, uuid, revokes=True)
    team.mails()
    eve = world.person("eve")
    claims = {"email": eve.email, "given_name": "Eve"}
    link(world, eve.actor, provider, claims_of("eve-1", **claims))
    arrive(world, provider, claims_of("eve-1", groups=["physics"], **claims))
    (mail,) = team.mails()
    assert (mail["X-Collegium-Mail"], mail["To"]) == ("role_granted", "eve@example.org")
    assert "given by a rule" in mail_text(mail)
    assert "2 new roles" in mail["Subject"]
    arrive(world, provider, claims_of("eve-1", groups=["maths"], **claims))
    (mail,) = team.mails()
    assert (mail["X-Collegium-Mail"], mail["To"]) == ("role_removed", "eve@example.org")


def test_member_of_a_group_is_told_of_another_role_and_of_removal(world: World, site: Site) -> None:
    team = Team(world, site)
    lead = world.person("lead")
    groups = Groups(world, site)
    group = groups.create(lead)
    groups.give_role(group, team.ada)
    assert team.kinds() == []
    for change, kind in (
        (MemberChange(team.ada.email, is_manager=True, is_owner=False), "changed"),
        (MemberChange(team.ada.email, removes=True), "removed"),
    ):
        with world.database.write() as tx:
            access = group_actions.lock_group_and_authorise(tx, lead.actor, group)
            group_actions.change(tx, lead.actor, world.settings, access, None, [change])
        assert team.kinds() == [(kind, "ada")]


def test_recovery_of_a_project_tells_its_members_again(team: Team) -> None:
    team.change("add", team.manager)
    assert team.kinds() == [("granted", "ada")]
    assert team.site.request("DELETE", team.project.path, team.owner).is_success
    body = {"restore_team_members": True}
    recover = f"{team.project.path}recover/"
    # Nobody hears of what was undone at once.
    assert team.site.post(recover, team.world.staff, json=body).is_success
    assert team.kinds() == []
    assert team.site.request("DELETE", team.project.path, team.owner).is_success
    assert sorted(team.kinds()) == [("removed", "ada"), ("removed", "manager")]
    assert team.site.post(recover, team.world.staff, json=body).is_success
    assert sorted(team.kinds()) == [("granted", "ada"), ("granted", "manager")]


def test_role_that_is_removed_while_its_reminder_is_made_is_not_announced(team: Team) -> None:
    end = (team.clock.now + 30 * DAY).isoformat()
    bob = team.world.person("bob")
    for person in (team.ada, bob):
        team.change("add", team.manager, user=person.uuid, expiration_time=end)
    assert len(team.mails()) == 2
    team.clock.now += 17 * DAY
    world = team.world
    with ThreadPoolExecutor(1) as pool:
        with world.database.write(team.clock.now) as tx:
            assert notice_actions.remind(tx) == 2
            removal = pool.submit(team.change, "delete", team.manager)
            # Another worker finds nothing to do, and does not wait.
            if tx.backend == "postgresql":
                with world.database.write(team.clock.now) as other:
                    assert notice_actions.remind(other) == 0
        removal.result()
    assert sorted(team.kinds()) == [("ending", "bob"), ("removed", "ada")]


class _KilledError(Exception):
    """The worker dies."""


def test_worker_that_is_killed_sends_neither_none_nor_two(team: Team) -> None:
    team.change("add", team.manager, expiration_time=(team.clock.now + 30 * DAY).isoformat())
    world = team.world

    def die(action: Callable[..., Any], *arguments: Any) -> None:
        with suppress(_KilledError), world.database.write(team.clock.now) as tx:
            assert action(tx, *arguments) == 1
            raise _KilledError

    team.clock.now += 2 * COLLECT
    die(notice_actions.enqueue_mails, world.settings)
    assert team.kinds() == [("granted", "ada")]
    team.clock.now += 17 * DAY
    die(notice_actions.remind)
    assert team.kinds() == [("ending", "ada")]
    assert team.kinds() == []
