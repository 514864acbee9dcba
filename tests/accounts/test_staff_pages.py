"""Accounts at the desk of staff."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyotp.totp import TOTP

from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Forbidden, NotFound
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.worker import mails
from tests.sign_in.test_pages import owed
from tests.support.browser import Browser, text
from tests.support.team import Scene
from tests.support.world import Person, World

HERE = "/staff/accounts/"


@pytest.fixture
def staff(browser: Browser, world: World) -> Browser:
    return browser.sign_in(world, world.staff)


def kinds(world: World, person: Person) -> list[str]:
    """What history tells of an account, the newest first."""
    with world.database.read() as tx:
        wanted = {"scope": ("account", person.uuid)}
        return [
            row.kind for row in event_queries.listing.page(tx, world.staff.actor, wanted, (), 50, 0)
        ]


def test_accounts_are_found_sorted_and_paged(staff: Browser, world: World) -> None:
    world.person("zoe", organization="Zoo", joined_at=datetime(2020, 5, 4, tzinfo=UTC))
    world.person("off", is_active=False)
    world.person("helper", is_support=True)
    said = text(staff.open(HERE))
    for part in ("4 accounts", "Zoe Lee zoe@example.org", "Zoo", "4 May 2020", "off", "support"):
        assert part in said
    for query, found in (
        ("q=zoe", ["zoe"]),
        ("q=ZOE@exa", ["zoe"]),
        ("q=lee&show=inactive", ["off"]),
        ("show=active", ["helper", "staff", "zoe"]),
        ("show=support", ["helper"]),
        ("show=staff", ["staff"]),
        ("show=nonsense&sort=email", ["helper", "off", "staff", "zoe"]),
        ("sort=organization", ["helper", "off", "staff", "zoe"]),
    ):
        said = text(staff.open(f"{HERE}?{query}")).replace("Signed in as", "")
        places = [said.find(f"{name}@example.org") for name in found]
        assert all(place > 0 for place in places), query
        assert places == sorted(places), query
        assert said.count("@example.org") == len(found), query
    assert "No accounts match" in text(staff.open(f"{HERE}?q=nobody"))
    for _ in range(25):
        world.person()
    assert "Page 1 of 2" in text(staff.open(HERE))
    assert "zoe@example.org" in text(staff.open(f"{HERE}?page=2"))


def test_an_account_tells_what_it_is_and_where_it_belongs(browser: Browser, scene: Scene) -> None:
    world, member = scene.world, scene.people["member"]
    browser.sign_in(world, member)
    with world.database.write() as tx:
        token_actions.issue_personal(tx, world.vault, member.actor, "my secret script")
    path = f"{HERE}{member.uuid}/"
    browser.cookies.clear()
    browser.sign_in(world, world.staff)
    said = text(browser.open(path))
    for part in (
        "Member Lee",
        "member@example.org",
        "Atlas project of Initech",
        "Project member",
        "Two-factor authentication off",
        "1 browser, 1 program",
        "The link works once",
    ):
        assert part in said, part
    # By number only: their names are the person's own.
    assert "secret script" not in said
    assert "a test" not in said
    browser.cookies.clear()
    browser.sign_in(world, scene.people["support"])
    said = text(browser.open(path))
    assert "Atlas project of Initech" in said
    assert "Two-factor authentication" not in said
    assert "browser" not in said


def test_tokens_that_ran_out_are_not_counted(staff: Browser, world: World) -> None:
    ada = world.person("ada")
    with world.database.write(datetime.now(UTC) - timedelta(days=400)) as tx:
        token_actions.issue_personal(tx, world.vault, ada.actor, "old")
    assert "0 browsers, 0 programs" in text(staff.open(f"{HERE}{ada.uuid}/"))


def test_an_account_is_switched_off_and_on(staff: Browser, other: Browser, world: World) -> None:
    ada = world.person("ada")
    other.sign_in(world, ada)
    path = f"{HERE}{ada.uuid}/"
    staff.open(path)
    assert "signed out everywhere" in text(staff.follow(staff.send(path, action="deactivate")))
    assert other.open("/account/").status_code == 303
    page = staff.open(path)
    assert "Nobody can sign in to this account" in text(page)
    assert 'value="password"' not in page.text
    assert staff.send(path, action="password").status_code == 422
    assert "can sign in again" in text(staff.follow(staff.send(path, action="activate")))
    other.sign_in(world, ada)
    assert other.open("/account/").status_code == 200
    assert kinds(world, ada)[:4] == [
        "login.succeeded",
        "account.activated",
        "account.updated",
        "account.deactivated",
    ]
    assert staff.send(path, action="sell").status_code == 422
    assert staff.open(f"{HERE}{'0' * 32}/").status_code == 404
    own = staff.open(f"{HERE}{world.staff.uuid}/")
    assert "your own account" in text(own)
    assert 'value="deactivate"' not in own.text


def test_a_lost_second_factor_is_turned_off_and_its_person_told(
    staff: Browser, world: World
) -> None:
    ada = world.person("ada")
    path = f"{HERE}{ada.uuid}/"
    staff.open(path)
    sent = staff.send(path, action="second_factor")
    assert sent.status_code == 422
    assert "Two-factor authentication is already off." in text(sent)
    with world.database.write() as tx:
        two_factor_actions.begin(tx, ada.actor, world.vault)
    with world.database.write() as tx:
        secret = two_factor_actions.unconfirmed(tx, ada.actor, world.vault, "here")
        assert secret
        code = TOTP(secret.text).at(tx.now)
        two_factor_actions.confirm(tx, ada.actor, world.vault, code)
    assert "Two-factor authentication on" in text(staff.open(path))
    assert "They are notified by e-mail" in text(
        staff.follow(staff.send(path, action="second_factor"))
    )
    with world.database.read() as tx:
        assert not two_factor_queries.is_on(tx, ada.id)
    assert owed(world.database, "second_factor_reset") == ["ada@example.org"]
    with world.database.write() as tx:
        (row,) = (
            one for one in outbox_queries.claim(tx, 10, 60) if one.kind == "second_factor_reset"
        )
        body = mails.render(tx, world.settings, world.vault, row).get_body(("plain",))
    assert body
    assert (
        'Two-factor authentication was turned off for the account "ada" on Collegium.'
        in body.get_content()
    )
    assert "/account/second_factor/" in body.get_content()
    assert kinds(world, ada)[0] == "second_factor.disabled"


def test_a_link_to_set_a_password_is_sent(staff: Browser, world: World) -> None:
    ada = world.person("ada")
    path = f"{HERE}{ada.uuid}/"
    staff.open(path)
    assert "A link to set a password is being sent to ada@example.org" in text(
        staff.follow(staff.send(path, action="password"))
    )
    assert owed(world.database, "password_reset") == ["ada@example.org"]
    assert kinds(world, ada)[0] == "account.password_reset_asked"
    bob = world.person("bob", registration_method="saml2")
    page = staff.open(f"{HERE}{bob.uuid}/")
    assert 'value="password"' not in page.text
    assert "saml2" in page.text
    sent = staff.send(f"{HERE}{bob.uuid}/", action="password")
    assert sent.status_code == 422
    assert "has no password here" in text(sent)
    assert owed(world.database, "password_reset") == ["ada@example.org"]


def test_an_account_is_made(staff: Browser, world: World) -> None:
    path = f"{HERE}new/"
    assert "checked" in staff.open(path).text
    good = {
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
        sent = staff.send(path, **good | wrong)
        assert sent.status_code == 422, wrong
        assert f'href="#{next(iter(wrong))}"' in sent.text, wrong
    page = staff.follow(staff.send(path, **good, send="yes"))
    assert "The account of Grace Hopper is created" in text(page)
    assert "It can read everything" in text(page)
    assert owed(world.database, "password_reset") == ["grace@example.org"]
    staff.open(path)
    plain = good | {"username": "plain", "email": "plain@example.org", "kind": ""}
    assert "is created" in text(staff.follow(staff.send(path, **plain)))
    assert len(owed(world.database, "password_reset")) == 1
    with world.database.read() as tx:
        row = account_queries.by_username(tx, "plain")
        wanted = {"kinds": ["account.created"]}
        (made, *_) = event_queries.listing.page(tx, world.staff.actor, wanted, (), 2, 0)
    assert row is not None
    assert (row.is_staff, row.is_support, row.organization) == (False, False, "Navy")
    assert (made.actor_username, made.account_username) == ("staff", "plain")


def test_the_deeds_themselves_are_staffs_alone(scene: Scene) -> None:
    world, member = scene.world, scene.people["member"]
    with world.database.write() as tx:
        two_factor_actions.begin(tx, member.actor, world.vault)
        two_factor_queries.confirm(tx, member.id)
    for name, refusal in (
        ("outsider", NotFound),
        ("owner", Forbidden),
        ("member", Forbidden),
        ("support", Forbidden),
        ("staff", None),
    ):
        actor = scene.people[name].actor
        for action in (password_actions.send, two_factor_actions.reset):
            with world.database.write() as tx:
                if refusal is None:
                    action(tx, actor, member.uuid)
                else:
                    with pytest.raises(refusal):
                        action(tx, actor, member.uuid)
    for kind in ("password_reset", "second_factor_reset"):
        assert owed(world.database, kind) == ["member@example.org"]
