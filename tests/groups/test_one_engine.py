"""Groups are no world of their own: one row, one grant, one history, however it was said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import events, grants, join_requests, outbox
from collegium.invitations import group_actions as group_invitation_actions
from collegium.join_requests import actions as join_request_actions
from collegium.outbox.outcomes import ObsoleteError
from collegium.worker import mails
from tests.groups.scene import Groups
from tests.support.world import Person, World

ACTIONS = ("accept", "reject", "cancel")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_request_is_the_same_however_it_is_opened_and_decided(
    groups: Groups, action: str
) -> None:
    world = groups.world
    olga = world.person("olga")
    told = []
    for number, (opened, decided) in enumerate(
        (a, b) for a in ("wire", "rules") for b in ("wire", "rules")
    ):
        alice = world.person(f"alice{number}", first_name="Alice")
        group = groups.found(olga, f"Lab {number}")
        before = len(kinds_of_mails(groups))
        if opened == "wire":
            joined = groups.get(alice, "group", group, "join").json()
            uuid = joined["group_membership_request"]["id"].replace("-", "")
        else:
            uuid = groups.ask(group, alice)
        by = alice if action == "cancel" else olga
        if decided == "wire":
            assert groups.get(by, "request", uuid, action).status_code == 200
        else:
            decide(groups, action, by, uuid)
        told.append(left_behind(groups, group, alice) | {"mails": kinds_of_mails(groups)[before:]})
    assert told[0]["join_requests"]
    assert all(one == told[0] for one in told)


def decide(groups: Groups, action: str, by: Person, uuid: str) -> None:
    world = groups.world
    with world.database.write() as tx:
        if action == "accept":
            join_request_actions.approve(tx, by.actor, world.settings, uuid, None, groups=True)
        elif action == "reject":
            join_request_actions.reject(tx, by.actor, uuid, None, groups=True)
        else:
            join_request_actions.cancel(tx, by.actor, uuid, groups=True)


def left_behind(groups: Groups, group: int, alice: Person) -> dict[str, Any]:
    """Rows, grants and history, without what differs by itself."""
    found: dict[str, Any] = {}
    with groups.world.database.read() as tx:
        for table in (join_requests, grants, events):
            columns = [
                column
                for column in table.c
                if not isinstance(column.type, UtcDateTime)
                and column.name not in {"id", "uuid", "request_id", "ip_address", "scope_id"}
            ]
            rows = tx.fetch_all(
                Statement(
                    table.select()
                    .with_only_columns(*columns)
                    .order_by(table.c.id)
                    .where(table.c.scope_id == group)
                )
            )
            found[table.name] = [neutral(row._asdict(), alice) for row in rows]
    return found


def kinds_of_mails(groups: Groups) -> list[str]:
    with groups.world.database.read() as tx:
        return [row.kind for row in tx.fetch_all(Statement(outbox.select().order_by(outbox.c.id)))]


def neutral(row: dict[str, Any], alice: Person) -> dict[str, Any]:
    for name in ("account_id", "actor_id", "decided_by", "granted_by"):
        if row.get(name) == alice.id:
            row[name] = "alice"
    if "payload" in row:
        kept = {"role", "request_uuid"} & row["payload"].keys()
        row["payload"] = sorted(kept)
    row.pop("actor_name", None)
    return row


def test_mails_speak_of_groups_as_of_everything_else(groups: Groups) -> None:
    world = groups.world
    olga, alice, bob, cleo = (world.person(name) for name in ("olga", "alice", "bob", "cleo"))
    group = groups.found(olga)
    groups.invite(group, olga, cleo, is_manager=True)
    accepted, rejected = groups.ask(group, alice), groups.ask(group, bob)
    said = read_mails(groups)
    assert [kind for kind, _to, _text in said] == [
        "invitation_created",
        "permission_request_submitted",
        "permission_request_submitted",
    ]
    assert said[0][1] == cleo.email
    assert "join the group" in said[0][2]
    assert said[1][1] == olga.email
    for uuid, action in ((accepted, "accept"), (rejected, "reject")):
        assert groups.get(olga, "request", uuid, action).status_code == 200
    said = read_mails(groups)[-2:]
    assert [(kind, to) for kind, to, _text in said] == [
        ("structure_role_granted", alice.email),
        ("permission_request_rejected", bob.email),
    ]
    assert all("the group Lab" in text for _kind, _to, text in said)


def read_mails(groups: Groups) -> list[tuple[str, str, str]]:
    """What is owed, in words; what has lost its point meanwhile is left out."""
    world = groups.world
    found = []
    with world.database.read() as tx:
        for row in tx.fetch_all(Statement(outbox.select().order_by(outbox.c.id))):
            try:
                message = mails.render(tx, world.settings, world.vault, row)
            except ObsoleteError:
                continue
            body = message.get_body(("plain",))
            assert body is not None
            text = " ".join(body.get_content().split())
            found.append((row.kind, row.recipient, text))
    return found


def test_the_waldur_wire_speaks_of_no_group(groups: Groups, world: World) -> None:
    site, staff = groups.site, world.staff
    olga, alice, bob = (world.person(name) for name in ("olga", "alice", "bob"))
    group = groups.found(olga, "Hidden Lab")
    groups.ask(group, alice)
    uuid = groups.invite(group, olga, bob, is_manager=True).replace("-", "")
    for who in (staff, olga, alice, bob):
        for path in (
            "user-invitations",
            "user-permission-requests",
            "user-permissions",
            "user-group-invitations",
            "events",
            "customers",
            "projects",
        ):
            answer = site.get(f"/api/{path}/", who)
            assert answer.status_code == 200, path
            assert "Hidden Lab" not in answer.text, (path, who.actor.username)
            assert uuid not in answer.text
        one = f"/api/user-invitations/{uuid}/"
        assert site.get(one, who).status_code == 404
        assert site.get(f"{one}details/", who).status_code == 404
        for action in ("accept", "check", "cancel", "send", "delete"):
            assert site.post(f"{one}{action}/", who).status_code == 404, action
    assert groups.role_of(group, bob) is None
    assert groups.get(bob, "invitation", uuid, "accept").status_code == 200


def test_an_invitation_with_a_role_is_honoured_while_its_author_is_an_owner(
    groups: Groups,
) -> None:
    world = groups.world
    olga, otto, bob = (world.person(name) for name in ("olga", "otto", "bob"))
    group = groups.found(olga)
    groups.seat(group, otto, "GROUP.OWNER")
    uuid = groups.invite(group, otto, bob, is_manager=True)
    demoted = {"users": {otto.email: {"is_manager": True}}}
    assert groups.call("PATCH", olga, "group", group, json=demoted).status_code == 200
    refused = groups.get(bob, "invitation", uuid, "accept")
    assert refused.status_code == 400
    assert groups.get(bob, "invitation").json()["count"] == 1
    restored = {"users": {otto.email: {"is_owner": True}}}
    assert groups.call("PATCH", olga, "group", group, json=restored).status_code == 200
    assert groups.get(bob, "invitation", uuid, "accept").status_code == 200
    assert groups.role_of(group, bob) == "GROUP.MANAGER"


def test_however_somebody_joins_nothing_else_stays_open(groups: Groups) -> None:
    world = groups.world
    olga, alice, bob = (world.person(name) for name in ("olga", "alice", "bob"))
    group = groups.found(olga)
    invited = [groups.invite(group, olga, who) for who in (alice, bob)]
    asked = [groups.ask(group, who) for who in (alice, bob)]
    assert groups.get(olga, "request", asked[0], "accept").status_code == 200
    with world.database.write() as tx:
        uuid = invited[1].replace("-", "")
        group_invitation_actions.accept(tx, bob.actor, world.settings, uuid)
    assert groups.get(olga, "request").json()["count"] == 0
    assert groups.get(olga, "invitation").json()["count"] == 0
    assert world.invitation(invited[0].replace("-", "")).state == "canceled"
    assert groups.request(asked[1]).state == "approved"
    assert groups.get(olga, "request", asked[1], "accept").status_code == 200
    assert groups.get(olga, "request", asked[1], "reject").status_code == 400


def test_somebody_who_is_invited_already_is_invited_to_that_instead(groups: Groups) -> None:
    olga, mia, bob = (groups.world.person(name) for name in ("olga", "mia", "bob"))
    group = groups.found(olga)
    groups.seat(group, mia, "GROUP.MANAGER")
    first = groups.invite(group, mia, bob)
    assert groups.invite(group, olga, bob, is_owner=True) == first
    (shown,) = groups.get(bob, "invitation").json()["group_membership_invitations"]
    assert (shown["new_manager"], shown["new_owner"]) == (False, True)
    # What an owner has offered, a manager does not change.
    body: dict[str, Any] = {"users": {bob.email: {}}}
    assert groups.call("PATCH", mia, "group", group, json=body).status_code == 403
    assert len(read_mails(groups)) == 2


@pytest.mark.parametrize("limits", ["true", "false"])
def test_joining_again_and_again_is_slowed_down(
    groups: Groups,
    make_site: Callable[..., Any],
    make_settings: Callable[..., Any],
    limits: str,
) -> None:
    world = groups.world
    groups.site = make_site(make_settings(rate_limits=limits))
    olga, alice = world.person("olga"), world.person("alice")
    group = groups.found(olga)
    last = None
    for _ in range(23):
        last = groups.get(alice, "group", group, "join")
        if last.status_code != 200:
            break
        uuid = last.json()["group_membership_request"]["id"]
        groups.get(alice, "request", uuid, "cancel")
    assert last is not None
    assert last.status_code == (429 if limits == "true" else 200)
    assert ("retry-after" in last.headers) is (limits == "true")
