"""Organisations, roles and e-mails on the pages for staff."""

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
from docgen.mails import declared
from tests.support.browser import Browser, text
from tests.support.team import Scene
from tests.support.world import World


@pytest.fixture
def staff(browser: Browser, world: World) -> Browser:
    return browser.sign_in(world, world.staff)


def latest(world: World) -> tuple[str, dict[str, object]]:
    """Return kind and payload of the last event."""
    with world.database.read() as tx:
        (row,) = event_queries.listing.page(tx, world.staff.actor, {}, (), 1, 0)
    return row.kind, row.payload


def test_staff_search_and_create_organisations(staff: Browser, world: World) -> None:
    path = "/staff/organisations/"
    assert "There are no organisations yet" in text(staff.open(path))
    world.organisation("Initech", abbreviation="INI")
    world.organisation("Hooli")
    assert "2 organisations" in text(staff.open(path))
    assert "Hooli" not in text(staff.open(f"{path}?q=ini"))
    assert "Initech" in text(staff.open(f"{path}?q=ini"))
    assert "No organisations match" in text(staff.open(f"{path}?q=x%25y"))
    newest = text(staff.open(f"{path}?sort=-created"))
    assert newest.index("Hooli") < newest.index("Initech")
    staff.open(f"{path}new/")
    x = {"name": "X"}
    for invalid in ({"name": " "}, x | {"email": "x"}, x | {"abbreviation": 13 * "x"}):
        assert staff.send(f"{path}new/", **invalid).status_code == 422, invalid
    page = staff.follow(staff.send(f"{path}new/", name="Acme", email="a@example.org"))
    assert "Acme is created. Now invite its first owner" in text(page)
    assert "a@example.org" in page.text
    assert latest(world)[0] == "organisation.created"
    invite = re.search(r'href="(/organisation/\w+/invite/)"', page.text)
    assert invite
    assert staff.open(invite[1]).status_code == 200


def test_staff_block_and_archive_an_organisation(staff: Browser, scene: Scene) -> None:
    path = f"/staff/organisations/{scene.organisation.uuid}/"
    assert "Atlas" in text(staff.open(path))
    for action, message, state in (
        ("block", "is blocked", "Nobody can be added and nothing can be changed"),
        ("archive", "is archived", "Nobody can be added and nothing can be changed"),
        ("unblock", "is unblocked", "It is kept"),
        ("unarchive", "is unarchived", "active"),
    ):
        page = text(staff.follow(staff.send(path, action=action)))
        assert message in page, action
        assert state in page, action
    assert staff.send(path, action="sell").status_code == 422
    assert staff.open(f"/staff/organisations/{scene.project.uuid}/").status_code == 404


def test_every_permission_is_in_the_table_of_roles() -> None:
    tree = [right for area in TREE for right in area.words]
    group = [right for area in GROUPS for right in area.words]
    assert sorted(tree + group) == sorted(Permission)
    assert {right for right in Permission if right.name.startswith("GROUP_")} == set(group)


def test_table_of_roles_shows_their_permissions(staff: Browser, world: World) -> None:
    page = staff.open("/staff/roles/")
    assert all(role.name in text(page) for role in SYSTEM_ROLES)
    assert page.text.count("built-in</span>") == len(SYSTEM_ROLES)
    row = next(row for row in page.text.split("<tr ") if "PROJECT.MANAGER" in row)
    assert re.findall(r'<td [^>]*data-label="([^"]+)"[^>]*>([^<]+)</td>', row) == [
        ("Organisation", "\u2013"),
        ("Members", "\u2013"),
        ("Projects", "change"),
        ("Project members", "add, change end dates, remove"),
        ("Other", "\u2013"),
    ]
    for role in SYSTEM_ROLES:
        if role.kind is not ScopeKind.GROUP:
            assert f'href="/staff/roles/{world.role(role.name).uuid}/"' in page.text


