"""Pages on which staff list, create and manage accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.refusals import Forbidden, NotFound
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from tests.sign_in.test_pages import enable_two_factor, queued_recipients, two_factor_is_on
from tests.support.browser import Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.team import Scene
from tests.support.world import Person, World

ACCOUNTS = "/staff/accounts/"


@pytest.fixture
def staff(browser: Browser, world: World) -> Browser:
    return browser.sign_in(world, world.staff)


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


def path_of(person: Person) -> str:
    return f"{ACCOUNTS}{person.uuid}/"


def event_kinds(world: World, person: Person) -> list[str]:
    """Return the kinds of an account's events, newest first."""
    filters = {"scope": ("account", person.uuid)}
    with world.database.read() as tx:
        rows = event_queries.listing.page(tx, world.staff.actor, filters, (), 50, 0)
    return [row.kind for row in rows]


def test_accounts_are_searched_filtered_sorted_and_paged(staff: Browser, world: World) -> None:
    world.person("zoe", organization="Zoo", joined_at=datetime(2020, 5, 4, tzinfo=UTC))
    world.person("off", is_active=False)
    world.person("helper", is_support=True)
    page = text(staff.open(ACCOUNTS))
    for part in ("4 accounts", "Zoe Lee zoe@example.org", "Zoo", "4 May 2020", "off", "support"):
        assert part in page
    for query, expected in (
        ("q=zoe", ["zoe"]),
        ("q=ZOE@exa", ["zoe"]),
        ("q=lee&show=inactive", ["off"]),
        ("show=active", ["helper", "staff", "zoe"]),
        ("show=support", ["helper"]),
        ("show=staff", ["staff"]),
        ("show=nonsense&sort=email", ["helper", "off", "staff", "zoe"]),
        ("sort=organization", ["helper", "off", "staff", "zoe"]),
        ("sort=-username", ["zoe", "staff", "off", "helper"]),
        ("sort=-username&show=active", ["zoe", "staff", "helper"]),
    ):
        page = text(staff.open(f"{ACCOUNTS}?{query}")).replace("Signed in as", "")
        positions = [page.find(f"{name}@example.org") for name in expected]
        assert all(position > 0 for position in positions), query
        assert positions == sorted(positions), query
        assert page.count("@example.org") == len(expected), query
    assert "No accounts match" in text(staff.open(f"{ACCOUNTS}?q=nobody"))
    for _ in range(25):
        world.person()
    assert "Page 1 of 2" in text(staff.open(ACCOUNTS))
    assert "zoe@example.org" in text(staff.open(f"{ACCOUNTS}?page=2"))


def test_account_page_shows_memberships_and_to_staff_only_the_sign_in(
    browser: Browser, scene: Scene
) -> None:
    world, member = scene.world, scene.people["member"]
    browser.sign_in(world, member)
    with world.database.write() as tx:
        token_actions.issue_personal(tx, world.vault, member.actor, "my secret script")
    path = path_of(member)
    browser.cookies.clear()
    page = text(browser.sign_in(world, world.staff).open(path))
    for part in (
        "Member Lee",
        "member@example.org",
        "Atlas project of Initech",
        "Project member",
        "Two-factor authentication off",
        "1 browser, 1 program",
        "The current password stays valid until a new one is set.",
    ):
        assert part in page, part
    # Names of tokens and browsers are private; staff see how many there are.
    assert "secret script" not in page
    assert "a test" not in page
    browser.cookies.clear()
    page = text(browser.sign_in(world, scene.people["support"]).open(path))
    assert "Atlas project of Initech" in page
    assert "Two-factor authentication" not in page
    assert "browser" not in page


def test_expired_tokens_are_not_counted(staff: Browser, world: World, ada: Person) -> None:
    with world.database.write(datetime.now(UTC) - timedelta(days=400)) as tx:
        token_actions.issue_personal(tx, world.vault, ada.actor, "old")
    assert "0 browsers, 0 programs" in text(staff.open(path_of(ada)))


def test_staff_deactivate_and_activate_accounts(
    staff: Browser, other: Browser, world: World, ada: Person
) -> None:
    other.sign_in(world, ada)
    path = path_of(ada)
    staff.open(path)
    assert "signed out everywhere" in text(staff.follow(staff.send(path, action="deactivate")))
    assert other.open("/account/").status_code == 303
    page = staff.open(path)
    assert "Nobody can sign in to this account" in text(page)
    assert 'value="password"' not in page.text
    assert staff.send(path, action="password").status_code == 422
    assert "can sign in again" in text(staff.follow(staff.send(path, action="activate")))
    assert other.sign_in(world, ada).open("/account/").status_code == 200
    assert event_kinds(world, ada)[:4] == [
        "login.succeeded",
        "account.activated",
        "account.updated",
        "account.deactivated",
    ]
    assert staff.send(path, action="sell").status_code == 422
    assert staff.open(f"{ACCOUNTS}{'0' * 32}/").status_code == 404
    own = staff.open(path_of(world.staff))
    assert "your own account" in text(own)
    assert 'value="deactivate"' not in own.text


