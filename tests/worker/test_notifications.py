"""The news of invitations and requests: who is told, what they read, and when it is too late."""

from __future__ import annotations

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
from collegium.db.statements import Row, Statement
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
from tests.worker.test_mails import EVIL, FRONT, HIDDEN, _Tags

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


class Story:
    """Every kind of news, told by the actions that owe them.

    Args:
        name: of everybody and everything in it.
        text: what everybody writes.
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
        self.asker = world.person("asker", **people)
        self.bob = world.person("bob", email="bob@elsewhere.example", **people)
        self.place = world.organisation(name or "Royal Society", owner=self.owner)
        self.project = world.project(self.place, name or "Analytical Engines")
        if name:
            self.change(roles, description=name)
        self.text = text
        now = datetime.now(UTC)
        made = {"extra_text": text, **details}
        self.requested = self.invite(self.owner, "new@example.org", **made)
        self.rejected = self.invite(self.owner, "no@example.org", **made)
        self.accepted = self.invite(self.boss, "robert@example.org", **made)
        self.declined = self.invite(self.boss, "nay@example.org", **made)
        self.expired = self.invite(
            self.boss, "old@example.org", now=now - timedelta(days=8), **made
        )
        self.ending = self.invite(
            self.boss, "late@example.org", now=now - timedelta(days=6, hours=12), **made
        )
        link = world.open(self.owner, ROLE, self.project)
        again = world.open(self.owner, "PROJECT.ADMIN", self.project)
        mine = world.open(self.boss, ROLE, self.place, auto_create_project=True, template=name)
        self.waiting = world.ask(self.asker, again, text)
        self.granted = world.ask(self.asker, link, text)
        self.denied = world.ask(self.bob, link, text)
        self.own = world.ask(self.bob, mine, text)
        settings = self.world.settings
        with world.database.write() as tx:
            facts = (self.boss.uuid, self.rejected, 1)
            approvals.reject(tx, approvals.Decision(*facts), "", "")
            # Before the same role comes in another way, which would approve it.
            join_request_actions.reject(tx, self.owner.actor, self.denied, text)
            invitation_actions.accept(tx, self.bob.actor, settings, self.accepted)
            invitation_actions.decline(tx, self.bob.actor, settings, self.declined, 1)
            join_request_actions.approve(tx, self.owner.actor, settings, self.granted, text)
            join_request_actions.approve(tx, self.boss.actor, settings, self.own, text)
        assert Scheduler(world.database, settings).run() == 2

    def invite(self, who: Person, email: str, **details: Any) -> str:
        return self.world.invite(who, email, ROLE, self.project, **details)

    def change(self, table: Table, **values: Any) -> None:
        statement = update(table).values({name: bindparam(name) for name in values})
        with self.world.database.write() as tx:
            tx.execute(Statement(statement), **values)

    def rows(self, kind: str) -> list[Row]:
        """The mails of a kind, in the order in which they were owed."""
        with self.world.database.read() as tx:
            found = tx.fetch_all(Statement(select(outbox).order_by(outbox.c.id)))
        if kind == "reminder":
            return [row for row in found if row.payload.get("reminder")]
        return [row for row in found if row.kind == kind]

    def read(self, kind: str, at: int = -1, **settings: Any) -> EmailMessage:
        """One of them as a client reads it after its journey."""
        with self.world.database.read() as tx:
            row = self.rows(kind)[at]
            message = mails.render(tx, Settings(**settings), self.world.vault, row)
        read = message_from_bytes(message.as_bytes(), policy=default)
        assert isinstance(read, EmailMessage)
        return read

    def said(self, kind: str, at: int = -1, **settings: Any) -> tuple[str, str, str]:
        """Recipient, subject, and all that it says, its lines put together."""
        message = self.read(kind, at, **settings)
        return message["To"], message["Subject"], " ".join(words(message, "plain").split())

    def owed(self, kind: str) -> int:
        return len(self.rows(kind))


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(only_staff_can_invite_users="true")


@pytest.fixture
def tell(world: World, settings: Settings) -> Callable[..., Story]:
    return lambda **given: Story(world, settings, **given)


@pytest.fixture
def story(tell: Callable[..., Story]) -> Story:
    return tell(text="See you\nthere.")


def test_every_kind_is_told_by_a_deed(story: Story) -> None:
    with story.world.database.read() as tx:
        told = {row.kind for row in tx.fetch_all(Statement(select(outbox.c.kind)))}
    assert told == {*KINDS, "invitation_created"} - {"reminder"}
    assert {kind: story.owed(kind) for kind in KINDS} == {
        "invitation_requested": 2 * 2,  # both members of staff, of both invitations
        "invitation_rejected": 1,
        "invitation_expired": 1,
        "invitation_accepted": 1,
        "invitation_declined": 1,
        # The owner may decide on three, and for the fourth there are only staff.
        "permission_request_submitted": 3 + 2,
        "permission_request_rejected": 1,
        "structure_role_granted": 2,
        "reminder": 1,
    }


def test_each_has_both_parts_one_recipient_and_the_headers_others_rely_on(story: Story) -> None:
    for kind in KINDS:
        message = story.read(kind, 0, base_url=FRONT, site_name="Roll")
        parts = [part.get_content_type() for part in message.iter_parts()]
        assert parts == ["text/plain", "text/html"]
        assert message["X-Collegium-Mail"] == kind.replace("reminder", "invitation_created")
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["X-Auto-Response-Suppress"] == "All"
        assert len(message["To"].addresses) == 1
        assert message["Cc"] is message["Bcc"] is None
        text, html = (words(message, part) for part in ("plain", "html"))
        assert "None" not in text + html
        # The same links in both, and none that leads elsewhere.
        assert set(re.findall(rf"{FRONT}\S*", text)) == _Tags(html).links, kind
        assert "Roll" in text


def test_staff_are_asked_each_with_links_of_their_own(story: Story) -> None:
    asked = [row.recipient for row in story.rows("invitation_requested")[:2]]
    assert asked == [story.world.staff.email, story.boss.email]
    seen = set()
    for at, staff in enumerate((story.world.staff, story.boss)):
        to, subject, text = story.said("invitation_requested", at, base_url=FRONT)
        assert (to, subject) == (
            staff.email,
            "Approve the invitation for new@example.org to Analytical Engines?",
        )
        for fact in (
            "Owner Lee wants to invite new@example.org to the project Analytical Engines",
            "of Royal Society",
            'in the role "Project member"',
            "> See you > there.",
        ):
            assert fact in text
        for purpose in (approvals.APPROVE, approvals.REJECT):
            (link,) = re.findall(rf"{FRONT}/{purpose}/(\S+)/", text)
            facts = story.world.vault.unsign(purpose, link)
            assert facts is not None
            assert facts[:3] == [staff.uuid, story.requested, 1]
            assert abs(int(facts[3]) - datetime.now(UTC).timestamp()) < 60
            seen.add(link)
    assert len(seen) == 4
    text = story.said("invitation_requested", 0, homeport_url=FRONT)[2]
    assert f"{FRONT}/invitation_approve/" in text


def test_staff_read_all_that_is_known_of_somebody(tell: Callable[..., Story]) -> None:
    known = {
        "full_name": "Charles Babbage",
        "native_name": "Карл",
        "phone_number": "+44 1",
        "organization": "Trinity",
        "job_title": "Professor",
        "civil_number": "",
    }
    story = tell(**known)
    _to, subject, text = story.said("invitation_requested", 0)
    assert subject == "Approve the invitation for Charles Babbage to Analytical Engines?"
    assert "Charles Babbage, new@example.org" in text
    for label, value in (
        ("Native name", "Карл"),
        ("Phone number", "+44 1"),
        ("Institution", "Trinity"),
        ("Job title", "Professor"),
    ):
        assert f"{label}: {value}" in text
    assert "Civil number" not in text


def test_only_staff_who_want_mails_and_can_get_them_are_asked(
    world: World, settings: Settings
) -> None:
    for name, values in (
        ("quiet", {"notifications_enabled": False}),
        ("off", {"is_active": False}),
        ("nowhere", {"email": ""}),
    ):
        world.person(name, is_staff=True, **values)
    world.person("help", is_support=True)
    story = Story(world, settings)
    asked = {row.recipient for row in story.rows("invitation_requested")}
    assert asked == {world.staff.email, story.boss.email}


def test_whoever_invited_reads_what_became_of_it(story: Story) -> None:
    to, subject, text = story.said("invitation_rejected", site_name="Roll")
    assert (to, subject) == (
        story.owner.email,
        "Your invitation to Analytical Engines was rejected",
    )
    assert "no@example.org" in text
    assert "by the staff of Roll. Nothing was sent to this address." in text

    to, subject, text = story.said("invitation_expired")
    assert (to, subject) == (story.boss.email, "Your invitation to Analytical Engines has expired")
    assert "old@example.org to the project Analytical Engines of Royal Society" in text
    ended = story.world.invitation(story.expired).expires_at
    assert f"expired on {ended.day} {ended:%B %Y, %H:%M} UTC" in text
    # It leads to where it can be sent again; a front end of one's own has its own pages.
    again = f"/project/{story.world.invitation(story.expired).scope_uuid}/invitations/"
    assert f"{FRONT}{again}" in story.said("invitation_expired", base_url=FRONT)[2]
    assert again not in story.said("invitation_expired", homeport_url=FRONT)[2]

    to, subject, text = story.said("invitation_accepted")
    assert (to, subject) == (story.boss.email, "Bob Lee has joined Analytical Engines")
    assert "Bob Lee <bob@elsewhere.example> has accepted your invitation" in text
    # Another address took it than the one that was invited: that is worth knowing.
    assert "You sent the invitation to robert@example.org." in text
    story.change(invitations, email="Bob@Elsewhere.example")
    assert "You sent the invitation to" not in story.said("invitation_accepted")[2]


def test_whoever_invited_reads_who_declined(story: Story) -> None:
    to, subject, text = story.said("invitation_declined", base_url=FRONT)
    assert (to, subject) == (
        story.boss.email,
        "nay@example.org has declined your invitation to Analytical Engines",
    )
    assert "to the project Analytical Engines of Royal Society" in text
    assert "If this was a mistake, you can send a new invitation" in text
    team = f"/project/{story.world.invitation(story.declined).scope_uuid}/invitations/"
    assert f"{FRONT}{team}" in text
    assert team not in story.said("invitation_declined", homeport_url=FRONT)[2]
    # Another account than the invited one said no, by a link that was handed on.
    other = "declined with another account: Bob Lee <bob@elsewhere.example>."
    assert other in text
    story.change(
        outbox,
        payload={
            "invitation": story.rows("invitation_declined")[0].payload["invitation"],
            "account": None,
        },
    )
    assert "another account" not in story.said("invitation_declined")[2]


def test_an_account_that_is_gone_since_is_not_named(story: Story) -> None:
    with story.world.database.write() as tx:
        account_actions.delete(tx, story.world.staff.actor, story.bob.uuid)
    assert "another account" not in story.said("invitation_declined")[2]


def test_the_invited_address_of_an_account_is_no_other_one(story: Story) -> None:
    story.change(invitations, email="Bob@Elsewhere.example")
    assert "another account" not in story.said("invitation_declined")[2]


def test_the_reminder_says_that_it_is_one(story: Story) -> None:
    to, subject, text = story.said("reminder", base_url=FRONT)
    assert to == "late@example.org"
    assert subject == "Reminder: Boss Lee invites you to join Analytical Engines"
    assert "This is a reminder" in text
    (link,) = re.findall(rf"{FRONT}/invitation/(\S+)/", text)
    assert story.world.vault.unsign("invitation", link) == [story.ending, 1]


def test_those_who_decide_read_who_asks_and_what_for(story: Story) -> None:
    to, subject, text = story.said("permission_request_submitted", 0, homeport_url=FRONT)
    assert (to, subject) == (story.owner.email, "Asker Lee asks to join Analytical Engines")
    assert "Asker Lee <asker@example.org> asks to join the project Analytical Engines" in text
    assert 'in the role "Project administrator"' in text
    assert "Asker Lee writes: > See you > there." in text
    assert f"{FRONT}/profile/permission-requests/" in text


def test_whoever_asked_reads_the_answer(story: Story) -> None:
    to, subject, text = story.said("permission_request_rejected")
    assert (to, subject) == (
        story.bob.email,
        "Your request to join Analytical Engines was rejected",
    )
    assert "The person who decided writes: > See you > there." in text

    to, subject, text = story.said("structure_role_granted", 0)
    assert (to, subject) == (story.asker.email, "Welcome to Analytical Engines")
    assert 'was approved. Your role is "Project member".' in text
    assert "The person who decided writes: > See you > there." in text

    to, subject, text = story.said("structure_role_granted", 1)
    assert (to, subject) == (story.bob.email, "Welcome to bob_project")
    assert "on Collegium was created: bob_project" in text


# Overtaken.


def test_news_of_what_is_gone_are_told_to_nobody(story: Story) -> None:
    def check_void() -> None:
        for kind in KINDS:
            with pytest.raises(ObsoleteError, match="no longer exists"):
                story.read(kind, 0)

    story.change(scopes, removed_at=datetime.now(UTC))
    check_void()
    story.change(scopes, removed_at=None)
    for kind in KINDS:
        story.read(kind, 0)
    with story.world.database.write() as tx:
        tx.execute(Statement(delete(join_requests)))
        tx.execute(Statement(delete(invitations)))
    check_void()


def test_news_that_were_overtaken_are_void(story: Story) -> None:
    for kind, *states in (
        ("invitation_requested", "pending", "rejected"),
        ("invitation_expired", "accepted", "canceled"),
        ("reminder", "accepted", "canceled"),
    ):
        for state in states:
            story.change(invitations, state=state)
            with pytest.raises(ObsoleteError):
                story.read(kind, 0)
    for kind, *states in (
        ("permission_request_submitted", "approved", "rejected", "canceled"),
        ("permission_request_rejected", "canceled"),
        ("structure_role_granted", "canceled"),
    ):
        story.read(kind, 0)
        for state in states:
            story.change(join_requests, state=state)
            with pytest.raises(ObsoleteError, match=f"it is {state}"):
                story.read(kind, 0)
        story.change(join_requests, state="rejected" if "submitted" in kind else "approved")


def test_an_invitation_that_was_sent_again_has_not_expired(story: Story) -> None:
    with story.world.database.write() as tx:
        invitation_actions.send(tx, story.boss.actor, story.world.settings, story.expired)
    with pytest.raises(ObsoleteError, match="sent again"):
        story.read("invitation_expired")


@pytest.mark.parametrize("lost", [{"is_staff": False}, {"is_active": False}])
def test_who_is_staff_no_more_gets_no_links(story: Story, lost: dict[str, bool]) -> None:
    with story.world.database.write() as tx:
        account_queries.change(tx, story.boss.id, lost)
    with pytest.raises(ObsoleteError, match="can no longer approve"):
        story.read("invitation_requested", 1)
    story.read("invitation_requested", 0)


@pytest.mark.parametrize(
    "values", [{"notifications_enabled": False}, {"is_active": False}, {"email": ""}]
)
def test_who_wants_no_mails_or_can_get_none_is_owed_none(
    world: World, settings: Settings, values: dict[str, Any]
) -> None:
    """What happens happens all the same: nothing stops because somebody is not told."""
    owner, bob = world.person("maker", is_staff=True), world.person("bob")
    asker = world.person("asker")
    place = world.organisation(owner=owner)
    project = world.project(place)
    settled = datetime.now(UTC) - timedelta(days=8)
    world.invite(owner, "x@example.org", ROLE, project, now=settled)
    taken = world.invite(owner, bob.email, ROLE, project)
    request = world.ask(asker, world.open(world.staff, ROLE, project))
    other = world.ask(asker, world.open(world.staff, "PROJECT.ADMIN", project))
    silent = values | {"is_staff": False}
    world.seat(owner, "PROJECT.MANAGER", project)
    with world.database.write() as tx:
        account_queries.change(tx, owner.id, {"is_staff": True, **values, "is_active": True})
        account_queries.change(tx, asker.id, {**values, "is_active": True})
        tx.execute(Statement(delete(outbox)))
    with world.database.write() as tx:
        invitation_actions.accept(tx, bob.actor, settings, taken)
        join_request_actions.approve(tx, world.staff.actor, settings, request, None)
        join_request_actions.reject(tx, world.staff.actor, other, None)
        account_queries.change(tx, owner.id, silent)
    Scheduler(world.database, settings).run()
    with world.database.read() as tx:
        told = [row.kind for row in tx.fetch_all(Statement(select(outbox)))]
    # Whoever was switched off since could be told of what came before.
    off = "is_active" in values
    assert told == (
        ["invitation_accepted", "structure_role_granted", "permission_request_rejected"]
        if off
        else []
    )


def test_news_go_on_without_whoever_made_the_invitation(story: Story) -> None:
    with story.world.database.write() as tx:
        account_actions.delete(tx, story.world.staff.actor, story.boss.uuid)
    story.change(invitations, expiry_notified_at=None, reminded_at=None)
    # Both are settled. There is nobody to be told that one has expired,
    # and nobody to stand by the other: whoever was invited is not reminded of what is dead.
    assert Scheduler(story.world.database, story.world.settings).run() == 2
    assert Scheduler(story.world.database, story.world.settings).run() == 0
    # What was told before went with the account.
    assert (story.owed("invitation_expired"), story.owed("reminder")) == (0, 1)
    for kind in ("invitation_rejected", "invitation_requested"):
        story.read(kind, 0)


# Names.


@pytest.mark.parametrize(
    "name", ["</p><a href='http://evil.example'>x", "a\r\nBcc: e@x.org\r\n\r\nb"]
)
def test_no_name_and_no_text_can_become_more_than_words(
    tell: Callable[..., Story], name: str
) -> None:
    details = {"full_name": name, "organization": name, "job_title": name}
    story = tell(name=name, text=name + EVIL, **details)
    for kind in KINDS:
        message = story.read(kind, 0)
        html = words(message, "html")
        assert len(message["To"].addresses) == 1
        assert message["Bcc"] is None
        assert not HIDDEN & set(words(message, "plain") + html)
        tags = _Tags(html)
        assert all(str(link).startswith("http://127.0.0.1") for link in tags.links), kind
        assert tags.opened.count("a") <= 3
        assert "<a href='http://evil" not in html
        assert all(not line.startswith("Bcc:") for line in words(message, "plain").splitlines())


@pytest.mark.parametrize("name", ["Ωμέγα 研究所 😀", "x" * 100])
def test_any_name_arrives_whole(tell: Callable[..., Story], name: str) -> None:
    story = tell(name=name, text=name)
    for kind in KINDS:
        message = story.read(kind, 0)
        assert name in words(message, "plain"), kind
        assert name in words(message, "html"), kind
        assert len(message["Subject"]) < 200
        assert max(map(len, message.as_bytes().splitlines())) < 998


def test_the_operators_words_replace_ours_in_every_kind(story: Story, tmp_path: Path) -> None:
    for kind in KINDS:
        file = kind.replace("reminder", "invitation_created")
        (tmp_path / f"{file}.subject.txt").write_text(f"About {{{{ scope_name }}}}: {file}\n")
        (tmp_path / f"{file}.txt").write_text("Our own {{ scope_kind }}.\n")
    for kind in KINDS:
        message = story.read(kind, 0, templates=tmp_path)
        assert message["Subject"].startswith("About Analytical Engines: "), kind
        assert words(message, "plain") == "Our own project.\n"
        # What they leave out stays ours.
        assert "<!doctype html>" in words(message, "html")


def test_nothing_of_an_account_is_in_a_row(story: Story) -> None:
    """A mail finds what it says when it is written; the row holds numbers only."""
    for kind in KINDS:
        for row in story.rows(kind):
            assert set(row.payload) <= {
                "invitation",
                "generation",
                "account",
                "staff",
                "request",
                "reminder",
            }
            assert all(isinstance(fact, int) for fact in row.payload.values())
