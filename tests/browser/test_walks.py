"""What people come for, done with mouse and keyboard; each with JavaScript and without."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from pyotp.totp import TOTP

from tests.browser.conftest import PASSWORD, House
from tests.support.world import Person

ROOT = Path(__file__).parents[2]


class Walk:
    """Somebody's way through the pages, by names that no other walk has."""

    def __init__(self, house: House, visit: Callable[..., Page], *, scripts: bool) -> None:
        self.house = house
        self.mark = "with" if scripts else "without"
        self._browser = visit
        self._scripts = scripts

    def page(self) -> Page:
        return self._browser(self.house.base, scripts=self._scripts)

    def name(self, name: str) -> str:
        return f"{name}-{self.mark}"

    def person(self, name: str, first: str, last: str) -> Person:
        return self.house.person(self.name(name), first, last)


@pytest.fixture(params=[False, True], ids=["without-scripts", "with-scripts"])
def walk(request: pytest.FixtureRequest, house: House, visit: Callable[..., Page]) -> Walk:
    return Walk(house, visit, scripts=request.param)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/sign_in/")
    fill_in(page, name, password)


def fill_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def shows(page: Page, *texts: str) -> None:
    seen = page.inner_text("main")
    for text in texts:
        assert text in seen, f"{text!r} is not in: {seen}"


def test_from_the_mail_to_the_membership(walk: Walk) -> None:
    house, name = walk.house, walk.name("ines")
    owner = walk.person("mail-owner", "Olga", "Owner")
    place = house.world.project(
        house.world.organisation("Institute of Tides", owner=owner), "Tide Table"
    )
    invited = f"{name}@example.org"
    house.world.invite(owner, invited, "PROJECT.MEMBER", place, extra_text="We need you here.")
    page = walk.page()
    page.goto(house.link(invited, "invitation"))
    shows(page, "Olga Owner invites you to join the project Tide Table of Institute", "We need you")
    page.get_by_label("First name").fill("Ines")
    page.get_by_label("Last name").fill("Invited")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat password").fill(PASSWORD)
    page.get_by_label("I agree").check()
    page.get_by_role("button", name="Create account and accept").click()
    shows(page, "Welcome! You are now Project member", "Tide Table", "Olga Owner")
    assert page.url == f"{house.base}/account/"
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, name)
    shows(page, "My memberships", "Tide Table")


def test_from_the_mail_to_no_thank_you(walk: Walk) -> None:
    house = walk.house
    owner = walk.person("nay-owner", "Olga", "Owner")
    place = house.world.project(
        house.world.organisation("Institute of Tides", owner=owner), walk.name("Tide Table")
    )
    nay, ann = f"{walk.name('nay')}@example.org", walk.person("ann", "Ann", "Able")
    for address in (nay, ann.email):
        house.world.invite(owner, address, "PROJECT.MEMBER", place)
    page = walk.page()
    link = house.link(nay, "invitation")
    page.goto(link)
    shows(page, "Olga Owner invites you", "You can close this page")
    page.get_by_role("button", name="Decline invitation").click()
    assert page.url == link
    shows(page, "You have declined the invitation to", "This invitation was declined")
    page.goto(link)
    shows(page, "This invitation was declined", "ask the inviter for a new")
    assert not page.get_by_role("button").count()
    house.pay()
    assert f"{nay} has declined your invitation" in " ".join(house.mails(owner.email)[-1].split())

    page = walk.page()
    sign_in(page, walk.name("ann"))
    shows(page, "My invitations", place.name)
    page.get_by_role("button", name=f"Decline the invitation to {place.name}").click()
    shows(
        page,
        "You have declined the invitation to",
        "You are not a member of an organisation, project or group yet",
    )
    assert "My invitations" not in page.inner_text("main")

    page = walk.page()
    sign_in(page, walk.name("nay-owner"))
    page.goto(f"/project/{place.uuid}/invitations/?state=rejected")
    shows(page, nay, ann.email, "declined")
    assert not page.get_by_role("button", name="Send again").count()
    page.get_by_role("link", name="Audit log").click()
    shows(
        page, f"Ann Able declined the invitation for {ann.email}.", f"The invitation for {nay} was"
    )


def test_from_the_request_to_the_inbox_to_the_role(walk: Walk) -> None:
    lead = walk.person("lead", "Lena", "Lead")
    walk.person("asker", "Aron", "Asker")
    title = walk.name("Watch")
    number = walk.house.group(lead, title)
    page = walk.page()
    page.goto(f"/group/{number}/")
    fill_in(page, walk.name("asker"))
    shows(page, title, "the owners and managers of the group decide")
    page.get_by_label("Message").fill("I keep the lamp.")
    page.get_by_role("button", name="Ask to join").click()
    shows(page, "Your request was sent.", "I keep the lamp.")

    inbox = walk.page()
    sign_in(inbox, walk.name("lead"))
    inbox.get_by_role("link", name="Join requests").click()
    shows(inbox, "Aron Asker", "I keep the lamp.", f"group {title}")
    inbox.get_by_label("Select Aron Asker").check()
    inbox.get_by_label("Comment").fill("Welcome aboard.")
    inbox.get_by_role("button", name="Approve").click()
    shows(inbox, "Approved.")
    inbox.get_by_role("link", name="Back to join requests").click()
    shows(inbox, "No pending join requests.")

    page.goto("/account/")
    shows(page, title, "Group member", "Lena Lead", "Welcome aboard.")


