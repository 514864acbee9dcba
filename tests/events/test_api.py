"""History on this wire: who is told what of it, in which words, and how it is looked through."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, update

import collegium
from collegium.access.rules import Permission, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.api.waldur.event_types import GROUPS, NAMES, TYPES, name_of
from collegium.db.statements import Statement
from collegium.db.tables import scopes
from collegium.events import queries as event_queries
from collegium.invitations import actions as invitation_actions
from collegium.security.crypto import hash_password
from collegium.sign_in.tokens import actions as token_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.access.test_visibility import add_role
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, Place, World

EVENTS = "/api/events/"
ADDRESS = "192.0.2.7"
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class House:
    """An organisation with two projects, and everybody who could ask what happened there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.staff = world.staff
        self.support = world.person("support", is_support=True)
        self.owner = world.person("owner")
        self.organisation = world.organisation("Acme", owner=self.owner)
        self.project = world.project(self.organisation, "Engine")
        self.other = world.project(self.organisation, "Brake")
        self.manager = self._seated("manager", "PROJECT.MANAGER", self.project)
        self.member = self._seated("member", "PROJECT.MEMBER", self.project)
        self.sibling = self._seated("sibling", "PROJECT.MANAGER", self.other)
        self.outsider = world.person("outsider")
        self.foreigner = world.person("foreigner")
        world.project(world.organisation("Elsewhere", owner=self.foreigner), "Lamp")

    def _seated(self, name: str, role: str, place: Place) -> Person:
        person = self.world.person(name)
        self.world.seat(person, role, place)
        return person

    def person(self, name: str) -> Person:
        found: Person = getattr(self, name)
        return found


@pytest.fixture
def house(world: World) -> House:
    return House(world)


def listed(site: Site, who: Person | str, query: str = "") -> list[dict[str, Any]]:
    answer = site.get(f"{EVENTS}?page_size=300&{query}", who)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    assert answer.headers["X-Result-Count"] == str(len(found))
    return found


def types(found: Iterable[dict[str, Any]]) -> list[str]:
    return [one["event_type"] for one in found]


def the(site: Site, who: Person, event_type: str, query: str = "") -> dict[str, Any]:
    """The one event of a type that somebody sees."""
    (found,) = listed(site, who, f"event_type={event_type}&{query}")
    return found


def last(site: Site, who: Person, event_type: str) -> dict[str, Any]:
    return listed(site, who, f"event_type={event_type}")[0]


def names(one: dict[str, Any], event_type: str, username: str) -> bool:
    """Whether an event is of a type, and about somebody."""
    about = one["context"].get("affected_user_username")
    return bool(one["event_type"] == event_type and about == username)


def record(world: World, kind: str, actor: Any = None, **facts: Any) -> None:
    with world.database.write() as tx:
        event_queries.record(tx, kind, actor, **facts)


# Who is told of what: of the project, of the organisation, of another project, of its invitation.
SEES = """
           member_role sibling_role organisation invitation logout
staff      yes         yes          yes          yes        yes
support    yes         yes          yes          yes        yes
owner      yes         yes          yes          yes        no
manager    yes         no           no           yes        no
member     yes         no           no           no         yes
sibling    no          yes          no           no         no
outsider   no          no           no           no         no
foreigner  no          no           no           no         no
"""


