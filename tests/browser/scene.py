"""A small world in which every page has something to show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyotp.totp import TOTP

from collegium.access import queries as access_queries
from collegium.access.rules import ANONYMOUS
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals, links
from collegium.invitations.renewals import request_renewal
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import queries as membership_queries
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EmailChanged
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.settings import load
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import sessions as session_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.browser.conftest import PASSWORD
from tests.support.remote import new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from tests.browser.conftest import House
    from tests.support.world import Person, Place

    Stop = tuple[str, Callable[[Page], object]]

DECLINE = "Decline the invitation to Tide Table"
LONG = "The Royal Commission for the Charting of Tides, Currents and Everything that Floats"


class Scene:
    """People, places, and what waits between them."""

    def __init__(self, house: House) -> None:
        self.house = house
        world = self.world = house.world
        self.owner = house.person("olga", "Olga", "Owner")
        self.ada = house.person("ada", "Ada", "Adams", organization="Tidal Institute")
        self.safe = house.person("sara", "Sara", "Safe")
        self.half = house.person("hugo", "Hugo", "Half")
        self.empty = house.person("emil", "Emil", "Empty")
        self.organisation = world.organisation("Institute of Tides", owner=self.owner)
        self.project = world.project(self.organisation, "Tide Table")
        self.commission = world.organisation(LONG, owner=self.ada)
        world.seat(self.ada, "PROJECT.MEMBER", self.project, datetime.now(UTC) + timedelta(days=40))
        self.group = house.group(self.owner, "Night Watch")
        self.invited = world.invite(
            self.owner,
            "ines@example.org",
            "PROJECT.ADMIN",
            self.project,
            full_name="Ines Invited",
            extra_text="Dear Ines,\nwe would like to have you with us.",
        )
        self.for_ada = world.invite(self.owner, self.ada.email, "PROJECT.ADMIN", self.project)
        long_ago = datetime.now(UTC) - timedelta(days=30)
        self.expired = world.invite(
            self.owner, "late@example.org", "PROJECT.ADMIN", self.project, now=long_ago
        )
        self.wished = world.invite(
            self.owner, "wish@example.org", "PROJECT.ADMIN", self.project, now=long_ago
        )
        self.declined = world.invite(self.owner, "nay@example.org", "PROJECT.ADMIN", self.project)
        with world.database.write() as tx:
            request_renewal(tx, self.wished, 1)
            nay = replace(ANONYMOUS, email="nay@example.org")
            invitation_actions.decline(tx, nay, world.settings, self.declined, 1)
        self.link = self._open()
        self.closed = self._open(is_closed=True)
        self.askers = [
            house.person(f"asker{at}", first, "Asker")
            for at, first in enumerate(("Aron", "Berta", "Carl"))
        ]
        for asker in self.askers:
            self._ask(asker, f"I am {asker.actor.name}, and good with numbers.")
        self._ask(self.ada, "May I?")
        self._watch()
        self._own_things()
        self.requested = self._requested()
        self._history()

    def _open(self, *, is_closed: bool = False) -> str:
        world = self.world
        with world.database.write() as tx:
            place = self.project
            reached = access_queries.get_visible(tx, self.owner.actor, place.kind, place.uuid)
            role = role_queries.named(tx, "PROJECT.MEMBER", None)
            uuid = invite_link_actions.create(
                tx,
                self.owner.actor,
                world.settings,
                reached,
                role,
                None,
                {"custom_text": "For everybody who counts waves."},
            )
            if is_closed:
                invite_link_actions.cancel(tx, self.owner.actor, uuid)
        return uuid

    def _ask(self, asker: Person, message: str) -> None:
        with self.world.database.write() as tx:
            join_request_actions.submit(tx, asker.actor, self.world.settings, self.link, message)

    def _watch(self) -> None:
        """One is in the group, another one waits to be."""
        lead, settings = self.owner.actor, self.world.settings
        with self.world.database.write() as tx:
            one, _ = group_actions.join(tx, self.askers[1].actor, self.group)
            join_request_actions.approve(tx, lead, settings, one.uuid, None, groups=True)
            group_actions.join(tx, self.askers[2].actor, self.group, "I do not sleep much.")

    def _own_things(self) -> None:
        world = self.world
        with world.database.write() as tx:
            ssh_key_actions.create(tx, self.ada.actor, parse(new_key("ada@lighthouse")))
            token_actions.issue_personal(tx, world.vault, self.ada.actor, "backup script")
            email_change_actions.request_change(
                tx,
                self.ada.actor,
                world.settings,
                world.vault,
                self.ada.uuid,
                "ada.adams@example.org",
            )

    def _requested(self) -> str:
        world = self.world
        world.settings, kept = (
            load(
                {
                    "COLLEGIUM_ONLY_STAFF_CAN_INVITE_USERS": "true",
                    "COLLEGIUM_DATABASE_URL": world.settings.database_url,
                }
            ),
            world.settings,
        )
        uuid = world.invite(self.owner, "new@example.org", "PROJECT.MEMBER", self.project)
        world.settings = kept
        return uuid

    def session(self, person: Person) -> str:
        with self.world.database.write() as tx:
            browser = "Firefox on Linux"
            return session_actions.begin(tx, self.world.vault, person.actor, "password", browser)

    def _invitation(self, uuid: str, purpose: str = links.MAILED) -> str:
        return f"/invitation/{self.world.vault.sign(purpose, uuid, 1)}/"

    def _decision(self, purpose: str) -> str:
        now = int(datetime.now(UTC).timestamp())
        staff = self.world.staff.uuid
        return f"/{purpose}/{self.world.vault.sign(purpose, staff, self.requested, 1, now)}/"

    def _reset(self) -> str:
        with self.world.database.read() as tx:
            account = account_queries.known(tx, id=self.empty.id)
        link = password_actions.link(self.world.vault, account, datetime.now(UTC))
        return f"/password_reset/{link}/"

    def _leave(self, person: Person, place: Place) -> str:
        with self.world.database.read() as tx:
            (uuid,) = (
                row.uuid
                for row in membership_queries.own(tx, person.id)
                if row.scope_id == place.id
            )
        return f"/account/leave/{uuid}/"

    def tour(self) -> Iterator[tuple[Person | None, list[Stop]]]:
        """Who sees what: the name of each picture, and how to get there."""
        yield (
            None,
            [
                ("home", to("/")),
                ("schema", to("/schema/")),
                ("sign-in", to("/sign_in/")),
                ("sign-in-wrong", signing_in("nobody", "wrong")),
                ("sign-in-empty", press("Sign in")),
                ("forgotten", to("/forgotten_password/")),
                ("forgotten-sent", fill_and_press("E-mail", "who@example.org", "Send link")),
                ("reset", to(self._reset())),
                ("reset-weak", fill_and_press("New password", "short", "Set password")),
                ("reset-gone", to("/password_reset/abc/")),
                ("invitation", to(self._invitation(self.invited))),
                ("invitation-wrong", press("Create account and accept")),
                ("invitation-expired", to(self._invitation(self.expired))),
                ("invitation-wished", to(self._invitation(self.wished))),
                ("invitation-declined", to(self._invitation(self.declined))),
                ("invitation-copied", to(self._invitation(self.invited, links.SHARED_BY_INVITER))),
                ("invitation-gone", to("/invitation/abc/")),
                ("approve", to(self._decision(approvals.APPROVE))),
                ("reject", to(self._decision(approvals.REJECT))),
                ("approved", both(to(self._decision(approvals.APPROVE)), press("Approve"))),
                ("decided-gone", to(self._decision(approvals.REJECT))),
                ("address", to(f"/user_email_change/{'0' * 32}/")),
                ("address-gone", press("Confirm address")),
                ("address-cancel", to(f"/user_email_change_cancel/{'0' * 32}/")),
                ("address-cancel-gone", press("Keep my address and sign out everywhere")),
                ("not-found", to("/nowhere/")),
            ],
        )
        yield (
            self.ada,
            [
                ("account", to("/account/")),
                ("leave", to(self._leave(self.ada, self.project))),
                ("leave-last-owner", to(self._leave(self.ada, self.commission))),
                ("profile", to("/account/profile/")),
                ("profile-picture-wrong", press("Save picture")),
                ("new-address", to("/account/address/")),
                ("password", to("/account/password/")),
                ("password-wrong", press("Change password")),
                ("second-factor-off", to("/account/second_factor/")),
                ("keys", to("/account/keys/")),
                ("keys-wrong", fill_and_press("Public key", "this is none", "Add SSH key")),
                ("tokens", to("/account/tokens/")),
                ("token-made", fill_and_press("Name", "my phone", "Create access token")),
                ("authorize", to("/account/authorize/")),
                ("authorize-wrong", fill_and_press("Code", "AAAA-1111", "Continue")),
                ("authorize-decide", to(self._device())),
                ("authorize-done", press("Approve")),
                ("authorize-gone", to("/account/authorize/?session=1")),
                ("invitation-accept", to(self._invitation(self.for_ada))),
                ("invitation-other-address", to(self._invitation(self.invited))),
                ("open-invitation-waits", to(f"/open_invitation/{self.link}/")),
                ("open-invitation-closed", to(f"/open_invitation/{self.closed}/")),
                ("group", to(f"/group/{self.group}/")),
                ("requests-none", to("/requests/")),
                ("account-declined", both(to("/account/"), press(DECLINE))),
                ("trouble", to("/account/leave/1/")),
            ],
        )
        yield (
            self.empty,
            [
                ("account-empty", to("/account/")),
                ("teams-none", to("/teams/")),
                ("open-invitation", to(f"/open_invitation/{self.link}/")),
                ("open-invitation-asked", press("Ask to join")),
                ("keys-none", to("/account/keys/")),
            ],
        )
        yield (
            self.owner,
            [
                ("requests", to("/requests/")),
                ("requests-wrong", press("Approve")),
                ("requests-decided", both(tick("Select Aron Asker"), press("Approve"))),
                ("requests-past", to("/requests/?show=decided")),
                ("group-member", to(f"/group/{self.group}/")),
                *self._team(),
            ],
        )
        yield (
            self.half,
            [
                (
                    "second-factor-setup",
                    both(
                        to("/account/second_factor/"),
                        fill_and_press("Your password", PASSWORD, "Set up"),
                    ),
                ),
                ("second-factor-wrong", fill_and_press("Six-digit code", "1", "Turn on")),
                ("recovery-codes", self._turn_on),
                ("second-factor-on", to("/account/second_factor/")),
                (
                    "sign-in-code",
                    both(press("Sign out"), to("/sign_in/"), signing_in("hugo", PASSWORD)),
                ),
                ("sign-in-code-wrong", fill_and_press("Code", "000000", "Sign in")),
            ],
        )

        yield self.world.staff, list(self._desk())

    def _desk(self) -> Iterator[Stop]:
        """The pages of staff."""
        accounts, mails = "/staff/accounts/", "/staff/mails/"
        with self.world.database.read() as tx:
            roles_now = {row.name: row.uuid for row in role_queries.all_roles(tx)}
        yield "authorize-staff", to(self._device())
        yield "authorize-staff-wrong", press("Approve")
        yield "staff-health", to("/staff/")
        yield "staff-health-numbers", both(to("/staff/"), unfold())
        yield "staff-accounts", to(accounts)
        yield "staff-accounts-none", to(f"{accounts}?q=nobody")
        yield "staff-account", to(f"{accounts}{self.ada.uuid}/")
        yield "staff-account-off", press("Deactivate")
        yield "staff-account-new", to(f"{accounts}new/")
        yield "staff-account-new-wrong", press("Create account")
        yield "staff-organisations", to("/staff/organisations/")
        yield "staff-organisation", to(f"/staff/organisations/{self.organisation.uuid}/")
        yield "staff-organisation-blocked", press("Block")
        yield "staff-organisation-new", to("/staff/organisations/new/")
        yield "staff-roles", to("/staff/roles/")
        yield "staff-role", to(f"/staff/roles/{roles_now['PROJECT.MANAGER']}/")
        yield "staff-role-new", to("/staff/roles/new/")
        yield "staff-role-new-wrong", press("Create role")
        yield "staff-mails", to(mails)
        yield "staff-mails-failed", to(f"{mails}?show=failed")
        yield "staff-mails-none", press("Send all again")

    def _history(self) -> None:
        """Days with something in them, for the charts; and mails that were given up."""
        world, now = self.world, datetime.now(UTC)
        for at in range(24):
            ago = timedelta(days=(at * at * 7) % 29, hours=at)
            world.person(joined_at=now - ago, first_name="Nora", last_name=f"Number {at}")
        for at, hours in enumerate((0.5, 0.2, 5, 20, 20, 50, 100, 160)):
            taker = world.person()
            then = now - timedelta(days=at * 3) - timedelta(hours=hours)
            uuid = world.invite(self.owner, taker.email, "PROJECT.ADMIN", self.project, now=then)
            with world.database.write(now - timedelta(days=at * 3)) as tx:
                invitation_actions.accept(tx, taker.actor, world.settings, uuid)
        with world.database.write() as tx:
            mail = EmailChanged("ada@old.example.org", self.ada.id, self.ada.email)
            numbers = [outbox_queries.enqueue(tx, mail) for _ in range(2)]
        with world.database.write() as tx:
            for row in outbox_queries.claim(tx, 1000, 60):
                if row.id in numbers:
                    reason = "550 5.1.1 <ada@old.example.org>: Recipient address rejected."
                    outbox_queries.mark_failed(tx, row.id, row.attempts, reason, None)

    def _team(self) -> Iterator[Stop]:
        """The pages of a team, to somebody in charge of it."""
        here = f"/project/{self.project.uuid}/"
        pasted = "Nora New <nora@example.org>\nno address\nines@example.org\nolaf@example.org"
        yield "team", to(here)
        yield "team-none", to(f"{here}?q=nobody")
        yield "team-organisation", to(f"/organisation/{self.organisation.uuid}/")
        yield "team-seat", both(to(here), follow("Edit the role of Ada Adams"))
        yield "team-seat-wrong", fill_and_press("Last day", "2001-01-01", "Save end date")
        yield "team-add", to(f"{here}add/?q=a")
        yield "team-add-wrong", fill_and_press("Last day", "2001-01-01", "Add member")
        yield "team-invite", to(f"{here}invite/")
        yield "team-invite-wrong", press("Check list")
        yield "team-invite-check", fill_and_press("E-mail addresses", pasted, "Check list")
        yield "team-invite-sent", press("Invite 3 people")
        yield "team-invitations", to(f"{here}invitations/")
        yield "team-invitations-link", both(to(f"{here}invitations/"), unfold())
        yield "team-links", to(f"{here}links/")
        yield "team-links-picture", both(to(f"{here}links/"), unfold())
        yield "team-link", to(f"{here}link/")
        yield "team-link-wrong", fill_and_press("Last day", "2001-01-01", "Create link")
        yield "team-link-change", to(f"{here}links/{self.link}/")
        yield "team-history", to(f"{here}history/")
        yield "team-history-none", to(f"{here}history/?about=links&since=2099-01-01")
        there = f"/group/{self.group}/team/"
        pasted = "asker0@example.org\nolga@example.org\nnora@example.org"
        yield "teams", to("/teams/")
        yield "teams-wrong", press("Create group")
        yield "group-team", to(there)
        yield "group-seat", both(to(there), follow("Edit the role of Berta Asker"))
        yield "group-add", to(f"{there}add/?q=a")
        yield "group-invite", to(f"{there}invite/")
        yield "group-invite-check", fill_and_press("E-mail addresses", pasted, "Check list")
        yield "group-invite-sent", press("Invite 1 person")
        yield "group-invitations", to(f"{there}invitations/")
        yield "group-history", to(f"{there}history/")

    def _device(self) -> str:
        return f"/account/authorize/?session={self.house.device('a lamp script').uuid}"

    def _turn_on(self, page: Page) -> None:
        code = TOTP(page.inner_text(".secret")).now()
        fill_and_press("Six-digit code", code, "Turn on")(page)


def to(path: str) -> Callable[[Page], object]:
    return lambda page: page.goto(path)


def press(name: str) -> Callable[[Page], object]:
    return lambda page: page.get_by_role("button", name=name, exact=True).click()


def follow(name: str) -> Callable[[Page], object]:
    return lambda page: page.get_by_role("link", name=name, exact=True).click()


def unfold() -> Callable[[Page], object]:
    return lambda page: page.locator("summary").first.click()


def tick(name: str) -> Callable[[Page], object]:
    def go(page: Page) -> None:
        page.goto("/requests/")
        page.get_by_label(name).check()

    return go


def fill_and_press(label: str, text: str, button: str) -> Callable[[Page], object]:
    def go(page: Page) -> None:
        page.get_by_label(label).first.fill(text)
        press(button)(page)

    return go


def signing_in(name: str, password: str) -> Callable[[Page], object]:
    def go(page: Page) -> None:
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password").fill(password)
        press("Sign in")(page)

    return go


def both(*steps: Callable[[Page], object]) -> Callable[[Page], object]:
    def go(page: Page) -> None:
        for step in steps:
            step(page)

    return go