def test_staff_create_change_disable_and_delete_a_role(staff: Browser, scene: Scene) -> None:
    world, roles = scene.world, "/staff/roles/"
    form = {
        "name": "PROJECT.AUDITOR",
        "kind": "project",
        "description": "Auditor",
        "permissions": ["INVITATION.LIST", "PROJECT.LIST"],
    }
    staff.open(f"{roles}new/")
    for name, value in (
        *(("name", ""), ("name", "PROJECT.MEMBER"), ("kind", "group")),
        *(("permissions", "GROUP.UPDATE"), ("permissions", "ALL")),
    ):
        refused = staff.send(f"{roles}new/", **form | {name: value})
        assert refused.status_code == 422, (name, value)
        assert f'href="#{name}"' in refused.text
    created = staff.send(f"{roles}new/", **form)
    path = created.headers["location"]
    page = staff.follow(created)
    assert page.text.count(" checked") == 2
    assert "Auditor" in text(page)
    changed = {"name": "PROJECT.REVIEWER", "description": "Reviewer", "permissions": "PROJECT.LIST"}
    assert staff.send(path, action="save", **changed | {"permissions": "x"}).status_code == 422
    page = staff.follow(staff.send(path, action="save", **changed))
    assert page.text.count(" checked") == 1
    assert "PROJECT.REVIEWER" in text(page)
    kind, payload = latest(world)
    assert (kind, payload["permissions_removed"]) == ("role.changed", ["INVITATION.LIST"])
    assert "Its current holders keep it" in text(staff.follow(staff.send(path, action="disable")))
    assert "disabled" in text(staff.open(roles))
    assert "The role is enabled" in text(staff.follow(staff.send(path, action="enable")))
    world.give_role(scene.people["outsider"], "PROJECT.REVIEWER", scene.project)
    refused = staff.send(path, action="delete")
    assert refused.status_code == 422
    assert "the audit log needs it" in text(refused)
    assert refused.text.count(" checked") == 1
    staff.open(f"{roles}new/")
    other = staff.send(f"{roles}new/", **form).headers["location"]
    assert "is deleted" in text(staff.follow(staff.send(other, action="delete")))
    assert staff.open(other).status_code == 404


def test_built_in_role_cannot_be_renamed_or_deleted(staff: Browser, world: World) -> None:
    role = world.role("PROJECT.ADMIN")
    path = f"/staff/roles/{role.uuid}/"
    page = staff.open(path)
    assert 'name="name"' not in page.text
    assert 'value="delete"' not in page.text
    renamed = staff.send(path, action="save", name="PROJECT.KING", description="King")
    assert renamed.status_code == 422
    assert "The name of a built-in role cannot be changed" in text(renamed)
    deleted = staff.send(path, action="delete")
    assert deleted.status_code == 422
    assert "This role is built-in and cannot be deleted" in text(deleted)
    saved = staff.send(path, action="save", description="Admin", permissions="PROJECT.UPDATE")
    assert saved.status_code == 303
    with world.database.read() as tx:
        assert role_queries.permissions_of(tx, [role.id]) == {role.id: ["PROJECT.UPDATE"]}
        group = next(row for row in role_queries.all_roles(tx) if row.kind == "group")
    assert staff.open(f"/staff/roles/{group.uuid}/").status_code == 404


def test_support_reads_the_permissions_of_a_role(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["support"])
    owner, member = (scene.world.role(name).uuid for name in ("CUSTOMER.OWNER", "PROJECT.MEMBER"))
    assert "Read invitations" in text(browser.open(f"/staff/roles/{owner}/"))
    assert "no permissions beyond membership" in text(browser.open(f"/staff/roles/{member}/"))


def enqueue(world: World, address: str, *, error: str = "", now: datetime | None = None) -> int:
    """Queue an e-mail; with an error, let its delivery fail."""
    mail = mails.EmailChanged(address, world.staff.id, "new@example.org")
    with world.database.write(now) as tx:
        number = outbox_queries.enqueue(tx, mail)
    if error:
        with world.database.write(now) as tx:
            (row,) = (row for row in outbox_queries.claim(tx, 100, 60) if row.id == number)
            assert outbox_queries.mark_failed(tx, number, row.attempts, error, None)
    return number


