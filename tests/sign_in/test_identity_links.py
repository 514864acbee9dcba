"""Link an account to a provider by an e-mail to its address, which only this browser can use."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.refusals import NotFound
from collegium.sign_in import credentials
from collegium.sign_in.identities import mail_links
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.tokens import actions as token_actions
from tests.sign_in.identity_scene import (
    account,
    change_provider,
    counts,
    enable_second_factor,
    kinds,
    link,
    person,
)
from tests.sign_in.test_confirmation import hidden_fields
from tests.sign_in.test_provider_pages import HTML, INIT, back, is_signed_in, sign_in, visitor
from tests.support.browser import Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.openid.hostile import HostileProvider
from tests.support.site import Site
from tests.support.world import Person, World

__all__ = ["visitor"]

REQUEST = "/sign_in/link/"
KEYS = "/account/keys/"


@pytest.fixture
def other(site_with: Callable[..., Site], hostile: HostileProvider) -> Browser:
    return Browser(site_with(outgoing_internal_hosts=hostile.host))


def ask_for_mail(browser: Browser, hostile: HostileProvider) -> httpx.Response:
    """Sign in with an account that is not linked, and press the button on the page that says so."""
    browser.page = sign_in(browser, hostile, f"{INIT}?next={KEYS}")
    return browser.send(REQUEST, offer=hidden_fields(browser.page)["offer"])


def mailed_path(world: World) -> str:
    (mail,) = sent_mails(world, "identity_link_request")
    found = re.search(r"http://[^/]+(/identity_link/\S+/)", mail_text(mail))
    assert found, mail_text(mail)
    return found[1]


def go_on(browser: Browser, hostile: HostileProvider, page: httpx.Response) -> httpx.Response:
    """Follow the page that leads to the provider, and come back."""
    url = page.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    return browser.call("GET", back(hostile.authorize(url)), **HTML)


@pytest.mark.parametrize("is_verified", [True, False])
def test_mailbox_and_browser_together_link_the_account(
    visitor: Browser, other: Browser, hostile: HostileProvider, world: World, *, is_verified: bool
) -> None:
    hostile.person["email_verified"] = is_verified
    ada = world.person("ada")
    assert "an e-mail is on its way" in text(ask_for_mail(visitor, hostile))
    path = mailed_path(world)
    # The owner of the mailbox, in a browser of their own, lets nobody in.
    opened = other.open(path)
    other.open("/sign_in/")
    for page in (opened, other.send(path)):
        assert (page.status_code, "in the other browser" in text(page)) == (409, True)
    assert counts(world) == (2, 0)
    page = visitor.open(path)
    assert "sign in to the account ada with" in text(page)
    assert counts(world) == (2, 0)
    # Pressed twice, the button leads to the provider both times.
    number = visitor.submission
    assert visitor.send(path, submission=number).status_code == 200
    visitor.page = page
    returned = go_on(visitor, hostile, visitor.send(path, submission=number))
    assert returned.headers["location"] == KEYS
    assert "( ada )" in text(visitor.open("/account/"))
    assert kinds(world)[-3:] == ["identity.link_requested", "identity.linked", "login.succeeded"]
    assert [mail["To"] for mail in sent_mails(world, "identity_changed")] == [ada.actor.email]
    # A second use changes nothing, and afterwards one click is enough.
    visitor.open("/account/")
    visitor.send(path)
    assert counts(world) == (2, 1)
    assert sign_in(other, hostile).status_code == 303


def nobody(_world: World) -> None:
    """Leave the address without an account."""


def deactivated(world: World) -> None:
    world.person("ada", is_active=False)


def two_accounts(world: World) -> None:
    for name in ("ada", "ada2"):
        world.person(name, email="ada@example.org")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("make", [nobody, deactivated, two_accounts])
def test_nobody_learns_whether_an_address_has_an_account(
    visitor: Browser, hostile: HostileProvider, world: World, make: Callable[[World], Any]
) -> None:
    hostile.person["email_verified"] = False
    make(world)
    refused = text(sign_in(visitor, hostile))
    assert "You have no linked account yet" in refused
    page = text(ask_for_mail(visitor, hostile))
    assert sent_mails(world) == []
    if make is nobody:
        world.person("ada")
        assert (text(sign_in(visitor, hostile)), text(ask_for_mail(visitor, hostile))) == (
            refused,
            page,
        )


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("right", ["is_staff", "is_support", "is_identity_manager", "factor"])
def test_mailbox_opens_no_account_with_rights(
    visitor: Browser, hostile: HostileProvider, world: World, right: str
) -> None:
    ada = world.person("ada", **({right: True} if right != "factor" else {}))
    if right == "factor":
        enable_second_factor(world, ada)
    ask_for_mail(visitor, hostile)
    (mail,) = sent_mails(world, "identity_link_request")
    assert "/account/sign_in_methods/" in mail_text(mail)
    assert "/identity_link/" not in mail_text(mail)


def later(world: World, ada: Person) -> None:
    """Do nothing: an hour passes."""


def sign_out_everywhere(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        credentials.revoke_everything(tx, ada.id)


def become_staff(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        account_actions.update(
            tx,
            world.staff.actor,
            world.settings,
            ada.uuid,
            {"is_staff": True},
            agrees_to_policy=False,
        )


def enable_factor(world: World, ada: Person) -> None:
    enable_second_factor(world, ada)


def replace_provider(world: World, _ada: Person) -> None:
    change_provider(world, "hostile", client_id="another")


def stop_provider(world: World, _ada: Person) -> None:
    change_provider(world, "hostile", is_active=False)


CHANGES = [later, sign_out_everywhere, become_staff, enable_factor, replace_provider, stop_provider]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("change", CHANGES)
def test_link_is_void_when_what_it_rests_on_has_changed(
    visitor: Browser,
    hostile: HostileProvider,
    world: World,
    change: Callable[[World, Person], None],
) -> None:
    ada = world.person("ada")
    ask_for_mail(visitor, hostile)
    path = mailed_path(world)
    assert visitor.open(path).status_code == 200
    change(world, ada)
    if change is later:
        now = datetime.now(UTC) + mail_links.LIFETIME + timedelta(minutes=1)
        with world.database.write(now) as tx, pytest.raises(NotFound):
            mail_links.read_link(tx, world.vault, path.split("/")[2])
        return
    page = visitor.send(path)
    assert (page.status_code, "no longer valid" in text(page)) == (410, True)
    assert visitor.open(path).status_code == 410
    assert counts(world) == (2, 0)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("case", ["taken", "mismatch"])
def test_identity_has_one_account_and_such_an_account_one_identity(
    visitor: Browser, hostile: HostileProvider, world: World, case: str
) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    ask_for_mail(visitor, hostile)
    path = mailed_path(world)
    with world.database.read() as tx:
        provider = provider_queries.by_name(tx, "hostile")
    assert provider is not None
    subject = hostile.person["sub"]
    if case == "taken":
        link(world, bob.actor, provider, person(subject, hostile.issuer))
    else:
        link(world, ada.actor, provider, person("another", hostile.issuer))
    visitor.open(path)
    page = visitor.send(path, options=HTML)
    said = {"taken": "another account on this service", "mismatch": "belongs to another person"}
    assert (page.status_code, said[case] in text(page)) == (409, True), text(page)
    assert counts(world) == (3, 1)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_offer_is_for_its_browser_alone(
    visitor: Browser, other: Browser, hostile: HostileProvider, world: World
) -> None:
    world.person("ada")
    page = sign_in(visitor, hostile)
    for offer in (hidden_fields(page)["offer"], "", "x"):
        other.open("/sign_in/")
        assert other.send(REQUEST, offer=offer).status_code == 410
    for path in ("/identity_link/x/", f"/identity_link/{world.vault.sign('invitation', 'x')}/"):
        assert other.open(path).status_code == 410
        other.open("/sign_in/")
        assert other.send(path).status_code == 410
    assert sent_mails(world) == []
    assert not is_signed_in(other)
    # A program gets no form.
    assert (
        "offer"
        not in visitor.call(
            "GET", back(hostile.authorize(visitor.call("GET", INIT).headers["location"]))
        ).text
    )


@pytest.mark.parametrize(
    ("is_verified", "is_trusted"), [(True, True), (True, False), (False, True)]
)
def test_new_person_confirms_the_address_that_the_provider_does_not_prove(
    visitor: Browser,
    other: Browser,
    hostile: HostileProvider,
    world: World,
    *,
    is_verified: bool,
    is_trusted: bool,
) -> None:
    hostile.person["email_verified"] = is_verified
    domains = ["example.org"] if is_trusted else []
    change_provider(world, "hostile", registration="open", trusted_domains=domains)
    page = visitor.follow(sign_in(visitor, hostile))
    number = counts(world)[0]
    mails = sent_mails(world, "change_email_request")
    if is_verified and is_trusted:
        assert (mails, account(world, number).email) == ([], "ada@example.org")
        return
    assert "open the link in the e-mail to ada@example.org" in text(page).replace(
        "\u2068", ""
    ).replace("\u2069", "")
    assert account(world, number).email == ""
    (mail,) = mails
    assert mail["To"] == "ada@example.org"
    found = re.search(r"(/user_email_change/\S+/)", mail_text(mail))
    assert found
    # Another person may read the mailbox, without an account here.
    opened = other.open(found[1])
    assert "Sign in to confirm" in text(opened)
    other.open("/sign_in/?choose=1")
    assert other.send(found[1]).headers["location"] == f"/sign_in/?next={found[1]}"
    assert account(world, number).email == ""
    # The service may demand two factors before the person can open the link.
    assert "no e-mail address yet" in text(visitor.open("/account/address/"))
    with world.database.read() as tx:
        person = account_queries.existing(tx, number)
    enable_second_factor(world, Person(token_actions.actor_of(person), ""))
    visitor.sign_in(world, Person(token_actions.actor_of(person), ""))
    visitor.open(found[1])
    visitor.send(found[1])
    assert account(world, number).email == "ada@example.org"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_address_that_got_too_many_mails_prevents_no_account(
    visitor: Browser, hostile: HostileProvider, world: World, site_with: Callable[..., Site]
) -> None:
    hostile.person["email_verified"] = False
    change_provider(world, "hostile", registration="open")
    site = site_with(outgoing_internal_hosts=hostile.host, recipient_mail_limit="2")
    for number in range(3):
        hostile.person["sub"] = f"ada-{number}"
        assert sign_in(Browser(site), hostile).status_code == 303
    assert counts(world) == (4, 3)
    assert len(sent_mails(world, "change_email_request")) == 2