def test_every_event_is_shown_to_whom_it_belongs_and_hidden_from_the_others(
    site: Site, house: House, world: World
) -> None:
    world.invite(house.manager, "ada@example.org", "PROJECT.ADMIN", house.project)
    record(world, "logout", house.member.actor, account=house.member.id)

    is_it: dict[str, Callable[[dict[str, Any]], bool]] = {
        "member_role": lambda one: names(one, "role_granted", "member"),
        "sibling_role": lambda one: names(one, "role_granted", "sibling"),
        "organisation": lambda one: (
            one["event_type"] == "customer_creation_succeeded"
            and one["context"]["scope_uuid"] == house.organisation.uuid
        ),
        "invitation": lambda one: one["event_type"] == "invitation_created",
        "logout": lambda one: names(one, "auth_logged_out", "member"),
    }
    head, *rest = SEES.strip().splitlines()
    everything = listed(site, house.staff)
    for line in rest:
        who, *expected = line.split()
        person = house.person(who)
        found = listed(site, person)
        for name, word in zip(head.split(), expected, strict=True):
            assert any(map(is_it[name], found)) is (word == "yes"), (who, name)
            hidden = next(filter(is_it[name], everything))
            for key in (hidden["uuid"], str(UUID(hidden["uuid"])), hidden["id"]):
                answer = site.get(f"{EVENTS}{key}/", person)
                assert answer.status_code == (200 if word == "yes" else 404), (who, name)
                if word == "no":
                    assert answer.json() == {"detail": "No Event matches the given query."}
    assert listed(site, house.support) == everything


def test_nobody_is_told_anything_without_a_token(site: Site, house: House) -> None:
    uuid = listed(site, house.staff)[0]["uuid"]
    paths = ("", f"{uuid}/", "count/", "event_groups/", "scope_types/")
    assert {site.get(f"{EVENTS}{path}").status_code for path in paths} == {401}


def test_one_who_may_merely_change_a_scope_reads_its_history_but_no_addresses(
    site: Site, house: House, world: World
) -> None:
    """Each right that opens the history alone, and a role that carries none."""
    uuid = world.invite(house.owner, "ada@example.org", "PROJECT.ADMIN", house.project)
    for right, is_open, reads in (
        (Permission.PROJECT_UPDATE, True, False),
        (Permission.PROJECT_GRANT, True, True),
        (Permission.INVITATION_LIST, True, True),
        (Permission.PROJECT_DELETE, False, False),
    ):
        with world.database.write() as tx:
            role = f"CUSTOM.{right.name}"
            add_role(tx, role, ScopeKind.PROJECT, (right,))
        person = world.person()
        world.seat(person, role, house.project)
        found = listed(site, person, "event_type=invitation_created")
        assert len(found) == is_open, right
        for one in found:
            assert ("ada@example.org" in json.dumps(one)) is reads, right
            assert (uuid in json.dumps(one)) is reads, right
            assert one["context"]["scope_uuid"] == house.project.uuid


def test_an_invitation_tells_its_readers_who_was_invited(
    site: Site, house: House, world: World
) -> None:
    world.invite(house.manager, "ada@example.org", "PROJECT.ADMIN", house.project)
    expected = "An invitation of ada@example.org to Engine has been made by Manager Lee."
    for who in (house.staff, house.support, house.owner, house.manager):
        assert the(site, who, "invitation_created")["message"] == expected
    # Who invited and has lost the right since is not told any more whom and where.
    world.unseat(house.manager, "PROJECT.MANAGER", house.project)
    left = the(site, house.manager, "invitation_created")
    assert left["message"] == "An invitation has been made by Manager Lee."
    assert not {"ada@example.org", house.project.uuid, "Engine", "Acme"} & set(_texts(left))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


def test_a_former_member_is_told_that_it_was_but_not_where_nor_by_whom(
    site: Site, house: House, world: World
) -> None:
    seat = {"user": house.member.uuid, "role": world.role("PROJECT.MEMBER").uuid}
    assert site.post(f"{house.project.path}delete_user/", house.manager, json=seat).is_success
    told = the(site, house.member, "role_revoked")
    assert told["message"] == "The role PROJECT.MEMBER of user member has been taken away."
    assert set(told["context"]) == {
        "affected_user_full_name",
        "affected_user_username",
        "affected_user_uuid",
        "role_name",
        "expiration_time",
    }
    # Nor can it be found out by asking for them.
    for query in (
        f"scope=http://x{house.project.path}",
        f"project_uuid={house.project.uuid}",
        f"customer_uuid={house.organisation.uuid}",
        f"user_uuid={house.manager.uuid}",
        f"related_user_uuid={house.manager.uuid}",
    ):
        assert "role_revoked" not in types(listed(site, house.member, query)), query
    in_full = the(site, house.owner, "role_revoked")
    assert in_full["message"] == (
        "The role PROJECT.MEMBER in Engine of user member has been taken away by Manager Lee."
    )