def states(world: World) -> dict[str, str]:
    with world.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT recipient, state FROM outbox")
        return {row[0]: row[1] for row in rows}


def test_every_kind_of_email_has_a_label() -> None:
    assert {mail.kind for mail in declared()} == set(KINDS)


def test_staff_retry_and_discard_emails(staff: Browser, world: World) -> None:
    queued_page, failed_page = "/staff/mails/", "/staff/mails/?show=failed"
    assert "All e-mails have been sent" in text(staff.open(queued_page))
    assert "No failed e-mails" in text(staff.open(failed_page))
    two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
    a, b, c = (f"{letter}@example.org" for letter in "abc")
    failed = enqueue(world, a, error="550 no such person", now=two_hours_ago)
    enqueue(world, b, error="Nobody answers.")
    queued = enqueue(world, c)
    page = text(staff.open(queued_page))
    assert f"E-mail address changed {c}" in page
    assert a not in page
    page = text(staff.open(failed_page))
    for sentence in ("550 no such person", "Failed (2)", "Queued (1)"):
        assert sentence in page, sentence
    assert page.index(b) < page.index(a)

    def send(path: str, **form: object) -> str:
        return text(staff.follow(staff.send(path, **form)))

    assert "queued again" in send(failed_page, action="retry", mail=failed)
    assert latest(world) == ("mail.retried", {"mail": "email_changed", "recipient": a})
    assert states(world) == {a: "queued", b: "failed", c: "queued"}
    assert "The e-mail is discarded" in send(queued_page, action="drop", mail=queued)
    assert latest(world)[0] == "mail.dropped"
    for mail in (queued, 0, 99, "x", ""):  # discarded, or unknown
        assert "Nothing was changed" in send(queued_page, action="retry", mail=mail), mail
    assert staff.send(queued_page, action="sell").status_code == 422
    assert "1 e-mail is queued again" in send(failed_page, action="retry_all")
    assert "Nothing was changed" in send(failed_page, action="retry_all")
    assert states(world) == {a: "queued", b: "queued", c: "obsolete"}


def test_email_that_is_being_sent_cannot_be_retried_or_discarded(
    staff: Browser, world: World
) -> None:
    number = enqueue(world, "a@example.org")
    with world.database.write() as tx:
        (row,) = outbox_queries.claim(tx, 1, 60)
    page = staff.open("/staff/mails/")
    assert "being sent" in text(page)
    assert 'value="drop"' not in page.text
    for action in ("retry", "drop"):
        page = staff.follow(staff.send("/staff/mails/", action=action, mail=number))
        assert "Nothing was changed" in text(page)
    with world.database.write() as tx:
        assert outbox_queries.mark_sent(tx, [row])


def test_retry_resets_the_attempts_of_failed_emails_only(world: World) -> None:
    failed, queued = enqueue(world, "a@example.org", error="No."), enqueue(world, "b@example.org")
    with world.database.write() as tx:
        (row,) = outbox_queries.claim(tx, 1, 60)
        later = tx.now + timedelta(hours=3)
        assert outbox_queries.mark_failed(tx, queued, row.attempts, "Busy.", later)
    with world.database.write() as tx:
        for mail in (failed, queued):
            outbox_actions.retry(tx, world.staff.actor, mail)
        assert tx.mail_enqueued
    with world.database.write() as tx:
        claimed = [*outbox_queries.claim(tx, 10, 60), *outbox_queries.claim(tx, 10, 60)]
    assert {row.id: row.attempts for row in claimed} == {failed: 1, queued: 2}


def test_outbox_actions_are_for_staff_only(scene: Scene) -> None:
    world = scene.world
    mail = enqueue(world, "a@example.org", error="No.")
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
