"""Saying no to an invitation: by the link in its mail, or signed in; for whom, and for good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.db.database import Database
from collegium.db.statements import Row, Statement
from collegium.db.tables import events, outbox
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals, links
from collegium.invitations import group_actions as group_invitation_actions
from collegium.refusals import Conflict
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.organisations import actions as organisation_actions
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.invitations.test_pages import (
    ADDRESS,
    NEW,
    _decision,
    _waiting,
    invite,
    link,
    roles_of,
)
from tests.sign_in.test_pages import owed
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World

AWAY = "192.0.2.7"


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation("Initech", owner=owner), "Atlas")


def copied(world: World, uuid: str) -> str:
    """The link that somebody in charge hands on."""
    return f"/invitation/{world.vault.sign(links.SHARED_BY_INVITER, uuid, 1)}/"


def told(world: World) -> list[Row]:
    """What history says of invitations that were declined."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement(events.select().order_by(events.c.id)))
    return [row for row in rows if row.kind == "invitation.declined"]


def facts(world: World) -> list[dict[str, Any]]:
    """What is owed to those who invited."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement(outbox.select().order_by(outbox.c.id)))
    return [dict(row.payload) for row in rows if row.kind == "invitation_declined"]


def declines(browser: Browser, here: str) -> int:
    """Press the button, whether the page shows one or not; give the status, 401: sign in first."""
    browser.open("/account/tokens/" if "collegium_session" in browser.cookies else "/sign_in/")
    answer = browser.send(f"{here}decline/")
    is_sent_away = answer.headers.get("location", "").startswith("/sign_in/")
    return 401 if is_sent_away else answer.status_code


def test_the_link_in_the_mail_declines_without_an_account(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    here = link(world, uuid)
    assert "Decline invitation" in text(browser.open(here))
    assert world.invitation(uuid).state == "pending"
    answer = browser.send(f"{here}decline/")
    assert answer.headers["location"] == here
    page = browser.follow(answer)
    assert page.status_code == 410
    assert (
        "You have declined the invitation to the project Atlas of Initech as Project administrator"
        in text(page)
    )
    assert "This invitation was declined" in text(page)
    assert "ask the inviter for a new" in text(page)
    assert world.invitation(uuid).state == "rejected"
    assert owed(world.database, "invitation_declined") == [owner.email]
    (event,) = told(world)
    assert (event.actor_id, event.actor_name, event.payload["email"]) == (None, "", ADDRESS)
    assert event.ip_address
    assert event.request_id
    # Opened again, it says the same; declined or accepted again, it does nothing.
    page = browser.open(here)
    assert page.status_code == 410
    assert "This invitation was declined" in text(page)
    assert "You have declined" not in text(page)
    assert "Atlas" not in text(page)
    browser.open("/sign_in/")
    for path, sent in ((f"{here}decline/", {}), (here, NEW), (here, {"action": "renew"})):
        again = browser.call("POST", path, data={"csrf": browser.csrf, **sent})
        assert again.status_code == 410
        assert "This invitation was declined" in text(again)
    assert owed(world.database, "invitation_declined") == [owner.email]
    assert len(told(world)) == 1
    assert roles_of(world, project) == []


def test_a_copied_link_declines_only_for_an_account(
    browser: Browser, other: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    here = copied(world, uuid)
    page = text(browser.open(here))
    assert "Decline the invitation" not in page
    assert "To decline it, sign in first." in page
    browser.open("/sign_in/")
    answer = browser.send(f"{here}decline/")
    assert answer.headers["location"] == f"/sign_in/?next={here}"
    assert world.invitation(uuid).state == "pending"
    ada = world.person("ada")
    other.sign_in(world, ada)
    assert "Decline invitation" in text(other.open(here))
    assert other.send(f"{here}decline/").headers["location"] == here
    assert world.invitation(uuid).state == "rejected"
    (event,) = told(world)
    assert (event.actor_id, event.actor_name) == (ada.id, "Ada Lee")
    assert [one["account"] for one in facts(world)] == [ada.id]


@pytest.mark.parametrize(
    "setting", ["validate_invitation_email", "enable_strict_check_accepting_invitation"]
)
def test_where_the_address_must_be_the_same_another_account_declines_nothing(
    setting: str,
    database: Database,
    vault: Vault,
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
) -> None:
    settings = make_settings(**{setting: "true"})
    world, site = World(database, settings, vault), make_site(settings)
    owner = world.person("olga")
    project = world.project(world.organisation("Initech", owner=owner), "Atlas")
    ada, ines = world.person("ada"), world.person("ines", email=ADDRESS.upper())
    for make in (link, copied):
        uuid = invite(world, owner, project)
        here = make(world, uuid)
        wrong = Browser(site).sign_in(world, ada)
        page = text(wrong.open(here))
        assert "only an account with the invited address can accept or decline" in page
        assert "Decline the invitation" not in page
        assert declines(wrong, here) == 422
        assert world.invitation(uuid).state == "pending"
        assert declines(Browser(site).sign_in(world, ines), here) == 303
        assert world.invitation(uuid).state == "rejected"
    # The mail has proven the address already.
    uuid = invite(world, owner, project)
    assert declines(Browser(site), link(world, uuid)) == 303
    assert world.invitation(uuid).state == "rejected"


def test_an_invitation_for_one_civil_number_is_declined_by_nobody_else(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project, civil_number="38001085718")
    here = link(world, uuid)
    assert "Decline the invitation" not in text(Browser(site).open(here))
    assert declines(Browser(site), here) == 401
    # Not even the one with the address.
    for who in (world.person("ada"), world.person("ines", email=ADDRESS)):
        assert declines(Browser(site).sign_in(world, who), here) == 422
    assert world.invitation(uuid).state == "pending"
    right = world.person("right", civil_number="38001085718")
    assert declines(Browser(site).sign_in(world, right), here) == 303
    assert world.invitation(uuid).state == "rejected"


def test_whoever_merely_reads_an_invitation_declines_what_is_addressed_to_them(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    support = world.person("support", is_support=True)
    uuid = invite(world, owner, project)
    browser = Browser(site).sign_in(world, support)
    assert declines(browser, copied(world, uuid)) == 422
    assert world.invitation(uuid).state == "pending"
    # The same by somebody who knows the link and reads nothing.
    ada = world.person("ada")
    assert declines(Browser(site).sign_in(world, ada), copied(world, uuid)) == 303
    own = world.invite(owner, support.email, "PROJECT.ADMIN", project)
    assert declines(browser, copied(world, own)) == 303
    assert world.invitation(own).state == "rejected"


def _no_more(world: World, owner: Person, project: Place, end: str) -> str:
    """An invitation that is not pending any more, or leads nowhere."""
    long_ago = datetime.now(UTC) - timedelta(days=30)
    uuid = invite(world, owner, project, now=long_ago if end == "expired" else None)
    taker, place = world.person("taker"), world.invitation(uuid).organisation_uuid
    with world.database.write() as tx:
        if end == "canceled":
            invitation_actions.cancel(tx, owner.actor, uuid)
        if end == "accepted":
            invitation_actions.accept(tx, taker.actor, world.settings, uuid)
        if end == "blocked":
            above = access_queries.get_visible(tx, world.staff.actor, ScopeKind.ORGANISATION, place)
            organisation_actions.update(tx, world.staff.actor, above, {"blocked": True})
    return uuid


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("expired", "has expired"),
        ("canceled", "was cancelled"),
        ("accepted", "was already accepted"),
    ],
)
def test_only_an_open_invitation_is_declined(
    end: str, said: str, site: Site, world: World, owner: Person, project: Place
) -> None:
    uuid = _no_more(world, owner, project, end)
    state = world.invitation(uuid).state
    for browser in (Browser(site), Browser(site).sign_in(world, world.person("ada"))):
        assert declines(browser, link(world, uuid)) == 410
        assert said in text(browser.page)  # type: ignore[arg-type]
    assert world.invitation(uuid).state == state
    assert told(world) == facts(world) == []


def test_invitation_to_a_blocked_organisation_can_be_declined_and_not_accepted(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    uuid = _no_more(world, owner, project, "blocked")
    browser = Browser(site).sign_in(world, world.person("ada"))
    page = browser.open(link(world, uuid))
    assert "is on hold" in text(page)
    assert "Decline invitation" in text(page)
    assert browser.send(link(world, uuid)).status_code == 410
    assert world.invitation(uuid).state == "pending"
    assert declines(browser, link(world, uuid)) == 303
    assert world.invitation(uuid).state == "rejected"


def test_an_older_link_declines_nothing(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuid)
        invitation_actions.send(tx, owner.actor, world.settings, uuid)
    for here in (link(world, uuid, 1), link(world, "0" * 32), "/invitation/x/"):
        assert declines(Browser(site), here) == 404
    assert world.invitation(uuid).state == "pending"
    assert declines(Browser(site), link(world, uuid, 2)) == 303


def test_only_the_button_of_our_own_page_declines(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    here = link(world, uuid)
    browser.open(here)
    for method in ("GET", "HEAD"):
        assert browser.call(method, f"{here}decline/").status_code == 405
    for given, headers in (
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": browser.csrf}, {"Origin": "https://elsewhere.example"}),
        ({"csrf": browser.csrf}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = browser.call("POST", f"{here}decline/", data=given, headers=headers)
        assert answer.status_code == 403, (given, headers)
        assert world.invitation(uuid).state == "pending"
    assert browser.send(f"{here}decline/").status_code == 303


def test_declined_is_for_good_and_the_address_is_invited_anew(
    browser: Browser, other: Browser, site: Site, world: World, owner: Person, project: Place
) -> None:
    ines = world.person("ines", email=ADDRESS)
    uuid, spare = (invite(world, owner, project) for _ in range(2))
    assert declines(browser, link(world, uuid)) == 303
    path = f"/api/user-invitations/{uuid}/"
    assert site.get(path, owner).json()["state"] == "rejected"
    assert site.post(f"{path}accept/", ines).status_code == 404
    for action in ("send", "cancel"):
        assert site.post(f"{path}{action}/", owner).status_code == 400
    # What else invites them stays open, and they are invited once more as anybody.
    assert world.invitation(spare).state == "pending"
    assert declines(browser, link(world, spare)) == 303
    other.sign_in(world, owner)
    team = f"/project/{project.uuid}/"
    other.open(f"{team}invite/")
    role = world.role("PROJECT.ADMIN").uuid
    page = other.send(f"{team}invite/", action="send", addresses=ADDRESS, role=role)
    assert "1 person invited" in text(page)
    said = text(other.open(f"{team}invitations/?q=ines"))
    assert said.count(" declined ") == 2 + 1  # and the choice of states
    assert other.page.text.count("Send again") == 1  # type: ignore[union-attr]
    history = text(other.open(f"{team}history/"))
    assert f"The invitation for {ADDRESS} was declined with the link in the e-mail." in history
    (new,) = (
        row["uuid"]
        for row in site.get("/api/user-invitations/", owner).json()
        if row["state"] == "pending"
    )
    assert site.post(f"/api/user-invitations/{new}/accept/", ines).status_code == 200


def test_history_names_who_declined_to_those_who_may_know(
    browser: Browser, site: Site, world: World, owner: Person, project: Place
) -> None:
    member, ada = world.person("member"), world.person("ada")
    world.seat(member, "PROJECT.MEMBER", project)
    uuid = invite(world, owner, project)
    declines(browser.sign_in(world, ada), copied(world, uuid))
    here = f"/project/{project.uuid}/history/"
    said = text(Browser(site).sign_in(world, owner).open(here))
    assert f"Ada Lee declined the invitation for {ADDRESS}." in said
    said = Browser(site).sign_in(world, member).open(here).text
    assert ADDRESS not in said
    listed = site.get("/api/events/?event_type=invitation_declined", owner).json()
    assert [one["message"] for one in listed] == [
        f"An invitation of {ADDRESS} to Atlas has been declined by Ada Lee."
    ]


def test_what_staff_turned_down_and_what_was_declined_are_told_apart(
    browser: Browser, other: Browser, world: World, make_settings: Callable[..., Settings]
) -> None:
    waiting, owner = _waiting(world, make_settings)
    here = _decision(world, approvals.REJECT, waiting, world.staff)
    browser.open(here)
    assert browser.send(here).status_code == 200
    assert world.invitation(waiting).state == "rejected"
    other.sign_in(world, owner)
    said = text(other.open(f"/project/{world.invitation(waiting).scope_uuid}/invitations/"))
    assert said.count("rejected by staff") == 1
    assert said.count(" declined ") == 1  # the choice of states


def test_my_account_declines_what_is_addressed_to_me(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    ines = world.person("ines", email=ADDRESS)
    uuid = invite(world, owner, project)
    kept = world.invite(owner, ADDRESS, "PROJECT.MEMBER", project)
    browser.sign_in(world, ines)
    page = browser.open("/account/")
    assert page.text.count("the invitation to <bdi>Atlas</bdi>") == 2
    action = f"{link(world, uuid)}decline/"
    assert f'action="{action}"' in page.text
    answer = browser.send(action, next="/account/")
    assert answer.headers["location"] == "/account/"
    page = browser.follow(answer)
    assert (
        "You have declined the invitation to the project Atlas of Initech as Project administrator"
        in text(page)
    )
    assert "ask the inviter for a new" in text(page)
    assert page.text.count("the invitation to <bdi>Atlas</bdi>") == 1
    assert [world.invitation(one).state for one in (uuid, kept)] == ["rejected", "pending"]
    # Whither a form wants to go is only ever a page of ours.
    answer = browser.send(f"{link(world, kept)}decline/", next="https://elsewhere.example/")
    assert answer.headers["location"] == link(world, kept)


def _in_group(world: World, owner: Person, ines: Person) -> str:
    with world.database.write() as tx:
        number = group_actions.create(tx, owner.actor, "Night Watch")
        reached = group_actions.lock_and_recheck(tx, owner.actor, number)
        role = role_queries.named(tx, "GROUP.MEMBER", None, groups=True)
        assert role is not None
        details = {"email": ines.email}
        return group_invitation_actions.create(
            tx, owner.actor, world.settings, reached, role, details
        )


def test_groups_are_declined_alike_on_the_page_and_on_their_wire(
    browser: Browser, world: World, owner: Person
) -> None:
    ines = world.person("ines", email=ADDRESS)
    uuid = _in_group(world, owner, ines)
    # The invited account declines, and nobody else who reads the mail.
    for who in (None, world.person("second", email=ADDRESS)):
        other = browser.sign_in(world, who) if who else browser
        assert declines(other, link(world, uuid)) in {303, 401, 422}
        assert world.invitation(uuid).state == "pending"
    browser.sign_in(world, ines)
    assert declines(browser, link(world, uuid)) == 303
    assert world.invitation(uuid).state == "rejected"
    with world.database.write() as tx:
        (role,) = [role_queries.named(tx, "GROUP.MEMBER", None, groups=True)]
        reached = group_actions.lock_and_recheck(tx, owner.actor, world.invitation(uuid).scope_id)
        assert role is not None
        details = {"email": ADDRESS}
        again = group_invitation_actions.create(
            tx, owner.actor, world.settings, reached, role, details
        )
    with world.database.write() as tx:
        for _ in range(2):
            group_invitation_actions.decline(tx, ines.actor, again)
    with world.database.write() as tx, pytest.raises(Conflict):
        group_invitation_actions.cancel(tx, owner.actor, again)
    assert owed(world.database, "invitation_declined") == [owner.email] * 2
    assert [one.payload["email"] for one in told(world)] == [ADDRESS] * 2


def test_whoever_invited_is_told_unless_it_was_themselves_or_they_want_no_mail(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    quiet = world.person("quiet", notifications_enabled=False)
    world.seat(quiet, "PROJECT.MANAGER", project)
    ada = world.person("ada")
    for inviter, who in ((quiet, ada), (owner, owner), (owner, ada)):
        uuid = invite(world, inviter, project)
        assert declines(Browser(site).sign_in(world, who), copied(world, uuid)) == 303
    assert owed(world.database, "invitation_declined") == [owner.email]
    assert [one["account"] for one in facts(world)] == [ada.id]