def test_a_list_with_one_bad_row(walk: Walk) -> None:
    house = walk.house
    owner = walk.person("list-owner", "Olga", "Owner")
    place = house.world.project(
        house.world.organisation("Institute of Tides", owner=owner), walk.name("Tide Table")
    )
    good = [f"{walk.name(name)}@example.org" for name in ("nora", "nils")]
    page = walk.page()
    sign_in(page, walk.name("list-owner"))
    page.get_by_role("link", name="Organisations and groups").click()
    page.get_by_role("link", name=place.name).click()
    page.get_by_role("link", name="Invite people").click()
    page.get_by_label("E-mail addresses").fill(
        f"{good[0]}\nno address at all\nNils Nimble\t{good[1]}"
    )
    page.get_by_role("button", name="Check list").click()
    shows(page, "2 people can be invited", "1 cannot", "This line contains no e-mail address")
    house.pay()
    assert house.mails(good[0]) == []
    page.get_by_role("button", name="Invite 2 people").click()
    shows(page, "2 people invited", "1 could not", "The invitation is being sent.")
    house.pay()
    assert all(len(house.mails(one)) == 1 for one in good)
    page.get_by_role("button", name="Correct the others").click()
    assert page.get_by_label("E-mail addresses").input_value() == "no address at all"
    page.get_by_role("link", name="Invitations").click()
    shows(page, *good, "pending", "sent", "Nils Nimble")


def test_another_address(walk: Walk) -> None:
    walk.person("mover", "Mona", "Mover")
    address = f"{walk.name('mona')}@example.org"
    page = walk.page()
    sign_in(page, walk.name("mover"))
    page.get_by_role("link", name="E-mail address").click()
    page.get_by_label("New e-mail address").fill(address)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Send link").click()
    shows(page, f"We are sending a link to {address}")
    page.goto(walk.house.link(address, "user_email_change"))
    page.get_by_role("button", name="Confirm address").click()
    shows(page, "Your e-mail address is confirmed")
    page.goto("/account/address/")
    shows(page, f"Your e-mail address is {address}")


def test_a_second_factor(walk: Walk) -> None:
    walk.person("safe", "Sara", "Safe")
    page = walk.page()
    sign_in(page, walk.name("safe"))
    page.get_by_role("link", name="Two-factor authentication").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Set up").click()
    authenticator = TOTP(page.inner_text(".secret"))
    page.get_by_label("Six-digit code").fill(authenticator.now())
    page.get_by_role("button", name="Turn on").click()
    shows(page, "Two-factor authentication is on")
    codes = page.locator(".codes li").all_inner_texts()
    assert len(codes) == 10
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, walk.name("safe"))
    shows(page, "Enter the six-digit code")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign in").click()
    shows(page, "This code is wrong")
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    shows(page, "My memberships")
    page.get_by_role("link", name="Two-factor authentication").click()
    shows(page, "You have 9 unused recovery codes")


def test_a_forgotten_password(walk: Walk) -> None:
    lost = walk.person("lost", "Lars", "Lost")
    page = walk.page()
    page.goto("/sign_in/")
    page.get_by_role("link", name=re.compile("forgot")).click()
    page.get_by_label("E-mail address").fill(lost.email)
    page.get_by_role("button", name="Send link").click()
    shows(page, "Check your e-mail")
    page.goto(walk.house.link(lost.email, "password_reset"))
    page.get_by_label("New password").fill("another tide comes in")
    page.get_by_label("Repeat password").fill("another tide comes in")
    page.get_by_role("button", name="Set password").click()
    shows(page, "Your new password is set")
    sign_in(page, walk.name("lost"), "another tide comes in")
    shows(page, "My memberships")


def test_letting_a_program_in(walk: Walk) -> None:
    house = walk.house
    walk.person("prog", "Pia", "Programmer")
    waiting = house.device("a lamp script")
    page = walk.page()
    page.goto(f"/account/authorize/?session={waiting.uuid}")
    fill_in(page, walk.name("prog"))
    shows(page, "Approve this program?", "a lamp script", walk.name("prog"))
    page.get_by_role("button", name="Approve").click()
    shows(page, "The program is approved")
    assert house.fetch(waiting)
    other = house.device("a second script")
    page.goto("/account/authorize/")
    page.get_by_label("Code").fill(other.user_code.lower())
    page.get_by_role("button", name="Continue").click()
    shows(page, "a second script")
    page.get_by_role("button", name="Deny").click()
    shows(page, "The program was denied")
    assert not house.fetch(other)
    page.goto("/account/tokens/")
    shows(page, "a lamp script")


