"""The page behind an invitation link: register, accept, renew; approval by staff."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.accounts import queries as account_queries
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals, links
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.sign_in.test_pages import PASSWORD, queued_recipients
from tests.support.browser import Browser, text
from tests.support.mails import sent_mails
from tests.support.site import Site
from tests.support.world import Person, Place, World

ADDRESS = "ines@example.org"
NEW = {
    "first_name": "Ines",
    "last_name": "Invited",
    "own_address": "yes",
    "username": "ines",
    "password": PASSWORD,
    "again": PASSWORD,
    "agrees": "yes",
}


def link(world: World, uuid: str, generation: int = 1, purpose: str = links.MAILED) -> str:
    return f"/invitation/{world.vault.sign(purpose, uuid, generation)}/"


def shared_link(world: World, uuid: str) -> str:
    """Return the link that an inviter copies from the page."""
    return link(world, uuid, purpose=links.SHARED_BY_INVITER)


def invite(world: World, owner: Person, project: Place, **details: object) -> str:
    return world.invite(owner, ADDRESS, "PROJECT.ADMIN", project, **details)  # type: ignore[arg-type]


def roles_of(world: World, project: Place) -> list[tuple[str, str]]:
    return [(row.username, row.role_name) for row in world.grants_in(project)]


def decline(browser: Browser, path: str) -> int:
    """Send the form that declines, shown or not; return the status, 401 if sign-in is needed."""
    browser.open("/account/tokens/" if "collegium_session" in browser.cookies else "/sign_in/")
    response = browser.send(f"{path}decline/")
    needs_sign_in = response.headers.get("location", "").startswith("/sign_in/")
    return 401 if needs_sign_in else response.status_code


def test_invitee_can_create_an_account_and_becomes_a_member(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    path = link(world, invite(world, owner, project, extra_text="Come <b>over</b>"))
    page = browser.open(path)
    for part in ("Olga Lee invites you", "project Atlas of Initech", "Project administrator"):
        assert part in text(page)
    assert "Come &lt;b&gt;over" in page.text
    response = browser.send(path, **NEW)
    assert response.headers["location"] == "/account/"
    welcome = "Welcome! You are now Project administrator in the project Atlas"
    assert welcome in text(browser.follow(response))
    assert roles_of(world, project) == [("ines", "PROJECT.ADMIN")]
    with world.database.read() as tx:
        account: Any = account_queries.by_username(tx, "ines")
        kinds = {row.kind for row in tx.fetch_all(Statement[Any](events.select()))}
    assert (account.email, account.first_name, account.is_staff) == (ADDRESS, "Ines", False)
    assert {"account.created", "invitation.accepted", "role.granted", "login.succeeded"} <= kinds


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_forwarded_invitation_gives_its_address_to_nobody_else(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    """Otherwise who forwards it gets the e-mails that open the account of somebody else."""
    world.person("bob")
    path = link(world, invite(world, owner, project, phone_number="+49 1"))
    browser.open(path)
    wanted = "Bob@example.org"
    stranger = NEW | {"own_address": "", "email": wanted, "username": "stranger"}
    page = text(browser.follow(browser.send(path, **stranger)))
    assert "Welcome! You are now Project administrator" in page
    assert "Please confirm your e-mail address" in page
    assert roles_of(world, project) == [("stranger", "PROJECT.ADMIN")]
    with world.database.read() as tx:
        account: Any = account_queries.by_username(tx, "stranger")
        assert account_queries.at_email(tx, ADDRESS) == []
    assert (account.email, account.phone_number) == ("", "")
    (request,) = [mail for mail in sent_mails(world) if "change_email" in mail["X-Collegium-Mail"]]
    assert request["To"] == wanted


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("way", ["tick", "typed"])
@pytest.mark.parametrize("meanwhile", [False, True])
def test_invited_address_of_an_account_makes_no_second_one(
    browser: Browser, world: World, owner: Person, project: Place, way: str, *, meanwhile: bool
) -> None:
    uuid = invite(world, owner, project)
    path = link(world, uuid)
    if not meanwhile:
        world.person("first", email=ADDRESS.upper())
    browser.open(path)
    if meanwhile:
        world.person("first", email=ADDRESS.upper())
    said = {} if way == "tick" else {"own_address": "", "email": f" {ADDRESS}"}
    response = browser.send(path, **(NEW | said))
    assert (response.status_code, "An account with this address exists" in text(response)) == (
        422,
        True,
    )
    assert roles_of(world, project) == []
    assert world.invitation(uuid).state == "pending"
    # The person with the link may be somebody else, who gets an account of their own.
    other = NEW | {"own_address": "", "email": "bob@example.org"}
    assert browser.send(path, **other).status_code == 303
    assert roles_of(world, project) == [("ines", "PROJECT.ADMIN")]


def test_opening_an_invitation_link_writes_nothing(
    browser: Browser, world: World, owner: Person, project: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = link(world, invite(world, owner, project))
    writes: list[Any] = []
    execute = WriteTransaction.execute

    def record(self: WriteTransaction, *args: Any, **binds: Any) -> int:
        writes.append(args)
        return execute(self, *args, **binds)

    monkeypatch.setattr(WriteTransaction, "execute", record)
    for method in ("GET", "HEAD"):
        assert browser.call(method, path).status_code == 200
    assert not writes


def test_invalid_registration_creates_neither_account_nor_role(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    path = link(world, invite(world, owner, project))
    world.person("ines", email="namesake@example.org")
    browser.open(path)
    for wrong in (
        {},  # the user name is taken
        {"username": "Ines"},
        {"username": ""},
        {"password": "short", "again": "short"},
        {"again": "something else"},
        {"agrees": ""},
        {"own_address": ""},
        {"own_address": "", "email": "no address"},
        {"email": "other@example.org"},  # not both
        {"first_name": "x" * 101},
    ):
        response = browser.send(path, **(NEW | wrong))
        assert response.status_code == 422, wrong
        assert "There is a problem" in text(response)
        assert "collegium_session" not in browser.cookies
    assert roles_of(world, project) == []
    assert browser.send(path, **(NEW | {"username": "ines-2"})).status_code == 303


def test_invitation_can_be_accepted_once_with_an_existing_account(
    browser: Browser, other: Browser, world: World, owner: Person, project: Place
) -> None:
    ada = world.person("ada")
    path = link(world, invite(world, owner, project))
    page = text(browser.sign_in(world, ada).open(path))
    for part in (ADDRESS, ada.email, "You can still accept it"):
        assert part in page
    assert browser.send(path).status_code == 303
    assert roles_of(world, project) == [("ada", "PROJECT.ADMIN")]
    response = other.sign_in(world, world.person("bob")).open(path)
    assert response.status_code == 410
    assert "was already accepted" in text(response)
    assert other.send(path).status_code == 410
    assert roles_of(world, project) == [("ada", "PROJECT.ADMIN")]


@pytest.mark.parametrize(
    "setting", ["validate_invitation_email", "enable_strict_check_accepting_invitation"]
)
def test_strict_setting_lets_only_the_invited_address_accept_or_decline(
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
    rule = "only an account with the invited address can accept or decline"
    for make_link in (link, shared_link):
        for action, state in (("", "accepted"), ("decline/", "rejected")):
            uuid = invite(world, owner, project)
            path = make_link(world, uuid)
            wrong = Browser(site).sign_in(world, ada)
            page = text(wrong.open(path))
            assert all(part in page for part in (ADDRESS, "ada@example.org", rule))
            assert "Accept invitation" not in page
            assert "Decline invitation" not in page
            assert wrong.send(f"{path}{action}").status_code == 422
            assert world.invitation(uuid).state == "pending"
            assert roles_of(world, project) == []
            right = Browser(site).sign_in(world, ines)
            assert "Accept invitation" in text(right.open(path))
            assert right.send(f"{path}{action}").status_code == 303
            assert world.invitation(uuid).state == state
            if state == "accepted":
                world.remove_role(ines, "PROJECT.ADMIN", project)
    # Who creates an account must say that the address is theirs.
    uuid = invite(world, owner, project)
    path, new = link(world, uuid), Browser(site)
    assert "Otherwise: your e-mail address" not in text(new.open(path))
    for other in ({"own_address": ""}, {"own_address": "", "email": "bob@example.org"}):
        response = new.send(path, **(NEW | other | {"username": "new"}))
        assert (response.status_code, rule in text(response).lower()) == (422, True)
    assert world.invitation(uuid).state == "pending"
    # The mailed link proves the address, so no account is needed to decline.
    assert decline(Browser(site), link(world, uuid)) == 303
    assert world.invitation(uuid).state == "rejected"


def test_only_the_invited_civil_number_can_accept_or_decline(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    accepted, declined = (
        link(world, invite(world, owner, project, civil_number="38001085718")) for _ in range(2)
    )
    page = browser.open(accepted)
    assert "Create account" not in page.text
    assert "Decline invitation" not in page.text
    browser.open("/sign_in/")
    assert browser.send(accepted, **NEW).status_code == 404
    assert decline(browser, declined) == 401
    with world.database.read() as tx:
        assert account_queries.by_username(tx, "ines") is None
    # The invited address is not enough.
    for person in (world.person("ada"), world.person("ines", email=ADDRESS)):
        browser.sign_in(world, person).open(accepted)
        assert browser.send(accepted).status_code == 422
        assert decline(browser, declined) == 422
    assert roles_of(world, project) == []
    browser.sign_in(world, world.person("right", civil_number="38001085718"))
    assert decline(browser, declined) == 303
    browser.open(accepted)
    assert browser.send(accepted).status_code == 303


def test_invalid_or_replaced_link_shows_no_details(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = invite(world, owner, project)
    pages = set()
    for path in (
        "/invitation/abc/",
        link(world, uuid, 2),
        link(world, "0" * 32),
        link(world, uuid, purpose="other"),
    ):
        browser.open("/sign_in/")
        for response in (browser.call("GET", path), browser.send(path, **NEW)):
            assert response.status_code == 404
            pages.add(text(response))
    assert len(pages) == 1
    assert "Atlas" not in pages.pop()


def test_page_of_an_unusable_invitation_states_the_reason(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    cancelled = invite(world, owner, project)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, cancelled)
    former = world.person("former")
    world.give_role(former, "PROJECT.MANAGER", project)
    unsponsored = invite(world, former, project)
    world.remove_role(former, "PROJECT.MANAGER", project)
    browser.sign_in(world, world.person("ada"))
    for uuid, reason in (
        (cancelled, "was cancelled"),
        (unsponsored, "can no longer assign this role"),
    ):
        browser.open("/account/")
        csrf = browser.csrf
        page = browser.open(link(world, uuid))
        assert page.status_code == 410
        assert reason in text(page)
        assert browser.call("POST", link(world, uuid), data={"csrf": csrf}).status_code == 410
    assert roles_of(world, project) == []


def test_only_an_expired_link_can_request_a_new_link_once(
    browser: Browser, world: World, owner: Person, project: Place, database: Database
) -> None:
    pending = link(world, invite(world, owner, project))
    browser.open(pending)
    browser.send(pending, action="renew")
    assert queued_recipients(database, "invitation_renewal_requested") == []
    long_ago = datetime.now(UTC) - timedelta(days=30)
    path = link(world, invite(world, owner, project, now=long_ago))
    page = browser.open(path)
    assert page.status_code == 410
    assert not any(part in page.text for part in (owner.email, "Olga", "Atlas"))
    csrf = browser.csrf
    response = browser.send(path, action="renew")
    assert "You have asked for a new link" in text(browser.follow(response))
    browser.call("POST", path, data={"csrf": csrf, "action": "renew"})
    assert queued_recipients(database, "invitation_renewal_requested") == [owner.email]
    # An expired invitation cannot be accepted.
    assert browser.call("POST", path, data={"csrf": csrf, **NEW}).status_code == 410
    assert roles_of(world, project) == []


def requested_invitation(
    world: World, make_settings: Callable[..., Settings]
) -> tuple[str, Person]:
    """Return an invitation that needs approval, and its inviter."""
    owner = world.person("olga")
    project = world.project(world.organisation("Initech", owner=owner), "Atlas")
    settings, world.settings = world.settings, make_settings(only_staff_can_invite_users="true")
    uuid = invite(world, owner, project)
    world.settings = settings
    return uuid, owner


def decision_link(world: World, purpose: str, uuid: str, staff: Person) -> str:
    now = int(datetime.now(UTC).timestamp())
    return f"/{purpose}/{world.vault.sign(purpose, staff.uuid, uuid, 1, now)}/"


@pytest.mark.parametrize(
    ("purpose", "other_purpose", "state"),
    [
        (approvals.APPROVE, approvals.REJECT, "pending"),
        (approvals.REJECT, approvals.APPROVE, "rejected"),
    ],
)
def test_staff_can_approve_or_reject_by_link(
    purpose: str,
    other_purpose: str,
    state: str,
    browser: Browser,
    world: World,
    make_settings: Callable[..., Settings],
) -> None:
    uuid, owner = requested_invitation(world, make_settings)
    path = decision_link(world, purpose, uuid, world.staff)
    page = browser.open(path)
    assert ADDRESS in page.text
    assert world.invitation(uuid).state == "requested"
    # Neither a link for an account that is not staff, nor one signed for the other purpose.
    for wrong in (
        decision_link(world, purpose, uuid, owner),
        path.replace(purpose, other_purpose),
    ):
        response = browser.call("GET", wrong)
        assert response.status_code in {404, 410}
        assert ADDRESS not in response.text
        assert browser.call("POST", wrong, data={"csrf": browser.csrf}).status_code == 410
        assert world.invitation(uuid).state == "requested"
    assert browser.send(path).status_code == 200
    assert world.invitation(uuid).state == state
    page = browser.open(path)
    assert page.status_code == 410
    assert "already approved, rejected or cancelled" in text(page)
