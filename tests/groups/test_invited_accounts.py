"""An invitation to a group belongs to the invited account, not to its e-mail address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.roles import queries as role_queries
from collegium.settings import Settings
from collegium.worker.transport import open_transport
from collegium.worker.worker import Worker
from tests.groups.scene import Groups
from tests.invitations.test_pages import NEW
from tests.support.browser import Browser, text
from tests.support.world import Person, World

OLD, OTHER = "ada@example.org", "ada@elsewhere.example"


@pytest.fixture
def olga(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


@pytest.fixture
def group(groups: Groups, olga: Person) -> int:
    return groups.create(olga)


@pytest.fixture
def invitation(groups: Groups, group: int, olga: Person, ada: Person) -> str:
    return groups.invite(group, olga, ada).replace("-", "")


def change_address(world: World, person: Person, email: str) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, person.id, {"email": email})


def listed(groups: Groups, person: Person, query: str = "") -> list[str]:
    rows = groups.get(person, "invitation", query=query).json()["group_membership_invitations"]
    return [str(row["id"]).replace("-", "") for row in rows]


def link(world: World, uuid: str, version: int = 1) -> str:
    return f"/invitation/{world.vault.sign('invitation', uuid, version)}/"


def state(world: World, uuid: str) -> str:
    return str(world.invitation(uuid).state)


def send_mails(world: World, folder: Path, settings: Settings | None = None) -> None:
    transport = open_transport(f"file:{folder}")
    Worker(world.database, settings or world.settings, world.vault, transport).once()


def test_invitee_keeps_an_invitation_after_a_change_of_address(
    groups: Groups, group: int, olga: Person, ada: Person, invitation: str
) -> None:
    world = groups.world
    change_address(world, ada, OTHER)
    second = world.person("second", email=OLD)
    assert listed(groups, ada) == [invitation]
    assert listed(groups, second) == []
    assert groups.get(second, "invitation", invitation).status_code == 404
    for action in ("accept", "reject", "cancel"):
        assert groups.get(second, "invitation", invitation, action).status_code == 404
    for person in (olga, ada):
        for field, current, former in ((".email", OTHER, OLD), ("", ada.id, second.id)):
            query = f"?filter{{user_account_invitation{field}}}="
            assert listed(groups, person, f"{query}{current}") == [invitation]
            assert listed(groups, person, f"{query}{former}") == []
    assert "Lab" in text(Browser(groups.site).sign_in(world, ada).open("/account/"))
    assert "Lab" not in text(Browser(groups.site).sign_in(world, second).open("/account/"))
    browser = Browser(groups.site).sign_in(world, olga)
    page = text(browser.open(f"/group/{group}/team/invitations/"))
    assert OTHER in page
    assert OLD not in page
    assert groups.get(ada, "invitation", invitation, "accept").status_code == 200
    assert groups.role_of(group, ada) == "GROUP.MEMBER"


def test_invitation_is_resent_to_the_current_address(
    groups: Groups, group: int, olga: Person, ada: Person, invitation: str, tmp_path: Path
) -> None:
    world = groups.world
    browser = Browser(groups.site).sign_in(world, olga)
    here = f"/group/{group}/team/invitations/"
    browser.open(here)
    for action in ("send", "cancel", "send"):
        change_address(world, ada, f"ada{action}@elsewhere.example")
        assert browser.send(f"{here}{invitation}/", action=action).status_code == 303
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(outbox.c.recipient).order_by(outbox.c.id)))
    assert [row.recipient for row in rows][-2:] == ["adasend@elsewhere.example"] * 2
    send_mails(world, tmp_path)
    browser.sign_in(world, ada)
    path = link(world, invitation, version=2)
    browser.open(path)
    assert browser.send(path).status_code == 303
    assert groups.role_of(group, ada) == "GROUP.MEMBER"


def test_second_account_with_the_address_cannot_use_the_invitation(
    groups: Groups, group: int, ada: Person, invitation: str
) -> None:
    world = groups.world
    second = world.person("second", email=ada.email.upper())
    assert listed(groups, second) == []
    assert groups.get(second, "invitation", invitation, "accept").status_code == 404
    browser = Browser(groups.site).sign_in(world, second)
    path = link(world, invitation)
    assert "is for another account" in text(browser.open(path))
    assert browser.send(path).status_code == 422
    assert browser.send(f"{path}decline/").status_code == 422
    assert state(world, invitation) == "pending"
    assert groups.role_of(group, second) is None
    browser.sign_in(world, ada)
    browser.open(path)
    assert browser.send(path).status_code == 303
    assert groups.role_of(group, ada) == "GROUP.MEMBER"


def test_link_creates_no_account_for_the_new_owner_of_an_address(
    groups: Groups, ada: Person, invitation: str
) -> None:
    world = groups.world
    change_address(world, ada, OTHER)
    browser = Browser(groups.site)
    path = link(world, invitation)
    page = browser.open(path)
    assert "Sign in to accept" in text(page)
    assert 'name="username"' not in page.text
    browser.open("/sign_in/")
    assert browser.send(path, **NEW).headers["location"].startswith("/sign_in/")
    assert browser.send(f"{path}decline/").headers["location"].startswith("/sign_in/")
    with world.database.read() as tx:
        assert account_queries.by_username(tx, NEW["username"]) is None
    assert state(world, invitation) == "pending"


@pytest.mark.usefixtures("invitation")
def test_worker_creates_no_account_for_a_former_address(
    make_settings: Callable[..., Settings], world: World, ada: Person, tmp_path: Path
) -> None:
    change_address(world, ada, OTHER)
    send_mails(world, tmp_path, make_settings(invitation_create_missing_user="true"))
    with world.database.read() as tx:
        assert not account_queries.active_by_email(tx, [OLD])


@pytest.mark.parametrize("end", ["deactivated", "deleted"])
def test_invitation_is_cancelled_with_its_account(
    groups: Groups, group: int, olga: Person, ada: Person, invitation: str, end: str
) -> None:
    world, site, path = groups.world, groups.site, f"/api/users/{ada.uuid}/"
    if end == "deleted":
        assert site.request("DELETE", path, world.staff).status_code == 204
    else:
        response = site.request("PATCH", path, world.staff, json={"is_active": False})
        assert response.status_code == 200
    second = world.person("second", email=OLD)
    assert state(world, invitation) == "canceled"
    assert listed(groups, olga) == []
    assert groups.get(second, "invitation", invitation, "accept").status_code == 404
    browser = Browser(site).sign_in(world, olga)
    assert "cancelled the invitation for" in text(browser.open(f"/group/{group}/team/history/"))
    # It cannot be sent again to the second account with the address.
    here = f"/group/{group}/team/invitations/"
    browser.open(here)
    assert browser.send(f"{here}{invitation}/", action="send").status_code == 409
    if end == "deactivated":
        response = site.request("PATCH", path, world.staff, json={"is_active": True})
        assert response.status_code == 200
        assert groups.get(ada, "invitation", invitation, "accept").status_code in {400, 401}
        assert state(world, invitation) == "canceled"


def test_chosen_account_is_invited_and_no_other_with_its_address(
    groups: Groups, group: int, olga: Person, ada: Person
) -> None:
    world = groups.world
    second = world.person("second", email=ada.email)
    for person in (ada, second):
        groups.give_role(groups.create(olga, f"Shared by {person.id}"), person)
    browser = Browser(groups.site).sign_in(world, olga)
    here = f"/group/{group}/team/add/"
    browser.open(f"{here}?q=second")
    with world.database.read() as tx:
        role: Any = role_queries.by_name_or_uuid(tx, "GROUP.MEMBER", None, {"group"})
    assert browser.send(here, account=second.uuid, role=role.uuid).status_code == 303
    assert listed(groups, ada) == []
    assert len(listed(groups, second)) == 1
