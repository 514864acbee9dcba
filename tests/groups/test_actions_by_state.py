"""Actions on join requests, invitations and groups, for every role and state."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, update

from collegium.access import queries as access_queries
from collegium.db import tables
from collegium.db.statements import Statement
from collegium.invitations import queries as invitation_queries
from collegium.invitations import rules as invitation_rules
from collegium.join_requests import rules as join_request_rules
from collegium.join_requests.actions import submit_without_link
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from tests.groups.scene import Groups
from tests.support.world import Person

ROLES = ("member", "manager", "owner", "lead")
ACTORS = ("nobody", "stranger", "former", "self", *ROLES, "staff", "support")
"""``self`` asked, or was invited; ``former`` was a manager."""

MANAGERS = {"manager", "owner", "lead", "staff"}
OWNERS = {"owner", "lead", "staff"}
VISIBLE_TO = {"self", "support", *MANAGERS}
ACTIONS = ("accept", "reject", "cancel")
_SET_STATE = {
    table.name: Statement(
        update(table).where(table.c.uuid == bindparam("key")).values(state=bindparam("new_state"))
    )
    for table in (tables.join_requests, tables.invitations)
}


class Team:
    """A group with an account of every kind."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.people = {name: groups.world.person(name) for name in ACTORS[1:-2]}
        self.people["staff"] = groups.world.staff
        self.people["support"] = groups.world.person("support", is_support=True)
        self.subject = self.people["self"]
        self.group = self.create_group()
        groups.give_role(self.group, self.people["former"], "GROUP.MANAGER")
        self.end_grant(self.people["former"])

    def create_group(self, name: str = "Lab") -> int:
        group = self.groups.create(self.people["lead"], name)
        for role in ("member", "manager", "owner"):
            self.groups.give_role(group, self.people[role], f"GROUP.{role.upper()}")
        return group

    def end_grant(self, person: Person) -> None:
        with self.groups.world.database.write() as tx:
            grant = membership_queries.grant_in_scope(tx, person.id, self.group)
            if grant is not None:
                membership_queries.end(tx, grant.id, None)

    def set_state(self, table: str, uuid: str, state: str) -> None:
        with self.groups.world.database.write() as tx:
            tx.execute(_SET_STATE[table], key=uuid, new_state=state)

    def add_request(self, state: str) -> str:
        settings = self.groups.world.settings
        with self.groups.world.database.write() as tx:
            access: Any = access_queries.permissions_in_scope(tx, self.subject.actor, self.group)
            row, _ = submit_without_link(
                tx, self.subject.actor, settings, access.scope, "GROUP.MEMBER"
            )
        self.set_state("join_requests", row.uuid, state)
        return str(row.uuid)

    def add_invitation(self, state: str, role_name: str) -> str:
        lead, uuid = self.people["lead"], uuid4().hex
        with self.groups.world.database.write() as tx:
            role: Any = role_queries.by_name_or_uuid(tx, role_name, None, {"group"})
            days = -1 if state == "expired" else 7
            values = {
                "uuid": uuid,
                "scope_id": self.group,
                "role_id": role.id,
                "email": self.subject.email,
                "account_id": self.subject.id,
                "state": "pending" if state == "expired" else state,
                "created_at": tx.now - timedelta(days=8),
                "expires_at": tx.now + timedelta(days=days),
                "created_by": lead.id,
                "sponsor_id": lead.id,
            }
            invitation_queries.add_all(tx, [values])
        return uuid


@pytest.fixture
def team(groups: Groups) -> Team:
    return Team(groups)


def expected_status(actor: str, entitled: set[str], state: str, target: str) -> int:
    if actor == "nobody":
        return 401
    if actor not in VISIBLE_TO:
        return 404
    if actor not in entitled:
        return 403
    return 200 if state in {"pending", target} else 400


REQUEST_TARGETS = {"accept": "approved", "reject": "rejected", "cancel": "canceled"}


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_on_requests_by_role_and_state(groups: Groups, team: Team, action: str) -> None:
    target = REQUEST_TARGETS[action]
    entitled = {"self"} if action == "cancel" else MANAGERS
    tried = 0
    for state, actor in product([s.value for s in join_request_rules.STORED], ACTORS):
        uuid = team.add_request(state)
        status = expected_status(actor, entitled, state, target)
        response = groups.get(team.people.get(actor), "request", uuid, action)
        assert response.status_code == status, (actor, action, state)
        new_state = groups.request(uuid).state
        assert new_state == (target if status == 200 else state), (actor, action, state)
        joined = state == "pending" and status == 200 and action == "accept"
        assert (groups.role_of(team.group, team.subject) == "GROUP.MEMBER") is joined
        team.end_grant(team.subject)
        team.set_state("join_requests", uuid, "canceled")
        tried += 1
    assert tried == 4 * 10


