"""Invitations to the address of a deactivated account: no second account, both sides learn why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium import staff_command
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.settings import Settings
from collegium.worker.transport import open_transport
from collegium.worker.worker import Worker
from tests.invitations.test_pages import NEW, link, shared_link
from tests.sign_in.test_pages import queued_recipients
from tests.support.browser import Browser, text
from tests.support.mails import sent_mails
from tests.support.site import Site
from tests.support.world import Person, Place, World

SPELLINGS = ("bob@bücher.example", "BOB@xn--bcher-kva.example", "Bob@BÜCHER.example")
PAGE_REASON = "Your account is deactivated"
INVITER_REASON = "their account is deactivated"
MAIL = "invitation_invitee_deactivated"


@pytest.fixture
def bob(world: World, site: Site) -> Person:
    """Return a deactivated account."""
    person = world.person("bob", email=SPELLINGS[0])
    set_active(site, world, person, active=False)
    return person


def set_active(site: Site, world: World, person: Person, *, active: bool) -> None:
    path = f"/api/users/{person.uuid}/"
    response = site.request("PATCH", path, world.staff, json={"is_active": active})
    assert response.status_code == 200


def register(browser: Browser, path: str) -> httpx.Response:
    """Open a link and send the form that creates an account."""
    browser.open(path)
    return browser.send(path, **NEW)


def usernames(world: World) -> set[str]:
    with world.database.read() as tx:
        return {row.username for row in tx.fetch_all(Statement[Any](select(accounts.c.username)))}


def error_message(site: Site, owner: Person, uuid: str) -> str:
    return str(site.get(f"/api/user-invitations/{uuid}/", owner).json()["error_message"])


@pytest.mark.parametrize("email", SPELLINGS)
def test_deactivated_invitee_gets_no_second_account_and_a_reason(
    browser: Browser,
    site: Site,
    world: World,
    owner: Person,
    project: Place,
    bob: Person,
    email: str,
) -> None:
    uuid = world.invite(owner, email, "PROJECT.ADMIN", project)
    before = usernames(world)
    assert bob.actor.username in before
    page = browser.open(link(world, uuid))
    assert page.status_code == 200
    assert PAGE_REASON in text(page)
    assert 'name="username"' not in page.text
    # Opening the page changes nothing and notifies nobody.
    assert error_message(site, owner, uuid) == ""
    response = browser.send(link(world, uuid), **NEW)
    assert response.status_code == 422
    assert PAGE_REASON in text(response)
    assert "The inviter has been notified" in text(response)
    assert usernames(world) == before
    assert "collegium_session" not in browser.cookies
    assert world.invitation(uuid).state == "pending"
    # The API, the list and the audit log show the reason to the inviter.
    assert INVITER_REASON in error_message(site, owner, uuid)
    inviter = Browser(site).sign_in(world, owner)
    for page_name, part in (
        ("invitations", "the account of the invited person is deactivated"),
        ("history", "The invited account is deactivated"),
    ):
        assert part in text(inviter.open(f"/project/{project.uuid}/{page_name}/"))
    # A second attempt sends no second e-mail.
    browser.send(link(world, uuid), **NEW)
    assert queued_recipients(world.database, MAIL) == [owner.email]


def test_only_active_invitee_can_create_an_account(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    set_active(site, world, bob, active=True)
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    assert PAGE_REASON not in text(browser.open(link(world, uuid)))
    # The account exists, so only somebody with another address creates one.
    refused = browser.send(link(world, uuid), **NEW)
    assert (refused.status_code, "An account with this address exists" in text(refused)) == (422, 1)
    other = {"own_address": "", "email": "other@example.org"}
    assert browser.send(link(world, uuid), **NEW | other).status_code == 303
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.MEMBER", project)
    set_active(site, world, bob, active=False)
    second = Browser(site)
    second.open(link(world, uuid))
    for again in ({}, other):
        answer = second.send(link(world, uuid), **NEW | {"username": "again"} | again)
        assert answer.status_code == 422


def test_deactivated_invitee_can_notify_the_inviter(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    browser.open(link(world, uuid))
    page = text(browser.follow(browser.send(link(world, uuid), action="tell")))
    assert "The inviter gets an e-mail" in page
    assert "Notify the inviter" not in page
    assert INVITER_REASON in error_message(site, owner, uuid)


def test_inviter_learns_of_deactivation_only_after_invitee_tried(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    without_account = world.invite(owner, "nobody@example.org", "PROJECT.ADMIN", project)
    for key in (uuid, without_account):
        # The link that an inviter shares proves no address; its page does not mention an account.
        page = text(browser.open(shared_link(world, key)))
        assert PAGE_REASON not in page
        assert "Open the link in the e-mail" in page
        browser.open("/sign_in/")
        for form in ({"action": "tell"}, NEW):
            response = browser.send(shared_link(world, key), **form)
            assert response.headers["location"].startswith("/sign_in/")
        assert error_message(site, owner, key) == ""
        assert site.post(f"/api/user-invitations/{key}/check/").status_code == 200
    assert queued_recipients(world.database, MAIL) == []
    # Only the mailed link creates an account.
    assert register(browser, link(world, without_account)).status_code == 303


def test_activated_invitee_can_accept_and_reason_disappears(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    register(browser, link(world, uuid))
    assert INVITER_REASON in error_message(site, owner, uuid)
    set_active(site, world, bob, active=True)
    assert error_message(site, owner, uuid) == ""
    browser.sign_in(world, bob).open(link(world, uuid))
    assert browser.send(link(world, uuid)).status_code == 303
    assert [row.username for row in world.grants_in(project)] == ["bob"]


def test_resending_clears_the_reason_until_the_next_attempt(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    register(browser, link(world, uuid))
    assert site.post(f"/api/user-invitations/{uuid}/send/", owner).status_code == 200
    assert error_message(site, owner, uuid) == ""
    browser.send(link(world, uuid), **NEW)
    assert INVITER_REASON in error_message(site, owner, uuid)


@pytest.mark.parametrize("email", SPELLINGS)
def test_worker_creates_no_account_for_address_of_deactivated_account(
    make_settings: Callable[..., Settings],
    world: World,
    owner: Person,
    project: Place,
    bob: Person,
    tmp_path: Path,
    email: str,
) -> None:
    world.invite(owner, email, "PROJECT.ADMIN", project)
    before = usernames(world)
    settings = make_settings(invitation_create_missing_user="true")
    assert Worker(world.database, settings, world.vault, open_transport(f"file:{tmp_path}")).once()
    assert usernames(world) == before


def test_address_of_deleted_account_can_register_again(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    assert site.request("DELETE", f"/api/users/{bob.uuid}/", world.staff).status_code == 204
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    assert PAGE_REASON not in text(browser.open(link(world, uuid)))
    assert browser.send(link(world, uuid), **NEW).status_code == 303


def test_invitation_cancelled_by_account_deletion_cannot_be_resent(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    other = world.invite(owner, "other@example.org", "PROJECT.ADMIN", project)
    assert site.post(f"/api/user-invitations/{other}/cancel/", owner).status_code == 200
    assert site.request("DELETE", f"/api/users/{bob.uuid}/", world.staff).status_code == 204
    path = f"/project/{project.uuid}/invitations/"
    page = browser.sign_in(world, owner).open(path)
    assert page.text.count('name="action" value="send"') == 1  # of the other invitation
    response = site.post(f"/api/user-invitations/{uuid}/send/", owner)
    assert response.status_code == 400
    assert "create a new invitation" in response.text
    assert browser.send(f"{path}{uuid}/", action="send").status_code == 409
    assert world.invitation(uuid).state == "canceled"
    # A cancelled invitation that still has its address can be resent.
    assert site.post(f"/api/user-invitations/{other}/send/", owner).status_code == 200


def test_activation_by_operator_clears_the_reason(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    uuid = world.invite(owner, SPELLINGS[0], "PROJECT.ADMIN", project)
    register(browser, link(world, uuid))
    assert INVITER_REASON in error_message(site, owner, uuid)
    name, email = bob.actor.username, bob.email
    staff_command.ensure_staff(
        world.database, world.settings, world.vault, name, email, None, allow_promotion=True
    )
    assert error_message(site, owner, uuid) == ""


def test_email_to_inviter_states_the_reason(
    browser: Browser, world: World, owner: Person, project: Place, bob: Person, tmp_path: Path
) -> None:
    uuid = world.invite(owner, SPELLINGS[1], "PROJECT.ADMIN", project)
    browser.open(link(world, uuid))
    browser.send(link(world, uuid), action="tell")
    Worker(world.database, world.settings, world.vault, open_transport(f"file:{tmp_path}")).once()
    mails = [path.read_text() for path in tmp_path.glob("*.eml")]
    (mail,) = [mail for mail in mails if f"X-Collegium-Mail: {MAIL}" in mail]
    assert f"To: {owner.email}" in mail
    assert "deactivated" in mail


def test_email_goes_to_no_manager_who_may_not_invite_any_more(
    browser: Browser, site: Site, world: World, owner: Person, project: Place, bob: Person
) -> None:
    inviter, former = world.person("inviter"), world.person("former")
    for person in (inviter, former):
        world.give_role(person, "PROJECT.MANAGER", project)
    uuid = world.invite(inviter, bob.email, "PROJECT.MEMBER", project)
    # An inviter who wants no e-mails gets none; everybody else who may invite to the project does.
    silent = {"notifications_enabled": False}
    site.request("PATCH", f"/api/users/{inviter.uuid}/", world.staff, json=silent)
    browser.open(link(world, uuid))
    browser.send(link(world, uuid), action="tell")
    assert sorted(queued_recipients(world.database, MAIL)) == [former.email, owner.email]
    world.remove_role(former, "PROJECT.MANAGER", project)
    assert [mail["To"] for mail in sent_mails(world, MAIL)] == [owner.email]