def test_where_from_is_told_to_those_who_see_all_and_to_whoever_did_it(
    site: Site, house: House, world: World
) -> None:
    seat = {"user": house.outsider.uuid, "role": world.role("PROJECT.ADMIN").uuid}
    headers = {"X-Request-ID": "a-request-of-the-manager"}
    path = f"{house.project.path}add_user/"
    answer = site.request("POST", path, house.manager, headers, json=seat)
    assert answer.status_code == 201
    for name in ("staff", "support", "manager"):
        told = last(site, house.person(name), "role_granted")["context"]
        assert told["ip_address"] == "127.0.0.1", name
        assert told["request_id"] == answer.headers["X-Request-ID"], name
    for name in ("owner", "outsider"):
        told = last(site, house.person(name), "role_granted")["context"]
        assert told["affected_user_username"] == "outsider"
        assert not {"ip_address", "request_id"} & set(told), name


def test_whoever_acted_as_somebody_is_named_and_not_located(
    site: Site, house: House, world: World
) -> None:
    seat = {"user": house.outsider.uuid, "role": world.role("PROJECT.ADMIN").uuid}
    headers = {"X-Impersonated-User-Uuid": house.manager.uuid}
    path = f"{house.project.path}add_user/"
    assert site.request("POST", path, house.staff, headers, json=seat).status_code == 201
    for name, is_named, is_located in (
        ("staff", True, True),
        ("manager", True, False),
        ("owner", False, False),
    ):
        told = last(site, house.person(name), "role_granted")["context"]
        assert told["user_full_name"] == "Manager Lee"
        assert ("impersonated_by_full_name" in told) is is_named, name
        assert ("ip_address" in told) is is_located, name


def test_a_failed_login_is_located_for_those_who_see_all_alone(
    site: Site, house: House, world: World
) -> None:
    with world.database.write() as tx:
        row = account_queries.by_uuid(tx, house.member.uuid)
        token_actions.record_failed_login(tx, row, ADDRESS)
        token_actions.record_failed_login(tx, None, ADDRESS)
    name = "auth_login_failed_with_username"
    stranger, own = listed(site, house.support, f"event_type={name}")
    assert stranger["message"] == f"User unknown failed to log in from {ADDRESS}."
    assert own["context"]["ip_address"] == ADDRESS
    told = the(site, house.member, name)
    assert told["message"] == "User member failed to log in."
    assert ADDRESS not in json.dumps(told)
    assert listed(site, house.owner, f"event_type={name}") == []


CHANGES = {
    "civil_number": "38001085718",
    "birth_date": datetime(1980, 1, 8, tzinfo=UTC).date(),
    "job_title": "Reader",
    "description": "watch this one",
    "is_support": False,
    "token_lifetime": 7200,
}


