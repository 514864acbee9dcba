"""Every kind of mail isolates names, keeps the path of the front end, and needs a recipient."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import chain
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.accounts.mail_preferences.rules import DIGEST, UNSUBSCRIBE
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import (
    accounts,
    events,
    grants,
    invitations,
    invite_links,
    join_requests,
    outbox,
)
from collegium.events.types import RoleGranted
from collegium.hooks import actions as hook_actions
from collegium.hooks import queries as hook_queries
from collegium.hooks.rules import Kind
from collegium.invitations import actions as invitation_actions
from collegium.outbox import mails as kinds
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import ObsoleteError
from collegium.reviews import queries as review_queries
from collegium.settings import Settings
from collegium.sign_in import mails as sign_in_mails
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.passwords import mails as password_mails
from collegium.web.routes import ROUTES
from collegium.worker import hook_calls, mails
from collegium.worker.mail_templates import TEMPLATES
from tests.invitations.test_links import decodings
from tests.support.hooks import add_hook
from tests.support.world import World
from tests.worker.scene import words
from tests.worker.test_mails import HtmlTags
from tests.worker.test_names_in_mails import HEBREW
from tests.worker.test_notifications import Scenario

OWN_PAGES = {
    *(*sign_in_mails.LOADERS, *password_mails.LOADERS),
    *(kinds.MailTest.kind, kinds.ChangeEmailRequest.kind, *hook_calls.LOADERS),
}
"""The mails whose links lead to pages of this service: no front end has them, or none may."""


class EveryKind(Scenario):
    """Queues every kind of mail; every name in them is the same."""

    def __init__(self, world: World, settings: Settings, name: str = HEBREW) -> None:
        details = dict.fromkeys(("full_name", "native_name", "organization"), name)
        super().__init__(world, settings, name=name, text="Welcome", **details)
        bob, now = self.bob, datetime.now(UTC).isoformat()
        notice = (bob.email, bob.id, now, "person", "203.0.113.9")
        pending = world.invitation(self.ending).id
        role, former = self._roles()
        changes, new = {"last_name": [name, name]}, "new@elsewhere.example"
        with world.database.write() as tx:
            review_queries.add(tx, self.project.id)
            preference_queries.choose(tx, self.owner.id, DIGEST, None, is_wanted=True)
            email_change_actions.request_change(
                tx, bob.actor, self.world.settings, world.vault, bob.uuid, new
            )
            invitation_actions.request_renewal(tx, self.expired, 1)
            invitation_actions.report_deactivated(tx, self.ending, 1)
            password_actions.request_reset(tx, bob.email, "")
            for mail in (
                kinds.InvitationApproved(bob.email, pending, bob.id),
                kinds.MailTest(bob.email, bob.id),
                kinds.ReviewsPending(self.owner.email, self.owner.id),
                kinds.RoleGranted(bob.email, bob.id, [role], 1),
                kinds.RoleChanged(bob.email, bob.id, [role | {"former": former["grant"]}]),
                kinds.RoleEnding(bob.email, bob.id, [role]),
                kinds.RoleEnded(bob.email, bob.id, [former]),
                kinds.RoleRemoved(bob.email, bob.id, [former], 1),
                kinds.RoleDigest(self.owner.email, self.owner.id),
                *self._of_hooks(tx),
                kinds.EmailChanged(bob.email, bob.id, new),
                kinds.PasswordChanged(*notice),
                kinds.TokenCreated(*notice, name),
                kinds.TokenCreated(*notice, name, program=True),
                kinds.IdentityChanged(*notice, name),
                kinds.IdentityLinkRequest(
                    *(bob.email, bob.id, now, name, 1, "mark", "subject", "browser", "")
                ),
                kinds.IdentityChanged(*notice, name, removed=True),
                kinds.PasskeyChanged(*notice, name),
                kinds.PasskeyChanged(*notice, name, removed=True),
                kinds.SecondFactorEnabled(*notice),
                kinds.SecondFactorDisabled(*notice),
                kinds.SecondFactorReset(*notice),
                kinds.SecondFactorFailed(*notice, codes=3, locked=True),
                kinds.ProfileChangesOperator("desk@example.org", bob.id, changes, [name]),
            ):
                outbox_queries.enqueue(tx, mail)
        self.rows_to_send = []
        with world.database.read() as tx:
            for row in tx.fetch_all(Statement[Any](select(outbox).order_by(outbox.c.id))):
                with suppress(ObsoleteError):
                    self.render(tx, row, settings)
                    self.rows_to_send.append(row)
        assert {row.kind for row in self.rows_to_send} == set(mails.LOADERS)

    def _of_hooks(self, tx: WriteTransaction) -> list[Any]:
        """Add a hook and one that was deactivated; return their e-mails."""
        owner = self.owner
        hook, stopped = (add_hook(tx, owner, kind) for kind in (Kind.EMAIL, Kind.WEB))
        hook_actions.update(tx, owner.actor, Kind.WEB, stopped, {"is_active": False})
        numbers = {row.uuid: row.id for row in hook_queries.of_account(tx, owner.id)}
        given = select(func.max(events.c.id).label("id")).where(
            events.c.scope_id == self.project.id
        )
        event = tx.fetch_only(Statement[int](given.where(events.c.kind == RoleGranted.kind)))
        return [
            kinds.EventNotification(
                *(owner.email, owner.id, numbers[hook], [event], RoleGranted.kind)
            ),
            kinds.HookDeactivated(owner.email, owner.id, numbers[stopped]),
        ]

    def _roles(self) -> list[Any]:
        """Assign to Bob a role that ends soon, and one that has ended."""
        soon, world = datetime.now(UTC) + timedelta(days=5), self.world
        for role in ("PROJECT.ADMIN", "PROJECT.MANAGER"):
            world.give_role(self.bob, role, self.project, soon)
        world.remove_role(self.bob, "PROJECT.MANAGER", self.project)
        rows = select(grants.c.id).where(grants.c.account_id == self.bob.id)
        with world.database.read() as tx:
            ids = tx.fetch_all(Statement[int](rows.order_by(grants.c.id.desc()).limit(2)))
        facts = {"former": None, "actor": self.owner.id, "scope_name": self.project.name}
        return [{"grant": one, **facts} for one in sorted(ids)]

    def render(self, tx: ReadTransaction, row: Any, settings: Settings) -> EmailMessage:
        """Render a mail and parse it as a client does."""
        message = mails.render(tx, settings, self.world.vault, row)
        return message_from_bytes(message.as_bytes(), policy=default)


@pytest.fixture
def every_kind(world: World, make_settings: Callable[..., Settings]) -> EveryKind:
    return EveryKind(world, make_settings(only_staff_can_invite_users="true"))


def test_right_to_left_names_are_isolated_in_every_kind_of_mail(every_kind: EveryKind) -> None:
    for row in every_kind.rows_to_send:
        with every_kind.world.database.read() as tx:
            message = every_kind.render(tx, row, Settings())
        parts = [words(message, "plain"), words(message, "html")]
        assert all(f"\u2068{HEBREW}" in part for part in parts), row.kind
        for part in (message["Subject"], *parts):
            assert HEBREW not in re.sub("\u2068[^\u2069]*\u2069", "", part), row.kind


def test_url_in_a_name_is_no_link_in_any_kind_of_mail(
    world: World, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(only_staff_can_invite_users="true")
    every_kind = EveryKind(world, settings, "evil://x")
    for row in every_kind.rows_to_send:
        with world.database.read() as tx:
            message = every_kind.render(tx, row, settings)
        for part in (message["Subject"], words(message, "plain"), words(message, "html")):
            assert "evil://" not in part, row.kind


def test_links_of_every_kind_of_mail_begin_with_the_path_of_the_front_end(
    every_kind: EveryKind, make_settings: Callable[..., Settings]
) -> None:
    front, own = "https://front.example/hpc/portal", "https://own.example/members"
    settings = make_settings(homeport_url=f"{front}/", base_url=f"{own}/")
    for row in every_kind.rows_to_send:
        with every_kind.world.database.read() as tx:
            message = every_kind.render(tx, row, settings)
        plain, html = words(message, "plain"), words(message, "html")
        base = own if row.kind in OWN_PAGES else front
        text = (TEMPLATES / f"{row.kind}.body").read_text()
        has_link = bool(re.search(r"\w*link[,)]", text)) or 'extends "roles."' in text
        for links in (set(re.findall(r"https?://[^\s>]+", plain)), HtmlTags(html).links):
            links -= {front}  # the footer
            links -= {link for link in links if f"{own}/{UNSUBSCRIBE}/" in str(link)}
            assert bool(links) is has_link, row.kind
            for link in map(str, links):
                assert re.fullmatch(rf"{base}/([^/\s]+/)*", link), (row.kind, link)


def test_links_of_every_kind_of_mail_lead_to_a_page(every_kind: EveryKind) -> None:
    pages = [re.sub(r"{\w+}", "[^/]+", path) for path, table in ROUTES.items() if "GET" in table]
    for row in every_kind.rows_to_send:
        with every_kind.world.database.read() as tx:
            message = every_kind.render(tx, row, Settings())
        for link in re.findall(r"https?://[^\s>]+", words(message, "plain")):
            path = link.removeprefix(Settings().base_url) or "/"
            assert any(re.fullmatch(page, path) for page in pages), (row.kind, link)


def test_no_kind_of_mail_contains_a_readable_uuid_that_opens_something(
    every_kind: EveryKind,
) -> None:
    """Those of scopes are readable, and of an account for staff: their pages check the rights."""
    with every_kind.world.database.read() as tx:
        uuids = {
            UUID(row.uuid)
            for table in (accounts, invitations, invite_links, join_requests, grants)
            for row in tx.fetch_all(Statement[Any](select(table.c.uuid)))
        }
        messages = [
            (row.kind, every_kind.render(tx, row, Settings())) for row in every_kind.rows_to_send
        ]
    assert len(uuids) > 20
    forms = {form for uuid in uuids for form in (uuid.hex.encode(), str(uuid).encode(), uuid.bytes)}
    for kind, message in messages:
        text = f"{message} {words(message, 'plain')} {words(message, 'html')}"
        text = text.replace(f"/staff/accounts/{every_kind.bob.uuid}/", "")
        segments = {
            part
            for url in re.findall(r"https?://[^\s\"<>]+", text)
            for part in re.split("[/?=&]", url)
        }
        for read in (text.encode(), *chain.from_iterable(map(decodings, segments))):
            assert not [form for form in forms if form in read], kind


def test_no_kind_of_mail_is_sent_to_an_account_that_was_deleted_while_it_was_queued(
    every_kind: EveryKind,
) -> None:
    class RollBackError(Exception):
        """Restores the account."""

    people = (every_kind.boss, every_kind.owner, every_kind.requester, every_kind.bob)
    accounts = {person.email: person.id for person in (*people, every_kind.world.staff)}
    rows = [row for row in every_kind.rows_to_send if row.recipient in accounts]
    assert set(mails.LOADERS) - {row.kind for row in rows} == {
        "invitation_created",
        "change_email_request",
        "notifications_profile_changes_operator",
    }
    for row in rows:
        with suppress(RollBackError), every_kind.world.database.write() as tx:
            every_kind.render(tx, row, Settings())
            account_queries.anonymise(tx, accounts[row.recipient])
            with pytest.raises(ObsoleteError):
                every_kind.render(tx, row, Settings())
            raise RollBackError
