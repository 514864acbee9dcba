"""Pages of a scope: invite a pasted list, list invitations, resend, cancel, share a link."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from collegium.api.request_bodies import BODY_MAX
from collegium.db.tables import outbox
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import DeliveryStatus
from collegium.web.invitations import DELIVERY_STATUSES, LINES_MAX
from tests.invitations.test_pages import NEW
from tests.scopes.test_pages import member_path
from tests.support.browser import Browser, text
from tests.support.site import Site, record_statements
from tests.support.team import Scene, everybody
from tests.support.world import Place, World

MANAGERS = {"manager", "owner", "staff"}


def invited(world: World, place: Place) -> set[str]:
    with world.database.read() as tx:
        filters = {"scope_id": place.id}
        rows = invitation_queries.of_scope.page(tx, world.staff.actor, filters, (), 300, 0)
    return {row.email for row in rows}


def open_form(browser: Browser, scene: Scene) -> str:
    """Open the form as a manager of the project; return its path."""
    path = f"{scene.paths['project']}invite/"
    browser.sign_in(scene.world, scene.people["manager"]).open(path)
    return path


def test_pasted_list_is_checked_before_anything_is_sent(browser: Browser, scene: Scene) -> None:
    world = scene.world
    world.invite(scene.people["owner"], "Here@example.org", "PROJECT.MEMBER", scene.project)
    path = open_form(browser, scene)
    lines = (
        "Ann Able <ann@example.org>",
        "ben@example.org\tBen Busy",
        "no address",
        "ANN@example.org",
        "MEMBER@example.org",
        "here@EXAMPLE.org",
        "",
    )
    role = world.role("PROJECT.MEMBER").uuid
    form = {"addresses": "\r\n".join(lines), "role": role, "extra_text": "Hello"}
    page = text(browser.send(path, action="check", **form))
    for part in (
        "2 people can be invited",
        "4 cannot",
        "Ann Able",
        "Ben Busy",
        "This line contains no e-mail address",
        "in the list more than once",
        "Already has this role",
        "Already invited to this role",
    ):
        assert part in page, part
    assert invited(world, scene.project) == {"Here@example.org"}
    response = browser.send(path, action="send", **form)
    assert response.status_code == 200
    assert "2 people invited" in text(response)
    after = {"Here@example.org", "ann@example.org", "ben@example.org"}
    assert invited(world, scene.project) == after
    # The form keeps the lines that were not sent; sending the same list again sends nothing.
    rest = re.search(r'name="addresses" value="([^"]*)"', response.text)
    assert rest is not None
    assert "no address" in rest[1]
    assert "ben@" not in rest[1]
    assert "0 people invited" in text(browser.send(path, action="send", **form))
    assert invited(world, scene.project) == after
    assert "ben@example.org" in browser.send(path, action="edit", **form).text


def test_invalid_lists_and_callers_without_right_are_refused(
    browser: Browser, scene: Scene
) -> None:
    world, path = scene.world, open_form(browser, scene)
    role = world.role("PROJECT.MEMBER").uuid
    valid = {"addresses": "a@example.org", "role": role, "action": "send"}
    invalid = (
        {"addresses": ""},
        {"addresses": "a\x00b@example.org"},
        {"addresses": "\n".join(f"a{index}@example.org" for index in range(LINES_MAX + 1))},
        {"addresses": "a. " * (BODY_MAX // 4)},
        {"role": ""},
        {"role": world.role("CUSTOMER.OWNER").uuid},
        {"extra_text": "x" * 2001},
        {"action": "sell"},
    )
    for wrong in invalid:
        assert browser.send(path, **valid | wrong).status_code == 422, wrong
    for name, _ in everybody(browser, scene):
        if name not in MANAGERS:
            refusal = browser.send(path, **valid)
            assert refusal.status_code in {403, 404}, name
            # Rights come first: an invalid list is refused with the same words.
            for wrong in invalid:
                browser.open("/account/tokens/")
                response = browser.send(path, **valid | wrong)
                assert response.status_code == refusal.status_code, (name, wrong)
                assert text(response) == text(refusal)
    assert invited(world, scene.project) == set()


def test_checking_a_list_takes_a_constant_number_of_statements(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, role = open_form(browser, scene), scene.world.role("PROJECT.MEMBER").uuid
    counts = []
    for number in (1, 150):
        lines = "\n".join(f"a{index}@example.org" for index in range(number))
        with record_statements(monkeypatch) as statements:
            browser.send(path, action="check", addresses=lines, role=role)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 9


def test_list_shows_delivery_status_and_error_of_the_api(
    browser: Browser, site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, path = scene.world, f"{scene.paths['project']}invitations/"
    manager = scene.people["manager"]
    long_ago = datetime.now(UTC) - timedelta(days=30)
    world.invite(manager, "old@example.org", "PROJECT.MEMBER", scene.project, now=long_ago)
    uuid = world.invite(manager, "new@example.org", "PROJECT.MEMBER", scene.project)
    world.invite(scene.people["owner"], "up@example.org", "PROJECT.MANAGER", scene.project)
    assert {status.value for status in DELIVERY_STATUSES} == {
        "Scheduled",
        "Processing",
        "OK",
        "Erred",
    }
    browser.sign_in(world, manager)
    for state, error in (
        ("queued", ""),
        ("sent", ""),
        ("queued", "No such box."),
        ("obsolete", "Gone."),
    ):
        with world.database.engine.begin() as connection:
            mail = outbox.c.id == world.invitation(uuid).mail_id
            connection.execute(update(outbox).where(mail).values(state=state, error=error))
        body = site.get(f"/api/user-invitations/{uuid}/", manager).json()
        page = text(browser.open(f"{path}?q=new"))
        assert DELIVERY_STATUSES[DeliveryStatus(body["execution_state"])] in page
        assert body["error_message"] in page
    page = text(browser.open(path))
    assert "expired" in page
    assert "pending" in page
    page = text(browser.open(f"{path}?state=expired"))
    assert "old@example.org" in page
    assert "new@example.org" not in page
    counts = []
    for number in (0, 5):
        for index in range(number):
            world.invite(manager, f"{index}@example.org", "PROJECT.MEMBER", scene.project)
        with record_statements(monkeypatch) as statements:
            browser.open(path)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 10


def test_only_managers_can_resend_and_cancel_invitations(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, f"{scene.paths['project']}invitations/"
    uuid = world.invite(scene.people["owner"], "new@example.org", "PROJECT.MEMBER", scene.project)
    for name, _ in everybody(browser, scene):
        is_allowed = name in MANAGERS
        for action in ("send", "cancel", "send"):
            browser.open("/account/tokens/")
            status = browser.send(f"{path}{uuid}/", action=action).status_code
            assert status in ({303} if is_allowed else {403, 404}), (name, action, status)
        page = browser.open(path).text
        # Readers see neither buttons nor the link to share.
        assert (f"{path}{uuid}/" in page) == is_allowed, name
        assert ("/invitation/" in page) == is_allowed, name
    browser.sign_in(world, world.staff).open(path)
    assert browser.send(f"{path}{uuid}/", action="sell").status_code == 404
    other = world.invite(world.staff, "x@example.org", "CUSTOMER.OWNER", scene.organisation)
    browser.open(path)
    assert browser.send(f"{path}{other}/", action="cancel").status_code == 404
    assert world.invitation(other).state == "pending"


def test_role_ceiling_applies_to_invitations_and_memberships(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world, path = scene.world, scene.paths["project"]
    permissions = ["PROJECT.CREATE_PERMISSION", "PROJECT.DELETE_PERMISSION"]
    body = {"name": "PORTER", "description": "Porter", "content_type": "project"}
    response = site.post("/api/roles/", world.staff, json=body | {"permissions": permissions})
    assert response.status_code == 201, response.text
    porter = world.person("porter")
    world.give_role(porter, "PORTER", scene.project)
    member, manager = (world.role(f"PROJECT.{name}").uuid for name in ("MEMBER", "MANAGER"))
    page = browser.sign_in(world, porter).open(f"{path}invite/")
    assert f'value="{member}"' in page.text
    assert manager not in page.text
    form = {"action": "send", "addresses": "a@example.org"}
    assert browser.send(f"{path}invite/", **form, role=manager).status_code == 422
    above, below = (
        world.invite(world.staff, f"{name}@example.org", f"PROJECT.{name}", scene.project)
        for name in ("MANAGER", "MEMBER")
    )
    page = browser.open(f"{path}invitations/")
    assert above not in page.text
    assert below in page.text
    assert browser.send(f"{path}invitations/{above}/", action="cancel").status_code == 403
    assert browser.send(f"{path}invitations/{below}/", action="cancel").status_code == 303
    # The porter can remove a member's role, but not change its end; and nothing of the manager.
    page = browser.open(member_path(scene, "member"))
    assert 'value="remove"' in page.text
    assert 'value="end"' not in page.text
    assert member_path(scene, "manager") not in browser.open(path).text
    for name, action, status in (
        ("manager", "remove", 403),
        ("member", "end", 403),
        ("member", "remove", 303),
    ):
        browser.open(member_path(scene, "member"))
        assert browser.send(member_path(scene, name), action=action).status_code == status


def test_shared_link_does_not_prove_the_address(
    browser: Browser, other: Browser, scene: Scene
) -> None:
    world, manager = scene.world, scene.people["manager"]
    uuid = world.invite(manager, "new@example.org", "PROJECT.MEMBER", scene.project)
    page = browser.sign_in(world, manager).open(f"{scene.paths['project']}invitations/")
    match = re.search(r'class="pick">[^<]*?(/invitation/[^<]+)<', page.text)
    assert match is not None
    link = match[1]
    page = other.open(link)
    assert "You are invited" in text(page)
    assert "Create account" not in page.text
    assert "Open the link in the e-mail" in text(page)
    other.open("/forgotten_password/")
    assert other.send(link, **NEW).headers["location"].startswith("/sign_in/")
    assert world.invitation(uuid).state == "pending"
    mailed = f"/invitation/{world.vault.sign('invitation', uuid, 1)}/"
    assert "Create account" in other.open(mailed).text
    other.sign_in(world, world.person("new")).open(link)
    assert other.send(link).status_code == 303
    assert world.invitation(uuid).state == "accepted"
