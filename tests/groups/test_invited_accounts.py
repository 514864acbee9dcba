"""An invitation to a group belongs to the account that was invited, whatever address it has."""

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
    return groups.found(olga)


def change_address(world: World, person: Person, email: str) -> None:
    """Change an address where every way of changing it ends."""
    with world.database.write() as tx:
        account_queries.change(tx, person.id, {"email": email})


def listed(groups: Groups, person: Person, query: str = "") -> list[str]:
    found = groups.get(person, "invitation", query=query).json()["group_membership_invitations"]
    return [str(one["id"]).replace("-", "") for one in found]


def link(world: World, uuid: str) -> str:
    return f"/invitation/{world.vault.sign('invitation', uuid, 1)}/"


def state(world: World, uuid: str) -> str:
    return str(world.invitation(uuid).state)


@pytest.fixture
def invitation(groups: Groups, group: int, olga: Person, ada: Person) -> str:
    return groups.invite(group, olga, ada).replace("-", "")


def test_an_invitee_who_has_another_address_by_now_keeps_the_invitation(
    groups: Groups, group: int, olga: Person, ada: Person, invitation: str
) -> None:
    world = groups.world
    change_address(world, ada, OTHER)
    # Whoever has the old address today has nothing of it.
    second = world.person("second", email=OLD)
    assert listed(groups, ada) == [invitation]
    assert listed(groups, second) == []
    assert groups.get(second, "invitation", invitation).status_code == 404
    for action in ("accept", "reject", "cancel"):
        assert groups.get(second, "invitation", invitation, action).status_code == 404
    # Lists, filters and pages speak of the account as it is now.
    for who in (olga, ada):
        assert listed(groups, who, f"?filter{{user_account_invitation.email}}={OTHER}") == [
            invitation
        ]
        assert listed(groups, who, f"?filter{{user_account_invitation.email}}={OLD}") == []
        assert listed(groups, who, f"?filter{{user_account_invitation}}={ada.id}") == [invitation]
        assert listed(groups, who, f"?filter{{user_account_invitation}}={second.id}") == []
    assert "Lab" in text(Browser(groups.site).sign_in(world, ada).open("/account/"))
    assert "Lab" not in text(Browser(groups.site).sign_in(world, second).open("/account/"))
    team = Browser(groups.site).sign_in(world, olga)
    shown = text(team.open(f"/group/{group}/team/invitations/"))
    assert OTHER in shown
    assert OLD not in shown
    assert groups.get(ada, "invitation", invitation, "accept").status_code == 200
    assert groups.role_of(group, ada) == "GROUP.MEMBER"