def test_a_change_of_an_account_tells_each_what_the_account_would(
    site: Site, house: House, world: World
) -> None:
    clerk = world.person("clerk", is_staff=True, agreed_at=datetime.now(UTC))
    with world.database.write() as tx:
        wanted = CHANGES | {"is_support": True}
        account_actions.update(
            tx, clerk.actor, world.settings, house.member.uuid, wanted, agrees=False
        )
    for name in ("staff", "support"):
        told = the(site, house.person(name), "user_update_succeeded")["context"]
        assert told["changes"]["civil_number"] == [None, "38001085718"]
        assert told["changes"]["birth_date"] == [None, "1980-01-08"]
        assert told["changes"]["description"] == ["", "watch this one"]
        assert "token_lifetime" not in told["changes"]
    # (Support may be told of nothing that it was not before; being it changes nothing here.)
    with world.database.write() as tx:
        account_queries.change(tx, house.member.id, {"is_support": False})
        account_queries.change(tx, clerk.id, {"is_staff": False})
    told = the(site, house.member, "user_update_succeeded")
    assert told["context"]["changes"]["civil_number"] == [None, "38001085718"]
    assert told["context"]["changes"]["job_title"] == ["", "Reader"]
    assert not {"description", "is_support"} & set(told["context"]["changes"])
    assert "description" not in json.dumps(told)
    # Who was staff is told that it was done, and nothing of what.
    told = the(site, clerk, "user_update_succeeded")
    assert told["message"] == "User member has been updated by Clerk Lee."
    assert "38001085718" not in json.dumps(told)
    assert listed(site, house.owner, "event_type=user_update_succeeded") == []


def test_addresses_and_keys_are_told_to_their_own_person(
    site: Site, house: House, world: World
) -> None:
    with world.database.write() as tx:
        email_change_actions.request_change(
            tx,
            house.member.actor,
            world.settings,
            world.vault,
            house.member.uuid,
            "n@example.org",
        )
        ssh_key_actions.create(tx, house.member.actor, parse(new_key()), "laptop")
    for who in (house.staff, house.support, house.member):
        told = the(site, who, "account_address_change_asked")
        assert told["message"] == "User member asked for another e-mail address, n@example.org."
        told = the(site, who, "ssh_key_creation_succeeded")
        assert told["message"] == "SSH key laptop of user member has been added by Member Lee."
        assert told["context"]["ssh_key_fingerprint"].startswith("SHA256:")
    for who in (house.owner, house.manager, house.outsider):
        query = "event_type=account_address_change_asked,ssh_key_creation_succeeded"
        assert listed(site, who, query) == []


def test_who_asked_to_be_let_in_is_told_to_those_who_read_requests(
    site: Site, house: House, world: World
) -> None:
    facts = {
        "role": "PROJECT.MEMBER",
        "scope_name": "Engine",
        "username": "outsider",
        "request_uuid": uuid4().hex,
    }
    record(
        world,
        "request.submitted",
        house.outsider.actor,
        scope=house.project.id,
        account=house.outsider.id,
        **facts,
    )
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.EDITOR", ScopeKind.PROJECT, (Permission.PROJECT_UPDATE,))
    editor = world.person("editor")
    world.seat(editor, "CUSTOM.EDITOR", house.project)
    for who in (house.staff, house.owner, house.manager):
        told = the(site, who, "request_submitted")
        assert told["message"] == (
            "The request of user outsider for the role PROJECT.MEMBER in Engine has been made"
            " by Outsider Lee."
        )
        assert told["context"]["permission_request_uuid"] == facts["request_uuid"]
    told = the(site, editor, "request_submitted")
    assert told["message"] == "The request for the role PROJECT.MEMBER in Engine has been made."
    assert not {"outsider", house.outsider.uuid, "Outsider Lee"} & set(_texts(told))
    assert listed(site, house.member, "event_type=request_submitted") == []
    # Whoever asked knows that they did; the place is not theirs to see.
    told = the(site, house.outsider, "request_submitted")
    assert told["message"] == (
        "The request of user outsider for the role PROJECT.MEMBER has been made by Outsider Lee."
    )
    assert not {house.project.uuid, "Engine", "Acme"} & set(_texts(told))