INVITATION_TARGETS = {"accept": "accepted", "reject": "rejected", "cancel": "canceled"}
INVITED_ROLES = ("GROUP.MEMBER", "GROUP.MANAGER", "GROUP.OWNER")
INVITATION_STATES = ("pending", "expired", "accepted", "rejected", "canceled")


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_on_invitations_by_role_and_state(groups: Groups, team: Team, action: str) -> None:
    target = INVITATION_TARGETS[action]
    tried = 0
    for role, state, actor in product(INVITED_ROLES, INVITATION_STATES, ACTORS):
        entitled = {"self"}
        if action == "cancel":
            entitled = MANAGERS if role == "GROUP.MEMBER" else OWNERS
        uuid = team.add_invitation(state, role)
        status = expected_status(actor, entitled, state, target)
        response = groups.get(team.people.get(actor), "invitation", uuid, action)
        assert response.status_code == status, (actor, action, state)
        stored = "pending" if state == "expired" else state
        new_state = groups.world.invitation(uuid).state
        assert new_state == (target if status == 200 else stored), (actor, action, state)
        joined = state == "pending" and status == 200 and action == "accept"
        assert groups.role_of(team.group, team.subject) == (role if joined else None)
        team.end_grant(team.subject)
        team.set_state("invitations", uuid, "canceled")
        tried += 1
    assert tried == 3 * 5 * 10


def test_tables_cover_every_action_and_state() -> None:
    assert {*join_request_rules.STORED} == {"pending", *REQUEST_TARGETS.values()}
    pending = invitation_rules.State.PENDING
    actions = {action.name for action in invitation_rules.Action if pending in action.states}
    by_service = {"REMIND", "CLOSE", "REPORT_DEACTIVATED"}
    of_other_scopes = {"CHANGE"}
    elsewhere = by_service | of_other_scopes | {"EXTEND"}  # tests/bulk_changes
    assert actions - elsewhere == {
        "ACCEPT",
        "DECLINE",
        "CANCEL",
        "SEND",
    }


CHANGES: dict[str, tuple[str, Any, set[str]]] = {
    "rename": ("PATCH", {"name": "Other"}, OWNERS),
    "invite": ("PATCH", {"users": {"self@example.org": {}}}, MANAGERS),
    "invite a manager": ("PATCH", {"users": {"self@example.org": {"is_manager": True}}}, OWNERS),
    "invite an owner": ("PATCH", {"users": {"self@example.org": {"is_owner": True}}}, OWNERS),
    "promote": ("PATCH", {"users": {"member@example.org": {"is_manager": True}}}, OWNERS),
    "keep": ("PATCH", {"users": {"member@example.org": {}}}, OWNERS),
    "demote": ("PATCH", {"users": {"manager@example.org": {}}}, OWNERS),
    "remove a member": ("PATCH", {"users": {"member@example.org": {"remove": True}}}, MANAGERS),
    "remove a manager": ("PATCH", {"users": {"manager@example.org": {"remove": True}}}, OWNERS),
    "remove an owner": ("PATCH", {"users": {"owner@example.org": {"remove": True}}}, OWNERS),
    "delete": ("DELETE", None, OWNERS),
}


def test_changes_of_a_group_by_role(groups: Groups, team: Team) -> None:
    tried = 0
    for (change, (method, body, allowed)), actor in product(CHANGES.items(), ACTORS):
        if actor in change.split():
            continue  # not their own role
        group = team.create_group(f"{change} {actor}")
        before = groups.members(group)
        json = {"name": f"Renamed {group}"} if change == "rename" else body
        response = groups.call(method, team.people.get(actor), "group", group, json=json)
        done = 204 if method == "DELETE" else 200
        status = done if actor in allowed else 401 if actor == "nobody" else 403
        assert response.status_code == status, (change, actor, response.text)
        assert actor in allowed or groups.members(group) == before
        tried += 1
    assert tried > 100