def test_staff_make_an_account(walk: Walk) -> None:
    house, new = walk.house, walk.name("walk-new")
    house.person(walk.name("walk-staff"), "Sven", "Staff", is_staff=True)
    page = walk.page()
    sign_in(page, walk.name("walk-staff"))
    page.get_by_role("link", name="Staff", exact=True).click()
    shows(page, "Health", "The last 30 days")
    page.get_by_role("link", name="Accounts", exact=True).click()
    page.get_by_role("link", name="Create account").click()
    page.get_by_label("User name").fill(new)
    page.get_by_label("E-mail address").fill(f"{new}@example.org")
    page.get_by_label("First name").fill("Nils")
    page.get_by_label("Last name").fill("New")
    page.get_by_role("button", name="Create account").click()
    shows(page, "The account of Nils New is created", "This account has no roles at the moment")
    other = walk.page()
    other.goto(house.link(f"{new}@example.org", "password_reset"))
    for label in ("New password", "Repeat password"):
        other.get_by_label(label).fill("another tide comes in")
    other.get_by_role("button", name="Set password").click()
    sign_in(other, new, "another tide comes in")
    shows(other, "You are not a member of an organisation, project or group yet")
    page.get_by_role("button", name="Deactivate").click()
    shows(page, "deactivated and signed out everywhere")
    other.goto("/account/")
    assert "/sign_in/" in other.url


@contextmanager
def client(base: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Client 2.0.0, which tells where to let it in, waits, and then says who it is."""
    interpreter = ROOT / ".venv-brainstem-2.0.0" / "bin" / "python"
    assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
    story = ROOT / "tests" / "clients" / "stories" / "brainstem" / "letting_in.py"
    with subprocess.Popen(
        [interpreter, "-u", story, base],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # It keeps its token at home.
        env={**os.environ, "HOME": str(home)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: Any, pattern: str) -> tuple[str, ...]:
    """Read on until a program says something; give the parts of that."""
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(pattern, line):
            return found.groups()
    raise AssertionError(f"{pattern} was not said: {''.join(said)}")


def test_letting_the_client_in(walk: Walk, tmp_path: Path) -> None:
    person = walk.person("lab", "Lea", "Lamp")
    page = walk.page()
    with client(walk.house.base, tmp_path) as process:
        where, code = heard(process, r"Open (\S+) and enter: (\S+)")
        page.goto(where)
        fill_in(page, walk.name("lab"))
        page.get_by_label("Code").fill(code)
        page.get_by_role("button", name="Continue").click()
        shows(page, "Approve this program?", walk.name("lab"))
        page.get_by_role("button", name="Approve").click()
        shows(page, "The program is approved")
        assert heard(process, r"I am (\S+)") == (person.email,)


class Keys:
    """Hands that have a keyboard, and nothing else."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def to(self, name: str) -> None:
        """Go on with Tab until something of this name has the focus."""
        seen = []
        for _ in range(60):
            self.page.keyboard.press("Tab")
            focused = self.page.locator(":focus")
            if focused.count():
                seen.append(focused.aria_snapshot())
                if name in seen[-1]:
                    return
        raise AssertionError(f"{name} is not reached: {seen}")

    def press(self, name: str) -> None:
        self.to(name)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def write(self, name: str, text: str) -> None:
        self.to(name)
        self.page.keyboard.type(text)


def test_a_keyboard_is_enough_to_run_a_team(walk: Walk) -> None:
    house = walk.house
    owner = walk.person("keys", "Kim", "Keys")
    place = house.world.project(
        house.world.organisation("Institute of Tides", owner=owner), walk.name("Lamp Room")
    )
    asker = walk.person("keys-asker", "Abel", "Asker")
    house.world.ask(asker, house.world.open(owner, "PROJECT.MEMBER", place))
    page = walk.page()
    keys = Keys(page)
    page.goto("/sign_in/")
    keys.write("User name", walk.name("keys"))
    keys.write("Password", PASSWORD)
    keys.press("Sign in")
    shows(page, "My memberships")
    keys.press("Join requests")
    keys.to("Select Abel Asker")
    page.keyboard.press("Space")
    keys.write("Comment", "Come in.")
    keys.press("Approve")
    shows(page, "Approved.")
    keys.press("Organisations and groups")
    keys.press(place.name)
    shows(page, "Abel Asker")
    keys.press("Edit the role of Abel Asker")
    keys.to("Role")
    page.keyboard.press("ArrowDown")
    keys.press("Change role")
    shows(page, "Abel Asker is now Project manager.")
    keys.press("Invite people")
    keys.write("E-mail addresses", f"{walk.name('nele')}@example.org")
    keys.press("Check list")
    keys.press("Invite 1 person")
    shows(page, "1 person invited")
    keys.press("Sign out")
    assert page.get_by_role("link", name="Sign in").count()