def test_an_event_has_the_shape_that_clients_read(site: Site, house: House) -> None:
    told = listed(site, house.owner, f"project_uuid={house.project.uuid}")[-1]
    assert set(told) == {"id", "uuid", "created", "event_type", "message", "context"}
    assert told["event_type"] == "project_creation_succeeded"
    assert told["message"] == "Project Engine has been created by Staff Lee."
    assert UUID(told["uuid"]).hex == told["uuid"]
    assert datetime.fromisoformat(told["created"]).tzinfo is not None
    assert told["created"].endswith("Z")
    assert told["context"] == {
        "scope_type": "project",
        "scope_uuid": house.project.uuid,
        "scope_name": "Engine",
        "project_uuid": house.project.uuid,
        "project_name": "Engine",
        "customer_uuid": house.organisation.uuid,
        "customer_name": "Acme",
        "user_uuid": house.staff.uuid,
        "user_username": "staff",
        "user_full_name": "Staff Lee",
    }
    asked = site.get(f"{EVENTS}{told['uuid']}/", house.owner)
    assert asked.json() == told
    sparse = f"{EVENTS}{told['uuid']}/?field=message&field=uuid&field=facts"
    assert set(site.get(sparse, house.owner).json()) == {"message", "uuid"}


def test_the_newest_comes_first_and_the_order_can_be_turned(site: Site, house: House) -> None:
    newest = [one["id"] for one in listed(site, house.staff)]
    assert newest == sorted(newest, reverse=True)
    assert [one["id"] for one in listed(site, house.staff, "o=-created")] == newest
    assert [one["id"] for one in listed(site, house.staff, "o=created")] == newest[::-1]
    answer = site.get(f"{EVENTS}?o=message", house.staff)
    assert answer.status_code == 400
    assert set(answer.json()) == {"o"}


def test_head_and_count_tell_the_same_number(site: Site, house: House) -> None:
    for who in (house.staff, house.owner, house.outsider):
        for query in ("", "event_type=role_granted"):
            number = len(listed(site, who, query))
            head = site.request("HEAD", f"{EVENTS}?{query}", who)
            assert head.headers["X-Result-Count"] == str(number)
            assert site.get(f"{EVENTS}count/?{query}", who).json() == {"count": number}
            counted = site.request("HEAD", f"{EVENTS}count/?{query}", who)
            assert counted.headers["X-Result-Count"] == str(number)
    assert len(listed(site, house.outsider)) < len(listed(site, house.staff))


def test_a_scope_is_asked_for_by_its_address(site: Site, house: House) -> None:
    def scopes_of(who: Person, query: str) -> set[str]:
        return {one["context"]["scope_uuid"] for one in listed(site, who, query)}

    of_all = {house.organisation.uuid, house.project.uuid, house.other.uuid}
    for who in (house.staff, house.support, house.owner):
        for query in (
            f"scope=http://any.host{house.organisation.path}",
            f"scope={house.organisation.path}",
            f"customer_uuid={UUID(house.organisation.uuid)}",
        ):
            assert scopes_of(who, query) == of_all, query
        for query in (
            f"scope=http://any.host{house.project.path}",
            f"project_uuid={house.project.uuid}",
        ):
            assert scopes_of(who, query) == {house.project.uuid}, query
    # A manager sees the organisation, and of its history that of the own project.
    query = f"scope={house.organisation.path}"
    assert scopes_of(house.manager, query) == {house.project.uuid}
    assert scopes_of(house.sibling, query) == {house.other.uuid}


def test_a_scope_that_is_unknown_hidden_or_nothing_has_no_events(site: Site, house: House) -> None:
    unknown = uuid4().hex
    for query in (
        f"scope=http://x/api/customers/{unknown}/",
        f"scope=http://x/api/projects/{house.organisation.uuid}/",
        f"scope=http://x/api/roles/{unknown}/",
        "scope=http://x/api/users/nobody/",
        "scope=nonsense",
        "scope=http://[",
        f"customer_uuid={house.project.uuid}",
        f"project_uuid={unknown}",
        f"user_uuid={unknown}",
    ):
        assert listed(site, house.staff, query) == [], query
    for who in (house.outsider, house.foreigner):
        assert listed(site, who, f"scope=http://x{house.organisation.path}") == []
    assert listed(site, house.sibling, f"scope=http://x{house.project.path}") == []


