"""The main tasks with mouse and keyboard."""

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

from tests.browser.conftest import PASSWORD, LiveService
from tests.support.world import Person, Place

ROOT = Path(__file__).parents[2]


class Visitor:
    """Opens pages without JavaScript. With it they are the same: their policy allows no script."""

    def __init__(self, live: LiveService, open_window: Callable[..., Page]) -> None:
        self.live = live
        self._browser = open_window

    def page(self) -> Page:
        return self._browser(self.live.base)

    def person(self, name: str, first: str, last: str) -> Person:
        return self.live.person(name, first, last)

    def project(self, owner: Person, name: str) -> Place:
        world = self.live.world
        return world.project(world.organisation("Institute of Tides", owner=owner), name)


@pytest.fixture
def visitor(live: LiveService, open_window: Callable[..., Page]) -> Visitor:
    return Visitor(live, open_window)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/sign_in/")
    fill_in(page, name, password)


def fill_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def expect(page: Page, *texts: str) -> None:
    content = page.inner_text("main")
    for text in texts:
        assert text in content, f"{text!r} is not in: {content}"


def test_invitee_signs_up_and_becomes_a_member(visitor: Visitor) -> None:
    live, name = visitor.live, "ines"
    owner = visitor.person("mail-owner", "Olga", "Owner")
    project = visitor.project(owner, "Tide Table")
    invited = f"{name}@example.org"
    live.world.invite(owner, invited, "PROJECT.MEMBER", project, extra_text="We need you here.")
    page = visitor.page()
    page.goto(live.link(invited, "invitation"))
    expect(
        page, "Olga Owner invites you to join the project Tide Table of Institute", "We need you"
    )
    page.get_by_label("First name").fill("Ines")
    page.get_by_label("Last name").fill("Invited")
    page.get_by_label("The link was sent to my own address").check()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat password").fill(PASSWORD)
    page.get_by_label("I agree").check()
    page.get_by_role("button", name="Create account and accept").click()
    expect(page, "Welcome! You are now Project member", "Tide Table", "Olga Owner")
    assert page.url == f"{live.base}/account/"
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, name)
    expect(page, "Waiting for you", "Tide Table")


def test_invitee_declines(visitor: Visitor) -> None:
    live = visitor.live
    owner = visitor.person("nay-owner", "Olga", "Owner")
    project = visitor.project(owner, "Tide Table")
    nay, ann = "nay@example.org", visitor.person("ann", "Ann", "Able")
    for address in (nay, ann.email):
        live.world.invite(owner, address, "PROJECT.MEMBER", project)
    page = visitor.page()
    link = live.link(nay, "invitation")
    page.goto(link)
    expect(page, "Olga Owner invites you", "You can close this page")
    page.get_by_role("button", name="Decline invitation").click()
    assert page.url == link
    expect(page, "You have declined the invitation to", "This invitation was declined")
    page.goto(link)
    expect(page, "This invitation was declined", "ask the inviter for a new")
    assert not page.get_by_role("button").count()
    live.send_mails()
    assert f"{nay} has declined your invitation" in " ".join(live.mails(owner.email)[-1].split())

    page = visitor.page()
    sign_in(page, "ann")
    expect(page, "Waiting for you", project.name)
    page.get_by_role("button", name=f"Decline the invitation to {project.name}").click()
    expect(page, "You have declined the invitation to", "You are not a member of an organisation")
    assert "My invitations" not in page.inner_text("main")

    page = visitor.page()
    sign_in(page, "nay-owner")
    page.goto(f"/project/{project.uuid}/invitations/?state=rejected")
    expect(page, nay, ann.email, "declined")
    assert not page.get_by_role("button", name="Send again").count()
    page.get_by_role("link", name="Audit log").click()
    expect(page, f"Ann Able declined the invitation for {ann.email}.")
    expect(page, f"The invitation for {nay} was")


def test_join_request_is_approved(visitor: Visitor) -> None:
    lead = visitor.person("lead", "Lena", "Lead")
    visitor.person("asker", "Aron", "Asker")
    title = "Watch"
    number = visitor.live.group(lead, title)
    page = visitor.page()
    page.goto(f"/group/{number}/")
    fill_in(page, "asker")
    expect(page, title, "the owners and managers of the group decide")
    page.get_by_label("Message").fill("I keep the lamp.")
    page.get_by_role("button", name="Ask to join").click()
    expect(page, "Your request was sent.", "I keep the lamp.")

    inbox = visitor.page()
    sign_in(inbox, "lead")
    inbox.get_by_role("link", name="Join requests", exact=True).click()
    expect(inbox, "Aron Asker", "I keep the lamp.", f"group {title}")
    inbox.get_by_label("Select Aron Asker").check()
    inbox.get_by_label("Comment").fill("Welcome aboard.")
    inbox.get_by_role("button", name="Approve").click()
    expect(inbox, "Approved.")
    inbox.get_by_role("link", name="Back to join requests").click()
    expect(inbox, "No pending join requests.")

    page.goto("/account/")
    expect(page, title, "Group member", "Lena Lead", "Welcome aboard.")


