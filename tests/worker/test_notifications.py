"""Notifications about invitations and join requests: recipients, text, and when obsolete."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, bindparam, delete, select, update

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import invitations, join_requests, outbox, roles, scopes
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.join_requests import actions as join_request_actions
from collegium.outbox.outcomes import ObsoleteError
from collegium.settings import Settings
from collegium.worker import mails
from collegium.worker.scheduler import Scheduler
from tests.support.world import Person, World
from tests.worker.scene import words
from tests.worker.test_mails import EVIL, FRONT, HIDDEN, HtmlTags

KINDS = (
    "invitation_requested",
    "invitation_rejected",
    "invitation_expired",
    "invitation_accepted",
    "invitation_declined",
    "permission_request_submitted",
    "permission_request_rejected",
    "structure_role_granted",
    "reminder",
)
ROLE = "PROJECT.MEMBER"


class Scenario:
    """Queues every kind of notification through the actions.

    Args:
        name: name of every account, scope and role.
        text: every message.
        details: further values of the invitations.
    """

    def __init__(
        self, world: World, settings: Settings, *, name: str = "", text: str = "", **details: Any
    ) -> None:
        self.world = World.__new__(World)
        self.world.__dict__.update(world.__dict__)
        self.world.settings = settings
        people = {"first_name": name, "last_name": name} if name else {}
        self.boss = world.person("boss", is_staff=True, **people)
        self.owner = world.person("owner", **people)
        self.requester = world.person("requester", **people)
        self.bob = world.person("bob", email="bob@elsewhere.example", **people)
        self.organisation = world.organisation(name or "Royal Society", owner=self.owner)
        self.project = world.project(self.organisation, name or "Analytical Engines")
        if name:
            self.update_all(roles, description=name)
        self.text = text
        now = datetime.now(UTC)
        details = {"extra_text": text, **details}
        self.requested = self.invite(self.owner, "new@example.org", **details)
        self.rejected = self.invite(self.owner, "no@example.org", **details)
        self.accepted = self.invite(self.boss, "robert@example.org", **details)
        self.declined = self.invite(self.boss, "nay@example.org", **details)
        past = now - timedelta(days=8)
        self.expired = self.invite(self.boss, "old@example.org", now=past, **details)
        past = now - timedelta(days=6, hours=12)
        self.ending = self.invite(self.boss, "late@example.org", now=past, **details)
        invite_link = world.create_link(self.owner, ROLE, self.project)
        other_link = world.create_link(self.owner, "PROJECT.ADMIN", self.project)
        own_link = world.create_link(
            self.boss, ROLE, self.organisation, auto_create_project=True, template=name
        )
        self.waiting = world.ask(self.requester, other_link, text)
        self.granted = world.ask(self.requester, invite_link, text)
        self.denied = world.ask(self.bob, invite_link, text)
        self.own = world.ask(self.bob, own_link, text)
        settings = self.world.settings
        with world.database.write() as tx:
            decision = approvals.Decision(self.boss.uuid, self.rejected, 1)
            approvals.reject(tx, decision, "", "")
            # First, because the acceptance below gives the same role and would approve it.
            join_request_actions.reject(tx, self.owner.actor, self.denied, text)
            invitation_actions.accept(tx, self.bob.actor, settings, self.accepted)
            invitation_actions.decline(tx, self.bob.actor, settings, self.declined, 1)
            join_request_actions.approve(tx, self.owner.actor, settings, self.granted, text)
            join_request_actions.approve(tx, self.boss.actor, settings, self.own, text)
        assert Scheduler(world.database, settings).run() == 2

    def invite(self, who: Person, email: str, **details: Any) -> str:
        return self.world.invite(who, email, ROLE, self.project, **details)

    def update_all(self, table: Table, **values: Any) -> None:
        statement = update(table).values({name: bindparam(name) for name in values})
        with self.world.database.write() as tx:
            tx.execute(Statement[Any](statement), **values)

    def rows(self, kind: str) -> list[Any]:
        """Return the mails of a kind, oldest first."""
        with self.world.database.read() as tx:
            rows = tx.fetch_all(Statement[Any](select(outbox).order_by(outbox.c.id)))
        if kind == "reminder":
            return [row for row in rows if row.payload.get("reminder")]
        return [row for row in rows if row.kind == kind]

    def read(self, kind: str, at: int = -1, **settings: Any) -> EmailMessage:
        """Render a mail and parse it as a client does."""
        with self.world.database.read() as tx:
            row = self.rows(kind)[at]
            message = mails.render(tx, Settings(**settings), self.world.vault, row)
        return message_from_bytes(message.as_bytes(), policy=default)

    def read_text(self, kind: str, at: int = -1, **settings: Any) -> tuple[str, str, str]:
        """Return recipient, subject, and the text on one line."""
        message = self.read(kind, at, **settings)
        return message["To"], message["Subject"], " ".join(words(message, "plain").split())

    def count(self, kind: str) -> int:
        return len(self.rows(kind))


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(only_staff_can_invite_users="true")


@pytest.fixture
def make_scenario(world: World, settings: Settings) -> Callable[..., Scenario]:
    return lambda **values: Scenario(world, settings, **values)


@pytest.fixture
def scenario(make_scenario: Callable[..., Scenario]) -> Scenario:
    return make_scenario(text="See you\nthere.")


def test_actions_queue_every_kind_of_notification(scenario: Scenario) -> None:
    with scenario.world.database.read() as tx:
        kinds = {row.kind for row in tx.fetch_all(Statement[Any](select(outbox.c.kind)))}
    assert kinds == {*KINDS, "invitation_created"} - {"reminder"}
    assert {kind: scenario.count(kind) for kind in KINDS} == {
        "invitation_requested": 2 * 2,  # to two staff accounts, for two invitations
        "invitation_rejected": 1,
        "invitation_expired": 1,
        "invitation_accepted": 1,
        "invitation_declined": 1,
        # The owner decides on three, staff on the fourth.
        "permission_request_submitted": 3 + 2,
        "permission_request_rejected": 1,
        "structure_role_granted": 2,
        "reminder": 1,
    }


def test_notification_has_both_parts_one_recipient_and_headers(scenario: Scenario) -> None:
    for kind in KINDS:
        message = scenario.read(kind, 0, base_url=FRONT, site_name="Roll")
        parts = [part.get_content_type() for part in message.iter_parts()]
        assert parts == ["text/plain", "text/html"]
        assert message["X-Collegium-Mail"] == kind.replace("reminder", "invitation_created")
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["X-Auto-Response-Suppress"] == "All"
        assert len(message["To"].addresses) == 1
        assert message["Cc"] is message["Bcc"] is None
        text, html = (words(message, part) for part in ("plain", "html"))
        assert "None" not in text + html
        assert set(re.findall(rf"{FRONT}\S*", text)) == HtmlTags(html).links, kind
        assert "Roll" in text


def test_each_staff_account_gets_its_own_approval_links(scenario: Scenario) -> None:
    recipients = [row.recipient for row in scenario.rows("invitation_requested")[:2]]
    assert recipients == [scenario.world.staff.email, scenario.boss.email]
    links = set()
    for at, staff in enumerate((scenario.world.staff, scenario.boss)):
        to, subject, text = scenario.read_text("invitation_requested", at, base_url=FRONT)
        assert to == staff.email
        assert subject == "Approve the invitation for new@example.org to Analytical Engines?"
        for expected in (
            "Owner Lee wants to invite new@example.org to the project Analytical Engines",
            "of Royal Society",
            'in the role "Project member"',
            "> See you > there.",
        ):
            assert expected in text
        for purpose in (approvals.APPROVE, approvals.REJECT):
            (link,) = re.findall(rf"{FRONT}/{purpose}/(\S+)/", text)
            values = scenario.world.vault.unsign(purpose, link)
            assert values is not None
            assert values[:3] == [staff.uuid, scenario.requested, 1]
            assert abs(int(values[3]) - datetime.now(UTC).timestamp()) < 60
            links.add(link)
    assert len(links) == 4
    text = scenario.read_text("invitation_requested", 0, homeport_url=FRONT)[2]
    assert f"{FRONT}/invitation_approve/" in text


def test_approval_mail_contains_all_details_of_the_invitee(
    make_scenario: Callable[..., Scenario],
) -> None:
    scenario = make_scenario(
        full_name="Charles Babbage",
        native_name="Карл",
        phone_number="+44 1",
        organization="Trinity",
        job_title="Professor",
        civil_number="",
    )
    _to, subject, text = scenario.read_text("invitation_requested", 0)
    assert subject == "Approve the invitation for Charles Babbage to Analytical Engines?"
    assert "Charles Babbage, new@example.org" in text
    for line in (
        "Native name: Карл",
        "Phone number: +44 1",
        "Institution: Trinity",
        "Job title: Professor",
    ):
        assert line in text
    assert "Civil number" not in text


def test_approval_mail_goes_only_to_staff_who_receive_mail(
    world: World, settings: Settings
) -> None:
    for name, values in (
        ("quiet", {"notifications_enabled": False}),
        ("off", {"is_active": False}),
        ("nowhere", {"email": ""}),
    ):
        world.person(name, is_staff=True, **values)
    world.person("help", is_support=True)
    scenario = Scenario(world, settings)
    recipients = {row.recipient for row in scenario.rows("invitation_requested")}
    assert recipients == {world.staff.email, scenario.boss.email}


def test_inviter_is_notified_of_rejection_expiry_and_acceptance(scenario: Scenario) -> None:
    to, subject, text = scenario.read_text("invitation_rejected", site_name="Roll")
    assert to == scenario.owner.email
    assert subject == "Your invitation to Analytical Engines was rejected"
    assert "no@example.org" in text
    assert "by the staff of Roll. Nothing was sent to this address." in text

    to, subject, text = scenario.read_text("invitation_expired")
    assert (to, subject) == (
        scenario.boss.email,
        "Your invitation to Analytical Engines has expired",
    )
    assert "old@example.org to the project Analytical Engines of Royal Society" in text
    ended = scenario.world.invitation(scenario.expired).expires_at
    assert f"expired on {ended.day} {ended:%B %Y, %H:%M} UTC" in text
    # A link leads to the page that can send it again, unless HOMEPORT_URL names another front end.
    path = f"/project/{scenario.world.invitation(scenario.expired).scope_uuid}/invitations/"
    assert f"{FRONT}{path}" in scenario.read_text("invitation_expired", base_url=FRONT)[2]
    assert path not in scenario.read_text("invitation_expired", homeport_url=FRONT)[2]

    to, subject, text = scenario.read_text("invitation_accepted")
    assert (to, subject) == (scenario.boss.email, "Bob Lee has joined Analytical Engines")
    assert "Bob Lee <bob@elsewhere.example> has accepted your invitation" in text
    # The account has another address than the invitation.
    assert "You sent the invitation to robert@example.org." in text
    scenario.update_all(invitations, email="Bob@Elsewhere.example")
    assert "You sent the invitation to" not in scenario.read_text("invitation_accepted")[2]


def test_inviter_is_notified_of_a_decline(scenario: Scenario) -> None:
    to, subject, text = scenario.read_text("invitation_declined", base_url=FRONT)
    assert to == scenario.boss.email
    assert subject == "nay@example.org has declined your invitation to Analytical Engines"
    assert "to the project Analytical Engines of Royal Society" in text
    assert "If this was a mistake, you can send a new invitation" in text
    team = f"/project/{scenario.world.invitation(scenario.declined).scope_uuid}/invitations/"
    assert f"{FRONT}{team}" in text
    assert team not in scenario.read_text("invitation_declined", homeport_url=FRONT)[2]
    # The account has another address than the invitation.
    assert "declined with another account: Bob Lee <bob@elsewhere.example>." in text
    invitation = scenario.rows("invitation_declined")[0].payload["invitation"]
    scenario.update_all(outbox, payload={"invitation": invitation, "account": None})
    assert "another account" not in scenario.read_text("invitation_declined")[2]


@pytest.mark.parametrize("reason", ["account deleted", "same address"])
def test_decline_mail_names_no_deleted_or_invited_account(scenario: Scenario, reason: str) -> None:
    if reason == "same address":
        scenario.update_all(invitations, email="Bob@Elsewhere.example")
    else:
        with scenario.world.database.write() as tx:
            account_actions.delete(tx, scenario.world.staff.actor, scenario.bob.uuid)
    assert "another account" not in scenario.read_text("invitation_declined")[2]


def test_reminder_is_marked_as_reminder(scenario: Scenario) -> None:
    to, subject, text = scenario.read_text("reminder", base_url=FRONT)
    assert to == "late@example.org"
    assert subject == "Reminder: Boss Lee invites you to join Analytical Engines"
    assert "This is a reminder" in text
    (link,) = re.findall(rf"{FRONT}/invitation/(\S+)/", text)
    assert scenario.world.vault.unsign("invitation", link) == [scenario.ending, 1]


def test_approvers_are_notified_of_a_join_request(scenario: Scenario) -> None:
    to, subject, text = scenario.read_text("permission_request_submitted", 0, homeport_url=FRONT)
    assert (to, subject) == (scenario.owner.email, "Requester Lee asks to join Analytical Engines")
    assert (
        "Requester Lee <requester@example.org> asks to join the project Analytical Engines" in text
    )
    assert 'in the role "Project administrator"' in text
    assert "Requester Lee writes: > See you > there." in text
    organisation = scenario.world.invitation(scenario.requested).organisation_uuid
    assert f"{FRONT}/organizations/{organisation}/group-invitations/" in text


def test_requester_is_notified_of_the_decision(scenario: Scenario) -> None:
    to, subject, text = scenario.read_text("permission_request_rejected")
    assert to == scenario.bob.email
    assert subject == "Your request to join Analytical Engines was rejected"
    assert "The person who decided writes: > See you > there." in text

    to, subject, text = scenario.read_text("structure_role_granted", 0)
    assert (to, subject) == (scenario.requester.email, "Welcome to Analytical Engines")
    assert 'was approved. Your role is "Project member".' in text
    assert "The person who decided writes: > See you > there." in text

    to, subject, text = scenario.read_text("structure_role_granted", 1)
    assert (to, subject) == (scenario.bob.email, "Welcome to bob_project")
    assert "on Collegium was created: bob_project" in text


def test_notification_is_obsolete_after_removal(scenario: Scenario) -> None:
    def check_void() -> None:
        for kind in KINDS:
            with pytest.raises(ObsoleteError, match="no longer exists"):
                scenario.read(kind, 0)

    scenario.update_all(scopes, deleted_at=datetime.now(UTC))
    check_void()
    scenario.update_all(scopes, deleted_at=None)
    for kind in KINDS:
        scenario.read(kind, 0)
    with scenario.world.database.write() as tx:
        tx.execute(Statement(delete(join_requests)))
        tx.execute(Statement(delete(invitations)))
    check_void()


def test_notification_is_obsolete_after_a_later_change(scenario: Scenario) -> None:
    for kind, *states in (
        ("invitation_requested", "pending", "rejected"),
        ("invitation_expired", "accepted", "canceled"),
        ("reminder", "accepted", "canceled"),
    ):
        for state in states:
            scenario.update_all(invitations, state=state)
            with pytest.raises(ObsoleteError):
                scenario.read(kind, 0)
    for kind, *states in (
        ("permission_request_submitted", "approved", "rejected", "canceled"),
        ("permission_request_rejected", "canceled"),
        ("structure_role_granted", "canceled"),
    ):
        scenario.read(kind, 0)
        for state in states:
            scenario.update_all(join_requests, state=state)
            with pytest.raises(ObsoleteError, match=f"it is {state}"):
                scenario.read(kind, 0)
        scenario.update_all(join_requests, state="rejected" if "submitted" in kind else "approved")


def test_expiry_notice_is_obsolete_after_sending_again(scenario: Scenario) -> None:
    with scenario.world.database.write() as tx:
        invitation_actions.send(tx, scenario.boss.actor, scenario.world.settings, scenario.expired)
    with pytest.raises(ObsoleteError, match="sent again"):
        scenario.read("invitation_expired")


@pytest.mark.parametrize("lost", [{"is_staff": False}, {"is_active": False}])
def test_former_staff_get_no_approval_links(scenario: Scenario, lost: dict[str, bool]) -> None:
    with scenario.world.database.write() as tx:
        account_queries.change(tx, scenario.boss.id, lost)
    with pytest.raises(ObsoleteError, match="can no longer approve"):
        scenario.read("invitation_requested", 1)
    scenario.read("invitation_requested", 0)


def test_former_managers_get_no_join_requests(scenario: Scenario) -> None:
    kind = "permission_request_submitted"
    (at,) = (n for n, row in enumerate(scenario.rows(kind)) if _is_about(scenario, row))
    scenario.read(kind, at)
    scenario.world.remove_role(scenario.owner, "CUSTOMER.OWNER", scenario.organisation)
    with pytest.raises(ObsoleteError, match="can no longer decide"):
        scenario.read(kind, at)


def _is_about(scenario: Scenario, row: Any) -> bool:
    """Return whether an e-mail asks the owner to decide the waiting request."""
    is_waiting: bool = row.payload["request"] == scenario.world.request(scenario.waiting).id
    return is_waiting and bool(row.recipient == scenario.owner.email)


@pytest.mark.parametrize(
    "values", [{"notifications_enabled": False}, {"is_active": False}, {"email": ""}]
)
def test_account_that_receives_no_mail_is_not_notified(
    world: World, settings: Settings, values: dict[str, Any]
) -> None:
    owner, bob = world.person("maker", is_staff=True), world.person("bob")
    requester = world.person("requester")
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    past = datetime.now(UTC) - timedelta(days=8)
    world.invite(owner, "x@example.org", ROLE, project, now=past)
    invitation = world.invite(owner, bob.email, ROLE, project)
    request = world.ask(requester, world.create_link(world.staff, ROLE, project))
    other = world.ask(requester, world.create_link(world.staff, "PROJECT.ADMIN", project))
    world.give_role(owner, "PROJECT.MANAGER", project)
    with world.database.write() as tx:
        account_queries.change(tx, owner.id, {"is_staff": True, **values, "is_active": True})
        account_queries.change(tx, requester.id, {**values, "is_active": True})
        tx.execute(Statement(delete(outbox)))
    with world.database.write() as tx:
        invitation_actions.accept(tx, bob.actor, settings, invitation)
        join_request_actions.approve(tx, world.staff.actor, settings, request, None)
        join_request_actions.reject(tx, world.staff.actor, other, None)
        account_queries.change(tx, owner.id, values | {"is_staff": False})
    Scheduler(world.database, settings).run()
    with world.database.read() as tx:
        kinds = tx.fetch_all(Statement[str](select(outbox.c.kind).order_by(outbox.c.id)))
    # An account that was deactivated later got earlier notifications.
    expected = ["invitation_accepted", "structure_role_granted", "permission_request_rejected"]
    assert kinds == (expected if "is_active" in values else [])


def test_deleted_inviter_is_not_notified(scenario: Scenario) -> None:
    with scenario.world.database.write() as tx:
        account_actions.delete(tx, scenario.world.staff.actor, scenario.boss.uuid)
    scenario.update_all(invitations, expiry_notified_at=None, reminded_at=None)
    # Both are handled without a mail: the expiry has no recipient, and the invitation that would
    # be reminded has no inviter, so it cannot be accepted.
    assert Scheduler(scenario.world.database, scenario.world.settings).run() == 2
    assert Scheduler(scenario.world.database, scenario.world.settings).run() == 0
    # The earlier notification was deleted with the account.
    assert (scenario.count("invitation_expired"), scenario.count("reminder")) == (0, 1)
    for kind in ("invitation_rejected", "invitation_requested"):
        scenario.read(kind, 0)


def test_mail_queued_while_its_recipient_was_deleted_is_obsolete(scenario: Scenario) -> None:
    kinds = [f"invitation_{what}" for what in ("rejected", "expired", "accepted", "declined")]
    with scenario.world.database.write() as tx:
        for creator in (scenario.boss, scenario.owner):
            account_queries.anonymise(tx, creator.id)
    for kind in kinds:
        with pytest.raises(ObsoleteError, match="account no longer exists"):
            scenario.read(kind, 0)


@pytest.mark.parametrize(
    "name", ["</p><a href='http://evil.example'>x", "a\r\nBcc: e@x.org\r\n\r\nb"]
)
def test_names_and_texts_are_escaped_in_every_notification(
    make_scenario: Callable[..., Scenario], name: str
) -> None:
    details = {"full_name": name, "organization": name, "job_title": name}
    scenario = make_scenario(name=name, text=name + EVIL, **details)
    for kind in KINDS:
        message = scenario.read(kind, 0)
        html = words(message, "html")
        assert len(message["To"].addresses) == 1
        assert message["Bcc"] is None
        assert not HIDDEN & set(words(message, "plain") + html)
        tags = HtmlTags(html)
        assert all(str(link).startswith("http://127.0.0.1") for link in tags.links), kind
        assert tags.opened.count("a") <= 3
        assert "<a href='http://evil" not in html
        paragraphs = words(message, "plain").split("\n\n")
        assert all(not paragraph.startswith("Bcc:") for paragraph in paragraphs)


@pytest.mark.parametrize("name", ["Ωμέγα 研究所 😀", "x" * 100])
def test_name_is_complete_in_every_notification(
    make_scenario: Callable[..., Scenario], name: str
) -> None:
    scenario = make_scenario(name=name, text=name)
    for kind in KINDS:
        message = scenario.read(kind, 0)
        assert name in words(message, "plain"), kind
        assert name in words(message, "html"), kind
        assert len(message["Subject"]) < 200
        assert max(map(len, message.as_bytes().splitlines())) < 998


def test_custom_templates_are_used_for_every_kind(scenario: Scenario, tmp_path: Path) -> None:
    for kind in KINDS:
        file = kind.replace("reminder", "invitation_created")
        (tmp_path / f"{file}.subject.txt").write_text(f"About {{{{ scope_name }}}}: {file}\n")
        (tmp_path / f"{file}.txt").write_text("Our own {{ scope_kind }}.\n")
    for kind in KINDS:
        message = scenario.read(kind, 0, templates=tmp_path)
        assert message["Subject"].startswith("About Analytical Engines: "), kind
        assert words(message, "plain") == "Our own project.\n"
        # Other templates stay in use.
        assert "<!doctype html>" in words(message, "html")


def test_payload_contains_ids_only(scenario: Scenario) -> None:
    allowed = {"invitation", "generation", "link_version", "account", "staff", "request"}
    allowed |= {"reminder"}
    for kind in KINDS:
        for row in scenario.rows(kind):
            assert set(row.payload) <= allowed
            assert all(isinstance(value, int) for value in row.payload.values())
