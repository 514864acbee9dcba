"""Coming in by the link in a mail, and deciding on invitations that wait for staff."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.accounts import queries as account_queries
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Row, Statement
from collegium.db.tables import events
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.sign_in.test_pages import PASSWORD, owed
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World

ADDRESS = "ines@example.org"
NEW = {
    "first_name": "Ines",
    "last_name": "Invited",
    "username": "ines",
    "password": PASSWORD,
    "again": PASSWORD,
    "agrees": "yes",
}


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation("Initech", owner=owner), "Atlas")


def link(world: World, uuid: str, generation: int = 1) -> str:
    return f"/invitation/{world.vault.sign('invitation', uuid, generation)}/"


def invite(world: World, owner: Person, project: Place, **details: object) -> str:
    return world.invite(owner, ADDRESS, "PROJECT.ADMIN", project, **details)  # type: ignore[arg-type]


def roles_of(world: World, project: Place) -> list[tuple[str, str]]:
    return [(row.username, row.role_name) for row in world.grants_in(project)]


def test_an_invitee_makes_an_account_and_is_in(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    here = link(world, invite(world, owner, project, extra_text="Come <b>over</b>"))
    page = browser.open(here)
    seen = text(page)
    for said in ("Olga Lee invites you", "project Atlas of Initech", "Project administrator"):
        assert said in seen
    assert "Come &lt;b&gt;over" in page.text
    answer = browser.send(here, **NEW)
    assert answer.headers["location"] == "/account/"
    assert "Welcome! You are now Project administrator in the project Atlas" in text(
        browser.follow(answer)
    )
    assert roles_of(world, project) == [("ines", "PROJECT.ADMIN")]
    with world.database.read() as tx:
        account: Row = account_queries.by_username(tx, "ines")
    assert (account.email, account.first_name, account.is_staff) == (ADDRESS, "Ines", False)


def test_opening_the_link_changes_nothing(
    browser: Browser,
    world: World,
    owner: Person,
    project: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = link(world, invite(world, owner, project))
    wrote: list[Any] = []
    run = WriteTransaction.execute

    def noted(self: WriteTransaction, *what: Any, **binds: Any) -> int:
        wrote.append(what)
        return run(self, *what, **binds)

    monkeypatch.setattr(WriteTransaction, "execute", noted)
    for method in ("GET", "HEAD"):
        assert browser.call(method, here).status_code == 200
    assert not wrote


def test_an_account_and_its_role_come_together_or_not_at_all(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    world.person("ines")
    browser.open(link(world, uuid))
    for wrong in (
        {},  # the name is taken
        {"username": "Ines"},
        {"username": ""},
        {"password": "short", "again": "short"},
        {"again": "something else"},
        {"agrees": ""},
        {"first_name": "x" * 101},
    ):
        answer = browser.send(link(world, uuid), **(NEW | wrong))
        assert answer.status_code == 422, wrong
        assert "There is a problem" in text(answer)
        assert "collegium_session" not in browser.cookies
    answer = browser.send(link(world, uuid), **(NEW | {"username": "ines-2"}))
    assert answer.status_code == 303


def test_somebody_with_an_account_accepts_with_it(
    browser: Browser, other: Browser, world: World, owner: Person, project: Place
) -> None:
    ada = world.person("ada")
    here = link(world, invite(world, owner, project))
    browser.sign_in(world, ada)
    seen = text(browser.open(here))
    assert ADDRESS in seen
    assert ada.email in seen
    assert "You can still accept it" in seen
    assert browser.send(here).status_code == 303
    assert roles_of(world, project) == [("ada", "PROJECT.ADMIN")]
    # Nobody else can, with the same link.
    other.sign_in(world, world.person("bob"))
    page = other.open(here)
    assert page.status_code == 410
    assert "was already accepted" in text(page)
    assert other.send(here).status_code == 410
    assert roles_of(world, project) == [("ada", "PROJECT.ADMIN")]


@pytest.mark.parametrize(
    "setting", ["validate_invitation_email", "enable_strict_check_accepting_invitation"]
)
def test_where_the_address_must_be_the_same_both_are_shown_and_the_rule_is_said(
    setting: str,
    database: Database,
    vault: Vault,
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
) -> None:
    settings = make_settings(**{setting: "true"})
    world = World(database, settings, vault)
    browser = Browser(make_site(settings))
    owner = world.person("olga")
    project = world.project(world.organisation("Initech", owner=owner))
    here = link(world, invite(world, owner, project))
    browser.sign_in(world, world.person("ada"))
    page = browser.open(here)
    seen = text(page)
    assert ADDRESS in seen
    assert "ada@example.org" in seen
    assert "only an account with the invited address can accept" in seen
    assert "Accept invitation" not in seen
    assert browser.send(here).status_code == 422
    assert roles_of(world, project) == []
    browser.sign_in(world, world.person("ines", email=ADDRESS.upper()))
    assert "Accept invitation" in text(browser.open(here))
    assert browser.send(here).status_code == 303


def test_an_invitation_for_one_civil_number_makes_no_account(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    here = link(world, invite(world, owner, project, civil_number="38001085718"))
    page = browser.open(here)
    assert "Create account" not in page.text
    browser.open("/sign_in/")
    assert browser.send(here, **NEW).status_code == 404
    with world.database.read() as tx:
        assert account_queries.by_username(tx, "ines") is None
    browser.sign_in(world, world.person("ada"))
    browser.open(here)
    assert browser.send(here).status_code == 422
    browser.sign_in(world, world.person("right", civil_number="38001085718"))
    browser.open(here)
    assert browser.send(here).status_code == 303


def test_a_link_that_is_not_ours_or_is_replaced_tells_nothing(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    browser.open("/sign_in/")
    seen = set()
    for here in (
        "/invitation/abc/",
        link(world, uuid, 2),
        link(world, "0" * 32),
        f"/invitation/{world.vault.sign('other', uuid, 1)}/",
    ):
        for answer in (browser.call("GET", here), browser.send(here, **NEW)):
            assert answer.status_code == 404
            seen.add(text(answer))
        browser.open("/sign_in/")
    assert len(seen) == 1
    assert "Atlas" not in seen.pop()


def test_each_end_of_an_invitation_has_an_honest_page(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    canceled = invite(world, owner, project)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, canceled)
    lost = world.person("lost")
    world.seat(lost, "PROJECT.MANAGER", project)
    unvouched = invite(world, lost, project)
    world.unseat(lost, "PROJECT.MANAGER", project)
    browser.sign_in(world, world.person("ada"))
    for uuid, said in ((canceled, "was cancelled"), (unvouched, "can no longer assign this role")):
        browser.open("/account/")
        token = browser.csrf
        page = browser.open(link(world, uuid))
        assert page.status_code == 410
        assert said in text(page)
        sent = browser.call("POST", link(world, uuid), data={"csrf": token})
        assert sent.status_code == 410
    assert roles_of(world, project) == []


def test_an_expired_link_asks_for_a_new_one_once(
    browser: Browser, world: World, owner: Person, project: Place, database: Database
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    uuid = invite(world, owner, project, now=long_ago)
    here = link(world, uuid)
    page = browser.open(here)
    assert page.status_code == 410
    assert owner.email not in page.text
    assert "Olga" not in page.text
    assert "Atlas" not in page.text
    assert owed(database, "invitation_renewal_wished") == []
    token = browser.csrf
    answer = browser.send(here, action="renew")
    assert "You have asked for a new link" in text(browser.follow(answer))
    browser.call("POST", here, data={"csrf": token, "action": "renew"})
    assert owed(database, "invitation_renewal_wished") == [owner.email]
    # Accepting an expired one is no way in.
    assert browser.call("POST", here, data={"csrf": token, **NEW}).status_code == 410
    assert roles_of(world, project) == []


def test_only_an_expired_link_asks_for_a_new_one(
    browser: Browser, world: World, owner: Person, project: Place, database: Database
) -> None:
    here = link(world, invite(world, owner, project))
    browser.open(here)
    browser.send(here, action="renew")
    assert owed(database, "invitation_renewal_wished") == []


def _waiting(world: World, make_settings: Callable[..., Settings]) -> tuple[str, Person]:
    owner = world.person("olga")
    project = world.project(world.organisation("Initech", owner=owner), "Atlas")
    kept, world.settings = world.settings, make_settings(only_staff_can_invite_users="true")
    uuid = invite(world, owner, project)
    world.settings = kept
    return uuid, owner


def _decision(world: World, purpose: str, uuid: str, staff: Person) -> str:
    now = int(datetime.now(UTC).timestamp())
    return f"/{purpose}/{world.vault.sign(purpose, staff.uuid, uuid, 1, now)}/"


@pytest.mark.parametrize(
    ("purpose", "state"), [(approvals.APPROVE, "pending"), (approvals.REJECT, "rejected")]
)
def test_staff_decides_by_the_button_behind_the_link(
    purpose: str,
    state: str,
    browser: Browser,
    world: World,
    make_settings: Callable[..., Settings],
) -> None:
    uuid, owner = _waiting(world, make_settings)
    here = _decision(world, purpose, uuid, world.staff)
    page = browser.open(here)
    assert ADDRESS in page.text
    assert world.invitation(uuid).state == "requested"
    # Neither somebody who is no staff, nor the link for the other purpose.
    for wrong in (
        _decision(world, purpose, uuid, owner),
        here.replace(
            purpose, approvals.REJECT if purpose == approvals.APPROVE else approvals.APPROVE
        ),
    ):
        answer = browser.call("GET", wrong)
        assert answer.status_code in {404, 410}
        assert ADDRESS not in answer.text
        assert browser.call("POST", wrong, data={"csrf": browser.csrf}).status_code == 410
        assert world.invitation(uuid).state == "requested"
    assert browser.send(here).status_code == 200
    assert world.invitation(uuid).state == state
    again = browser.open(here)
    assert again.status_code == 410
    assert "already approved, rejected or cancelled" in text(again)


def test_history_tells_who_came_in_by_a_link(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    here = link(world, invite(world, owner, project))
    browser.open(here)
    browser.send(here, **NEW)
    with world.database.read() as tx:
        kinds = [row.kind for row in tx.fetch_all(Statement(events.select().order_by(events.c.id)))]
    for kind in ("account.created", "invitation.accepted", "role.granted", "login.succeeded"):
        assert kind in kinds