def test_list_of_invitees_with_one_invalid_line(visitor: Visitor) -> None:
    live = visitor.live
    owner = visitor.person("list-owner", "Olga", "Owner")
    project = visitor.project(owner, "Tide Table")
    good = [f"{name}@example.org" for name in ("nora", "nils")]
    page = visitor.page()
    sign_in(page, "list-owner")
    page.get_by_role("link", name="Organisations and groups").click()
    page.get_by_role("link", name=project.name).click()
    page.get_by_role("link", name="Invite people").click()
    addresses = f"{good[0]}\nno address at all\nNils Nimble\t{good[1]}"
    page.get_by_label("E-mail addresses").fill(addresses)
    page.get_by_role("button", name="Check list").click()
    expect(page, "2 people can be invited", "1 cannot", "This line contains no e-mail address")
    live.send_mails()
    assert live.mails(good[0]) == []
    page.get_by_role("button", name="Invite 2 people").click()
    expect(page, "2 people invited", "1 could not", "The invitation is being sent.")
    live.send_mails()
    assert all(len(live.mails(address)) == 1 for address in good)
    page.get_by_role("button", name="Correct the others").click()
    assert page.get_by_label("E-mail addresses").input_value() == "no address at all"
    page.get_by_role("link", name="Invitations").click()
    expect(page, *good, "pending", "sent", "Nils Nimble")


def test_account_changes_its_email_address(visitor: Visitor) -> None:
    visitor.person("mover", "Mona", "Mover")
    address = "mona@example.org"
    page = visitor.page()
    sign_in(page, "mover")
    page.get_by_role("link", name="My account").click()
    page.get_by_role("link", name="Profile").click()
    page.get_by_role("link", name="E-mail address").click()
    page.get_by_label("New e-mail address").fill(address)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Send link").click()
    expect(page, f"We are sending a link to {address}")
    page.goto(visitor.live.link(address, "user_email_change"))
    page.get_by_role("button", name="Confirm address").click()
    expect(page, "Your e-mail address is confirmed")
    page.goto("/account/address/")
    expect(page, f"Your e-mail address is {address}")


def test_two_factor_authentication(visitor: Visitor) -> None:
    visitor.person("safe", "Sara", "Safe")
    page = visitor.page()
    sign_in(page, "safe")
    page.get_by_role("link", name="My account").click()
    page.get_by_role("link", name="Security").click()
    page.get_by_role("link", name="Two-factor authentication").click()
    page.get_by_role("button", name="Set up").click()
    authenticator = TOTP(page.inner_text(".secret"))
    page.get_by_label("Six-digit code").fill(authenticator.now())
    page.get_by_role("button", name="Turn on").click()
    expect(page, "Two-factor authentication is on")
    codes = page.locator(".codes li").all_inner_texts()
    assert len(codes) == 10
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "safe")
    expect(page, "Enter the six-digit code")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page, "This code is wrong")
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="My account").click()
    page.get_by_role("link", name="Security").click()
    page.get_by_role("link", name="Two-factor authentication").click()
    expect(page, "You have 9 unused recovery codes")


def test_forgotten_password_is_reset(visitor: Visitor) -> None:
    lost = visitor.person("lost", "Lars", "Lost")
    page = visitor.page()
    page.goto("/sign_in/")
    page.get_by_role("link", name=re.compile("forgot")).click()
    page.get_by_label("E-mail address").fill(lost.email)
    page.get_by_role("button", name="Send link").click()
    expect(page, "Check your e-mail")
    page.goto(visitor.live.link(lost.email, "password_reset"))
    page.get_by_label("New password").fill("another tide comes in")
    page.get_by_label("Repeat password").fill("another tide comes in")
    page.get_by_role("button", name="Set password").click()
    expect(page, "Your new password is set")
    sign_in(page, "lost", "another tide comes in")
    expect(page, "Waiting for you")


def test_program_is_approved_or_denied(visitor: Visitor) -> None:
    live = visitor.live
    visitor.person("prog", "Pia", "Programmer")
    login = live.device("a lamp script")
    page = visitor.page()
    page.goto(f"/account/authorize/?session={login.uuid}")
    fill_in(page, "prog")
    expect(page, "Approve this program?", "a lamp script", "prog")
    page.get_by_role("button", name="Approve").click()
    expect(page, "The program is approved")
    assert live.fetch(login)
    other = live.device("a second script")
    page.goto("/account/authorize/")
    page.get_by_label("Code").fill(other.user_code.lower())
    page.get_by_role("button", name="Continue").click()
    expect(page, "a second script")
    page.get_by_role("button", name="Deny").click()
    expect(page, "The program was denied")
    assert not live.fetch(other)
    page.goto("/account/tokens/")
    expect(page, "a lamp script")


