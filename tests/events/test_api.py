"""The audit log in the Waldur API: who sees which event, messages, filters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import insert, update

import collegium
from collegium.access.rules import Permission, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.statements import Statement
from collegium.db.tables import events as event_table
from collegium.db.tables import scopes
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.events.event import Event
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
INVITED = "ada@example.org"
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Team:
    """An organisation with two projects, accounts in and outside it, and what they see."""

    def __init__(self, world: World, site: Site) -> None:
        self.world = world
        self.site = site
        self.staff = world.staff
        self.support = world.person("support", is_support=True)
        self.owner = world.person("owner")
        self.organisation = world.organisation("Acme", owner=self.owner)
        self.project = world.project(self.organisation, "Engine")
        self.other = world.project(self.organisation, "Brake")
        self.manager = self._member("manager", "PROJECT.MANAGER", self.project)
        self.member = self._member("member", "PROJECT.MEMBER", self.project)
        self.sibling = self._member("sibling", "PROJECT.MANAGER", self.other)
        self.outsider = world.person("outsider")
        self.foreigner = world.person("foreigner")
        world.project(world.organisation("Elsewhere", owner=self.foreigner), "Lamp")

    def _member(self, name: str, role: str, project: Place) -> Person:
        person = self.world.person(name)
        self.world.give_role(person, role, project)
        return person

    def person(self, name: str) -> Person:
        person: Person = getattr(self, name)
        return person

    def get(self, path: str, person: Person) -> httpx.Response:
        return self.site.get(f"{EVENTS}{path}", person)

    def events(self, person: Person, query: str = "") -> list[dict[str, Any]]:
        """Return the events that somebody sees."""
        response = self.get(f"?page_size=300&{query}", person)
        assert response.status_code == 200, response.text
        rows: list[dict[str, Any]] = response.json()
        assert response.headers["X-Result-Count"] == str(len(rows))
        return rows

    def of_type(self, person: Person, event_type: str) -> list[dict[str, Any]]:
        return self.events(person, f"event_type={event_type}")

    def event(self, person: Person, event_type: str) -> dict[str, Any]:
        """Return the only event of a type that somebody sees."""
        (event,) = self.of_type(person, event_type)
        return event

    def record(self, actor: Any, event: Event) -> None:
        with self.world.database.write() as tx:
            event_queries.record(tx, actor, event)

    def invite(self, email: str = INVITED) -> str:
        return self.world.invite(self.manager, email, "PROJECT.ADMIN", self.project)

    def add_with(self, *permissions: Permission) -> Person:
        """Return a new account with these permissions in the project."""
        role = f"CUSTOM.{uuid4().hex[:6]}"
        with self.world.database.write() as tx:
            add_role(tx, role, ScopeKind.PROJECT, permissions)
        person = self.world.person()
        self.world.give_role(person, role, self.project)
        return person

    def add_outsider(self, person: Person, headers: dict[str, str]) -> httpx.Response:
        """Add the outsider to the project, over the API."""
        body = {"user": self.outsider.uuid, "role": self.world.role("PROJECT.ADMIN").uuid}
        path = f"{self.project.path}add_user/"
        response = self.site.request("POST", path, person, headers, json=body)
        assert response.status_code == 201
        return response


@pytest.fixture
def team(world: World, site: Site) -> Team:
    return Team(world, site)


def types(events: Iterable[dict[str, Any]]) -> list[str]:
    return [event["event_type"] for event in events]


def strings(value: Any) -> set[str]:
    """Return all values inside, as text."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {text for item in value for text in strings(item)}
    return {str(value)}


