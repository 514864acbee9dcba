"""What people come for, done with a mouse and a keyboard, and no JavaScript at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyotp.totp import TOTP

from tests.browser.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.conftest import House


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/sign_in/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def shows(page: Page, *texts: str) -> None:
    seen = page.inner_text("main")
    for text in texts:
        assert text in seen, f"{text!r} is not in: {seen}"


def test_from_the_mail_to_the_membership(house: House, visit: Callable[..., Page]) -> None:
    owner = house.person("walk-owner", "Olga", "Owner")
    place = house.world.project(
        house.world.organisation("Institute of Tides", owner=owner), "Tide Table"
    )
    house.world.invite(
        owner, "ines@example.org", "PROJECT.MEMBER", place, extra_text="We need you here."
    )
    page = visit(house.base)
    page.goto(house.link("ines@example.org", "invitation"))
    shows(page, "Olga Owner invites you to the project Tide Table of Institute", "We need you")
    page.get_by_label("First name").fill("Ines")
    page.get_by_label("Last name").fill("Invited")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_label("I agree").check()
    page.get_by_role("button", name="Make the account and accept").click()
    shows(page, "Welcome! You are now Project member", "Tide Table", "Olga Owner")
    assert page.url == f"{house.base}/account/"
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "ines")
    shows(page, "What I belong to", "Tide Table")


def test_from_the_request_to_the_inbox_to_the_role(
    house: House, visit: Callable[..., Page]
) -> None:
    lead = house.person("walk-lead", "Lena", "Lead")
    asker = house.person("walk-asker", "Aron", "Asker")
    number = house.group(lead, "Night Watch")
    page = visit(house.base)
    page.goto(f"/group/{number}/")
    page.get_by_label("User name").fill("walk-asker")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    shows(page, "Night Watch", "the owners and managers of the group decide")
    page.get_by_label("A word with it").fill("I keep the lamp.")
    page.get_by_role("button", name="Ask to be let in").click()
    shows(page, "You have asked.", "I keep the lamp.")

    inbox = visit(house.base)
    sign_in(inbox, "walk-lead")
    inbox.get_by_role("link", name="Requests").click()
    shows(inbox, "Aron Asker", "I keep the lamp.", "group Night Watch")
    inbox.get_by_label("Choose Aron Asker").check()
    inbox.get_by_label("Comment").fill("Welcome aboard.")
    inbox.get_by_role("button", name="Approve").click()
    shows(inbox, "Approved; they are in.")
    inbox.get_by_role("link", name="Back to the requests").click()
    shows(inbox, "Nobody waits for you.")

    page.goto("/account/")
    shows(page, "Night Watch", "Group member", "Lena Lead", "Welcome aboard.")
    assert asker.email


def test_another_address(house: House, visit: Callable[..., Page]) -> None:
    house.person("walk-mover", "Mona", "Mover")
    page = visit(house.base)
    sign_in(page, "walk-mover")
    page.get_by_role("link", name="E-mail address").click()
    page.get_by_label("New address").fill("mona.new@example.org")
    page.get_by_role("button", name="Send the link").click()
    shows(page, "A mail with a link is on its way to mona.new@example.org")
    page.goto(house.link("mona.new@example.org", "user_email_change"))
    page.get_by_role("button", name="Confirm the address").click()
    shows(page, "Your address is confirmed")
    page.goto("/account/address/")
    shows(page, "Your address is mona.new@example.org")


def test_a_second_factor(house: House, visit: Callable[..., Page]) -> None:
    house.person("walk-safe", "Sara", "Safe")
    page = visit(house.base)
    sign_in(page, "walk-safe")
    page.get_by_role("link", name="Second factor").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Set it up").click()
    authenticator = TOTP(page.inner_text(".secret"))
    page.get_by_label("The six digits").fill(authenticator.now())
    page.get_by_role("button", name="Turn it on").click()
    shows(page, "The second factor is on")
    codes = page.locator(".codes li").all_inner_texts()
    assert len(codes) == 10
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "walk-safe")
    shows(page, "One more step")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign in").click()
    shows(page, "This code is wrong")
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    shows(page, "What I belong to")
    page.get_by_role("link", name="Second factor").click()
    shows(page, "You have 9 unused recovery codes")


def test_a_forgotten_password(house: House, visit: Callable[..., Page]) -> None:
    lost = house.person("walk-lost", "Lars", "Lost")
    page = visit(house.base)
    page.goto("/sign_in/")
    page.get_by_role("link", name=re.compile("forgotten")).click()
    page.get_by_label("E-mail address").fill(lost.email)
    page.get_by_role("button", name="Send the link").click()
    shows(page, "Look into your mail")
    page.goto(house.link(lost.email, "password_reset"))
    page.get_by_label("New password").fill("another tide comes in")
    page.get_by_label("Once more").fill("another tide comes in")
    page.get_by_role("button", name="Set the password").click()
    shows(page, "Your new password is set")
    sign_in(page, "walk-lost", "another tide comes in")
    shows(page, "What I belong to")


def test_letting_a_program_in(house: House, visit: Callable[..., Page]) -> None:
    house.person("walk-prog", "Pia", "Programmer")
    waiting = house.device("a lamp script")
    page = visit(house.base)
    page.goto(f"/account/authorize/?session={waiting.uuid}")
    page.get_by_label("User name").fill("walk-prog")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    shows(page, "Let this program in?", "a lamp script", "walk-prog")
    page.get_by_role("button", name="Let it in").click()
    shows(page, "The program is in")
    assert house.fetch(waiting)
    other = house.device("a second script")
    page.goto("/account/authorize/")
    page.get_by_label("Code").fill(other.user_code.lower())
    page.get_by_role("button", name="Go on").click()
    shows(page, "a second script")
    page.get_by_role("button", name="Turn it away").click()
    shows(page, "turned away")
    assert not house.fetch(other)
    page.goto("/account/tokens/")
    shows(page, "a lamp script")