def test_people_are_asked_for_as_who_did_it_or_who_it_is_about(site: Site, house: House) -> None:
    number = len(listed(site, house.staff, f"related_user_uuid={house.member.uuid}"))
    about = listed(site, house.staff, f"scope=http://x/api/users/{house.member.uuid}/")
    assert len(about) == number > 0
    assert all(one["context"]["affected_user_uuid"] == house.member.uuid for one in about)
    assert listed(site, house.staff, f"user_uuid={house.member.uuid}") == []
    by_staff = listed(site, house.staff, f"user_uuid={house.staff.uuid}")
    assert {one["context"]["user_uuid"] for one in by_staff} == {house.staff.uuid}
    # Others find of it what they see anyway.
    seen = {one["uuid"] for one in listed(site, house.manager)}
    found = listed(site, house.manager, f"related_user_uuid={house.member.uuid}")
    assert types(found) == ["role_granted"]
    assert {one["uuid"] for one in found} <= seen


def test_events_are_asked_for_by_type_group_and_time(site: Site, house: House) -> None:
    everything = listed(site, house.staff)
    roles = [one for one in everything if one["event_type"] == "role_granted"]
    projects = [one for one in everything if one["event_type"] == "project_creation_succeeded"]
    for query, expected in (
        ("event_type=role_granted", roles),
        ("event_type=role_granted&event_type=no_such", roles),
        ("feature=permissions", roles),
        ("feature=projects", projects),
        ("feature=projects&feature=no_such", projects),
        ("feature=projects&event_type=role_granted", []),
        ("event_type=no_such", []),
        ("feature=no_such", []),
        ("event_type=", everything),
    ):
        assert listed(site, house.staff, query) == expected, query
    both = listed(site, house.staff, "event_type=role_granted,project_creation_succeeded")
    assert sorted(one["id"] for one in both) == sorted(one["id"] for one in (*roles, *projects))

    at = datetime.fromisoformat(roles[-1]["created"]).timestamp()
    assert roles[-1] in listed(site, house.staff, f"created_from={at}")
    assert roles[-1] not in listed(site, house.staff, f"created_to={at}")
    later = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    assert listed(site, house.staff, f"created_from={later}") == []
    assert listed(site, house.staff, f"created_to={later}") == everything
    assert listed(site, house.staff, "created_to=0") == []


@once
def test_what_cannot_be_read_is_refused_all_at_once(site: Site, house: House) -> None:
    wrong = "Enter a number."
    for text in ("x", "nan", "inf", "-inf", "1e300", "2024-01-01"):
        answer = site.get(f"{EVENTS}?created_from={text}&user_uuid=x&message=y", house.staff)
        assert answer.status_code == 400
        assert answer.json() == {
            "created_from": [wrong],
            "user_uuid": ["Enter a valid UUID."],
            "message": ["Events cannot be searched by this here."],
        }
    for path in ("x", "0", "999999999", "9" * 30, "-1", "1.5", "0" * 32):
        assert site.get(f"{EVENTS}{path}/", house.staff).status_code == 404, path


def test_the_history_of_groups_is_not_on_this_wire(site: Site, house: House, world: World) -> None:
    before = len(listed(site, house.staff))
    group = {
        "uuid": uuid4().hex,
        "kind": "group",
        "name": "Choir",
        "slug": "choir",
        "created_at": datetime.now(UTC),
    }
    with world.database.write() as tx:
        number = tx.scalar(Statement(insert(scopes).values(group).returning(scopes.c.id)))
        actor = house.member.actor
        event_queries.record(
            tx, "role.granted", actor, scope=number, account=actor.id, role="GROUP.LEAD"
        )
        rows = event_queries.listing.page(tx, world.staff.actor, {}, (), 1, 0)
    assert rows[0].scope_kind == "group"
    assert len(listed(site, house.staff)) == before
    assert "Choir" not in json.dumps(listed(site, house.member))
    for who in (house.staff, house.member):
        for key in (rows[0].uuid, rows[0].id):
            assert site.get(f"{EVENTS}{key}/", who).status_code == 404


