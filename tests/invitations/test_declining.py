"""Declining an invitation: with the mailed link or signed in; who may, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.db.statements import Statement
from collegium.db.tables import events, outbox
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.refusals import Conflict
from collegium.scopes.organisations import actions as organisation_actions
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.invitations.test_pages import (
    ADDRESS,
    NEW,
    decision_link,
    decline,
    invite,
    link,
    requested_invitation,
    roles_of,
    shared_link,
)
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World


def declined_events(world: World) -> list[Any]:
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](events.select().order_by(events.c.id)))
    return [row for row in rows if row.kind == "invitation.declined"]


def notices(world: World) -> list[tuple[str, int | None]]:
    """Return the recipient and the declining account of each notice to an inviter."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](outbox.select().order_by(outbox.c.id)))
    return [
        (row.recipient, row.payload["account"]) for row in rows if row.kind == "invitation_declined"
    ]


def test_mailed_link_can_decline_without_an_account(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    path = link(world, uuid)
    assert "Decline invitation" in text(browser.open(path))
    assert world.invitation(uuid).state == "pending"
    response = browser.send(f"{path}decline/")
    assert response.headers["location"] == path
    page = browser.follow(response)
    assert page.status_code == 410
    for part in (
        "You have declined the invitation to the project Atlas of Initech as Project administrator",
        "This invitation was declined",
        "ask the inviter for a new",
    ):
        assert part in text(page)
    assert world.invitation(uuid).state == "rejected"
    assert notices(world) == [(owner.email, None)]
    (event,) = declined_events(world)
    assert (event.actor_id, event.actor_name, event.payload["email"]) == (None, "", ADDRESS)
    assert event.ip_address
    assert event.request_id
    page = browser.open(path)
    assert page.status_code == 410
    assert "This invitation was declined" in text(page)
    assert "You have declined" not in text(page)
    assert "Atlas" not in text(page)
    # A later answer changes nothing.
    browser.open("/sign_in/")
    for action_path, form in ((f"{path}decline/", {}), (path, NEW), (path, {"action": "renew"})):
        response = browser.call("POST", action_path, data={"csrf": browser.csrf, **form})
        assert response.status_code == 410
        assert "This invitation was declined" in text(response)
    assert notices(world) == [(owner.email, None)]
    assert len(declined_events(world)) == 1
    assert roles_of(world, project) == []


def test_shared_link_can_decline_only_with_an_account(
    browser: Browser, other: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    path = shared_link(world, uuid)
    page = text(browser.open(path))
    assert "Decline invitation" not in page
    assert "To decline it, sign in first." in page
    browser.open("/sign_in/")
    assert browser.send(f"{path}decline/").headers["location"] == f"/sign_in/?next={path}"
    assert world.invitation(uuid).state == "pending"
    ada = world.person("ada")
    assert "Decline invitation" in text(other.sign_in(world, ada).open(path))
    assert other.send(f"{path}decline/").headers["location"] == path
    assert world.invitation(uuid).state == "rejected"
    (event,) = declined_events(world)
    assert (event.actor_id, event.actor_name) == (ada.id, "Ada Lee")
    assert notices(world) == [(owner.email, ada.id)]


def test_support_can_decline_only_their_own_invitation(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    support = world.person("support", is_support=True)
    uuid = invite(world, owner, project)
    browser = Browser(site).sign_in(world, support)
    assert decline(browser, shared_link(world, uuid)) == 422
    assert world.invitation(uuid).state == "pending"
    # An account that cannot read the invitation, and has the link, can decline it.
    ada = Browser(site).sign_in(world, world.person("ada"))
    assert decline(ada, shared_link(world, uuid)) == 303
    own = world.invite(owner, support.email, "PROJECT.ADMIN", project)
    assert decline(browser, shared_link(world, own)) == 303
    assert world.invitation(own).state == "rejected"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("expired", "has expired"),
        ("canceled", "was cancelled"),
        ("accepted", "was already accepted"),
    ],
)
def test_only_a_pending_invitation_can_be_declined(
    state: str, reason: str, site: Site, world: World, owner: Person, project: Place
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    uuid = invite(world, owner, project, now=long_ago if state == "expired" else None)
    taker = world.person("taker")
    with world.database.write() as tx:
        if state == "canceled":
            invitation_actions.cancel(tx, owner.actor, uuid)
        if state == "accepted":
            invitation_actions.accept(tx, taker.actor, world.settings, uuid)
    stored = world.invitation(uuid).state
    for browser in (Browser(site), Browser(site).sign_in(world, world.person("ada"))):
        assert decline(browser, link(world, uuid)) == 410
        assert browser.page is not None
        assert reason in text(browser.page)
    assert world.invitation(uuid).state == stored
    assert declined_events(world) == notices(world) == []


def test_invitation_to_a_blocked_organisation_can_be_declined_and_not_accepted(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    organisation = world.invitation(uuid).organisation_uuid
    with world.database.write() as tx:
        access = access_queries.get_visible(
            tx, world.staff.actor, ScopeKind.ORGANISATION, organisation
        )
        organisation_actions.update(tx, world.staff.actor, access, {"blocked": True})
    page = browser.sign_in(world, world.person("ada")).open(link(world, uuid))
    assert "is on hold" in text(page)
    assert "Decline invitation" in text(page)
    assert browser.send(link(world, uuid)).status_code == 410
    assert world.invitation(uuid).state == "pending"
    assert decline(browser, link(world, uuid)) == 303
    assert world.invitation(uuid).state == "rejected"


def test_earlier_or_invalid_link_cannot_decline(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuid)
        invitation_actions.send(tx, owner.actor, world.settings, uuid)
    for path in (link(world, uuid, 1), link(world, "0" * 32), "/invitation/x/"):
        assert decline(Browser(site), path) == 404
    assert world.invitation(uuid).state == "pending"
    assert decline(Browser(site), link(world, uuid, 2)) == 303


def test_declining_needs_a_post_with_valid_csrf_token(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    browser.open(link(world, uuid))
    path = f"{link(world, uuid)}decline/"
    for method in ("GET", "HEAD"):
        assert browser.call(method, path).status_code == 405
    for form, headers in (
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": browser.csrf}, {"Origin": "https://elsewhere.example"}),
        ({"csrf": browser.csrf}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        response = browser.call("POST", path, data=form, headers=headers)
        assert response.status_code == 403, (form, headers)
        assert world.invitation(uuid).state == "pending"
    assert browser.send(path).status_code == 303


def test_declined_invitation_is_final_and_address_can_be_invited_again(
    browser: Browser, other: Browser, site: Site, world: World, owner: Person, project: Place
) -> None:
    ines = world.person("ines", email=ADDRESS)
    uuid, second = (invite(world, owner, project) for _ in range(2))
    assert decline(browser, link(world, uuid)) == 303
    path = f"/api/user-invitations/{uuid}/"
    assert site.get(path, owner).json()["state"] == "rejected"
    assert site.post(f"{path}accept/", ines).status_code == 404
    for action in ("send", "cancel"):
        assert site.post(f"{path}{action}/", owner).status_code == 400
    # A second invitation stays pending.
    assert world.invitation(second).state == "pending"
    assert decline(browser, link(world, second)) == 303
    scope = f"/project/{project.uuid}/"
    other.sign_in(world, owner).open(f"{scope}invite/")
    role = world.role("PROJECT.ADMIN").uuid
    page = other.send(f"{scope}invite/", action="send", addresses=ADDRESS, role=role)
    assert "1 person invited" in text(page)
    page = other.open(f"{scope}invitations/?q=ines")
    assert text(page).count(" declined ") == 2 + 1  # and the choice of states
    assert page.text.count("Send again") == 1
    audit_log = text(other.open(f"{scope}history/"))
    assert f"The invitation for {ADDRESS} was declined with the link in the e-mail." in audit_log
    rows = site.get("/api/user-invitations/", owner).json()
    (pending,) = [row["uuid"] for row in rows if row["state"] == "pending"]
    assert site.post(f"/api/user-invitations/{pending}/accept/", ines).status_code == 200


def test_audit_log_names_the_declining_account_only_to_managers(
    browser: Browser, site: Site, world: World, owner: Person, project: Place
) -> None:
    member, ada = world.person("member"), world.person("ada")
    world.give_role(member, "PROJECT.MEMBER", project)
    uuid = invite(world, owner, project)
    decline(browser.sign_in(world, ada), shared_link(world, uuid))
    path = f"/project/{project.uuid}/history/"
    page = text(Browser(site).sign_in(world, owner).open(path))
    assert f"Ada Lee declined the invitation for {ADDRESS}." in page
    assert ADDRESS not in Browser(site).sign_in(world, member).open(path).text
    rows = site.get("/api/events/?event_type=invitation_declined", owner).json()
    assert [row["message"] for row in rows] == [
        f"An invitation of {ADDRESS} to Atlas has been declined by Ada Lee."
    ]


def test_list_distinguishes_rejected_by_staff_from_declined(
    browser: Browser, other: Browser, world: World, make_settings: Callable[..., Settings]
) -> None:
    uuid, owner = requested_invitation(world, make_settings)
    path = decision_link(world, approvals.REJECT, uuid, world.staff)
    browser.open(path)
    assert browser.send(path).status_code == 200
    assert world.invitation(uuid).state == "rejected"
    other.sign_in(world, owner)
    page = text(other.open(f"/project/{world.invitation(uuid).scope_uuid}/invitations/"))
    assert page.count("rejected by staff") == 1
    assert page.count(" declined ") == 1  # the choice of states


def test_account_page_can_decline_own_invitations(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    ines = world.person("ines", email=ADDRESS)
    uuid = invite(world, owner, project)
    kept = world.invite(owner, ADDRESS, "PROJECT.MEMBER", project)
    page = browser.sign_in(world, ines).open("/account/")
    assert page.text.count("the invitation to <bdi>Atlas</bdi>") == 2
    action = f"{link(world, uuid)}decline/"
    assert f'action="{action}"' in page.text
    response = browser.send(action, next="/account/")
    assert response.headers["location"] == "/account/"
    page = browser.follow(response)
    for part in (
        "You have declined the invitation to the project Atlas of Initech as Project administrator",
        "ask the inviter for a new",
    ):
        assert part in text(page)
    assert page.text.count("the invitation to <bdi>Atlas</bdi>") == 1
    assert [world.invitation(key).state for key in (uuid, kept)] == ["rejected", "pending"]
    # A redirect never leaves the site.
    response = browser.send(f"{link(world, kept)}decline/", next="https://elsewhere.example/")
    assert response.headers["location"] == link(world, kept)


def test_group_invitation_can_be_declined_on_page_and_by_api(
    browser: Browser, site: Site, world: World, owner: Person
) -> None:
    groups, ines = Groups(world, site), world.person("ines", email=ADDRESS)
    group = groups.create(owner, "Night Watch")
    uuid = groups.invite(group, owner, ines).replace("-", "")
    # Only the invited account declines, no other account with the address.
    assert decline(browser, link(world, uuid)) in {303, 401, 422}
    browser.sign_in(world, world.person("second", email=ADDRESS))
    assert decline(browser, link(world, uuid)) in {303, 401, 422}
    assert world.invitation(uuid).state == "pending"
    assert decline(browser.sign_in(world, ines), link(world, uuid)) == 303
    assert world.invitation(uuid).state == "rejected"
    again = groups.invite(group, owner, ines).replace("-", "")
    with world.database.write() as tx:
        for _ in range(2):
            invitation_actions.decline_own(tx, ines.actor, again)
    with world.database.write() as tx, pytest.raises(Conflict):
        invitation_actions.cancel(tx, owner.actor, again)
    assert [recipient for recipient, _ in notices(world)] == [owner.email] * 2
    assert [event.payload["email"] for event in declined_events(world)] == [ADDRESS] * 2


def test_inviter_is_notified_unless_it_was_them_or_they_want_no_email(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    quiet = world.person("quiet", notifications_enabled=False)
    world.give_role(quiet, "PROJECT.MANAGER", project)
    ada = world.person("ada")
    for inviter, person in ((quiet, ada), (owner, owner), (owner, ada)):
        uuid = invite(world, inviter, project)
        assert decline(Browser(site).sign_in(world, person), shared_link(world, uuid)) == 303
    assert notices(world) == [(owner.email, ada.id)]
