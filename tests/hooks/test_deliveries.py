"""Deliveries of hooks: what is sent to whom, what becomes of failures, and that nobody waits."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from collegium.db.statements import Statement
from collegium.db.tables import hooks, outbox
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.hooks import actions as hook_actions
from collegium.hooks import call_queue, new_events, rules
from collegium.hooks.rules import Kind
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import MailTest
from collegium.worker.hook_calls import HookCalls
from collegium.worker.retries import MAX_ATTEMPTS, RETRY_DELAYS
from collegium.worker.worker import Worker
from tests.hooks.scene import EMAIL, WEB, Endpoint, Scene
from tests.support.browser import Browser, text
from tests.support.remote import SECRET, hangs, says
from tests.worker.scene import Recorder

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def test_hook_gets_the_events_that_its_author_sees_as_the_author_sees_them(scene: Scene) -> None:
    site, endpoint = scene.site, scene.endpoint
    scene.invite("before@example.org")
    scene.add_web(scene.owner, "invitations", event_types=["project_update_succeeded"])
    others = [
        scene.add_web(other, "invitations", "projects", content_type="form")
        for other in (scene.member, scene.stranger)
    ]
    paused = scene.add_web(scene.owner, "invitations", is_active=False)
    scene.rename(scene.project, "Difference Engines")
    scene.invite()
    scene.rename(scene.organisation, "The Society")  # not among the events of the hook
    assert scene.run() == 8  # two calls, two invitations, four notices of new hooks
    seen = site.get("/api/events/", scene.owner).json()
    shown = {one["event_type"]: one for one in seen[::-1]}
    expected = [
        {name: shown[kind][name] for name in ("created", "message", "context", "event_type")}
        for kind in ("project_update_succeeded", "invitation_created")
    ]
    assert endpoint.documents == expected
    assert "bob@example.org" in expected[1]["message"]
    assert {one["Content-Type"] for one in endpoint.headers} == {"application/json"}
    keys = [one["Idempotency-Key"] for one in endpoint.headers]
    assert len(set(keys)) == 2
    # For people who do not see an event nothing is even queued.
    assert [scene.deliveries(one["uuid"]) for one in others] == [[], []]
    # Nothing is sent twice, and a hook that is activated starts from now.
    assert scene.run() == 0
    path = f"{WEB}{paused['uuid']}/"
    assert site.request("PATCH", path, scene.owner, json={"is_active": True}).status_code == 200
    assert scene.run() == 0
    scene.invite("eve@example.org")
    assert scene.run() == 3


def test_form_has_the_same_fields(scene: Scene) -> None:
    scene.add_web(scene.owner, "invitations", content_type="form")
    uuid = scene.invite()
    scene.run()
    (body,) = scene.endpoint.bodies
    assert scene.endpoint.headers[0]["Content-Type"] == "application/x-www-form-urlencoded"
    form = parse_qs(body.decode())
    assert set(form) == {"created", "message", "context", "event_type"}
    assert form["event_type"] == ["invitation_created"]
    assert json.loads(form["context"][0])["invitation_uuid"] == uuid


def test_rights_count_when_an_event_is_sent(scene: Scene) -> None:
    world, endpoint = scene.world, scene.endpoint
    manager = world.person("manager")
    world.give_role(manager, "PROJECT.MANAGER", scene.project)
    hook = scene.add_web(manager, "invitations")
    endpoint.reply = says({}, 503)
    scene.invite()
    scene.run()
    assert len(endpoint.bodies) == 1
    world.remove_role(manager, "PROJECT.MANAGER", scene.project)
    endpoint.reply = says({}, 200)
    scene.invite("eve@example.org")
    scene.run(days=1)
    assert len(endpoint.bodies) == 1
    (delivery,) = scene.deliveries(hook["uuid"])
    assert (delivery.state, delivery.error) == ("obsolete", "The event is not visible any more.")


def test_hook_of_a_deactivated_account_is_silent(scene: Scene) -> None:
    scene.add_web(scene.owner, "invitations")
    scene.endpoint.reply = says({}, 503)
    scene.invite()
    scene.run()
    body = {"is_active": False}
    path = f"/api/users/{scene.owner.uuid}/"
    response = scene.site.request("PATCH", path, scene.world.staff, json=body)
    assert response.status_code == 200, response.text
    scene.run(days=1)
    assert len(scene.endpoint.bodies) == 1


def test_events_behind_access_subnets_stay_inside(scene: Scene) -> None:
    scene.add_web(scene.owner, "invitations")
    path, body = scene.organisation.path, {"access_subnets": "127.0.0.0/8"}
    assert scene.site.request("PATCH", path, scene.world.staff, json=body).is_success
    # From inside, the owner sees the event.
    with scene.world.database.write() as tx:
        event = events.InvitationSent(
            scope=scene.project.id, invitation="0" * 32, email="bob@example.org"
        )
        event_queries.record(tx, scene.world.staff.actor, event)
    assert len(scene.site.get("/api/events/?event_type=invitation_sent", scene.owner).json()) == 1
    scene.run()
    assert scene.endpoint.bodies == []


def test_e_mail_hook_sends_an_e_mail_to_the_address_of_the_account(scene: Scene) -> None:
    hook = scene.add_email(scene.owner, "invitations")
    scene.invite()
    scene.run()
    (mail,) = scene.mails("event_notification")
    assert mail["To"] == scene.owner.email
    assert "bob@example.org" in mail["Subject"]
    assert "bob@example.org" in mail.get_body(("plain",)).get_content()
    assert "/account/hooks/" in mail.get_body(("html",)).get_content()
    assert scene.row(hook["uuid"]).last_sent_at == scene.clock.now
    # Once the account has another address, nothing goes to the former one, not even what waits.
    scene.invite("eve@example.org")
    scene.worker._scheduler.run()
    scene.change_address(scene.owner, "new@example.org")
    scene.run(minutes=1)
    _, mail = scene.mails("event_notification")
    assert mail["To"] == "new@example.org"
    (shown,) = scene.site.get(f"{EMAIL}?email=new@example.org", scene.owner).json()
    assert shown["email"] == "new@example.org"


def test_e_mail_hook_sends_one_e_mail_a_minute_after_all_other_e_mails(scene: Scene) -> None:
    scene.settings = replace(scene.settings, rate_limits=True, hook_mail_limit=3)
    world = scene.world
    scene.worker = Worker(
        world.database, scene.settings, world.vault, scene.recorder, clock=scene.clock
    )
    hook = scene.add_email(scene.owner, "invitations")
    scene.invite("first@example.org")
    scene.worker._scheduler.run()
    scene.clock.forward(seconds=5)
    with world.database.write(scene.clock.now) as tx:
        outbox_queries.enqueue(tx, MailTest("root@example.org", world.staff.id))
    scene.run()
    # The e-mail of the hook was queued first.
    kinds = [mail["X-Collegium-Mail"] for mail in scene.recorder.sent]
    assert kinds == ["hook_changed", "invitation_created", "mail_test", "event_notification"]
    for number in range(60):
        scene.invite(f"bob{number}@example.org")
        if number in {20, 40}:
            scene.run(seconds=5)
    assert len(scene.mails("event_notification")) == 1
    scene.run(minutes=1)
    _, mail = scene.mails("event_notification")
    assert mail["Subject"].startswith("60 events: ")
    words = mail.get_body(("plain",)).get_content()
    assert "bob0@example.org" in words
    assert "bob49@example.org" in words
    assert "bob50@example.org" not in words
    assert "There are 10 more." in words
    # The account has three e-mails in 24 hours; a second hook does not change that.
    scene.add_email(scene.owner, "invitations")
    scene.invite("last@example.org")
    for _ in range(10):
        scene.run(minutes=1)
    assert len(scene.mails("event_notification")) == 3
    scene.run(days=1)
    assert len(scene.mails("event_notification")) == 4
    assert {one.state for one in scene.deliveries(hook["uuid"])} == {"sent"}


def test_failed_call_is_repeated_with_the_same_key_and_the_others_wait(scene: Scene) -> None:
    hook = scene.add_web(scene.owner, "invitations")
    scene.endpoint.reply = says({"secret": SECRET}, 500)
    for number in range(3):
        scene.invite(f"bob{number}@example.org")
    scene.run()
    assert len(scene.endpoint.bodies) == 1
    first, *others = scene.deliveries(hook["uuid"])
    assert (first.state, first.attempts, first.response_status) == ("queued", 1, 500)
    assert [(one.state, one.attempts) for one in others] == [("queued", 0)] * 2
    assert [one.error for one in (first, *others)] == ["The answer was an error (500).", "", ""]
    row = scene.row(hook["uuid"])
    assert row.first_failed_at == scene.clock.now
    assert row.next_attempt_at == scene.clock.now + rules.backoff(1)
    scene.endpoint.reply = says({}, 200)
    scene.run(seconds=2 * RETRY_DELAYS[0].total_seconds())
    assert len(scene.endpoint.bodies) == 4
    keys = [one["Idempotency-Key"] for one in scene.endpoint.headers]
    assert keys.count(keys[0]) == 2
    assert len(set(keys)) == 3
    row = scene.row(hook["uuid"])
    assert (row.first_failed_at, row.last_sent_at) == (None, scene.clock.now)
    delivered = [(one.state, one.response_status) for one in scene.deliveries(hook["uuid"])]
    assert delivered == [("sent", 200)] * 3


@sqlite_only
@pytest.mark.parametrize(
    ("status", "attempts"), [(302, 1), (404, 1), (410, 1), (429, MAX_ATTEMPTS), (503, MAX_ATTEMPTS)]
)
def test_call_is_repeated_only_if_that_may_help(scene: Scene, status: int, attempts: int) -> None:
    hook = scene.add_web(scene.owner, "invitations")
    location = f"{scene.endpoint.url}&again=1"
    scene.endpoint.reply = says({}, status, Location=location)
    scene.invite()
    scene.run()
    for delay in RETRY_DELAYS:
        scene.run(seconds=1.3 * delay.total_seconds())
    assert len(scene.endpoint.bodies) == attempts
    (delivery,) = scene.deliveries(hook["uuid"])
    assert (delivery.state, delivery.response_status) == ("obsolete", status)
    # Staff do not look after it.
    with scene.world.database.read(scene.clock.now) as tx:
        counts = outbox_queries.counts(tx)
    assert (counts.queued, counts.failed) == (0, 0)


def fail_often(scene: Scene, uuid: str) -> None:
    """Count failures of a hook, as if a day had been full of them."""
    with scene.world.database.write() as tx:
        statement = update(hooks).where(hooks.c.uuid == uuid).values(failures=100)
        tx.execute(Statement(statement))


def test_hook_that_only_fails_for_three_days_is_deactivated(scene: Scene) -> None:
    web = scene.add_web(scene.owner, "invitations")
    scene.endpoint.reply = says({}, 404)
    scene.invite("a@example.org")
    scene.run()
    fail_often(scene, web["uuid"])
    scene.invite("b@example.org")
    scene.run(days=2.9)
    assert scene.row(web["uuid"]).is_active
    # A success begins the time and the number again.
    scene.endpoint.reply = says({}, 200)
    scene.invite("c@example.org")
    scene.run(days=0.2)
    assert scene.row(web["uuid"]).failures == 0
    scene.endpoint.reply = says({}, 404)
    for email, days in (("d@example.org", 0.2), ("e@example.org", 3.1)):
        scene.invite(email)
        scene.run(days=days)
    # These are two failures alone, though in more than three days.
    row = scene.row(web["uuid"])
    assert (row.is_active, row.failures) == (True, 2)
    fail_often(scene, web["uuid"])
    for email in ("f@example.org", "g@example.org"):
        scene.invite(email)
    scene.run(days=0.2)
    assert not scene.row(web["uuid"]).is_active
    # What was still queued is not sent later.
    errors = [one.error for one in scene.deliveries(web["uuid"])]
    assert errors[-2:] == ["The answer was an error (404).", "The hook is not active any more."]
    scene.run()
    (mail,) = scene.mails("hook_deactivated")
    assert mail["To"] == scene.owner.email
    words = mail.get_body(("plain",)).get_content()
    assert "127.0.0.1" in words
    assert SECRET not in mail.as_string()
    (event,) = scene.site.get("/api/events/?event_type=hook_deactivated", scene.owner).json()
    assert event["context"]["hook_uuid"] == web["uuid"]
    calls = len(scene.endpoint.bodies)
    scene.invite("h@example.org")
    scene.run(days=1)
    assert len(scene.endpoint.bodies) == calls
    # It starts without failures when its author activates it.
    response = scene.site.request("PATCH", web["url"], scene.owner, json={"is_active": True})
    assert response.json()["is_active"] is True
    row = scene.row(web["uuid"])
    assert (row.first_failed_at, row.failures) == (None, 0)


def test_endpoint_that_is_gone_does_not_cost_a_call_for_each_event(scene: Scene) -> None:
    web = scene.add_web(scene.owner, "invitations")
    scene.endpoint.reply = says({}, 503)
    for number in range(20):
        scene.invite(f"bob{number}@example.org")
        scene.run(minutes=10)
    row = scene.row(web["uuid"])
    assert len(scene.endpoint.bodies) == row.failures == 6
    # A call that is refused for good ends, and the hook pauses all the same.
    scene.endpoint.reply = says({}, 404)
    scene.run(hours=4)
    scene.invite("eve@example.org")
    scene.run(minutes=1)
    assert len(scene.endpoint.bodies) == 7
    scene.endpoint.reply = says({}, 200)
    scene.run(hours=4)
    states = [one.state for one in scene.deliveries(web["uuid"])]
    assert (states.count("sent"), states.count("obsolete")) == (20, 1)
    assert scene.row(web["uuid"]).failures == 0


def test_endpoints_that_hang_do_not_delay_the_calls_of_others(scene: Scene) -> None:
    scene.endpoint.reply = hangs
    manager = scene.world.person("manager")
    scene.world.give_role(manager, "PROJECT.MANAGER", scene.project)
    for _ in range(5):
        scene.add_web(scene.owner, "invitations")
    other = Endpoint()
    serving = ExitStack()
    serving.enter_context(contextmanager(other.running)())
    with scene.world.database.write() as tx:
        values = {"destination_url": other.url, "event_groups": ["invitations"]}
        hook_actions.create(tx, manager.actor, Kind.WEB, values)
    hosts = (*scene.settings.outgoing_internal_hosts, other.base.split("/")[2])
    settings = replace(scene.settings, outgoing_internal_hosts=hosts)
    for number in range(3):
        scene.invite(f"bob{number}@example.org")
    scene.worker._scheduler.run()
    calls = HookCalls(scene.world.database, settings)
    stop = threading.Event()
    try:
        # The worker starts one thread a second.
        for _ in range(40):
            calls.start(stop)
            if len(other.bodies) == 3:
                break
            stop.wait(0.2)
        assert len(other.bodies) == 3
        # One call of each hook, and two of an account.
        assert len(scene.endpoint.bodies) == 2
        with scene.world.database.read() as tx:
            for table in (hooks, outbox):
                leased = select(table.c.id).where(table.c.locked_until.is_not(None))
                assert len(tx.fetch_all(Statement[int](leased))) == 2
    finally:
        stop.set()
        scene.endpoint.gone.set()
        serving.close()
    for thread in calls._threads:
        thread.join(10)


def test_accounts_take_turns(scene: Scene) -> None:
    manager = scene.world.person("manager")
    scene.world.give_role(manager, "PROJECT.MANAGER", scene.project)
    for person, count in ((scene.owner, 3), (manager, 1)):
        for _ in range(count):
            scene.add_web(person, "invitations")
    for number in range(2):
        scene.invite(f"bob{number}@example.org")
    scene.worker._scheduler.run()
    turns = []
    now = scene.clock.now + timedelta(seconds=1)
    for second in range(8):
        with scene.world.database.write(now + timedelta(seconds=second)) as tx:
            call = call_queue.claim(tx, 60)
            assert call is not None
            turns.append(call.payload["account"])
            assert outbox_queries.mark_called(tx, call.id, call.attempts, 200)
            hook_actions.record_outcome(tx, call.payload["hook"], is_delivered=True)
    # Three hooks of one account do not get three turns for one of another.
    assert turns[:4].count(manager.id) == 2
    with scene.world.database.write(now + timedelta(seconds=9)) as tx:
        assert call_queue.claim(tx, 60) is None
        assert not call_queue.is_any_due(tx)


def test_what_exceeds_the_queue_of_a_hook_is_dropped_and_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = scene.add_web(scene.owner, "invitations")
    email = scene.add_email(scene.owner, "invitations")
    for name in ("QUEUED_MAX", "COLLECTED_MAX"):
        monkeypatch.setattr(rules, name, 3)
    scene.endpoint.reply = says({}, 503)
    for number in range(5):
        scene.invite(f"bob{number}@example.org")
    with capture_logs() as lines:
        scene.run()
    event = "events of a hook dropped: too many are waiting"
    counts = {line["hook"]: line["count"] for line in lines if line["event"] == event}
    assert counts == {scene.row(one["uuid"]).id: 2 for one in (web, email)}
    (mail,) = scene.mails("event_notification")
    assert mail["Subject"].startswith("3 events: ")
    assert len(scene.deliveries(web["uuid"])) == 3
    scene.invite("eve@example.org")
    scene.run(seconds=1)
    assert [scene.row(one["uuid"]).dropped for one in (web, email)] == [3, 2]
    page = Browser(scene.site).sign_in(scene.world, scene.owner)
    shown = text(page.open(f"/account/hooks/{web['uuid']}/"))
    assert "3 events were not sent" in shown
    assert "because too many were waiting" in shown


def test_address_is_checked_again_when_it_is_called(
    scene: Scene, make_settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hook = scene.add_web(scene.owner, "invitations")
    scene.invite()
    # Now the operator has not named the host any more, so http is not allowed either.
    scene.worker = Worker(
        scene.world.database,
        make_settings(),
        scene.world.vault,
        scene.recorder,
        clock=scene.clock,
    )
    scene.run()
    with scene.world.database.write() as tx:
        hook_actions.update(
            tx,
            scene.owner.actor,
            Kind.WEB,
            hook["uuid"],
            {"destination_url": scene.endpoint.url.replace("http:", "https:")},
        )
    scene.invite("eve@example.org")
    scene.run(days=1)
    scene.run(minutes=1)
    assert scene.endpoint.bodies == []
    errors = [one.error for one in scene.deliveries(hook["uuid"])]
    assert errors == ["The address is an internal one."] * 2
    assert SECRET not in caplog.text


def test_endpoint_that_never_answers_does_not_delay_e_mails(scene: Scene) -> None:
    scene.add_web(scene.owner, "invitations")
    scene.endpoint.reply = hangs
    scene.invite("first@example.org")
    was_sent = threading.Event()
    recorder = Recorder(before=was_sent.set)
    world = scene.world
    worker = Worker(world.database, scene.settings, world.vault, recorder)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        assert scene.endpoint.was_called.wait(10)
        was_sent.clear()
        scene.invite("second@example.org")
        worker.wake()
        assert was_sent.wait(1)
        # The call still hangs.
        assert [thread.name for thread in threading.enumerate()].count("hooks") == 1
    finally:
        stop.set()
        worker.wake()
        thread.join(10)
        scene.endpoint.gone.set()
    for thread in threading.enumerate():
        if thread.name == "hooks":
            thread.join(10)


def test_two_workers_queue_no_delivery_twice(scene: Scene) -> None:
    scene.add_web(scene.owner, "invitations")
    scene.invite()
    database = scene.world.database
    with database.read() as tx:
        first = new_events.read(tx)
    scene.invite("eve@example.org")
    with database.read() as tx:
        second = new_events.read(tx)
    assert first is not None
    assert second is not None
    assert (len(first.deliveries), len(second.deliveries)) == (1, 2)
    # The second one sees that the mark has moved, and begins again.
    for batch, queued in ((first, 1), (second, 0)):
        with database.write() as tx:
            assert hook_actions.queue(tx, scene.settings, batch).deliveries == queued
    with database.read() as tx:
        rest = new_events.read(tx)
    assert rest is not None
    with database.write() as tx:
        assert hook_actions.queue(tx, scene.settings, rest).deliveries == 1
    assert len([row for row in scene.entries() if row.kind == "hook_web"]) == 2


def test_mark_moves_without_hooks_so_that_a_new_hook_gets_nothing_old(scene: Scene) -> None:
    scene.invite()
    with scene.world.database.read() as tx:
        batch = new_events.read(tx)
    assert batch is not None
    assert batch.deliveries == ()
    scene.run()
    with scene.world.database.read() as tx:
        assert new_events.read(tx) is None


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("commits", [1, 0])
def test_event_that_commits_after_a_later_one_is_not_lost(scene: Scene, commits: int) -> None:
    scene.add_web(scene.owner, "invitations")
    scene.run()
    database = scene.world.database
    recorded = threading.Event()
    go_on = threading.Event()

    def record(email: str) -> None:
        with database.write() as tx:
            event = events.InvitationSent(scope=scene.project.id, invitation="0" * 32, email=email)
            event_queries.record(tx, scene.owner.actor, event)
            recorded.set()
            if email.startswith("slow"):
                go_on.wait(10)
                if not commits:
                    raise ZeroDivisionError

    def record_slowly() -> None:
        with suppress(ZeroDivisionError):
            record("slow@example.org")

    slow = threading.Thread(target=record_slowly)
    slow.start()
    assert recorded.wait(10)
    record("quick@example.org")
    # The slow one has the lower id, and may still commit, however long it takes.
    for _ in range(3):
        scene.run(minutes=10)
    assert scene.endpoint.bodies == []
    go_on.set()
    slow.join()
    scene.run()
    sent = [one["context"]["invitation_email"] for one in scene.endpoint.documents]
    assert sent == ["slow@example.org"] * commits + ["quick@example.org"]


def test_deleted_account_leaves_no_hook_and_no_delivery(scene: Scene) -> None:
    scene.add_web(scene.member, "projects")
    scene.add_email(scene.member, "projects")
    team = scene.add_email(scene.world.staff, "mails", email=scene.member.email)
    path = f"/api/users/{scene.member.uuid}/"
    assert scene.site.request("PATCH", path, scene.world.staff, json={"job_title": "x"}).is_success
    scene.endpoint.reply = says({}, 503)
    scene.rename(scene.project, "Other")
    scene.run()
    assert scene.site.request("DELETE", path, scene.world.staff).status_code == 204
    for table in (WEB, EMAIL):
        assert scene.site.get(table, scene.world.staff).json() == []
    assert not [row for row in scene.entries() if row.account_id == scene.member.id]
    assert scene.site.get(team["url"], scene.world.staff).status_code == 404


def test_removed_hook_takes_its_deliveries_along(scene: Scene, endpoint: Endpoint) -> None:
    hook = scene.add_web(scene.owner, "invitations")
    endpoint.reply = says({}, 503)
    scene.invite()
    scene.run()
    assert [row for row in scene.entries() if row.hook_id]
    assert scene.site.request("DELETE", hook["url"], scene.owner).status_code == 204
    assert not [row for row in scene.entries() if row.hook_id]


def test_many_events_are_queued_in_several_transactions(scene: Scene) -> None:
    scene.add_web(scene.world.staff, "invitations")
    with scene.world.database.write() as tx:
        for number in range(250):
            event = events.InvitationSent(
                scope=scene.project.id, invitation="0" * 32, email=f"{number}@example.org"
            )
            event_queries.record(tx, scene.owner.actor, event)
    with scene.world.database.read() as tx:
        batch = new_events.read(tx)
    assert batch is not None
    assert len(batch.deliveries) <= 100
    scene.clock.forward(seconds=1)
    scene.worker._scheduler.run()
    queued = [row for row in scene.entries() if row.kind == "hook_web"]
    assert len(queued) == 250
