"""Role by action by state, complete: what everybody may do to every request and invitation."""

from __future__ import annotations

from dataclasses import dataclass
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
from collegium.join_requests.actions import request_group_membership
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from tests.groups.scene import Groups
from tests.support.world import Person

ROLES = {
    "member": "GROUP.MEMBER",
    "manager": "GROUP.MANAGER",
    "owner": "GROUP.OWNER",
    "lead": "GROUP.LEAD",
}
EVERYBODY = ("nobody", "stranger", "former", "self", *ROLES, "staff", "support")
"""``self`` is who asked, or who was invited; ``former`` was a manager until yesterday."""

MANAGERS = {"manager", "owner", "lead", "staff"}
OWNERS = {"owner", "lead", "staff"}
SEEN_BY = {"self", "support", *MANAGERS}
ACTIONS = ("accept", "reject", "cancel")
_PUT = {
    table.name: Statement(
        update(table).where(table.c.uuid == bindparam("key")).values(state=bindparam("becomes"))
    )
    for table in (tables.join_requests, tables.invitations)
}


@dataclass(frozen=True)
class Cast:
    """A group with somebody of every kind."""

    group: int
    people: dict[str, Person | None]

    @property
    def one(self) -> Person:
        found = self.people["self"]
        assert found is not None
        return found


@pytest.fixture
def cast(groups: Groups) -> Cast:
    world = groups.world
    people: dict[str, Person | None] = {
        name: world.person(name) for name in EVERYBODY if name not in {"nobody", "staff", "support"}
    }
    people |= {
        "nobody": None,
        "staff": world.staff,
        "support": world.person("support", is_support=True),
    }
    lead = people["lead"]
    former = people["former"]
    assert lead is not None
    assert former is not None
    group = groups.found(lead)
    for name, role in ROLES.items():
        person = people[name]
        assert person is not None
        if name != "lead":
            groups.seat(group, person, role)
    groups.seat(group, former, "GROUP.MANAGER")
    unseat(groups, group, former)
    return Cast(group, people)


def unseat(groups: Groups, group: int, person: Person) -> None:
    with groups.world.database.write() as tx:
        held = membership_queries.grant_in_scope(tx, person.id, group)
        if held is not None:
            membership_queries.end(tx, held.id, None)


def answered(groups: Groups, who: Person | None, model: str, uuid: str, action: str) -> int:
    """What somebody is answered; the refusals must have done nothing."""
    return groups.get(who, model, uuid, action).status_code


def expected(*, who: str, entitled: set[str], state: str, target: str, opens: bool) -> int:
    if who == "nobody":
        return 401
    if who not in SEEN_BY:
        return 404
    if who not in entitled:
        return 403
    return 200 if opens or state == target else 400


PENDING = join_request_rules.State.PENDING
REQUEST_TARGETS = {"accept": "approved", "reject": "rejected", "cancel": "canceled"}
REQUEST_ENTITLED = {"accept": MANAGERS, "reject": MANAGERS, "cancel": {"self"}}


@pytest.mark.parametrize("action", ACTIONS)
def test_requests(groups: Groups, cast: Cast, action: str) -> None:
    target = REQUEST_TARGETS[action]
    tried = 0
    for state, who in product(join_request_rules.STORED, EVERYBODY):
        uuid = request_in(groups, cast, state.value)
        wanted = expected(
            who=who,
            entitled=REQUEST_ENTITLED[action],
            state=state.value,
            target=target,
            opens=state is PENDING,
        )
        got = answered(groups, cast.people[who], "request", uuid, action)
        assert got == wanted, (who, action, state)
        became = groups.request(uuid).state
        assert became == (target if wanted == 200 else state.value), (who, action, state)
        joined = state is PENDING and wanted == 200 and action == "accept"
        assert (groups.role_of(cast.group, cast.one) == "GROUP.MEMBER") is joined
        unseat(groups, cast.group, cast.one)
        put(groups, "join_requests", uuid, "canceled")
        tried += 1
    assert tried == 4 * 10


def request_in(groups: Groups, cast: Cast, state: str) -> str:
    with groups.world.database.write() as tx:
        role: Any = role_queries.named(tx, "GROUP.MEMBER", None, groups=True)
        reached: Any = access_queries.permissions_in_scope(tx, cast.one.actor, cast.group)
        uuid = str(request_group_membership(tx, cast.one.actor, reached.scope, role).uuid)
    put(groups, "join_requests", uuid, state)
    return uuid


def put(groups: Groups, table: str, uuid: str, state: str) -> None:
    with groups.world.database.write() as tx:
        tx.execute(_PUT[table], key=uuid, becomes=state)


INVITATION_TARGETS = {"accept": "accepted", "reject": "rejected", "cancel": "canceled"}