def test_staff_disable_lost_two_factor_and_the_owner_is_notified(
    staff: Browser, world: World, ada: Person
) -> None:
    path = path_of(ada)
    staff.open(path)
    refused = staff.send(path, action="second_factor")
    assert refused.status_code == 422
    assert "Two-factor authentication is already off." in text(refused)
    enable_two_factor(world, ada)
    assert "Two-factor authentication on" in text(staff.open(path))
    page = staff.follow(staff.send(path, action="second_factor"))
    assert "They are notified by e-mail" in text(page)
    assert not two_factor_is_on(world, ada)
    (mail,) = sent_mails(world, "second_factor_reset")
    assert mail["To"] == ada.email
    message = 'Two-factor authentication was turned off for the account "ada" on Collegium.'
    assert message in " ".join(mail_text(mail).split())
    assert "/account/second_factor/" in mail_text(mail)
    assert event_kinds(world, ada)[0] == "second_factor.disabled"


def test_staff_send_a_link_to_set_a_password(staff: Browser, world: World, ada: Person) -> None:
    staff.open(path_of(ada))
    page = staff.follow(staff.send(path_of(ada), action="password"))
    assert "A link to set a password is being sent to ada@example.org" in text(page)
    assert queued_recipients(world.database, "password_reset") == ["ada@example.org"]
    assert event_kinds(world, ada)[0] == "account.password_reset_asked"
    path = path_of(world.person("bob", registration_method="saml2"))
    page = staff.open(path)
    assert 'value="password"' not in page.text
    assert "saml2" in page.text
    refused = staff.send(path, action="password")
    assert refused.status_code == 422
    assert "has no password here" in text(refused)
    assert queued_recipients(world.database, "password_reset") == ["ada@example.org"]


def test_staff_create_accounts(staff: Browser, world: World) -> None:
    path = f"{ACCOUNTS}new/"
    assert "checked" in staff.open(path).text
    data = {
        "username": "grace",
        "email": "grace@example.org",
        "first_name": "Grace",
        "last_name": "Hopper",
        "organization": "Navy",
        "kind": "support",
    }
    for wrong in (
        {"username": "Grace Hopper"},
        {"username": ""},
        {"username": "staff"},
        {"email": "grace"},
        {"first_name": ""},
        {"last_name": "x" * 101},
        {"kind": "king"},
    ):
        refused = staff.send(path, **data | wrong)
        assert refused.status_code == 422, wrong
        assert f'href="#{next(iter(wrong))}"' in refused.text, wrong
    page = staff.follow(staff.send(path, **data, send="yes"))
    assert "The account of Grace Hopper is created" in text(page)
    assert "It can read everything" in text(page)
    assert queued_recipients(world.database, "password_reset") == ["grace@example.org"]
    staff.open(path)
    plain = data | {"username": "plain", "email": "plain@example.org", "kind": ""}
    assert "is created" in text(staff.follow(staff.send(path, **plain)))
    assert len(queued_recipients(world.database, "password_reset")) == 1
    filters = {"kinds": ["account.created"]}
    with world.database.read() as tx:
        row = account_queries.by_username(tx, "plain")
        (event, *_) = event_queries.listing.page(tx, world.staff.actor, filters, (), 2, 0)
    assert row is not None
    assert (row.is_staff, row.is_support, row.organization) == (False, False, "Navy")
    assert (event.actor_username, event.account_username) == ("staff", "plain")


def test_only_staff_reset_two_factor_and_send_password_links(scene: Scene) -> None:
    world, member = scene.world, scene.people["member"]
    enable_two_factor(world, member)
    actions: list[Any] = [password_actions.send, two_factor_actions.reset]
    for name, refusal in (
        ("outsider", NotFound),
        ("owner", Forbidden),
        ("member", Forbidden),
        ("support", Forbidden),
    ):
        for action in actions:
            with world.database.write() as tx, pytest.raises(refusal):
                action(tx, scene.people[name].actor, member.uuid)
    for action, kind in zip(actions, ("password_reset", "second_factor_reset"), strict=True):
        with world.database.write() as tx:
            action(tx, world.staff.actor, member.uuid)
        assert queued_recipients(world.database, kind) == ["member@example.org"]
