"""Inviting to a team: lists, invitations, links; by those who may alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from collegium.db.tables import outbox
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import DeliveryStatus
from collegium.web.invitations import DELIVERY_STATUSES, LINES_MAX
from tests.scopes.test_pages import seat_path
from tests.sign_in.test_pages import PASSWORD
from tests.support.browser import Browser, text
from tests.support.site import Site, counted_statements
from tests.support.team import Scene, everybody
from tests.support.world import Place, World


def invited(world: World, place: Place) -> set[str]:
    with world.database.read() as tx:
        wanted = {"scope": (place.kind.value, place.uuid)}
        rows = invitation_queries.listing.page(tx, world.staff.actor, wanted, (), 300, 0)
    return {row.email for row in rows}


def test_a_pasted_column_is_judged_before_anything_is_sent(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    world.invite(scene.people["owner"], "Here@example.org", "PROJECT.MEMBER", scene.project)
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    lines = (
        "Ann Able <ann@example.org>",
        "ben@example.org\tBen Busy",
        "no address",
        "ANN@example.org",
        "MEMBER@example.org",
        "here@EXAMPLE.org",
        "",
    )
    column = "\r\n".join(lines)
    given = {"addresses": column, "role": world.role("PROJECT.MEMBER").uuid, "extra_text": "Hello"}
    said = text(browser.send(here, action="check", **given))
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
        assert part in said, part
    assert invited(world, scene.project) == {"Here@example.org"}
    sent = browser.send(here, action="send", **given)
    assert sent.status_code == 200
    assert "2 people invited" in text(sent)
    after = {"Here@example.org", "ann@example.org", "ben@example.org"}
    assert invited(world, scene.project) == after
    # What was not sent comes back to be put right; sending all of it once more sends nothing.
    left = re.search(r'name="addresses" value="([^"]*)"', sent.text)
    assert left is not None
    assert "no address" in left[1]
    assert "ben@" not in left[1]
    assert "0 people invited" in text(browser.send(here, action="send", **given))
    assert invited(world, scene.project) == after
    assert "ben@example.org" in browser.send(here, action="edit", **given).text


def test_lists_that_cannot_be_are_refused(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    good = {
        "addresses": "a@example.org",
        "role": world.role("PROJECT.MEMBER").uuid,
        "action": "send",
    }
    crowd = "\n".join(f"a{at}@example.org" for at in range(LINES_MAX + 1))
    for wrong in (
        {"addresses": ""},
        {"addresses": "a\x00b@example.org"},
        {"addresses": crowd},
        {"role": ""},
        {"role": world.role("CUSTOMER.OWNER").uuid},
        {"extra_text": "x" * 251},
        {"action": "sell"},
    ):
        assert browser.send(here, **good | wrong).status_code == 422, wrong
    assert invited(world, scene.project) == set()
    for name, _ in everybody(browser, scene):
        if name not in {"manager", "owner", "staff"}:
            assert browser.send(here, **good).status_code in {403, 404}, name
    assert invited(world, scene.project) == set()


def test_checking_a_list_asks_the_same_for_one_and_for_many(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    role = world.role("PROJECT.MEMBER").uuid
    counts = []
    for number in (1, 150):
        lines = "\n".join(f"a{at}@example.org" for at in range(number))
        with counted_statements(monkeypatch) as seen:
            browser.send(here, action="check", addresses=lines, role=role)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 9


def test_invitations_say_how_they_stand_in_the_words_of_the_api(
    browser: Browser, site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, here = scene.world, f"{scene.paths['project']}invitations/"
    manager = scene.people["manager"]
    long_ago = datetime.now(UTC) - timedelta(days=30)
    world.invite(manager, "old@example.org", "PROJECT.MEMBER", scene.project, now=long_ago)
    uuid = world.invite(manager, "new@example.org", "PROJECT.MEMBER", scene.project)
    world.invite(scene.people["owner"], "up@example.org", "PROJECT.MANAGER", scene.project)
    assert {fate.value for fate in DELIVERY_STATUSES} == {"Scheduled", "Processing", "OK", "Erred"}
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
        told = site.get(f"/api/user-invitations/{uuid}/", manager).json()
        said = text(browser.open(f"{here}?q=new"))
        assert DELIVERY_STATUSES[DeliveryStatus(told["execution_state"])] in said
        assert told["error_message"] in said
    said = text(browser.open(here))
    assert "expired" in said
    assert "pending" in said
    only = text(browser.open(f"{here}?state=expired"))
    assert "old@example.org" in only
    assert "new@example.org" not in only
    with counted_statements(monkeypatch) as few:
        browser.open(here)
    for at in range(5):
        world.invite(manager, f"{at}@example.org", "PROJECT.MEMBER", scene.project)
    with counted_statements(monkeypatch) as many:
        browser.open(here)
    assert len(few) == len(many) <= 10


def test_invitations_are_sent_again_and_called_back_by_those_who_may(
    browser: Browser, scene: Scene
) -> None:
    world, list_of = scene.world, f"{scene.paths['project']}invitations/"
    uuid = world.invite(scene.people["owner"], "new@example.org", "PROJECT.MEMBER", scene.project)
    here = f"{list_of}{uuid}/"
    for name, _ in everybody(browser, scene):
        may = name in {"manager", "owner", "staff"}
        for action in ("send", "cancel", "send"):
            browser.open("/account/tokens/")
            status = browser.send(here, action=action).status_code
            assert (status == 303) == may, (name, action, status)
            assert may or status in {403, 404}, (name, status)
        page = browser.open(list_of)
        # Who reads, and may not invite, is given neither button nor link.
        assert (here in page.text) == may, name
        assert ("/invitation/" in page.text) == may, name
    browser.sign_in(world, world.staff)
    browser.open(list_of)
    assert browser.send(here, action="sell").status_code == 404
    other = world.invite(world.staff, "x@example.org", "CUSTOMER.OWNER", scene.organisation)
    browser.open(list_of)
    assert browser.send(f"{list_of}{other}/", action="cancel").status_code == 404
    assert world.invitation(other).state == "pending"


def test_nobody_gives_or_sends_or_takes_away_what_is_above_their_ceiling(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world, path = scene.world, scene.paths["project"]
    rights = ["PROJECT.CREATE_PERMISSION", "PROJECT.DELETE_PERMISSION"]
    made = {"name": "DOOR", "description": "Porter", "content_type": "project"}
    answer = site.post("/api/roles/", world.staff, json=made | {"permissions": rights})
    assert answer.status_code == 201, answer.text
    porter = world.person("porter")
    world.seat(porter, "DOOR", scene.project)
    member, manager = (world.role(f"PROJECT.{name}").uuid for name in ("MEMBER", "MANAGER"))
    browser.sign_in(world, porter)
    page = browser.open(f"{path}invite/")
    assert f'value="{member}"' in page.text
    assert manager not in page.text
    given = {"action": "send", "addresses": "a@example.org"}
    assert browser.send(f"{path}invite/", **given, role=manager).status_code == 422
    above, below = (
        world.invite(world.staff, f"{name}@example.org", f"PROJECT.{name}", scene.project)
        for name in ("MANAGER", "MEMBER")
    )
    page = browser.open(f"{path}invitations/")
    assert above not in page.text
    assert below in page.text
    assert browser.send(f"{path}invitations/{above}/", action="cancel").status_code == 403
    assert browser.send(f"{path}invitations/{below}/", action="cancel").status_code == 303
    # May take a member's role away, but give it no other end; and nothing of the manager.
    page = browser.open(seat_path(scene, "member"))
    assert 'value="remove"' in page.text
    assert 'value="end"' not in page.text
    assert seat_path(scene, "manager") not in browser.open(path).text
    browser.open(seat_path(scene, "member"))
    assert browser.send(seat_path(scene, "manager"), action="remove").status_code == 403
    browser.open(seat_path(scene, "member"))
    assert browser.send(seat_path(scene, "member"), action="end").status_code == 403
    assert browser.send(seat_path(scene, "member"), action="remove").status_code == 303


def handed_on(page_text: str) -> str:
    found = re.search(r'class="pick">[^<]*?(/invitation/[^<]+)<', page_text)
    assert found is not None
    return found[1]


def test_a_link_that_is_handed_on_proves_no_address(
    browser: Browser, other: Browser, scene: Scene
) -> None:
    world = scene.world
    manager = scene.people["manager"]
    uuid = world.invite(manager, "new@example.org", "PROJECT.MEMBER", scene.project)
    browser.sign_in(world, manager)
    link = handed_on(browser.open(f"{scene.paths['project']}invitations/").text)
    seen = other.open(link)
    assert "You are invited" in text(seen)
    assert "Create account" not in seen.text
    assert "Open the link in the e-mail" in text(seen)
    joined = {"username": "eve", "first_name": "Eve", "last_name": "Adams", "agrees": "yes"}
    other.open("/forgotten_password/")
    sent = other.send(link, **joined, password=PASSWORD, again=PASSWORD)
    assert sent.headers["location"].startswith("/sign_in/")
    assert world.invitation(uuid).state == "pending"
    # The one in the mail does.
    mailed = f"/invitation/{world.vault.sign('invitation', uuid, 1)}/"
    assert "Create account" in other.open(mailed).text
    other.sign_in(world, world.person("new"))
    other.open(link)
    assert other.send(link).status_code == 303
    assert world.invitation(uuid).state == "accepted"