OFFERED = ("GROUP.MEMBER", "GROUP.MANAGER", "GROUP.OWNER")
INVITATION_STATES = ("pending", "expired", "accepted", "rejected", "canceled")


@pytest.mark.parametrize("action", ACTIONS)
def test_invitations(groups: Groups, cast: Cast, action: str) -> None:
    target = INVITATION_TARGETS[action]
    tried = 0
    for offered, state, who in product(OFFERED, INVITATION_STATES, EVERYBODY):
        callers = MANAGERS if offered == "GROUP.MEMBER" else OWNERS
        entitled = callers if action == "cancel" else {"self"}
        uuid = invitation_in(groups, cast, state, offered)
        wanted = expected(
            who=who, entitled=entitled, state=state, target=target, opens=state == "pending"
        )
        got = answered(groups, cast.people[who], "invitation", uuid, action)
        assert got == wanted, (who, action, state)
        stored = "pending" if state == "expired" else state
        became = groups.world.invitation(uuid).state
        assert became == (target if wanted == 200 else stored), (who, action, state)
        joined = state == "pending" and wanted == 200 and action == "accept"
        assert groups.role_of(cast.group, cast.one) == (offered if joined else None)
        unseat(groups, cast.group, cast.one)
        put(groups, "invitations", uuid, "canceled")
        tried += 1
    assert tried == 3 * 5 * 10


def invitation_in(groups: Groups, cast: Cast, state: str, offered: str) -> str:
    lead = cast.people["lead"]
    assert lead is not None
    uuid = uuid4().hex
    with groups.world.database.write() as tx:
        role: Any = role_queries.named(tx, offered, None, groups=True)
        days = -1 if state == "expired" else 7
        invitation_queries.add(
            tx,
            {
                "uuid": uuid,
                "scope_id": cast.group,
                "role_id": role.id,
                "email": cast.one.email,
                "account_id": cast.one.id,
                "state": "pending" if state == "expired" else state,
                "created_at": tx.now - timedelta(days=8),
                "expires_at": tx.now + timedelta(days=days),
                "created_by": lead.id,
                "sponsor_id": lead.id,
            },
        )
    return uuid


def test_the_matrix_knows_every_act_and_every_state() -> None:
    assert {state.value for state in join_request_rules.STORED} == {
        "pending",
        *REQUEST_TARGETS.values(),
    }
    decided = {act for state, act in invitation_rules.TRANSITIONS if state == "pending"}
    assert decided == {"accept", "decline", "cancel", "send"}


GROUP_DEEDS: dict[str, tuple[str, Any, set[str]]] = {
    "rename": ("PATCH", {"name": "Other"}, OWNERS),
    "invite": ("PATCH", {"users": {"self@example.org": {}}}, MANAGERS),
    "invite a manager": ("PATCH", {"users": {"self@example.org": {"is_manager": True}}}, OWNERS),
    "invite an owner": ("PATCH", {"users": {"self@example.org": {"is_owner": True}}}, OWNERS),
    "promote": ("PATCH", {"users": {"member@example.org": {"is_manager": True}}}, OWNERS),
    "leave as it is": ("PATCH", {"users": {"member@example.org": {}}}, OWNERS),
    "demote": ("PATCH", {"users": {"manager@example.org": {}}}, OWNERS),
    "remove a member": ("PATCH", {"users": {"member@example.org": {"remove": True}}}, MANAGERS),
    "remove a manager": ("PATCH", {"users": {"manager@example.org": {"remove": True}}}, OWNERS),
    "remove an owner": ("PATCH", {"users": {"owner@example.org": {"remove": True}}}, OWNERS),
    "give up": ("DELETE", None, OWNERS),
}


def test_groups(groups: Groups, cast: Cast) -> None:
    lead = cast.people["lead"]
    assert lead is not None
    tried = 0
    for right, (method, body, allowed) in GROUP_DEEDS.items():
        for who in EVERYBODY:
            if who in right.split():
                continue  # nobody is asked about themselves here
            group = another(groups, cast, lead, f"{right} {who}")
            before = groups.members(group)
            sent = {"name": f"Renamed {group}"} if right == "rename" else body
            answer = groups.call(method, cast.people[who], "group", group, json=sent)
            done = 204 if method == "DELETE" else 200
            wanted = done if who in allowed else 401 if who == "nobody" else 403
            assert answer.status_code == wanted, (right, who, answer.text)
            assert who in allowed or groups.members(group) == before
            tried += 1
    assert tried > 100


def another(groups: Groups, cast: Cast, lead: Person, name: str) -> int:
    group = groups.found(lead, name)
    for one, role in ROLES.items():
        person = cast.people[one]
        assert person is not None
        if one != "lead":
            groups.seat(group, person, role)
    return group
