"""E-mails to operators about changed profiles of organisation owners."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from collegium.access import queries as access_queries
from collegium.access.rules import ANONYMOUS
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.statements import Statement
from collegium.db.tables import events, outbox
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams.rules import Person as DirectoryPerson
from collegium.outbox.outcomes import ObsoleteError
from collegium.scopes.organisations import actions as organisation_actions
from collegium.settings import Settings
from collegium.worker import mails
from tests.support.mails import mail_text
from tests.support.world import Person, World

OPERATORS = ["ops@example.org", "desk@example.org"]
NEW = "new@example.org"


class Setup:
    """Operators who are notified, and the actions that change profiles."""

    def __init__(self, world: World, make_settings: Callable[..., Settings]) -> None:
        self.world = world
        self._make_settings = make_settings
        self.settings = self.with_options()

    def with_options(self, **options: Any) -> Settings:
        """Return settings with other options of the notifications."""
        value = {
            "ENABLE_OPERATOR_OWNER_NOTIFICATIONS": True,
            "OPERATOR_NOTIFICATION_EMAILS": OPERATORS,
            **options,
        }
        return self._make_settings(notifications_profile_changes=json.dumps(value))

    def change(
        self, person: Person, settings: Any = None, caller: Any = None, **values: Any
    ) -> None:
        actor, settings = (caller or person).actor, settings or self.settings
        with self.world.database.write() as tx:
            account_actions.update(tx, actor, settings, person.uuid, values, agrees_to_policy=True)

    def _rows(self, table: Any, kind: str) -> list[Any]:
        query = select(table).where(table.c.kind == kind).order_by(table.c.id)
        with self.world.database.read() as tx:
            return tx.fetch_all(Statement(query))

    def queued(self) -> list[Any]:
        return self._rows(outbox, "notifications_profile_changes_operator")

    def recorded(self) -> list[Any]:
        return self._rows(events, "account.profile_changed")

    def mail(self, index: int = 0) -> Any:
        row = self.queued()[index]
        with self.world.database.read() as tx:
            return mails.render(tx, self.settings, self.world.vault, row)


@pytest.fixture
def setup(world: World, make_settings: Callable[..., Settings]) -> Setup:
    return Setup(world, make_settings)


@pytest.fixture
def owner(world: World) -> Person:
    owner = world.person("owner", job_title="Smith", phone_number="+1 555")
    for name in ("Beta", "Acme"):
        world.organisation(name, owner=owner)
    return owner


def test_every_operator_is_notified_of_old_and_new_values(setup: Setup, owner: Person) -> None:
    setup.change(owner, job_title="Baker", phone_number="", first_name="Ola")
    facts = {
        "changes": {"job_title": ["Smith", "Baker"], "phone_number": ["+1 555", ""]},
        "organizations": ["Acme", "Beta"],
    }
    assert [row.recipient for row in setup.queued()] == OPERATORS
    assert [row.payload for row in setup.queued()] == [{"account": owner.id, **facts}] * 2
    (event,) = setup.recorded()
    assert (event.actor_id, event.account_id) == (owner.id, owner.id)
    assert event.payload == {"username": "owner", **facts}
    mail = setup.mail()
    assert mail["Subject"] == "Ola Lee changed their profile on Collegium"
    for text in (mail_text(mail), mail_text(mail, "html")):
        for part in ("Ola Lee", "owner", "Smith", "Baker", "+1 555", "Acme", "Beta", "Job title"):
            assert part in text, part
        assert f"/staff/accounts/{owner.uuid}/" in text
    setup.settings = replace(setup.settings, homeport_url="https://front.example.org")
    link = f"https://front.example.org/administration/users/{owner.uuid}/"
    assert link in mail_text(setup.mail())


def test_operators_are_notified_of_configured_fields_only(setup: Setup, owner: Person) -> None:
    for settings, values in (
        (setup.with_options(FIELDS=["phone_number"]), {"job_title": "Baker"}),
        (setup.with_options(ENABLE_OPERATOR_OWNER_NOTIFICATIONS=False), {"job_title": "Cook"}),
        (setup.world.settings, {"job_title": "Clerk"}),
        # An unchanged field, and fields that are not part of a profile.
        (setup.with_options(FIELDS=["job_title", "slug", "nonsense"]), {"job_title": "Clerk"}),
        (setup.with_options(FIELDS=["preferred_language"]), {"preferred_language": "et"}),
    ):
        setup.change(owner, settings, **values)
    assert (setup.queued(), setup.recorded()) == ([], [])
    setup.change(owner, setup.with_options(FIELDS=["native_name"]), native_name="O")
    assert len(setup.queued()) == 2


@pytest.mark.parametrize(
    "kind", ["manager", "former_owner", "no_member", "owner_of_a_deleted_organisation"]
)
def test_operators_are_not_notified_of_people_who_own_nothing(
    setup: Setup, world: World, owner: Person, kind: str
) -> None:
    person, organisation = world.person("person"), world.organisation("Gamma", owner=owner)
    if kind == "manager":
        world.give_role(person, "PROJECT.MANAGER", world.project(organisation))
    elif kind != "no_member":
        world.give_role(person, "CUSTOMER.OWNER", organisation)
    if kind == "former_owner":
        world.remove_role(person, "CUSTOMER.OWNER", organisation)
    elif kind == "owner_of_a_deleted_organisation":
        staff = world.staff.actor
        with world.database.write() as tx:
            access = access_queries.get_visible(tx, staff, organisation.kind, organisation.uuid)
            organisation_actions.delete(tx, staff, access)
    setup.change(person, job_title="Baker")
    assert (setup.queued(), setup.recorded()) == ([], [])


def test_operators_are_notified_of_a_confirmed_address(
    setup: Setup, world: World, owner: Person
) -> None:
    settings, vault = setup.settings, world.vault
    with world.database.write() as tx:
        email_change_actions.request_change(tx, owner.actor, settings, vault, owner.uuid, NEW)
        code = vault.derive_code(owner.id, NEW, tx.now.isoformat())
    assert setup.queued() == []
    with world.database.write() as tx:
        email_change_actions.confirm(tx, ANONYMOUS, settings, vault, code)
    changes = {"email": [owner.email, NEW]}
    assert [row.payload["changes"] for row in setup.queued()] == [changes] * 2
    assert [row.actor_id for row in setup.recorded()] == [None]
    assert setup.mail()["Subject"] == "Owner Lee changed their profile on Collegium"


def test_event_of_a_change_by_staff_names_them(setup: Setup, world: World, owner: Person) -> None:
    setup.change(owner, caller=world.staff, job_title="Baker")
    assert [row.actor_name for row in setup.recorded()] == ["Staff Lee"]


def test_operators_are_notified_of_changes_by_a_remote_directory(
    setup: Setup, world: World
) -> None:
    owner = world.person("owner", registration_method="eduteams")
    world.organisation("Acme", owner=owner)
    person = DirectoryPerson("owner", frozenset(), NEW, "Owner", "Lee", [], [], keys=None)
    with world.database.write() as tx:
        eduteams_actions.apply(
            tx, None, setup.settings, world.vault, "owner", person, creates=False
        )
    changes = {"email": [owner.email, NEW]}
    assert [row.payload["changes"] for row in setup.queued()] == [changes] * 2


def test_mail_about_a_deleted_account_is_obsolete(
    setup: Setup, world: World, owner: Person
) -> None:
    setup.change(owner, job_title="Baker")
    with world.database.write() as tx:
        account_queries.anonymise(tx, owner.id)
    with pytest.raises(ObsoleteError):
        setup.mail()


def test_profile_values_are_escaped_in_mails_to_operators(setup: Setup, owner: Person) -> None:
    setup.change(owner, job_title="x\r\nBcc: eve@example.org\n<script>\u202e")
    setup.change(owner, job_title="x")
    hostile, plain = setup.mail(), setup.mail(2)
    assert hostile.keys() == plain.keys()
    text, html = mail_text(hostile), mail_text(hostile, "html")
    assert len(text.splitlines()) == len(mail_text(plain).splitlines())
    assert "<script>" not in html
    assert "\u202e" not in text + html
