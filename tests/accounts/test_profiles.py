"""Operators who want to know are told when an owner can be reached elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.statements import Statement
from collegium.db.tables import events, outbox
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams.rules import Person as Described
from collegium.outbox.outcomes import ObsoleteError
from collegium.scopes.organisations import actions as organisation_actions
from collegium.settings import Settings
from collegium.worker import mails
from tests.support.world import Person, World

OPERATORS = ["ops@example.org", "desk@example.org"]
KIND = "notifications_profile_changes_operator"


@pytest.fixture
def told(make_settings: Callable[..., Settings]) -> Callable[..., Settings]:
    """Settings under which the operators are told; others by their names."""

    def make(**more: Any) -> Settings:
        wish = {
            "ENABLE_OPERATOR_OWNER_NOTIFICATIONS": True,
            "OPERATOR_NOTIFICATION_EMAILS": OPERATORS,
            **more,
        }
        return make_settings(notifications_profile_changes=json.dumps(wish))

    return make


def change(world: World, settings: Settings, who: Person, **values: Any) -> None:
    with world.database.write() as tx:
        account_actions.update(tx, who.actor, settings, who.uuid, values, agrees_to_policy=True)


def owed(world: World) -> list[Any]:
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement(select(outbox).order_by(outbox.c.id)))
    return [row for row in rows if row.kind == KIND]


def history(world: World) -> list[Any]:
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement(select(events).order_by(events.c.id)))
    return [row for row in rows if row.kind == "account.profile_changed"]


def written(world: World, settings: Settings, row: Any) -> Any:
    with world.database.read() as tx:
        return mails.render(tx, settings, world.vault, row)


def parts(message: Any) -> list[str]:
    return [message.get_body((kind,)).get_content() for kind in ("plain", "html")]


@pytest.fixture
def owner(world: World) -> Person:
    owner = world.person("owner", job_title="Smith", phone_number="+1 555")
    for name in ("Beta", "Acme"):
        world.organisation(name, owner=owner)
    return owner


def test_every_operator_is_told_what_was_and_what_is(
    world: World, told: Callable[..., Settings], owner: Person
) -> None:
    settings = told()
    change(world, settings, owner, job_title="Baker", phone_number="", first_name="Ola")
    changes = {"job_title": ["Smith", "Baker"], "phone_number": ["+1 555", ""]}
    rows = owed(world)
    assert [row.recipient for row in rows] == OPERATORS
    assert [row.payload for row in rows] == [
        {"account": owner.id, "changes": changes, "organizations": ["Acme", "Beta"]}
    ] * 2
    (event,) = history(world)
    assert (event.actor_id, event.account_id) == (owner.id, owner.id)
    assert event.payload == {
        "username": "owner",
        "changes": changes,
        "organizations": ["Acme", "Beta"],
    }
    message = written(world, settings, rows[0])
    assert message["Subject"] == "Ola Lee changed their profile on Collegium"
    for text in parts(message):
        for fact in ("Ola Lee", "owner", "Smith", "Baker", "+1 555", "Acme", "Beta", "job title"):
            assert fact in text, fact
        assert f"/users/{owner.uuid}/" in text


def test_nobody_is_told_of_what_was_not_asked_for(
    world: World, told: Callable[..., Settings], owner: Person
) -> None:
    change(world, told(FIELDS=["phone_number"]), owner, job_title="Baker")
    change(world, told(ENABLE_OPERATOR_OWNER_NOTIFICATIONS=False), owner, job_title="Cook")
    change(world, world.settings, owner, job_title="Clerk")
    # Neither what did not change, nor what is no part of a profile.
    change(world, told(FIELDS=["job_title", "slug", "nonsense"]), owner, job_title="Clerk")
    change(world, told(FIELDS=["preferred_language"]), owner, preferred_language="et")
    assert (owed(world), history(world)) == ([], [])
    change(world, told(FIELDS=["native_name"]), owner, native_name="O")
    assert len(owed(world)) == 2


@pytest.mark.parametrize("who", ["manager", "former", "nobody", "of_a_removed_one"])
def test_nobody_is_told_of_those_who_own_nothing(
    world: World, told: Callable[..., Settings], owner: Person, who: str
) -> None:
    person, place = world.person("person"), world.organisation("Gamma", owner=owner)
    if who == "manager":
        world.seat(person, "PROJECT.MANAGER", world.project(place))
    elif who == "former":
        world.seat(person, "CUSTOMER.OWNER", place)
        world.unseat(person, "CUSTOMER.OWNER", place)
    elif who == "of_a_removed_one":
        world.seat(person, "CUSTOMER.OWNER", place)
        with world.database.write() as tx:
            reached = access_queries.get_visible(tx, world.staff.actor, place.kind, place.uuid)
            organisation_actions.delete(tx, world.staff.actor, reached)
    change(world, told(), person, job_title="Baker")
    assert (owed(world), history(world)) == ([], [])


def test_a_confirmed_address_counts(
    world: World, told: Callable[..., Settings], owner: Person
) -> None:
    settings, now = told(), None
    with world.database.write() as tx:
        email_change_actions.request_change(
            tx, owner.actor, settings, world.vault, owner.uuid, "new@example.org"
        )
        now = tx.now
    code = world.vault.derive_code(owner.id, "new@example.org", now.isoformat())
    assert owed(world) == []
    with world.database.write() as tx:
        email_change_actions.confirm(tx, settings, world.vault, code)
    assert [row.payload["changes"] for row in owed(world)] == [
        {"email": [owner.email, "new@example.org"]}
    ] * 2
    assert [row.actor_id for row in history(world)] == [None]
    message = written(world, settings, owed(world)[0])
    assert message["Subject"] == "Owner Lee changed their profile on Collegium"


def test_staff_who_change_it_are_named(
    world: World, told: Callable[..., Settings], owner: Person
) -> None:
    with world.database.write() as tx:
        values = {"job_title": "Baker"}
        account_actions.update(
            tx, world.staff.actor, told(), owner.uuid, values, agrees_to_policy=True
        )
    assert [row.actor_name for row in history(world)] == ["Staff Lee"]


def test_what_a_directory_says_counts(world: World, told: Callable[..., Settings]) -> None:
    owner = world.person("owner", registration_method="eduteams")
    world.organisation("Acme", owner=owner)
    person = Described(
        username="owner",
        others=frozenset(),
        email="new@example.org",
        first_name="Owner",
        last_name="Lee",
        affiliations=[],
        assurance=[],
        keys=None,
    )
    with world.database.write() as tx:
        eduteams_actions.apply(tx, None, told(), world.vault, "owner", person, creates=False)
    assert [row.payload["changes"] for row in owed(world)] == [
        {"email": [owner.email, "new@example.org"]}
    ] * 2


def test_a_deleted_account_makes_the_mail_void(
    world: World, told: Callable[..., Settings], owner: Person
) -> None:
    settings = told()
    change(world, settings, owner, job_title="Baker")
    with world.database.write() as tx:
        account_queries.anonymise(tx, owner.id)
    with pytest.raises(ObsoleteError):
        written(world, settings, owed(world)[0])


def test_no_value_can_add_a_line_or_a_tag(
    world: World, told: Callable[..., Settings], owner: Person
) -> None:
    settings = told()
    change(world, settings, owner, job_title="x\r\nBcc: eve@example.org\n<script>\u202e")
    change(world, settings, owner, job_title="x")
    hostile, plain = (written(world, settings, row) for row in owed(world)[::2])
    assert hostile.keys() == plain.keys()
    text, html = parts(hostile)
    assert len(text.splitlines()) == len(parts(plain)[0].splitlines())
    assert "<script>" not in html
    assert "\u202e" not in text + html