def test_an_invitation_that_is_sent_again_goes_to_the_address_of_today(
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
        rows = tx.fetch_all(Statement(select(outbox.c.recipient).order_by(outbox.c.id)))
    assert [row.recipient for row in rows][-2:] == ["adasend@elsewhere.example"] * 2
    Worker(world.database, world.settings, world.vault, open_transport(f"file:{tmp_path}")).once()
    browser.sign_in(world, ada)
    new = f"/invitation/{world.vault.sign('invitation', invitation, 2)}/"
    browser.open(new)
    assert browser.send(new).status_code == 303
    assert groups.role_of(group, ada) == "GROUP.MEMBER"


def test_a_second_account_with_the_address_does_not_get_the_invitation(
    groups: Groups, group: int, ada: Person, invitation: str
) -> None:
    world = groups.world
    second = world.person("second", email=ada.email.upper())
    assert listed(groups, second) == []
    assert groups.get(second, "invitation", invitation, "accept").status_code == 404
    browser = Browser(groups.site).sign_in(world, second)
    here = link(world, invitation)
    assert "is for another account" in text(browser.open(here))
    assert browser.send(here).status_code == 422
    assert browser.send(f"{here}decline/").status_code == 422
    assert state(world, invitation) == "pending"
    assert groups.role_of(group, second) is None
    # The invited account, by the same link.
    browser.sign_in(world, ada)
    browser.open(here)
    assert browser.send(here).status_code == 303
    assert groups.role_of(group, ada) == "GROUP.MEMBER"


def test_the_link_makes_no_account_and_declines_nothing_for_who_reads_the_mail_now(
    groups: Groups, ada: Person, invitation: str
) -> None:
    world = groups.world
    change_address(world, ada, OTHER)
    browser = Browser(groups.site)
    here = link(world, invitation)
    page = browser.open(here)
    assert "Sign in to accept" in text(page)
    assert 'name="username"' not in page.text
    browser.open("/sign_in/")
    answer = browser.send(here, **NEW)
    assert answer.headers["location"].startswith("/sign_in/")
    assert browser.send(f"{here}decline/").headers["location"].startswith("/sign_in/")
    with world.database.read() as tx:
        assert account_queries.by_username(tx, NEW["username"]) is None
    assert state(world, invitation) == "pending"


def test_no_account_is_made_for_an_address_that_the_invitee_has_left(
    make_settings: Callable[..., Settings],
    groups: Groups,
    ada: Person,
    invitation: str,
    tmp_path: Path,
) -> None:
    world = groups.world
    assert invitation
    change_address(world, ada, OTHER)
    settings = make_settings(invitation_create_missing_user="true")
    Worker(world.database, settings, world.vault, open_transport(f"file:{tmp_path}")).once()
    with world.database.read() as tx:
        assert not account_queries.with_addresses(tx, [OLD])


def deactivated(groups: Groups, ada: Person) -> None:
    body = {"is_active": False}
    path = f"/api/users/{ada.uuid}/"
    assert groups.site.request("PATCH", path, groups.world.staff, json=body).status_code == 200


def deleted(groups: Groups, ada: Person) -> None:
    path = f"/api/users/{ada.uuid}/"
    assert groups.site.request("DELETE", path, groups.world.staff).status_code == 204


@pytest.mark.parametrize("way", [deactivated, deleted])
def test_an_invitation_ends_with_its_account(
    groups: Groups,
    group: int,
    olga: Person,
    ada: Person,
    invitation: str,
    way: Callable[[Groups, Person], None],
) -> None:
    world = groups.world
    way(groups, ada)
    second = world.person("second", email=OLD)
    assert state(world, invitation) == "canceled"
    assert listed(groups, olga) == []
    assert groups.get(second, "invitation", invitation, "accept").status_code == 404
    team = Browser(groups.site).sign_in(world, olga)
    assert "cancelled the invitation for" in text(team.open(f"/group/{group}/team/history/"))
    # Nobody can send it again, to whoever has the address today.
    here = f"/group/{group}/team/invitations/"
    team.open(here)
    assert team.send(f"{here}{invitation}/", action="send").status_code == 409
    if way is deactivated:
        path = f"/api/users/{ada.uuid}/"
        body = {"is_active": True}
        assert groups.site.request("PATCH", path, world.staff, json=body).status_code == 200
        assert groups.get(ada, "invitation", invitation, "accept").status_code in {400, 401}
        assert state(world, invitation) == "canceled"


def test_the_account_that_was_chosen_on_a_page_is_invited_and_no_other_of_its_address(
    groups: Groups, group: int, olga: Person, ada: Person
) -> None:
    world = groups.world
    second = world.person("second", email=ada.email)
    for one in (ada, second):
        groups.seat(groups.found(olga, f"Shared by {one.id}"), one)
    browser = Browser(groups.site).sign_in(world, olga)
    here = f"/group/{group}/team/add/"
    browser.open(f"{here}?q=second")
    with world.database.read() as tx:
        role: Any = role_queries.named(tx, "GROUP.MEMBER", None, groups=True)
    assert browser.send(here, account=second.uuid, role=role.uuid).status_code == 303
    assert listed(groups, ada) == []
    assert len(listed(groups, second)) == 1
