"""Invitations and join requests of groups follow the rules of all scopes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import events, grants, join_requests, outbox
from collegium.invitations import actions as invitation_actions
from collegium.join_requests import actions as join_request_actions
from tests.groups.scene import Groups
from tests.support.world import Person, World


@pytest.mark.parametrize("action", ["accept", "reject", "cancel"])
def test_requests_have_the_same_effects_by_api_and_by_action(groups: Groups, action: str) -> None:
    world = groups.world
    olga = world.person("olga")
    results = []
    for number, (ask, decide) in enumerate(product(("api", "action"), repeat=2)):
        alice = world.person(f"alice{number}", first_name="Alice")
        group = groups.create(olga, f"Lab {number}")
        before = len(mail_kinds(groups))
        if ask == "api":
            response = groups.get(alice, "group", group, "join").json()
            uuid = response["group_membership_request"]["id"].replace("-", "")
        else:
            uuid = groups.ask(group, alice)
        decider = alice if action == "cancel" else olga
        if decide == "api":
            assert groups.get(decider, "request", uuid, action).status_code == 200
        else:
            call_action(world, action, decider, uuid)
        results.append(effects(world, group, alice) | {"mails": mail_kinds(groups)[before:]})
    assert results[0]["join_requests"]
    assert all(result == results[0] for result in results)


def call_action(world: World, action: str, decider: Person, uuid: str) -> None:
    with world.database.write() as tx:
        if action == "accept":
            join_request_actions.approve(tx, decider.actor, world.settings, uuid, None)
        elif action == "reject":
            join_request_actions.reject(tx, decider.actor, uuid, None)
        else:
            join_request_actions.cancel(tx, decider.actor, uuid)


def effects(world: World, group: int, alice: Person) -> dict[str, Any]:
    """Return requests, grants and events without ids, UUIDs and times."""
    ignored = {"id", "uuid", "request_id", "ip_address", "scope_id"}
    result: dict[str, Any] = {}
    with world.database.read() as tx:
        for table in (join_requests, grants, events):
            columns = [
                column
                for column in table.c
                if not isinstance(column.type, UtcDateTime) and column.name not in ignored
            ]
            query = table.select().with_only_columns(*columns).where(table.c.scope_id == group)
            rows = tx.fetch_all(Statement[Any](query.order_by(table.c.id)))
            result[table.name] = [comparable(row._asdict(), alice) for row in rows]
    return result


def mail_kinds(groups: Groups) -> list[str]:
    with groups.world.database.read() as tx:
        return [
            row.kind for row in tx.fetch_all(Statement[Any](outbox.select().order_by(outbox.c.id)))
        ]


def comparable(row: dict[str, Any], alice: Person) -> dict[str, Any]:
    for name in ("account_id", "actor_id", "decided_by", "granted_by"):
        if row.get(name) == alice.id:
            row[name] = "alice"
    if "payload" in row:
        row["payload"] = sorted({"role", "request_uuid"} & row["payload"].keys())
    row.pop("actor_name", None)
    return row


def test_mails_name_the_group(groups: Groups) -> None:
    olga, alice, bob, cleo = groups.people("olga", "alice", "bob", "cleo")
    group = groups.create(olga)
    groups.invite(group, olga, cleo, is_manager=True)
    accepted, rejected = groups.ask(group, alice), groups.ask(group, bob)
    mails = groups.mails()
    assert [(kind, recipient) for kind, recipient, _ in mails] == [
        ("invitation_created", cleo.email),
        ("permission_request_submitted", olga.email),
        ("permission_request_submitted", olga.email),
    ]
    assert "join the group" in mails[0][2]
    for uuid, action in ((accepted, "accept"), (rejected, "reject")):
        assert groups.get(olga, "request", uuid, action).status_code == 200
    mails = groups.mails()[-2:]
    assert [(kind, recipient) for kind, recipient, _ in mails] == [
        ("structure_role_granted", alice.email),
        ("permission_request_rejected", bob.email),
    ]
    assert all("the group Lab" in text for _, _, text in mails)


def test_waldur_api_shows_no_groups(groups: Groups, world: World) -> None:
    site, staff = groups.site, world.staff
    olga, alice, bob = groups.people("olga", "alice", "bob")
    group = groups.create(olga, "Hidden Lab")
    groups.ask(group, alice)
    uuid = groups.invite(group, olga, bob, is_manager=True).replace("-", "")
    lists = "user-invitations user-permission-requests user-permissions user-group-invitations"
    for person in (staff, olga, alice, bob):
        for path in (*lists.split(), "events", "customers", "projects"):
            response = site.get(f"/api/{path}/", person)
            assert response.status_code == 200, path
            assert "Hidden Lab" not in response.text, (path, person.actor.username)
            assert uuid not in response.text
        path = f"/api/user-invitations/{uuid}/"
        assert site.get(path, person).status_code == 404
        assert site.get(f"{path}details/", person).status_code == 404
        for action in ("accept", "check", "cancel", "send", "delete"):
            assert site.post(f"{path}{action}/", person).status_code == 404, action
    assert groups.role_of(group, bob) is None
    assert groups.get(bob, "invitation", uuid, "accept").status_code == 200


def test_invitation_to_a_role_requires_its_inviter_to_be_an_owner(groups: Groups) -> None:
    olga, otto, bob = groups.people("olga", "otto", "bob")
    group = groups.create(olga)
    groups.give_role(group, otto, "GROUP.OWNER")
    uuid = groups.invite(group, otto, bob, is_manager=True)
    for flag, status in (("is_manager", 400), ("is_owner", 200)):
        body = {"users": {otto.email: {flag: True}}}
        assert groups.call("PATCH", olga, "group", group, json=body).status_code == 200
        assert groups.get(bob, "invitation").json()["count"] == 1
        assert groups.get(bob, "invitation", uuid, "accept").status_code == status
    assert groups.role_of(group, bob) == "GROUP.MANAGER"


def test_joining_closes_other_requests_and_invitations(groups: Groups) -> None:
    world = groups.world
    olga, alice, bob = groups.people("olga", "alice", "bob")
    group = groups.create(olga)
    invitations = [groups.invite(group, olga, who).replace("-", "") for who in (alice, bob)]
    requests = [groups.ask(group, who) for who in (alice, bob)]
    assert groups.get(olga, "request", requests[0], "accept").status_code == 200
    with world.database.write() as tx:
        invitation_actions.accept_own(tx, bob.actor, world.settings, invitations[1])
    assert groups.get(olga, "request").json()["count"] == 0
    assert groups.get(olga, "invitation").json()["count"] == 0
    assert world.invitation(invitations[0]).state == "canceled"
    assert groups.request(requests[1]).state == "approved"
    assert groups.get(olga, "request", requests[1], "accept").status_code == 200
    assert groups.get(olga, "request", requests[1], "reject").status_code == 400


def test_second_invitation_changes_the_role_of_the_first(groups: Groups) -> None:
    olga, mia, bob = groups.people("olga", "mia", "bob")
    group = groups.create(olga)
    groups.give_role(group, mia, "GROUP.MANAGER")
    first = groups.invite(group, mia, bob)
    assert groups.invite(group, olga, bob, is_owner=True) == first
    (shown,) = groups.get(bob, "invitation").json()["group_membership_invitations"]
    assert (shown["new_manager"], shown["new_owner"]) == (False, True)
    # A manager cannot change an invitation by an owner.
    body: dict[str, Any] = {"users": {bob.email: {}}}
    assert groups.call("PATCH", mia, "group", group, json=body).status_code == 403
    # The first e-mail was still queued, and its link is no longer valid.
    assert len(groups.mails()) == 1


@pytest.mark.parametrize("limits", ["true", "false"])
def test_join_requests_are_rate_limited(
    groups: Groups, make_site: Callable[..., Any], make_settings: Callable[..., Any], limits: str
) -> None:
    groups.site = make_site(make_settings(rate_limits=limits))
    olga, alice = groups.people("olga", "alice")
    group = groups.create(olga)
    for _ in range(23):
        response = groups.get(alice, "group", group, "join")
        if response.status_code != 200:
            break
        uuid = response.json()["group_membership_request"]["id"]
        groups.get(alice, "request", uuid, "cancel")
    assert response.status_code == (429 if limits == "true" else 200)
    assert ("retry-after" in response.headers) is (limits == "true")