def test_a_removed_project_keeps_its_history_for_those_above(
    site: Site, house: House, world: World
) -> None:
    assert site.request("DELETE", house.project.path, house.owner).status_code == 204
    for who in (house.staff, house.owner):
        told = the(site, who, "project_deletion_succeeded")
        assert told["message"] == "Project Engine has been deleted by Owner Lee."
    assert listed(site, house.manager, "event_type=project_deletion_succeeded") == []


def test_history_outlives_a_name(site: Site, house: House, world: World) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, house.staff.id, {"first_name": "Renamed"})
        tx.execute(
            Statement(update(scopes).where(scopes.c.id == house.project.id).values(name="New"))
        )
        account_actions.delete(tx, house.staff.actor, house.member.uuid)
    gone = f"~deleted-{house.member.id}"
    told = next(
        one
        for one in listed(site, house.owner, f"project_uuid={house.project.uuid}")
        if one["context"].get("affected_user_username") == gone
    )
    assert told["message"] == (
        f"User {gone} has been given the role PROJECT.MEMBER in Engine by Staff Lee."
    )
    deleted = the(site, house.staff, "user_deletion_succeeded")
    assert deleted["message"] == f"User {gone} has been deleted by Staff Lee."
    name = deleted["context"]["affected_user_full_name"]
    assert name == f"Deleted account {house.member.id}"


def test_the_types_are_listed_by_group(site: Site, house: House) -> None:
    answer = site.get(f"{EVENTS}event_groups/", house.outsider)
    assert answer.json() == GROUPS
    assert "role_granted" in answer.json()["permissions"]
    assert "ssh_key_creation_succeeded" in answer.json()["ssh"]
    assert answer.headers["X-Result-Count"] == str(len(GROUPS))
    answer = site.get(f"{EVENTS}scope_types/", house.outsider)
    assert answer.json() == ["customer", "project"]
    assert answer.headers["X-Result-Count"] == "2"
    seen = set(types(listed(site, house.staff)))
    assert seen <= {name for names in GROUPS.values() for name in names}


class Recorded:
    """The kinds of event that the actions record, read off their source."""

    def __init__(self) -> None:
        folder = Path(collegium.__file__).parent
        self.kinds: set[str] = set()
        self.facts: dict[str, set[str]] = defaultdict(set)
        self.unread: list[str] = []
        self._recorders = {("event_queries", "record"): 1}
        # By the name under which other modules import it: ``scopes/actions.py`` is scope_actions.
        modules = {
            f"{path.parent.name.removesuffix('s')}_{path.stem}": ast.parse(path.read_text())
            for path in folder.rglob("*.py")
            if path.parts[-2] not in ("api", "db", "web", "worker") and path.stem != "queries"
        }
        known = 0
        # A function that hands its parameter on as the kind is a recorder itself.
        while known != len(self._recorders):
            known = len(self._recorders)
            self.unread = []
            for name, module in modules.items():
                for function in ast.walk(module):
                    if isinstance(function, ast.FunctionDef):
                        self._read(name, function)

    def _read(self, module: str, function: ast.FunctionDef) -> None:
        parameters = [one.arg for one in function.args.args]
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or (at := self._place_of(module, call)) is None:
                continue
            kind = call.args[at]
            if isinstance(kind, ast.Name) and kind.id in parameters:
                self._recorders[module, function.name] = parameters.index(kind.id)
                continue
            texts = list(self._texts(kind, function))
            if not texts:
                self.unread.append(f"{module}.py:{call.lineno}: {ast.unparse(call)}")
            self.kinds.update(texts)

    def _place_of(self, module: str, call: ast.Call) -> int | None:
        match call.func:
            case ast.Name(id=name):
                return self._recorders.get((module, name))
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                return self._recorders.get((owner, name))
        return None

    def _texts(self, kind: ast.expr, function: ast.FunctionDef) -> Iterable[str]:
        match kind:
            case ast.Constant(value=str(text)):
                yield text
            case ast.IfExp(body=first, orelse=second):
                yield from self._texts(first, function)
                yield from self._texts(second, function)
            case ast.Name(id=name):
                for line in ast.walk(function):
                    match line:
                        case ast.Assign(targets=[ast.Name(id=target)], value=value):
                            if target == name:
                                yield from self._texts(value, function)


