"""Inviting the address of a deactivated account makes no second account; both sides learn why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from collegium.accounts import actions as account_actions
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.settings import Settings
from collegium.worker.transport import open_transport
from collegium.worker.worker import Worker
from tests.invitations.test_pages import NEW
from tests.sign_in.test_pages import owed
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World

SPELLINGS = ("bob@bücher.example", "BOB@xn--bcher-kva.example", "Bob@BÜCHER.example")
WHY = "Your account is deactivated"
REASON = "their account is deactivated"


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation("Initech", owner=owner), "Atlas")


@pytest.fixture
def bob(world: World, site: Site) -> Person:
    person = world.person("bob", email=SPELLINGS[0])
    switch(site, world, person, active=False)
    return person


def switch(site: Site, world: World, person: Person, *, active: bool) -> None:
    path = f"/api/users/{person.uuid}/"
    answer = site.request("PATCH", path, world.staff, json={"is_active": active})
    assert answer.status_code == 200


def here(world: World, uuid: str, purpose: str = "invitation", generation: int = 1) -> str:
    return f"/invitation/{world.vault.sign(purpose, uuid, generation)}/"


def people(world: World) -> set[str]:
    with world.database.read() as tx:
        return {row.username for row in tx.fetch_all(Statement(select(accounts.c.username)))}


def told(site: Site, owner: Person, uuid: str) -> str:
    return str(site.get(f"/api/user-invitations/{uuid}/", owner).json()["error_message"])


@pytest.mark.parametrize("email", SPELLINGS)
def test_a_deactivated_person_who_is_invited_gets_no_second_account_and_is_told_why(
    browser: Browser,
    site: Site,
    world: World,
    owner: Person,
    project: Place,
    bob: Person,
    email: str,
) -> None:
    uuid = world.invite(owner, email, "PROJECT.ADMIN", project)
    before = people(world)
    page = browser.open(here(world, uuid))
    assert page.status_code == 200
    assert WHY in text(page)
    assert 'name="username"' not in page.text
    # Opening it changes nothing, and tells nobody.
    assert told(site, owner, uuid) == ""
    answer = browser.send(here(world, uuid), **NEW)
    assert answer.status_code == 422
    assert WHY in text(answer)
    assert "The inviter has been notified" in text(answer)
    assert people(world) == before
    assert "collegium_session" not in browser.cookies
    assert world.invitation(uuid).state == "pending"
    # The inviter sees why: by mail, in the list, in the API, in the history.
    assert REASON in told(site, owner, uuid)
    assert owed(world.database, "invitation_turned_away") == [owner.email]
    team = Browser(site).sign_in(world, owner)
    listed = text(team.open(f"/project/{project.uuid}/invitations/"))
    assert "the account of the invited person is deactivated" in listed
    assert "The invited account is deactivated" in text(
        team.open(f"/project/{project.uuid}/history/")
    )
    # Once.
    browser.send(here(world, uuid), **NEW)
    assert owed(world.database, "invitation_turned_away") == [owner.email]
    assert bob.actor.username in before


def test_an_active_person_makes_an_account_or_signs_in_as_before(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    switch(site, world, bob, active=True)
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    assert WHY not in text(browser.open(here(world, uuid)))
    # The denied twin: the very same, deactivated, is turned away.
    assert browser.send(here(world, uuid), **NEW).status_code == 303
    other = world.invite(owner, SPELLINGS[1], "PROJECT.MEMBER", project)
    switch(site, world, bob, active=False)
    second = Browser(site)
    second.open(here(world, other))
    assert second.send(here(world, other), **NEW | {"username": "again"}).status_code == 422


def test_the_invitee_can_have_the_inviter_told_from_the_page(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    browser.open(here(world, uuid))
    said = text(browser.follow(browser.send(here(world, uuid), action="tell")))
    assert "The inviter gets an e-mail" in said
    assert "Notify the inviter" not in said
    assert REASON in told(site, owner, uuid)
    assert bob.id


def test_the_inviter_learns_nothing_of_an_account_before_its_person_has_tried(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    mine = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    free = world.invite(owner, "nobody@example.org", "PROJECT.ADMIN", project)
    for uuid in (mine, free):
        # The link that an inviter is shown proves no address, and its page says nothing of one.
        said = text(browser.open(here(world, uuid, "invitation handed on")))
        assert WHY not in said
        assert "Open the link in the e-mail" in said
        browser.open("/sign_in/")
        for given in ({"action": "tell"}, NEW):
            answer = browser.send(here(world, uuid, "invitation handed on"), **given)
            assert answer.headers["location"].startswith("/sign_in/")
        assert told(site, owner, uuid) == ""
        assert site.post(f"/api/user-invitations/{uuid}/check/").status_code == 200
    assert owed(world.database, "invitation_turned_away") == []
    # By a link of its own, only for the address of that invitation.
    browser.open(here(world, free))
    assert browser.send(here(world, free), **NEW).status_code == 303
    assert bob.id


def test_an_activated_person_accepts_and_the_inviter_is_shown_no_reason_any_more(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    browser.open(here(world, uuid))
    browser.send(here(world, uuid), **NEW)
    assert REASON in told(site, owner, uuid)
    switch(site, world, bob, active=True)
    assert told(site, owner, uuid) == ""
    browser.sign_in(world, bob)
    browser.open(here(world, uuid))
    assert browser.send(here(world, uuid)).status_code == 303
    assert [row.username for row in world.grants_in(project)] == ["bob"]


def test_sending_again_begins_anew(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    browser.open(here(world, uuid))
    browser.send(here(world, uuid), **NEW)
    assert site.post(f"/api/user-invitations/{uuid}/send/", owner).status_code == 200
    assert told(site, owner, uuid) == ""
    browser.send(here(world, uuid), **NEW)
    assert REASON in told(site, owner, uuid)
    assert bob.id


@pytest.mark.parametrize("email", SPELLINGS)
def test_no_account_is_made_with_the_mail_for_the_address_of_a_deactivated_one(
    make_settings: Callable[..., Settings],
    world: World,
    owner: Person,
    project: Place,
    bob: Person,
    tmp_path: Path,
    email: str,
) -> None:
    world.invite(owner, email, "PROJECT.ADMIN", project)
    before = people(world)
    settings = make_settings(invitation_create_missing_user="true")
    assert Worker(world.database, settings, world.vault, open_transport(f"file:{tmp_path}")).once()
    assert people(world) == before
    assert bob.id


def test_a_deleted_person_can_be_invited_like_anybody(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    answer = site.request("DELETE", f"/api/users/{bob.uuid}/", world.staff)
    assert answer.status_code == 204
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    assert WHY not in text(browser.open(here(world, uuid)))
    assert browser.send(here(world, uuid), **NEW).status_code == 303


def test_an_invitation_that_went_with_its_account_is_not_sent_to_nobody(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    mine = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    other = world.invite(owner, "other@example.org", "PROJECT.ADMIN", project)
    assert site.post(f"/api/user-invitations/{other}/cancel/", owner).status_code == 200
    assert site.request("DELETE", f"/api/users/{bob.uuid}/", world.staff).status_code == 204
    listed = f"/project/{project.uuid}/invitations/"
    page = browser.sign_in(world, owner).open(listed)
    assert page.text.count('value="send"') == 1  # of the other one
    refused = site.post(f"/api/user-invitations/{mine}/send/", owner)
    assert refused.status_code == 400
    assert "create a new invitation" in refused.text
    assert browser.send(f"{listed}{mine}/", action="send").status_code == 409
    assert world.invitation(mine).state == "canceled"
    # The denied twin: one that was called back and has its address.
    assert site.post(f"/api/user-invitations/{other}/send/", owner).status_code == 200


def test_the_reason_goes_when_the_operator_activates_the_account(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    browser.open(here(world, uuid))
    browser.send(here(world, uuid), **NEW)
    assert REASON in told(site, owner, uuid)
    account_actions.ensure_staff(
        world.database,
        world.settings,
        world.vault,
        bob.actor.username,
        bob.email,
        None,
        promotes=True,
    )
    assert told(site, owner, uuid) == ""


def test_the_mail_to_the_inviter_says_why(
    browser: Browser, world: World, owner: Person, project: Place, bob: Person, tmp_path: Path
) -> None:
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    browser.open(here(world, uuid))
    browser.send(here(world, uuid), action="tell")
    Worker(world.database, world.settings, world.vault, open_transport(f"file:{tmp_path}")).once()
    mails = [path.read_text() for path in tmp_path.glob("*.eml")]
    (mail,) = [one for one in mails if "X-Collegium-Mail: invitation_turned_away" in one]
    assert f"To: {owner.email}" in mail
    assert "deactivated" in mail
    assert bob.id
