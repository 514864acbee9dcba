"""Organisations, roles and mails at the desk of staff."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from collegium.access.rules import SYSTEM_ROLES, Permission, ScopeKind
from collegium.events import queries as event_queries
from collegium.outbox import actions as outbox_actions
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.web.staff_mails import KINDS
from collegium.web.staff_roles import GROUPS, TREE
from tests.support.browser import Browser, text
from tests.support.team import Scene
from tests.support.world import World


@pytest.fixture
def staff(browser: Browser, world: World) -> Browser:
    return browser.sign_in(world, world.staff)


def latest(world: World) -> tuple[str, dict[str, object]]:
    """What history tells last."""
    with world.database.read() as tx:
        (row,) = event_queries.listing.page(tx, world.staff.actor, {}, (), 1, 0)
    return row.kind, row.payload


def test_organisations_are_found_and_made(staff: Browser, world: World) -> None:
    here = "/staff/organisations/"
    assert "There are no organisations yet" in text(staff.open(here))
    world.organisation("Initech", abbreviation="INI")
    world.organisation("Hooli")
    assert "2 organisations" in text(staff.open(here))
    assert "Hooli" not in text(staff.open(f"{here}?q=ini"))
    assert "Initech" in text(staff.open(f"{here}?q=ini"))
    assert "No organisations match" in text(staff.open(f"{here}?q=x%25y"))
    newest = text(staff.open(f"{here}?sort=newest"))
    assert newest.index("Hooli") < newest.index("Initech")
    staff.open(f"{here}new/")
    for wrong in (
        {"name": " "},
        {"name": "X", "email": "x"},
        {"name": "X", "abbreviation": 13 * "x"},
    ):
        assert staff.send(f"{here}new/", **wrong).status_code == 422, wrong
    made = staff.follow(staff.send(f"{here}new/", name="Acme", email="a@example.org"))
    assert "Acme is created. Now invite its first owner" in text(made)
    assert "a@example.org" in made.text
    assert latest(world)[0] == "organisation.created"
    invite = re.search(r'href="(/organisation/\w+/invite/)"', made.text)
    assert invite
    assert staff.open(invite[1]).status_code == 200


def test_an_organisation_is_closed_and_opened(staff: Browser, scene: Scene) -> None:
    path = f"/staff/organisations/{scene.organisation.uuid}/"
    assert "Atlas" in text(staff.open(path))
    for action, said, state in (
        ("block", "is blocked", "Nobody can be added and nothing can be changed"),
        ("archive", "is archived", "Nobody can be added and nothing can be changed"),
        ("unblock", "is unblocked", "It is kept"),
        ("unarchive", "is unarchived", "active"),
    ):
        page = text(staff.follow(staff.send(path, action=action)))
        assert said in page, action
        assert state in page, action
    assert staff.send(path, action="sell").status_code == 422
    assert staff.open(f"/staff/organisations/{scene.project.uuid}/").status_code == 404


def test_every_permission_has_its_place_in_the_matrix() -> None:
    tree = [right for area in TREE for right in area.words]
    group = [right for area in GROUPS for right in area.words]
    assert sorted(tree + group) == sorted(Permission)
    assert {right for right in Permission if right.name.startswith("GROUP_")} == set(group)


def test_the_matrix_shows_what_each_role_may(staff: Browser, world: World) -> None:
    page = staff.open("/staff/roles/")
    said = text(page)
    assert all(role.name in said for role in SYSTEM_ROLES)
    assert page.text.count("built-in</span>") == len(SYSTEM_ROLES)
    line = next(one for one in page.text.split("<tr ") if "PROJECT.MANAGER" in one)
    assert re.findall(r'<td [^>]*data-label="([^"]+)"[^>]*>([^<]+)</td>', line) == [
        ("Organisation", "\u2013"),
        ("Members", "\u2013"),
        ("Projects", "change"),
        ("Project members", "add, change end dates, remove"),
        ("Other", "\u2013"),
    ]
    for role in SYSTEM_ROLES:
        if role.kind is not ScopeKind.GROUP:
            assert f'href="/staff/roles/{world.role(role.name).uuid}/"' in page.text


def test_a_role_is_made_changed_switched_and_deleted(staff: Browser, scene: Scene) -> None:
    world, here = scene.world, "/staff/roles/"
    form = {
        "name": "PROJECT.AUDITOR",
        "kind": "project",
        "description": "Auditor",
        "permissions": ["INVITATION.LIST", "PROJECT.LIST"],
    }
    staff.open(f"{here}new/")
    for wrong in (
        {"name": ""},
        {"name": "PROJECT.MEMBER"},
        {"kind": "group"},
        {"permissions": "GROUP.UPDATE"},
        {"permissions": "ALL"},
    ):
        sent = staff.send(f"{here}new/", **form | wrong)
        assert sent.status_code == 422, wrong
        assert f'href="#{next(iter(wrong))}"' in sent.text
    made = staff.send(f"{here}new/", **form)
    path = made.headers["location"]
    page = staff.follow(made)
    assert page.text.count(" checked") == 2
    assert "Auditor" in text(page)
    changed = {"name": "PROJECT.REVIEWER", "description": "Reviewer", "permissions": "PROJECT.LIST"}
    assert staff.send(path, action="save", **changed | {"permissions": "x"}).status_code == 422
    page = staff.follow(staff.send(path, action="save", **changed))
    assert page.text.count(" checked") == 1
    assert "PROJECT.REVIEWER" in text(page)
    kind, facts = latest(world)
    assert (kind, facts["permissions_removed"]) == ("role.changed", ["INVITATION.LIST"])
    assert "Its current holders keep it" in text(staff.follow(staff.send(path, action="disable")))
    assert "disabled" in text(staff.open(here))
    assert "The role is enabled" in text(staff.follow(staff.send(path, action="enable")))
    world.seat(scene.people["outsider"], "PROJECT.REVIEWER", scene.project)
    sent = staff.send(path, action="delete")
    assert sent.status_code == 422
    assert "the audit log needs it" in text(sent)
    assert sent.text.count(" checked") == 1
    staff.open(f"{here}new/")
    other = staff.send(f"{here}new/", **form).headers["location"]
    assert "is deleted" in text(staff.follow(staff.send(other, action="delete")))
    assert staff.open(other).status_code == 404


def test_a_system_role_keeps_its_name_and_stays(staff: Browser, world: World) -> None:
    role = world.role("PROJECT.ADMIN")
    path = f"/staff/roles/{role.uuid}/"
    page = staff.open(path)
    assert 'name="name"' not in page.text
    assert 'value="delete"' not in page.text
    for sent, said in (
        (
            staff.send(path, action="save", name="PROJECT.KING", description="King"),
            "The name of a built-in role cannot be changed",
        ),
        (staff.send(path, action="delete"), "This role is built-in and cannot be deleted"),
    ):
        assert sent.status_code == 422
        assert said in text(sent)
    answer = staff.send(path, action="save", description="Admin", permissions="PROJECT.UPDATE")
    assert answer.status_code == 303
    with world.database.read() as tx:
        assert role_queries.permissions_of(tx, [role.id]) == {role.id: ["PROJECT.UPDATE"]}
    with world.database.read() as tx:
        group = next(row for row in role_queries.all_roles(tx) if row.kind == "group")
    assert staff.open(f"/staff/roles/{group.uuid}/").status_code == 404


def test_support_reads_what_a_role_may(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["support"])
    owner, member = (scene.world.role(name).uuid for name in ("CUSTOMER.OWNER", "PROJECT.MEMBER"))
    assert "Read invitations" in text(browser.open(f"/staff/roles/{owner}/"))
    assert "no permissions beyond membership" in text(browser.open(f"/staff/roles/{member}/"))


def owe(world: World, address: str, *, abandoned: str = "", now: datetime | None = None) -> int:
    """Owe a mail, and have it given up for a reason."""
    with world.database.write(now) as tx:
        number = outbox_queries.enqueue(
            tx, mails.EmailChanged(address, world.staff.id, "new@example.org")
        )
    if abandoned:
        with world.database.write(now) as tx:
            (row,) = (one for one in outbox_queries.claim(tx, 100, 60) if one.id == number)
            assert outbox_queries.mark_failed(tx, number, row.attempts, abandoned, None)
    return number


def states(world: World) -> dict[str, str]:
    with world.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT recipient, state FROM outbox")
        return {row[0]: row[1] for row in rows}


def test_every_kind_of_mail_has_a_name() -> None:
    # Other tests make kinds of their own.
    ours = (one for one in mails.Mail.__subclasses__() if one.__module__ == mails.__name__)
    known = {one.kind for one in ours}
    assert known == set(KINDS)


def test_mails_are_shown_tried_again_and_dropped(staff: Browser, world: World) -> None:
    here, given_up = "/staff/mails/", "/staff/mails/?show=failed"
    assert "All e-mails have been sent" in text(staff.open(here))
    assert "No failed e-mails" in text(staff.open(given_up))
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    first = owe(world, "a@example.org", abandoned="550 no such person", now=long_ago)
    owe(world, "b@example.org", abandoned="Nobody answers.")
    waits = owe(world, "c@example.org")
    said = text(staff.open(here))
    assert "E-mail address changed c@example.org" in said
    assert "a@example.org" not in said
    said = text(staff.open(given_up))
    for part in ("550 no such person", "Failed (2)", "Queued (1)"):
        assert part in said, part
    assert said.index("b@example.org") < said.index("a@example.org")
    page = staff.follow(staff.send(given_up, action="retry", mail=first))
    assert "queued again" in text(page)
    assert latest(world) == (
        "mail.retried",
        {"mail": "email_changed", "recipient": "a@example.org"},
    )
    assert states(world) == {
        "a@example.org": "queued",
        "b@example.org": "failed",
        "c@example.org": "queued",
    }
    page = staff.follow(staff.send(here, action="drop", mail=waits))
    assert "The e-mail is discarded" in text(page)
    assert latest(world)[0] == "mail.dropped"
    # What has left, or was dropped, or never was, cannot be had back.
    for mail in (waits, 0, 99, "x", ""):
        page = staff.follow(staff.send(here, action="retry", mail=mail))
        assert "Nothing was changed" in text(page), mail
    assert staff.send(here, action="sell").status_code == 422
    assert "1 e-mail is queued again" in text(
        staff.follow(staff.send(given_up, action="retry_all"))
    )
    assert "Nothing was changed" in text(staff.follow(staff.send(given_up, action="retry_all")))
    assert states(world) == {
        "a@example.org": "queued",
        "b@example.org": "queued",
        "c@example.org": "obsolete",
    }


def test_a_mail_in_the_hands_of_a_worker_is_left_alone(staff: Browser, world: World) -> None:
    number = owe(world, "a@example.org")
    with world.database.write() as tx:
        (row,) = outbox_queries.claim(tx, 1, 60)
    page = staff.open("/staff/mails/")
    assert "being sent" in text(page)
    assert 'value="drop"' not in page.text
    for action in ("retry", "drop"):
        page = staff.follow(staff.send("/staff/mails/", action=action, mail=number))
        assert "Nothing was changed" in text(page)
    with world.database.write() as tx:
        assert outbox_queries.mark_sent(tx, row.id, row.attempts)


def test_what_was_given_up_begins_anew_and_what_waits_goes_on(world: World) -> None:
    given_up, waits = owe(world, "a@example.org", abandoned="No."), owe(world, "b@example.org")
    with world.database.write() as tx:
        (row,) = outbox_queries.claim(tx, 1, 60)
        later = tx.now + timedelta(hours=3)
        assert outbox_queries.mark_failed(tx, waits, row.attempts, "Busy.", later)
    with world.database.write() as tx:
        for mail in (given_up, waits):
            outbox_actions.retry(tx, world.staff.actor, mail)
        assert tx.mail_enqueued
    with world.database.write() as tx:
        claimed = outbox_queries.claim(tx, 10, 60)
    assert {row.id: row.attempts for row in claimed} == {given_up: 1, waits: 2}


def test_mails_are_nobodys_but_staffs(scene: Scene) -> None:
    world = scene.world
    mail = owe(world, "a@example.org", abandoned="No.")
    for name, refusal in (("owner", NotFound), ("support", Forbidden)):
        actor = scene.people[name].actor
        with world.database.write() as tx:
            for action in (outbox_actions.retry, outbox_actions.discard):
                with pytest.raises(refusal):
                    action(tx, actor, mail)
            with pytest.raises(refusal):
                outbox_actions.retry_all(tx, actor)
            rows = outbox_queries.listing.page(tx, actor, {"state": "failed"}, (), 10, 0)
            assert len(rows) == (1 if name == "support" else 0)
    with world.database.write() as tx:
        assert outbox_actions.retry_all(tx, world.staff.actor) == 1