def test_staff_create_and_deactivate_an_account(visitor: Visitor) -> None:
    live, new = visitor.live, "visitor-new"
    live.person("visitor-staff", "Sven", "Staff", is_staff=True)
    page = visitor.page()
    sign_in(page, "visitor-staff")
    page.get_by_role("link", name="Staff", exact=True).click()
    expect(page, "Health", "The last 30 days")
    page.get_by_role("link", name="Accounts", exact=True).click()
    page.get_by_role("link", name="Create account").click()
    page.get_by_label("User name").fill(new)
    page.get_by_label("E-mail address").fill(f"{new}@example.org")
    page.get_by_label("First name").fill("Nils")
    page.get_by_label("Last name").fill("New")
    page.get_by_role("button", name="Create account").click()
    expect(page, "The account of Nils New is created", "This account has no roles at the moment")
    other = visitor.page()
    other.goto(live.link(f"{new}@example.org", "password_reset"))
    for label in ("New password", "Repeat password"):
        other.get_by_label(label).fill("another tide comes in")
    other.get_by_role("button", name="Set password").click()
    sign_in(other, new, "another tide comes in")
    expect(other, "You are not a member of an organisation, project or group yet")
    page.get_by_role("button", name="Deactivate").click()
    expect(page, "deactivated and signed out everywhere")
    other.goto("/account/")
    assert "/sign_in/" in other.url


@contextmanager
def client(base: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Start client 2.0.0, which prints where to approve it, waits, and prints its account."""
    interpreter = ROOT / ".venv-brainstem-2.0.0" / "bin" / "python"
    assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
    script = ROOT / "tests" / "clients" / "scripts" / "brainstem" / "device_login.py"
    with subprocess.Popen(
        [interpreter, "-u", script, base],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # The client stores its token in the home folder.
        env={**os.environ, "HOME": str(home)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: Any, pattern: str) -> tuple[str, ...]:
    """Read the output until a line matches; return the groups of the match."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if match := re.search(pattern, line):
            return match.groups()
    raise AssertionError(f"{pattern} is not in: {''.join(lines)}")


def test_brainstem_client_signs_in(visitor: Visitor, tmp_path: Path) -> None:
    person = visitor.person("lab", "Lea", "Lamp")
    page = visitor.page()
    with client(visitor.live.base, tmp_path) as process:
        where, code = read_until(process, r"Open (\S+) and enter: (\S+)")
        page.goto(where)
        fill_in(page, "lab")
        page.get_by_label("Code").fill(code)
        page.get_by_role("button", name="Continue").click()
        expect(page, "Approve this program?", "lab")
        page.get_by_role("button", name="Approve").click()
        expect(page, "The program is approved")
        assert read_until(process, r"I am (\S+)") == (person.email,)


class Keys:
    """Uses a page with the keyboard only."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def to(self, name: str) -> None:
        """Press Tab until an element of this name has the focus."""
        names = []
        for _ in range(60):
            self.page.keyboard.press("Tab")
            focused = self.page.locator(":focus")
            if focused.count():
                names.append(focused.aria_snapshot())
                if name in names[-1]:
                    return
        raise AssertionError(f"{name} is not reached: {names}")

    def press(self, name: str) -> None:
        self.to(name)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def write(self, name: str, text: str) -> None:
        self.to(name)
        self.page.keyboard.type(text)


def test_team_is_managed_by_keyboard(visitor: Visitor) -> None:
    live = visitor.live
    owner = visitor.person("keys", "Kim", "Keys")
    project = visitor.project(owner, "Lamp Room")
    asker = visitor.person("keys-asker", "Abel", "Asker")
    live.world.ask(asker, live.world.create_link(owner, "PROJECT.MEMBER", project))
    page = visitor.page()
    keys = Keys(page)
    page.goto("/sign_in/")
    keys.write("User name", "keys")
    keys.write("Password", PASSWORD)
    keys.press("Sign in")
    expect(page, "Waiting for you", "1 person asks to join")
    keys.press("Join requests")
    keys.to("Select Abel Asker")
    page.keyboard.press("Space")
    keys.write("Comment", "Come in.")
    keys.press("Approve")
    expect(page, "Approved.")
    keys.press("Organisations and groups")
    keys.press(project.name)
    expect(page, "Abel Asker")
    keys.press("Edit the role of Abel Asker")
    keys.to("Role")
    page.keyboard.press("ArrowDown")
    keys.press("Change role")
    expect(page, "Abel Asker is now Project manager.")
    keys.press("Invite people")
    keys.write("E-mail addresses", "nele@example.org")
    keys.press("Check list")
    keys.press("Invite 1 person")
    expect(page, "1 person invited")
    keys.press("Sign out")
    assert page.get_by_role("link", name="Sign in").count()