def test_every_kind_that_is_recorded_has_its_words() -> None:
    recorded = Recorded()
    assert recorded.unread == [], "say the kind of an event in plain text"
    assert len(recorded.kinds) > 30
    # This wire has no groups: what happens in them is left out of its history.
    recorded.kinds -= {kind for kind in recorded.kinds if kind.startswith("group.")}
    assert recorded.kinds - set(TYPES) == set(), "add them to TYPES in event_types.py"
    assert set(TYPES) - recorded.kinds == set(), "nothing records these"


def test_no_two_kinds_have_one_name() -> None:
    assert len(NAMES) == len(TYPES)
    assert name_of("role.granted") == "role_granted"
    assert name_of("key.created") == "ssh_key_creation_succeeded"
    assert name_of("invitation.accepted") == "invitation_accepted"
    assert name_of("something.of_tomorrow") == "something_of_tomorrow"


def test_every_kind_is_told_even_when_all_its_facts_are_missing(
    site: Site, house: House, world: World
) -> None:
    for kind in (*TYPES, "something.of_tomorrow"):
        record(world, kind)
    found = listed(site, house.staff)[: len(TYPES) + 1]
    assert {one["event_type"] for one in found} == {*NAMES, "something_of_tomorrow"}
    for one in found:
        assert one["context"] == {}
        assert one["message"].endswith(".")
        assert not set("[]{}") & set(one["message"]), one
        assert one["message"][0].isupper()


def test_names_are_taken_literally(site: Site, house: House, world: World) -> None:
    organisation = world.organisation("[a] {scope_name} [{x}]")
    told = listed(site, house.staff, f"customer_uuid={organisation.uuid}")[0]
    assert told["message"] == ("Organization [a] {scope_name} [{x}] has been created by Staff Lee.")


def test_a_login_is_told_in_words(site: Site, house: House, world: World) -> None:
    secret = "purple-tram-lifts-9"
    with world.database.write() as tx:
        account_queries.change(tx, house.member.id, {"password": hash_password(secret)})
    body = {"username": "member", "password": secret}
    assert site.post("/api-auth/password/", json=body).status_code == 200
    told = the(site, house.member, "auth_logged_in_with_username")
    assert told["message"] == "User member has logged in with a password."
    assert told["context"]["ip_address"] == "127.0.0.1"


def test_an_accepted_invitation_is_told_with_the_role(
    site: Site, house: House, world: World
) -> None:
    uuid = world.invite(house.manager, house.outsider.email, "PROJECT.ADMIN", house.project)
    with world.database.write() as tx:
        invitation_actions.accept(tx, house.outsider.actor, world.settings, uuid)
    told = the(site, house.owner, "invitation_accepted")
    assert told["context"]["role_name"] == "PROJECT.ADMIN"
    assert told["context"]["invitation_uuid"] == uuid
    # A member without the right reads of it that they did it, and not the invitation's UUID.
    told = the(site, house.outsider, "invitation_accepted")
    assert told["message"] == "An invitation to Engine has been accepted by Outsider Lee."
    assert uuid not in json.dumps(told)
