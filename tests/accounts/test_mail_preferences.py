"""Which e-mails people get: their choice on a page, one click in an e-mail, the weekly overview."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from collegium.accounts import actions as account_actions
from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.accounts.mail_preferences.rules import DIGEST, OPTIONAL
from collegium.memberships.notices.rules import COLLECT
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from collegium.worker.transport import open_transport
from tests.memberships.test_notices import DAY, MEMBER, Team
from tests.support.browser import Browser, text
from tests.support.mails import mail_text
from tests.support.site import Site
from tests.support.world import Person, World
from tests.worker.scene import Mailbox, mail_server

PAGE = "/account/mails/"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def team(world: World, site: Site) -> Team:
    return Team(world, site)


def choose(browser: Browser, *kinds: str) -> None:
    browser.open(PAGE)
    assert browser.send(PAGE, **dict.fromkeys(kinds, "yes")).status_code == 303


def wanted(team: Team, person: Person) -> set[str]:
    with team.world.database.read() as tx:
        return preference_queries.wanted(tx, [person.id])[person.id]


def path_of(mail: EmailMessage) -> str:
    return str(mail["List-Unsubscribe"]).strip("<>").removeprefix(Settings().base_url)


def test_person_chooses_on_a_page_which_emails_come(team: Team, browser: Browser) -> None:
    assert wanted(team, team.ada) == set(OPTIONAL) - {DIGEST}
    browser.sign_in(team.world, team.ada)
    choose(browser, "role_removed", DIGEST)
    assert wanted(team, team.ada) == {"role_removed", DIGEST}
    page = browser.open(PAGE)
    ticked = re.findall(r'name="(role_\w+)"[^>]* checked', page.text)
    assert set(ticked) == {"role_removed", DIGEST}
    assert "nobody can turn them off" in text(page)
    team.change("add", team.manager)
    assert team.kinds() == []
    team.change("delete", team.manager)
    assert team.kinds() == [("removed", "ada")]
    with team.world.database.write() as tx:
        account_actions.delete(tx, team.world.staff.actor, team.ada.uuid)
    with team.world.database.read() as tx:
        chosen = preference_queries.wanted(tx, [team.ada.id])[team.ada.id]
    assert chosen == set(OPTIONAL) - {DIGEST}


@sqlite_only
def test_mail_program_turns_one_kind_of_email_off_with_one_click(
    team: Team, browser: Browser, site: Site
) -> None:
    mailbox = Mailbox()
    team.change("add", team.manager)
    with mail_server(mailbox) as port:
        team.clock.now += timedelta(minutes=2)
        team.worker_with(open_transport(f"smtp://127.0.0.1:{port}")).once()
    (envelope,) = mailbox.envelopes
    content = envelope.content
    assert isinstance(content, bytes)
    mail = message_from_bytes(content, policy=default)
    assert isinstance(mail, EmailMessage)
    # RFC 8058: exactly these two headers.
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = path_of(mail)
    assert path in mail_text(mail)
    assert team.ada.uuid not in path
    # Opening the page changes nothing, however often.
    for _ in range(2):
        assert "Nothing has changed yet" in text(browser.open(path))
    assert "role_granted" in wanted(team, team.ada)
    # Neither a session nor one of our forms is needed, and a second click does no harm.
    for _ in range(2):
        response = site.post(path, data=ONE_CLICK)
        assert response.status_code == 200, response.text
        assert wanted(team, team.ada) == set(OPTIONAL) - {"role_granted", DIGEST}
    # Nor does the session of somebody else matter.
    browser.sign_in(team.world, team.manager)
    assert browser.call("POST", path, data=ONE_CLICK).status_code == 200
    assert wanted(team, team.manager) == set(OPTIONAL) - {DIGEST}


@pytest.mark.parametrize("token", ["x", "k" * 5000, "%00", "of another purpose", "of no kind"])
@sqlite_only
def test_link_that_nobody_was_given_turns_nothing_off(
    team: Team, browser: Browser, token: str
) -> None:
    vault = team.world.vault
    if token == "of another purpose":
        token = vault.sign("invitation", team.ada.uuid, "role_granted")
    elif token == "of no kind":
        token = vault.sign("unsubscribe", team.ada.uuid, "password_changed")
    for method in ("GET", "POST"):
        assert browser.call(method, f"/unsubscribe/{token}/").status_code in {400, 404, 414}
    assert wanted(team, team.ada) == set(OPTIONAL) - {DIGEST}
    gone = vault.sign("unsubscribe", "0" * 32, "role_granted")
    assert browser.call("POST", f"/unsubscribe/{gone}/").status_code == 404


@sqlite_only
def test_email_that_was_turned_off_while_it_was_queued_is_not_sent(
    team: Team, browser: Browser
) -> None:
    browser.sign_in(team.world, team.ada)
    team.change("add", team.manager)
    team.clock.now += 2 * COLLECT
    Scheduler(team.world.database, team.world.settings, team.clock).run()
    assert team.all_kinds().count("role_granted") == 3
    choose(browser)
    assert team.kinds() == []


def test_necessary_emails_have_no_link_to_turn_them_off(team: Team) -> None:
    team.world.invite(team.manager, "new@example.org", MEMBER, team.project)
    team.recorder.sent.clear()
    team.worker.once()
    (mail,) = team.recorder.sent
    assert mail["X-Collegium-Mail"] == "invitation_created"
    assert mail["List-Unsubscribe"] is None


def test_manager_gets_an_overview_every_monday_if_there_is_something(
    team: Team, browser: Browser
) -> None:
    browser.sign_in(team.world, team.manager)
    choose(browser, DIGEST)
    # Nothing waits.
    assert team.kinds(8 * DAY) == []
    link = team.world.create_link(team.manager, MEMBER, team.project)
    team.world.ask(team.world.person("asker"), link)
    end = team.clock.now + 30 * DAY
    team.world.give_role(team.ada, MEMBER, team.project, end)
    elsewhere = team.world.project(team.world.organisation("Elsewhere"), "Hidden")
    team.world.give_role(team.ada, MEMBER, elsewhere, end)
    (mail,) = [one for one in team.mails(7 * DAY) if one["To"] == team.manager.email]
    assert mail["X-Collegium-Mail"] == DIGEST
    for part in ("plain", "html"):
        words = mail_text(mail, part)
        assert "Asker Lee" in words
        assert "Analytical Engines" in words
        assert "Hidden" not in words
    # After two weeks without a worker there is one, not two; now a role ends soon.
    (mail,) = [one for one in team.mails(14 * DAY) if one["X-Collegium-Mail"] == DIGEST]
    assert "Ada Lee" in mail_text(mail)
    # Exactly once a week.
    assert DIGEST not in [one["X-Collegium-Mail"] for one in team.mails(DAY / 2)]


def test_overview_of_staff_counts_invitations_to_approve(
    team: Team, make_settings: Callable[..., Settings], browser: Browser
) -> None:
    team.world.settings = make_settings(only_staff_can_invite_users="true")
    browser.sign_in(team.world, team.world.staff)
    choose(browser, DIGEST)
    team.world.invite(team.manager, "new@example.org", MEMBER, team.project)
    (mail,) = team.mails(7 * DAY)
    assert "wait for your approval: 1" in mail_text(mail)