VISIBLE = """
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


def test_each_event_is_visible_only_to_those_who_may_see_it(team: Team) -> None:
    team.invite()
    team.record(team.member.actor, events.LoggedOut(account=team.member.id))

    def about(event_type: str, username: str) -> Callable[[dict[str, Any]], bool]:
        return lambda event: (
            event["event_type"] == event_type
            and event["context"].get("affected_user_username") == username
        )

    conditions: dict[str, Callable[[dict[str, Any]], bool]] = {
        "member_role": about("role_granted", "member"),
        "sibling_role": about("role_granted", "sibling"),
        "organisation": lambda event: (
            event["event_type"] == "customer_creation_succeeded"
            and event["context"]["scope_uuid"] == team.organisation.uuid
        ),
        "invitation": lambda event: event["event_type"] == "invitation_created",
        "logout": about("auth_logged_out", "member"),
    }
    head, *lines = VISIBLE.strip().splitlines()
    everything = team.events(team.staff)
    for line in lines:
        name, *cells = line.split()
        person = team.person(name)
        visible = team.events(person)
        for column, cell in zip(head.split(), cells, strict=True):
            condition, is_visible = conditions[column], cell == "yes"
            assert any(map(condition, visible)) is is_visible, (name, column)
            event = next(filter(condition, everything))
            for key in (event["uuid"], str(UUID(event["uuid"])), event["id"]):
                response = team.get(f"{key}/", person)
                assert response.status_code == (200 if is_visible else 404), (name, column)
                if not is_visible:
                    assert response.json() == {"detail": "No Event matches the given query."}
    assert team.events(team.support) == everything


def test_events_need_a_token(team: Team) -> None:
    uuid = team.events(team.staff)[0]["uuid"]
    paths = ("", f"{uuid}/", "count/", "event_groups/", "scope_types/")
    assert {team.site.get(f"{EVENTS}{path}").status_code for path in paths} == {401}


def test_only_rights_on_invitations_show_invited_addresses(team: Team) -> None:
    uuid = team.invite()
    for permission, sees_event, sees_address in (
        (Permission.PROJECT_UPDATE, True, False),
        (Permission.PROJECT_GRANT, True, True),
        (Permission.INVITATION_LIST, True, True),
        (Permission.PROJECT_DELETE, False, False),
    ):
        events = team.of_type(team.add_with(permission), "invitation_created")
        assert len(events) == sees_event, permission
        for event in events:
            assert (INVITED in json.dumps(event)) is sees_address, permission
            assert (uuid in json.dumps(event)) is sees_address, permission
            assert event["context"]["scope_uuid"] == team.project.uuid


def test_invitation_event_names_the_address_only_to_its_readers(team: Team) -> None:
    team.invite()
    message = f"An invitation of {INVITED} to Engine has been made by Manager Lee."
    for person in (team.staff, team.support, team.owner, team.manager):
        assert team.event(person, "invitation_created")["message"] == message
    # The inviter loses the right, and sees neither the address nor the scope any more.
    team.world.remove_role(team.manager, "PROJECT.MANAGER", team.project)
    event = team.event(team.manager, "invitation_created")
    assert event["message"] == "An invitation has been made by Manager Lee."
    assert not {INVITED, team.project.uuid, "Engine", "Acme"} & strings(event)


def test_former_member_sees_own_event_without_scope_and_actor(team: Team) -> None:
    body = {"user": team.member.uuid, "role": team.world.role("PROJECT.MEMBER").uuid}
    path = f"{team.project.path}delete_user/"
    assert team.site.post(path, team.manager, json=body).is_success
    event = team.event(team.member, "role_revoked")
    assert event["message"] == "The role PROJECT.MEMBER of user member was removed."
    assert set(event["context"]) == {
        "affected_user_full_name",
        "affected_user_username",
        "affected_user_uuid",
        "role_name",
        "expiration_time",
    }
    # Filters do not reveal them either.
    for query in (
        f"scope=http://x{team.project.path}",
        f"project_uuid={team.project.uuid}",
        f"customer_uuid={team.organisation.uuid}",
        f"user_uuid={team.manager.uuid}",
        f"related_user_uuid={team.manager.uuid}",
    ):
        assert "role_revoked" not in types(team.events(team.member, query)), query
    assert team.event(team.owner, "role_revoked")["message"] == (
        "The role PROJECT.MEMBER in Engine of user member was removed by Manager Lee."
    )


def test_ip_address_is_shown_only_to_staff_support_and_the_actor(team: Team) -> None:
    response = team.add_outsider(team.manager, {"X-Request-ID": "a-request-of-the-manager"})
    for name in ("staff", "support", "manager", "owner", "outsider"):
        context = team.of_type(team.person(name), "role_granted")[0]["context"]
        assert context["affected_user_username"] == "outsider"
        if name in {"owner", "outsider"}:
            assert not {"ip_address", "request_id"} & set(context), name
        else:
            assert context["ip_address"] == "127.0.0.1", name
            assert context["request_id"] == response.headers["X-Request-ID"], name


def test_impersonator_is_named_to_the_account_without_ip_address(team: Team) -> None:
    team.add_outsider(team.staff, {"X-Impersonated-User-Uuid": team.manager.uuid})
    for name, is_named, shows_ip_address in (
        ("staff", True, True),
        ("manager", True, False),
        ("owner", False, False),
    ):
        context = team.of_type(team.person(name), "role_granted")[0]["context"]
        assert context["user_full_name"] == "Manager Lee"
        assert ("impersonated_by_full_name" in context) is is_named, name
        assert ("ip_address" in context) is shows_ip_address, name


def test_failed_login_shows_its_ip_address_to_staff_and_support_only(team: Team) -> None:
    with team.world.database.write() as tx:
        row = account_queries.by_uuid(tx, team.member.uuid)
        token_actions.record_failed_sign_in(tx, row, ADDRESS)
        token_actions.record_failed_sign_in(tx, None, ADDRESS)
    event_type = "auth_login_failed_with_username"
    unknown, known = team.of_type(team.support, event_type)
    assert unknown["message"] == f"User unknown failed to log in from {ADDRESS}."
    assert known["context"]["ip_address"] == ADDRESS
    event = team.event(team.member, event_type)
    assert event["message"] == "User member failed to log in."
    assert ADDRESS not in json.dumps(event)
    assert team.of_type(team.owner, event_type) == []


def test_account_change_shows_only_fields_that_the_reader_may_see(team: Team) -> None:
    world, event_type = team.world, "user_update_succeeded"
    clerk = world.person("clerk", is_staff=True, agreed_at=datetime.now(UTC))
    changes = {
        "civil_number": "38001085718",
        "birth_date": datetime(1980, 1, 8, tzinfo=UTC).date(),
        "job_title": "Reader",
        "description": "watch this one",
        "is_support": True,
        "token_lifetime": 7200,
    }
    with world.database.write() as tx:
        account_actions.update(
            tx, clerk.actor, world.settings, team.member.uuid, changes, agrees_to_policy=False
        )
    for person in (team.staff, team.support):
        shown = team.event(person, event_type)["context"]["changes"]
        assert shown["civil_number"] == [None, "38001085718"]
        assert shown["birth_date"] == [None, "1980-01-08"]
        assert shown["description"] == ["", "watch this one"]
        assert "token_lifetime" not in shown
    with world.database.write() as tx:
        account_queries.change(tx, team.member.id, {"is_support": False})
        account_queries.change(tx, clerk.id, {"is_staff": False})
    event = team.event(team.member, event_type)
    shown = event["context"]["changes"]
    assert shown["civil_number"] == [None, "38001085718"]
    assert shown["job_title"] == ["", "Reader"]
    assert not {"description", "is_support"} & set(shown)
    assert "description" not in json.dumps(event)
    # Former staff see that they changed the account, but no values.
    event = team.event(clerk, event_type)
    assert event["message"] == "User member has been updated by Clerk Lee."
    assert "38001085718" not in json.dumps(event)
    assert team.of_type(team.owner, event_type) == []


def test_address_and_key_events_are_visible_to_their_account_only(team: Team) -> None:
    world, member = team.world, team.member
    with world.database.write() as tx:
        email_change_actions.request_change(
            tx, member.actor, world.settings, world.vault, member.uuid, "n@example.org"
        )
        ssh_key_actions.create(tx, member.actor, parse(new_key()), "laptop")
    for person in (team.staff, team.support, member):
        event = team.event(person, "account_address_change_asked")
        assert event["message"] == "User member asked for another e-mail address, n@example.org."
        event = team.event(person, "ssh_key_creation_succeeded")
        assert event["message"] == "SSH key laptop of user member has been added by Member Lee."
        assert event["context"]["ssh_key_fingerprint"].startswith("SHA256:")
    for person in (team.owner, team.manager, team.outsider):
        event_types = "account_address_change_asked,ssh_key_creation_succeeded"
        assert team.of_type(person, event_types) == []


def test_requester_is_named_only_to_those_who_read_requests(team: Team) -> None:
    submitted = events.JoinRequestSubmitted(
        scope=team.project.id,
        account=team.outsider.id,
        role="PROJECT.MEMBER",
        scope_name="Engine",
        username="outsider",
        request_uuid=uuid4().hex,
    )
    team.record(team.outsider.actor, submitted)
    for person in (team.staff, team.owner, team.manager):
        event = team.event(person, "request_submitted")
        assert event["message"] == (
            "The request of user outsider for the role PROJECT.MEMBER in Engine has been made"
            " by Outsider Lee."
        )
        assert event["context"]["permission_request_uuid"] == submitted.request_uuid
    event = team.event(team.add_with(Permission.PROJECT_UPDATE), "request_submitted")
    assert event["message"] == "The request for the role PROJECT.MEMBER in Engine has been made."
    assert not {"outsider", team.outsider.uuid, "Outsider Lee"} & strings(event)
    assert team.of_type(team.member, "request_submitted") == []
    # The requester cannot see the scope.
    event = team.event(team.outsider, "request_submitted")
    assert event["message"] == (
        "The request of user outsider for the role PROJECT.MEMBER has been made by Outsider Lee."
    )
    assert not {team.project.uuid, "Engine", "Acme"} & strings(event)


def test_event_has_the_shape_that_clients_read(team: Team) -> None:
    event = team.events(team.owner, f"project_uuid={team.project.uuid}")[-1]
    assert set(event) == {"id", "uuid", "created", "event_type", "message", "context"}
    assert event["event_type"] == "project_creation_succeeded"
    assert event["message"] == "Project Engine has been created by Staff Lee."
    assert UUID(event["uuid"]).hex == event["uuid"]
    assert datetime.fromisoformat(event["created"]).tzinfo is not None
    assert event["created"].endswith("Z")
    assert event["context"] == {
        "scope_type": "project",
        "scope_uuid": team.project.uuid,
        "scope_name": "Engine",
        "project_uuid": team.project.uuid,
        "project_name": "Engine",
        "customer_uuid": team.organisation.uuid,
        "customer_name": "Acme",
        "user_uuid": team.staff.uuid,
        "user_username": "staff",
        "user_full_name": "Staff Lee",
    }
    path = f"{event['uuid']}/"
    assert team.get(path, team.owner).json() == event
    sparse = team.get(f"{path}?field=message&field=uuid&field=facts", team.owner).json()
    assert set(sparse) == {"message", "uuid"}


def test_newest_events_come_first_unless_ordered_otherwise(team: Team) -> None:
    def ids(query: str = "") -> list[int]:
        return [event["id"] for event in team.events(team.staff, query)]

    newest = ids()
    assert newest == sorted(newest, reverse=True)
    assert ids("o=-created") == newest
    assert ids("o=created") == newest[::-1]
    response = team.get("?o=message", team.staff)
    assert response.status_code == 400
    assert set(response.json()) == {"o"}


def test_head_and_count_return_the_same_number(team: Team) -> None:
    for person in (team.staff, team.owner, team.outsider):
        for query in ("", "event_type=role_granted"):
            number = len(team.events(person, query))
            assert team.get(f"count/?{query}", person).json() == {"count": number}
            for path in ("", "count/"):
                head = team.site.request("HEAD", f"{EVENTS}{path}?{query}", person)
                assert head.headers["X-Result-Count"] == str(number)
    assert len(team.events(team.outsider)) < len(team.events(team.staff))


def test_events_can_be_filtered_by_scope(team: Team) -> None:
    def scope_uuids(person: Person, query: str) -> set[str]:
        return {event["context"]["scope_uuid"] for event in team.events(person, query)}

    organisation, project = team.organisation, team.project
    for person in (team.staff, team.support, team.owner):
        for query in (
            f"scope=http://any.host{organisation.path}",
            f"scope={organisation.path}",
            f"customer_uuid={UUID(organisation.uuid)}",
        ):
            expected = {organisation.uuid, project.uuid, team.other.uuid}
            assert scope_uuids(person, query) == expected, query
        for query in (f"scope=http://any.host{project.path}", f"project_uuid={project.uuid}"):
            assert scope_uuids(person, query) == {project.uuid}, query
    # Managers of a project see only its events.
    query = f"scope={organisation.path}"
    assert scope_uuids(team.manager, query) == {project.uuid}
    assert scope_uuids(team.sibling, query) == {team.other.uuid}


def test_unknown_hidden_or_invalid_scope_has_no_events(team: Team) -> None:
    unknown, organisation = uuid4().hex, team.organisation
    for query in (
        f"scope=http://x/api/customers/{unknown}/",
        f"scope=http://x/api/projects/{organisation.uuid}/",
        f"scope=http://x/api/roles/{unknown}/",
        "scope=http://x/api/users/nobody/",
        "scope=nonsense",
        "scope=http://[",
        f"customer_uuid={team.project.uuid}",
        f"project_uuid={unknown}",
        f"user_uuid={unknown}",
    ):
        assert team.events(team.staff, query) == [], query
    for person, scope in (
        (team.outsider, organisation),
        (team.foreigner, organisation),
        (team.sibling, team.project),
    ):
        assert team.events(person, f"scope=http://x{scope.path}") == []


def test_events_can_be_filtered_by_actor_or_affected_account(team: Team) -> None:
    member, staff = team.member, team.staff
    number = len(team.events(staff, f"related_user_uuid={member.uuid}"))
    affecting = team.events(staff, f"scope=http://x/api/users/{member.uuid}/")
    assert len(affecting) == number > 0
    assert {event["context"]["affected_user_uuid"] for event in affecting} == {member.uuid}
    assert team.events(staff, f"user_uuid={member.uuid}") == []
    by_staff = team.events(staff, f"user_uuid={staff.uuid}")
    assert {event["context"]["user_uuid"] for event in by_staff} == {staff.uuid}
    # A filter shows a manager nothing that is hidden from them.
    visible = {event["uuid"] for event in team.events(team.manager)}
    events = team.events(team.manager, f"related_user_uuid={member.uuid}")
    assert types(events) == ["role_granted"]
    assert {event["uuid"] for event in events} <= visible


def test_events_can_be_filtered_by_type_group_and_time(team: Team) -> None:
    staff, everything = team.staff, team.events(team.staff)
    roles = [event for event in everything if event["event_type"] == "role_granted"]
    projects = [
        event for event in everything if event["event_type"] == "project_creation_succeeded"
    ]
    created = datetime.fromisoformat(roles[-1]["created"]).timestamp()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
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
        (f"created_from={tomorrow}", []),
        (f"created_to={tomorrow}", everything),
        ("created_to=0", []),
    ):
        assert team.events(staff, query) == expected, query
    both = team.of_type(staff, "role_granted,project_creation_succeeded")
    assert sorted(event["id"] for event in both) == sorted(
        event["id"] for event in (*roles, *projects)
    )
    assert roles[-1] in team.events(staff, f"created_from={created}")
    assert roles[-1] not in team.events(staff, f"created_to={created}")


@sqlite_only
def test_invalid_filters_are_reported_together(team: Team) -> None:
    for value in ("x", "nan", "inf", "-inf", "1e300", "2024-01-01"):
        response = team.get(f"?created_from={value}&user_uuid=x&message=y", team.staff)
        assert response.status_code == 400
        assert response.json() == {
            "created_from": ["Enter a number."],
            "user_uuid": ["Enter a valid UUID."],
            "message": ["Events cannot be searched by this here."],
        }
    for key in ("x", "0", "999999999", "9" * 30, "-1", "1.5", "0" * 32):
        assert team.get(f"{key}/", team.staff).status_code == 404, key


def test_group_events_are_hidden_from_this_api(team: Team) -> None:
    before = len(team.events(team.staff))
    group = {
        "uuid": uuid4().hex,
        "kind": "group",
        "name": "Choir",
        "slug": "choir",
        "created_at": datetime.now(UTC),
    }
    actor = team.member.actor
    with team.world.database.write() as tx:
        number = tx.fetch_only(Statement[int](insert(scopes).values(group).returning(scopes.c.id)))
        granted = events.RoleGranted(
            scope=number,
            account=actor.id,
            role="GROUP.LEAD",
            scope_name="Choir",
            username=actor.username,
        )
        event_queries.record(tx, actor, granted)
        (row,) = event_queries.listing.page(tx, team.staff.actor, {}, (), 1, 0)
    assert row.scope_kind == "group"
    assert len(team.events(team.staff)) == before
    assert "Choir" not in json.dumps(team.events(team.member))
    for person in (team.staff, team.member):
        for key in (row.uuid, row.id):
            assert team.get(f"{key}/", person).status_code == 404


def test_deleted_project_keeps_its_events_for_the_owners(team: Team) -> None:
    assert team.site.request("DELETE", team.project.path, team.owner).status_code == 204
    event_type = "project_deletion_succeeded"
    for person in (team.staff, team.owner):
        message = team.event(person, event_type)["message"]
        assert message == "Project Engine has been deleted by Owner Lee."
    assert team.of_type(team.manager, event_type) == []


def test_events_keep_the_names_of_their_time(team: Team) -> None:
    with team.world.database.write() as tx:
        account_queries.change(tx, team.staff.id, {"first_name": "Renamed"})
        renamed = update(scopes).where(scopes.c.id == team.project.id).values(name="New")
        tx.execute(Statement(renamed))
        account_actions.delete(tx, team.staff.actor, team.member.uuid)
    username = f"~deleted-{team.member.id}"
    (event,) = [
        event
        for event in team.events(team.owner, f"project_uuid={team.project.uuid}")
        if event["context"].get("affected_user_username") == username
    ]
    assert event["message"] == (
        f"User {username} has been given the role PROJECT.MEMBER in Engine by Staff Lee."
    )
    event = team.event(team.staff, "user_deletion_succeeded")
    assert event["message"] == f"User {username} has been deleted by Staff Lee."
    full_name = event["context"]["affected_user_full_name"]
    assert full_name == f"Deleted account {team.member.id}"


SHOWN = {event.waldur_type: event for event in events.BY_KIND.values() if event.message}


def test_event_types_are_listed_by_group(team: Team) -> None:
    groups: dict[str, list[str]] = team.get("event_groups/", team.outsider).json()
    for path, count in (("event_groups/", len(groups)), ("scope_types/", 2)):
        assert team.get(path, team.outsider).headers["X-Result-Count"] == str(count)
    assert team.get("scope_types/", team.outsider).json() == ["customer", "project"]
    assert "role_granted" in groups["permissions"]
    assert "ssh_key_creation_succeeded" in groups["ssh"]
    assert all(names == sorted(names) for names in groups.values())
    assert sorted(name for names in groups.values() for name in names) == sorted(SHOWN)
    assert set(types(team.events(team.staff))) <= set(SHOWN)


def test_every_event_is_recorded_somewhere() -> None:
    source = "".join(path.read_text() for path in Path(collegium.__file__).parent.rglob("*.py"))
    recorded = set(re.findall(r"\bevents\.(\w+)", source))
    assert [one.__name__ for one in events.BY_KIND.values() if one.__name__ not in recorded] == []


def test_every_event_has_a_name_of_its_own_and_a_text() -> None:
    every = list(Event.all())
    assert len(events.BY_KIND) == len(every) > 60
    assert len({event.waldur_type for event in every}) == len(every)
    assert SHOWN["role_granted"] is events.RoleGranted
    assert SHOWN["ssh_key_creation_succeeded"] is events.KeyCreated
    # The events of groups are only on the pages.
    assert {one for one in every if not one.message} == {
        events.GroupCreated,
        events.GroupUpdated,
        events.GroupDeleted,
    }
    assert all(event.group for event in SHOWN.values())


def test_placeholders_in_names_are_not_replaced(team: Team) -> None:
    organisation = team.world.organisation("[a] {scope_name} [{x}]")
    event = team.events(team.staff, f"customer_uuid={organisation.uuid}")[0]
    assert event["message"] == "Organization [a] {scope_name} [{x}] has been created by Staff Lee."


def test_sign_in_has_a_message(team: Team) -> None:
    secret = "purple-tram-lifts-9"
    with team.world.database.write() as tx:
        account_queries.change(tx, team.member.id, {"password": hash_password(secret)})
    body = {"username": "member", "password": secret}
    assert team.site.post("/api-auth/password/", json=body).status_code == 200
    event = team.event(team.member, "auth_logged_in_with_username")
    assert event["message"] == "User member has logged in with a password."
    assert event["context"]["ip_address"] == "127.0.0.1"


def test_message_needs_no_facts(team: Team) -> None:
    kinds = [*(event.kind for event in SHOWN.values()), "something.of_tomorrow"]
    row = {"created_at": datetime.now(UTC), "actor_name": "", "ip_address": "", "request_id": ""}
    with team.world.database.write() as tx:
        for kind in kinds:
            values = {**row, "uuid": uuid4().hex, "kind": kind, "payload": {}}
            tx.execute(Statement(insert(event_table).values(values)))
    shown = team.events(team.staff)[: len(kinds)]
    assert set(types(shown)) == {*SHOWN, "something_of_tomorrow"}
    for event in shown:
        assert event["context"] == {}
        assert event["message"].endswith(".")
        assert not set("[]{}") & set(event["message"]), event
