"""Hooks end with credentials, and their author is told of every new destination."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.hooks import actions as hook_actions
from collegium.hooks import new_events, rules
from collegium.hooks import queries as hook_queries
from collegium.hooks.rules import Kind
from collegium.scopes.projects import recovery
from collegium.sign_in import credentials
from tests.hooks.scene import EMAIL, WEB, Scene
from tests.support.remote import SECRET, says


def test_hooks_are_deactivated_when_credentials_end(scene: Scene) -> None:
    hooks = [scene.add_web(scene.owner, "invitations"), scene.add_email(scene.owner, "invitations")]
    other = scene.add_web(scene.world.staff, "invitations")
    scene.endpoint.reply = says({}, 503)
    scene.invite()
    scene.run()
    calls = len(scene.endpoint.bodies)
    with scene.world.database.write() as tx:
        account_actions.set_password(tx, scene.world.staff.actor, scene.owner.id, "x")
    scene.endpoint.reply = says({}, 200)
    scene.invite("eve@example.org")
    scene.run(days=1)
    # Only the hook of the other account was called: with both events.
    assert len(scene.endpoint.bodies) == calls + 2
    assert len(scene.mails("event_notification")) == 1
    assert [scene.row(one["uuid"]).is_active for one in (*hooks, other)] == [False, False, True]
    (delivery,) = scene.deliveries(hooks[0]["uuid"])
    assert delivery.error == "The credentials of the account have changed."
    (mail,) = scene.mails("password_changed")
    assert "hooks" in mail.get_body(("plain",)).get_content()
    changed = scene.site.get("/api/events/?event_type=hook_updated", scene.world.staff).json()
    assert {one["context"]["hook_uuid"] for one in changed} == {one["uuid"] for one in hooks}
    # Their author activates those that are to go on.
    with scene.world.database.write() as tx:
        owner = account_queries.existing(tx, scene.owner.id)
        uuid = hooks[0]["uuid"]
        hook_actions.update(tx, new_events.reader(owner), Kind.WEB, uuid, {"is_active": True})
        access_queries.lock_account(tx, scene.owner.id)
        credentials.revoke_for_activation(tx, scene.owner.id, is_active=False)
    assert not scene.row(hooks[0]["uuid"]).is_active


def test_author_gets_an_e_mail_about_every_new_destination(scene: Scene) -> None:
    site, owner = scene.site, scene.owner
    web = scene.add_web(owner, "invitations")
    scene.add_email(owner, "invitations")
    scene.run()
    first, second = scene.mails("hook_changed")
    assert first["To"] == owner.email
    for part in ("plain", "html"):
        words = first.get_body((part,)).get_content()
        assert "127.0.0.1" in words
        assert SECRET not in words
        assert owner.email in second.get_body((part,)).get_content()
    # Other changes are told by nothing but the audit log.
    body: dict[str, Any] = {"event_groups": ["projects"], "is_active": False}
    assert site.request("PATCH", web["url"], owner, json=body).is_success
    scene.run()
    assert len(scene.mails("hook_changed")) == 2
    body = {"destination_url": f"{scene.endpoint.url}&again=1"}
    assert site.request("PATCH", web["url"], scene.world.staff, json=body).is_success
    scene.run()
    mail = scene.mails("hook_changed")[2]
    assert (mail["To"], "somewhere else" in mail["Subject"]) == (owner.email, True)
    assert "the staff of this service" in mail.get_body(("plain",)).get_content()


def test_erasure_takes_hooks_to_any_spelling_and_what_is_queued_meanwhile(scene: Scene) -> None:
    staff = scene.world.staff
    shouted = scene.member.email.upper()
    team = scene.add_email(staff, "mails", email=shouted)
    assert scene.site.get(team["url"], staff).json()["email"] == shouted
    mine = scene.add_web(scene.member, "projects")
    path = f"/api/users/{scene.member.uuid}/"
    assert scene.site.request("PATCH", path, staff, json={"job_title": "x"}).is_success
    number = scene.row(mine["uuid"]).id
    with scene.world.database.write() as tx:
        new = [new_events.ToQueue(number, scene.member.id, 1, "project.updated")]
        mark = hook_queries.mark(tx)
    # The worker has read the events; the account is erased before it queues them.
    assert scene.site.request("DELETE", path, staff).status_code == 204
    with scene.world.database.write() as tx:
        batch = new_events.Batch(mark.event_id, mark.newest, new)
        assert hook_actions.queue(tx, scene.settings, batch).deliveries == 0
    assert [row for row in scene.entries() if row.hook_id] == []
    for table in (WEB, EMAIL):
        assert scene.site.get(table, staff).json() == []


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_hook_that_is_deactivated_while_it_is_changed_stays_so(scene: Scene) -> None:
    web = scene.add_web(scene.owner, "invitations")
    database, number = scene.world.database, scene.row(web["uuid"]).id

    def change() -> None:
        with database.write() as tx:
            values = {"event_groups": ["projects"]}
            hook_actions.update(tx, scene.owner.actor, Kind.WEB, web["uuid"], values)

    changing = threading.Thread(target=change)
    with database.write() as tx:
        hook_queries.lock(tx, number)
        hook_queries.deactivate_all(tx, [number])
        changing.start()
        changing.join(0.5)
        assert changing.is_alive()
    changing.join(10)
    row = scene.row(web["uuid"])
    assert (row.is_active, row.event_groups) == (False, ["projects"])


def test_former_member_is_invited_at_the_present_address(scene: Scene) -> None:
    world, staff = scene.world, scene.world.staff
    assert scene.site.request("DELETE", scene.project.path, staff).is_success
    with world.database.write() as tx:
        wishes = recovery.Wishes(restores_members=False, invites_members=True, end=None)
        uuid = scene.project.uuid
        found = recovery.recover(tx, staff.actor, world.settings, uuid, wishes)
    scene.change_address(scene.member, "new@example.org")
    ((invitation, member),) = recovery.invite_all(
        world.database.write, staff.actor, world.settings, found
    )
    assert world.invitation(invitation).email == member.email == "new@example.org"


def test_search_finds_what_the_searcher_sees_of_a_destination(scene: Scene) -> None:
    site, staff = scene.site, scene.world.staff
    support = scene.world.person("support", is_support=True)
    web = scene.add_web(scene.owner, "users")
    port = scene.endpoint.base.split(":")[2].split("/")[0]
    team = scene.add_email(staff, "users", email="team@example.org")
    for text, person, expected in (
        (SECRET, scene.owner, [web]),
        ("127.0.0.1", scene.owner, [web]),
        (f"1:{port}", staff, [web]),
        ("team@exam", staff, [team]),
        ("team@", scene.owner, []),
        (SECRET, support, []),
        ("token=", support, []),
    ):
        found = site.get(f"/api/hooks/?query={text}", person).json()
        assert [one["uuid"] for one in found] == [one["uuid"] for one in expected], text
    shown = site.get(f"/api/hooks/?query=0.0.1:{port}", support).json()
    assert [one["uuid"] for one in shown] == [web["uuid"]]
    assert rules.host_of(scene.endpoint.url) == "127.0.0.1"
