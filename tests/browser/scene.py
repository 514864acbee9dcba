"""Data for which every page has content."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
from playwright.sync_api import Page
from pyotp.totp import TOTP
from sqlalchemy import func, select, update

from collegium.access.rules import ANONYMOUS
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.mail_preferences.rules import UNSUBSCRIBE
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.hooks import actions as hook_actions
from collegium.hooks import queries as hook_queries
from collegium.hooks.rules import Kind
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals, links
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import queries as membership_queries
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EmailChanged
from collegium.reviews import queries as review_queries
from collegium.scopes.groups import actions as group_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import sessions as session_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from collegium.statistics import queries as statistics_queries
from tests.browser.conftest import PASSWORD, LiveService
from tests.claim_rules.scene import add_rule
from tests.roles.scene import add_availability
from tests.support.hooks import add_hook
from tests.support.remote import new_key
from tests.support.world import Person, Place

Step = tuple[str, Callable[[Page], object]]
DECLINE = "Decline the invitation to Tide Table"
LONG = "The Royal Commission for the Charting of Tides, Currents and Everything that Floats"

FIRST_NAMES = ("Amir", "Beata", "Chen", "Dalia", "Elif", "Farid", "Greta", "Haruto")
LAST_NAMES = ("Okafor", "Larsen", "Moreau", "Bianchi")


class Scene:
    """Accounts, scopes, invitations, links and requests."""

    def __init__(self, live: LiveService) -> None:
        self.live = live
        world = self.world = live.world
        joined = {"joined_at": datetime.now(UTC) - timedelta(days=20)}
        self.owner = live.person("olga", "Olga", "Owner", **joined)
        self.ada = live.person("ada", "Ada", "Adams", organization="Tidal Institute", **joined)
        self.sara = live.person("sara", "Sara", "Safe", **joined)
        self.hugo = live.person("hugo", "Hugo", "Half", **joined)
        self.emil = live.person("emil", "Emil", "Empty", **joined)
        self.organisation = world.organisation("Institute of Tides", owner=self.owner)
        self.project = world.project(self.organisation, "Tide Table")
        self.second_organisation = world.organisation(LONG, owner=self.ada)
        world.give_role(
            self.ada, "PROJECT.MEMBER", self.project, datetime.now(UTC) + timedelta(days=20)
        )
        self.group = live.group(self.owner, "Night Watch")
        text = "Dear Ines,\nwe would like to have you with us."
        self.invited = self._invite("ines@example.org", full_name="Ines Invited", extra_text=text)
        self.for_ada = self._invite(self.ada.email)
        long_ago = datetime.now(UTC) - timedelta(days=30)
        self.expired = self._invite("late@example.org", now=long_ago)
        self.renewal_requested = self._invite("wish@example.org", now=long_ago)
        self.declined = self._invite("nay@example.org")
        with world.database.write() as tx:
            invitation_actions.request_renewal(tx, self.renewal_requested, 1)
            nay = msgspec.structs.replace(ANONYMOUS, email="nay@example.org")
            invitation_actions.decline(tx, nay, world.settings, self.declined, 1)
        self.link = self._open()
        self.closed = self._open(is_closed=True)
        self.requesters = [
            live.person(f"requester{at}", first, "Asker")
            for at, first in enumerate(("Aron", "Berta", "Carl"))
        ]
        for requester in self.requesters:
            world.ask(requester, self.link, f"I am {requester.actor.name}, and good with numbers.")
        world.ask(self.ada, self.link, "May I?")
        self._add_to_group()
        self._add_credentials()
        self.requested = self._requested()
        self._add_history()

    def _join(self, number: int, joined_at: datetime) -> Person:
        """Create the account of one of 32 people."""
        first = FIRST_NAMES[number % len(FIRST_NAMES)]
        last = LAST_NAMES[number // len(FIRST_NAMES)]
        names = {"first_name": first, "last_name": last}
        return self.world.person(f"{first}.{last}".lower(), joined_at=joined_at, **names)

    def _invite(self, email: str, now: datetime | None = None, **details: str) -> str:
        return self.world.invite(
            self.owner, email, "PROJECT.ADMIN", self.project, now=now, **details
        )

    def _open(self, *, is_closed: bool = False) -> str:
        text = "For everybody who counts waves."
        uuid = self.world.create_link(self.owner, "PROJECT.MEMBER", self.project, custom_text=text)
        if is_closed:
            with self.world.database.write() as tx:
                invite_link_actions.cancel(tx, self.owner.actor, uuid)
        return uuid

    def _add_to_group(self) -> None:
        """Add one account to the group; another one asks to join."""
        lead, settings = self.owner.actor, self.world.settings
        with self.world.database.write() as tx:
            request, _ = group_actions.join(tx, self.requesters[1].actor, self.group)
            join_request_actions.approve(tx, lead, settings, request.uuid, None)
            group_actions.join(tx, self.requesters[2].actor, self.group, "I do not sleep much.")

    def _add_credentials(self) -> None:
        world = self.world
        with world.database.write() as tx:
            ssh_key_actions.create(tx, self.ada.actor, parse(new_key("ada@lighthouse")))
            token_actions.issue_personal(tx, world.vault, self.ada.actor, "backup script")
            self.hook = add_hook(tx, self.ada)
            add_hook(tx, self.ada, Kind.EMAIL)
            number = hook_queries.of_account(tx, self.ada.id)[0].id
            for status, state in ((204, "sent"), (404, "obsolete"), (503, "queued")):
                call = hook_actions.HookCall(self.ada.id, number, 1, "invitation.created")
                outbox_queries.enqueue(tx, call, tx.now + timedelta(days=400))
                values = {"response_status": status, "state": state, "attempts": 1}
                if state != "sent":
                    values["error"] = f"The answer was an error ({status})."
                if state != "queued":
                    values["finished_at"] = tx.now
                newest = select(func.max(outbox.c.id)).scalar_subquery()
                tx.execute(Statement(update(outbox).where(outbox.c.id == newest).values(values)))
            ada, new = self.ada, "ada.adams@example.org"
            email_change_actions.request_change(
                tx, ada.actor, world.settings, world.vault, ada.uuid, new
            )
            code = world.vault.derive_code(ada.id, new, tx.now.isoformat())
            self.address = f"/user_email_change/{code}/"

    def _requested(self) -> str:
        world, settings = self.world, self.world.settings
        world.settings = replace(settings, only_staff_can_invite_users=True)
        uuid = world.invite(self.owner, "new@example.org", "PROJECT.MEMBER", self.project)
        world.settings = settings
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
            account = account_queries.with_password(tx, id=self.emil.id)
        assert account is not None
        link = password_actions.link(self.world.vault, account, datetime.now(UTC))
        return f"/password_reset/{link}/"

    def _unsubscribe(self) -> str:
        link = self.world.vault.sign(UNSUBSCRIBE, self.emil.uuid, "role_granted")
        return f"/{UNSUBSCRIBE}/{link}/"

    def _leave(self, person: Person, place: Place) -> str:
        with self.world.database.read() as tx:
            grants = membership_queries.of_account(tx, person.id)
        (uuid,) = (row.uuid for row in grants if row.scope_id == place.id)
        return f"/account/leave/{uuid}/"

    def viewers(self) -> Iterator[tuple[Person | None, list[Step]]]:
        """Yield viewers with their pages: the name of each, and how to open it."""
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
                ("setup-gone", to("/setup/abc/")),
                ("invitation", to(self._invitation(self.invited))),
                ("invitation-wrong", press("Create account and accept")),
                ("invitation-expired", to(self._invitation(self.expired))),
                ("invitation-renewal-requested", to(self._invitation(self.renewal_requested))),
                ("invitation-declined", to(self._invitation(self.declined))),
                ("invitation-copied", to(self._invitation(self.invited, links.SHARED_BY_INVITER))),
                ("invitation-gone", to("/invitation/abc/")),
                ("approve", to(self._decision(approvals.APPROVE))),
                ("reject", to(self._decision(approvals.REJECT))),
                ("approved", in_order(to(self._decision(approvals.APPROVE)), press("Approve"))),
                ("decided-gone", to(self._decision(approvals.REJECT))),
                ("address-sign-in", to(self.address)),
                ("address-gone", to(f"/user_email_change/{'0' * 32}/")),
                ("address-cancel", to(f"/user_email_change_cancel/{'0' * 32}/")),
                ("address-cancel-gone", press("Keep my address and sign out everywhere")),
                ("unsubscribe", to(self._unsubscribe())),
                ("unsubscribed", press("Turn them off")),
                ("unsubscribe-gone", to("/unsubscribe/abc/")),
                ("not-found", to("/nowhere/")),
            ],
        )
        yield (
            self.ada,
            [
                ("overview", to("/")),
                ("account", to("/account/")),
                ("leave", to(self._leave(self.ada, self.project))),
                ("leave-last-owner", to(self._leave(self.ada, self.second_organisation))),
                ("profile", to("/account/profile/")),
                ("profile-picture-wrong", press("Save picture")),
                ("mails", to("/account/mails/")),
                ("new-address", to("/account/address/")),
                ("address", to(self.address)),
                ("password", to("/account/password/")),
                ("password-wrong", press("Change password")),
                ("second-factor-off", to("/account/second_factor/")),
                ("keys", to("/account/keys/")),
                ("keys-wrong", fill_and_press("Public key", "this is none", "Add SSH key")),
                ("hooks", to("/account/hooks/")),
                ("hooks-wrong", press("Add hook")),
                ("hook", to(f"/account/hooks/{self.hook}/")),
                ("hook-paused", press("Pause hook")),
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
                ("account-declined", in_order(to("/account/"), press(DECLINE))),
                ("trouble", to("/account/leave/1/")),
            ],
        )
        yield (
            self.emil,
            [
                ("overview-empty", to("/")),
                ("account-empty", to("/account/")),
                ("teams-none", to("/teams/")),
                ("open-invitation", to(f"/open_invitation/{self.link}/")),
                ("open-invitation-asked", press("Ask to join")),
                ("keys-none", to("/account/keys/")),
                ("hooks-none", to("/account/hooks/")),
            ],
        )
        yield (
            self.owner,
            [
                ("address-other", to(self.address)),
                ("overview-of-owner", to("/")),
                ("requests", to("/requests/")),
                ("requests-wrong", press("Approve")),
                ("requests-decided", in_order(check("Select Aron Asker"), press("Approve"))),
                ("requests-past", to("/requests/?show=decided")),
                ("group-member", to(f"/group/{self.group}/")),
                *self._team(),
            ],
        )
        yield (
            self.hugo,
            [
                (
                    "second-factor-setup",
                    in_order(
                        to("/account/second_factor/"),
                        press("Set up"),
                    ),
                ),
                ("second-factor-wrong", fill_and_press("Six-digit code", "1", "Turn on")),
                ("recovery-codes", self._turn_on),
                ("second-factor-on", to("/account/second_factor/")),
                ("menu", press("Menu")),
                (
                    "sign-in-code",
                    in_order(
                        press("Sign out"),
                        to("/sign_in/"),
                        signing_in("hugo", PASSWORD),
                    ),
                ),
                ("sign-in-code-wrong", fill_and_press("Code", "000000", "Sign in")),
            ],
        )

        yield self.world.staff, list(self._staff_pages())

    def _staff_pages(self) -> Iterator[Step]:
        accounts, mails = "/staff/accounts/", "/staff/mails/"
        role = self.world.role("PROJECT.MANAGER").uuid
        yield "authorize-staff", to(self._device())
        yield "authorize-staff-wrong", press("Approve")
        yield from self._staff_figures()
        yield "staff-accounts", to(accounts)
        yield "staff-accounts-none", to(f"{accounts}?q=nobody")
        yield "staff-account", to(f"{accounts}{self.ada.uuid}/")
        yield "staff-account-off", press("Deactivate")
        yield "staff-account-new", to(f"{accounts}new/")
        yield "staff-account-new-wrong", press("Create account")
        yield "staff-organisations", to("/staff/organisations/")
        yield "staff-organisation", to(f"/staff/organisations/{self.organisation.uuid}/")
        yield "staff-organisation-blocked", press("Block")
        yield "settings-organisation", to(f"/organisation/{self.organisation.uuid}/settings/")
        young = self.world.organisation("Young institute").uuid
        yield "deleted-projects-none", to(f"/organisation/{young}/deleted/")
        old = self.world.organisation("Old institute")  # the other one is blocked
        deleted = self.world.deleted_project(old, "An old survey")
        yield "deleted-projects", to(f"/organisation/{old.uuid}/deleted/")
        yield "deleted-project", to(f"/organisation/{old.uuid}/deleted/{deleted}/")
        yield (
            "deleted-project-wrong",
            fill_and_press("End date", "2001-01-01", "Bring the project back"),
        )
        yield "roles-of-organisation-none", to(f"/staff/organisations/{young}/roles/")
        add_availability(self.world, self.organisation)
        yield "roles-of-organisation", to(f"/staff/organisations/{self.organisation.uuid}/roles/")
        yield "roles-of-organisation-wrong", press("Copy role")
        yield "project-move", to(f"/project/{self.project.uuid}/move/")
        yield "project-move-wrong", press("Move the project")
        yield "staff-organisation-new", to("/staff/organisations/new/")
        yield "staff-roles", to("/staff/roles/")
        yield "staff-role", to(f"/staff/roles/{role}/")
        yield "staff-role-new", to("/staff/roles/new/")
        yield "staff-role-new-wrong", press("Create role")
        yield "staff-providers", to("/staff/providers/")
        # An active one would have a button on the other pages.
        provider = self.world.provider(is_active=False).name
        yield "staff-provider", to(f"/staff/providers/{provider}/")
        yield "staff-provider-new", to("/staff/providers/new/")
        yield "staff-provider-new-wrong", press("Add provider")
        yield "staff-rules", to("/staff/rules/")
        rule = add_rule(self.world, self.organisation, "CUSTOMER.OWNER")
        yield "staff-rule", to(f"/staff/rules/{rule}/?person=ada")
        yield "staff-rule-new", to("/staff/rules/new/")
        yield "staff-rule-new-wrong", press("Add rule")
        yield "staff-agreement-new", to("/staff/agreements/new/")
        yield "staff-agreement-new-wrong", press("Publish")
        yield "staff-mails", to(mails)
        yield "staff-mails-failed", to(f"{mails}?show=failed")
        yield "staff-mails-none", press("Send all again")
        yield "staff-mail-test", press("Send a test e-mail to my address")

    def _staff_figures(self) -> Iterator[Step]:
        with self.world.database.write() as tx:
            statistics_queries.store(tx, statistics_queries.of_site(tx))
        yield "staff-health", to("/staff/")
        yield "staff-health-numbers", in_order(to("/staff/"), unfold())
        yield "staff-statistics", to("/staff/statistics/")

    def _add_history(self) -> None:
        """Add data for the charts of a month, and failed e-mails."""
        world, now = self.world, datetime.now(UTC)
        for at in range(24):
            ago = timedelta(days=(at * at * 7) % 29, hours=at)
            self._join(at, now - ago)
        for at, hours in enumerate((0.5, 0.2, 5, 20, 20, 50, 100, 160)):
            invitee = self._join(24 + at, now - timedelta(days=at * 3, hours=1))
            uuid = self._invite(invitee.email, now - timedelta(days=at * 3, hours=hours))
            with world.database.write(now - timedelta(days=at * 3)) as tx:
                invitation_actions.accept(tx, invitee.actor, world.settings, uuid)
        with world.database.write() as tx:
            mail = EmailChanged("ada@old.example.org", self.ada.id, self.ada.email)
            numbers = [outbox_queries.enqueue(tx, mail) for _ in range(2)]
        with world.database.write() as tx:
            for row in outbox_queries.claim(tx, 1000, 60):
                if row.id in numbers:
                    reason = "550 5.1.1 <ada@old.example.org>: Recipient address rejected."
                    outbox_queries.mark_failed(tx, row.id, row.attempts, reason, None)

    def _team(self) -> Iterator[Step]:
        """Yield the pages of a team for its owner."""
        here = f"/project/{self.project.uuid}/"
        pasted = "Nora New <nora@example.org>\nno address\nines@example.org\nolaf@example.org"
        yield "team", to(here)
        yield "team-switch", in_order(to(here), switch())
        yield "team-none", to(f"{here}?q=nobody")
        yield "team-choose-wrong", in_order(to(here), press("Continue"))
        yield "team-change", in_order(choose_all, press("Continue"))
        yield "team-changes", to("/account/bulk_changes/")
        yield "team-organisation", to(f"/organisation/{self.organisation.uuid}/")
        yield "team-seat", in_order(to(here), follow("Edit the role of Ada Adams"))
        yield "team-seat-wrong", fill_and_press("Last day", "2001-01-01", "Save end date")
        yield "team-add", to(f"{here}add/?q=a")
        yield "team-add-wrong", fill_and_press("Last day", "2001-01-01", "Add member")
        yield "team-invite", to(f"{here}invite/")
        yield "team-invite-wrong", press("Check list")
        yield "team-invite-check", fill_and_press("E-mail addresses", pasted, "Check list")
        yield "team-invite-sent", press("Invite 3 people")
        yield "team-invitations", to(f"{here}invitations/")
        yield "team-invitations-link", in_order(to(f"{here}invitations/"), unfold())
        file = "E-Mail,Vorname,Nachname,Rolle,Bis,Nr\n" + "".join(
            f"person{n}@uni.example,Zoë,Müller {n},{'Professor' if n == 3 else 'member'},,{n}\n"
            for n in range(1, 8)
        )
        yield "team-imports-wrong", in_order(to(f"{here}imports/"), press("Check file"))
        judged = fill_and_press("Or paste a list", f"{file}nobody,,,,,\n", "Check file")
        yield "team-import", in_order(to(f"{here}imports/"), judged)
        yield "team-imports", to(f"{here}imports/?columns=yes")
        yield "team-links", to(f"{here}links/")
        yield "team-links-picture", in_order(to(f"{here}links/"), unfold())
        yield "team-link", to(f"{here}link/")
        yield "team-link-wrong", fill_and_press("Last day", "2001-01-01", "Create link")
        yield "team-link-change", to(f"{here}links/{self.link}/")
        with self.world.database.write() as tx:
            review = review_queries.add(tx, self.project.id)
        yield "team-review", to(f"{here}reviews/{review}/")
        yield "team-reviews", press("Close review")
        yield "team-settings", to(f"{here}settings/")
        yield "team-settings-wrong", fill_and_press("E-mail addresses", "(", "Save")
        yield "team-statistics", in_order(to(f"{here}statistics/"), unfold())
        yield "team-removed", in_order(to(here), edit("Beata Bianchi"), press("Remove"))
        yield "team-history", to(f"{here}history/")
        yield "team-history-none", to(f"{here}history/?about=links&since=2099-01-01")
        yield from self._group_team()

    def _group_team(self) -> Iterator[Step]:
        there = f"/group/{self.group}/team/"
        pasted = "requester0@example.org\nolga@example.org\nnora@example.org"
        yield "teams", to("/teams/")
        yield "teams-wrong", press("Create group")
        yield "group-team", to(there)
        yield "group-seat", in_order(to(there), follow("Edit the role of Berta Asker"))
        yield "group-add", to(f"{there}add/?q=a")
        yield "group-invite", to(f"{there}invite/")
        yield "group-invite-check", fill_and_press("E-mail addresses", pasted, "Check list")
        yield "group-invite-sent", press("Invite 1 person")
        yield "group-invitations", to(f"{there}invitations/")
        yield "group-history", to(f"{there}history/")

    def _device(self) -> str:
        return f"/account/authorize/?session={self.live.device('a lamp script').uuid}"

    def _turn_on(self, page: Page) -> None:
        code = TOTP(page.inner_text(".secret")).now()
        fill_and_press("Six-digit code", code, "Turn on")(page)


def to(path: str) -> Callable[[Page], object]:
    return lambda page: page.goto(path)


def press(name: str) -> Callable[[Page], object]:
    return lambda page: page.get_by_role("button", name=name, exact=True).click()


def follow(name: str) -> Callable[[Page], object]:
    return lambda page: page.get_by_role("link", name=name, exact=True).click()


def edit(name: str) -> Callable[[Page], object]:
    return follow(f"Edit the role of {name}")


def unfold() -> Callable[[Page], object]:
    return lambda page: page.locator("details:not(.switch) > summary").first.click()


def switch() -> Callable[[Page], object]:
    return lambda page: page.locator(".switch > summary").click()


def choose_all(page: Page) -> None:
    page.get_by_label("Rows", exact=True).select_option("matching")


def check(name: str) -> Callable[[Page], object]:
    return in_order(to("/requests/"), lambda page: page.get_by_label(name).check())


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


def in_order(*steps: Callable[[Page], object]) -> Callable[[Page], object]:
    def go(page: Page) -> None:
        for step in steps:
            step(page)

    return go
