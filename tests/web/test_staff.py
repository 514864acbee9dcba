"""The pages for staff: links, cost, charts and the state of e-mails. Rights are in the matrix."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, bindparam, insert, update

from collegium.agreements import actions as agreement_actions
from collegium.agreements import queries as agreement_queries
from collegium.db.statements import Statement
from collegium.db.tables import accounts, join_requests, outbox
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import MailTest
from collegium.refusals import NotFound
from collegium.sign_in.providers import queries as provider_queries
from collegium.statistics import activity
from collegium.statistics import queries as statistics_queries
from collegium.web import charts
from collegium.web.staff import PARTS
from tests.claim_rules.scene import add_rule
from tests.support.browser import Browser, text
from tests.support.site import record_statements
from tests.support.team import Scene, everybody
from tests.support.world import World
from tests.web.test_forms import PAGES, UNKNOWN


def pages(scene: Scene) -> list[str]:
    """Return the paths of the staff pages, each with an existing object."""
    with scene.world.database.read() as tx:
        provider = provider_queries.by_name(tx, "campus")
    if provider is None:
        scene.world.provider()
    with scene.world.database.write() as tx:
        current = agreement_queries.current(tx)
        values = {"kind": "privacy", "content": "We keep little."}
        agreement = (
            current[0].uuid
            if current
            else agreement_actions.publish(tx, scene.world.staff.actor, values)
        )
        tx.execute(Statement(update(accounts).values(must_agree=False)))
        staff = scene.world.staff
        mail = outbox_queries.enqueue(tx, MailTest(staff.email, staff.id))
        statistics_queries.store(tx, statistics_queries.of_site(tx))
    uuids = {
        "accounts": scene.people["member"].uuid,
        "organisations": scene.organisation.uuid,
        "roles": scene.world.role("PROJECT.MEMBER").uuid,
        "rules": add_rule(scene.world, scene.organisation, "CUSTOMER.OWNER"),
        "agreements": agreement,
        "mails": str(mail),
    }
    return [
        path.replace(UNKNOWN, uuids.get(path.split("/")[2], "")).replace("/unknown/", "/campus/")
        for path, method, _ in PAGES
        if path.startswith("/staff/") and method == "GET"
    ]


def test_staff_pages_are_linked_for_staff_and_support_only(browser: Browser, scene: Scene) -> None:
    for name, _ in everybody(browser, scene):
        is_linked = 'href="/staff/"' in browser.open("/account/").text
        assert is_linked == (name in {"staff", "support"}), name


def put(world: World, table: Table, **values: object) -> None:
    """Insert a row that no action can write now."""
    with world.database.write() as tx:
        named = {name: bindparam(name, type_=table.c[name].type) for name in values}
        tx.execute(Statement(insert(table).values(named)), **values)


def test_support_sees_no_buttons_of_staff(browser: Browser, scene: Scene) -> None:
    buttons = {}
    for name in ("staff", "support"):
        browser.cookies.clear()
        browser.sign_in(scene.world, scene.people[name])
        html = [browser.open(path).text for path in pages(scene) if "/new/" not in path]
        buttons[name] = sum(page.count('name="action"') + page.count("/new/") for page in html)
    assert buttons["support"] == 0
    assert buttons["staff"] > 8


def test_every_staff_page_links_the_others(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.world.staff)
    for path, label in PARTS:
        page = browser.open(path).text
        assert f'<a href="{path}" aria-current="page">{label}</a>' in page
        assert all(f'href="{other}"' in page for other, _ in PARTS)


def test_staff_pages_run_as_many_statements_for_many_rows_as_for_few(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene.world
    browser.sign_in(world, world.staff)
    paths = [*pages(scene), "/staff/accounts/?q=lee&sort=full_name", "/staff/mails/?show=queued"]

    def count(path: str) -> int:
        with record_statements(monkeypatch) as statements:
            assert browser.open(path).status_code == 200
        return len(statements)

    few = {path: count(path) for path in paths}
    owner, project = scene.people["owner"], scene.project
    for at in range(30):
        world.give_role(scene.people["member"], "CUSTOMER.OWNER", world.organisation())
        world.project(scene.organisation)
        world.invite(owner, f"{at}@example.org", "PROJECT.MEMBER", project)
        world.ask(world.person(), world.create_link(owner, "PROJECT.MEMBER", project))
    for path in paths:
        assert count(path) == few[path] <= 9, path


def test_charts_show_each_day_as_bars_and_as_a_table(browser: Browser, scene: Scene) -> None:
    world, owner, outsider = scene.world, scene.people["owner"], scene.people["outsider"]
    now = datetime.now(UTC)
    for days in (1, 1, 29, 30):
        world.person(joined_at=now - timedelta(days=days))
    invited_at = now - timedelta(hours=30)
    uuid = world.invite(owner, outsider.email, "PROJECT.MEMBER", scene.project, now=invited_at)
    world.ask(scene.people["former"], world.create_link(owner, "PROJECT.MEMBER", scene.project))
    browser._site.post(f"/api/user-invitations/{uuid}/accept/", outsider, json={})
    with world.database.read() as tx:
        counts = activity.of_days(tx, world.staff.actor)
        with pytest.raises(NotFound):
            activity.of_days(tx, owner.actor)
    assert (counts.days[0], counts.days[-1]) == ((now - timedelta(days=29)).date(), now.date())
    assert (counts.joined[0], counts.joined[-2]) == (1, 2)
    assert sum(counts.joined) == len(scene.people) + 3
    assert counts.accepted == [0] * 29 + [1]
    assert counts.waits == [0, 0, 1, 0, 0]
    assert counts.waiting == [0] * 29 + [1]
    page = browser.sign_in(world, scene.people["support"]).open("/staff/")
    for sentence in (
        f"{len(scene.people) + 3} in total",
        "Of 1, 0 took up to 1 hour, none more than 7 days",
        "1 pending join request",
        "Maximum 1 a day",
    ):
        assert sentence in text(page), sentence
    assert page.text.count("<svg") == page.text.count("<desc") + 5 == 3 + 5
    assert page.text.count("<rect") == 3 + 1 + 1 + 1
    assert len(re.findall(r'<th scope="row"', page.text)) == 3 * activity.DAYS + 5


def test_pending_join_requests_are_counted_for_each_day(scene: Scene) -> None:
    world, now = scene.world, datetime.now(UTC)
    ages = ((40, None), (40, 35), (40, 5), (10, 10), (10, 3), (3, None), (0, 0))
    for at, (created, decided) in enumerate(ages):
        put(
            world,
            join_requests,
            uuid=f"{at + 1:032x}",
            scope_id=scene.project.id,
            role_id=world.role("PROJECT.MEMBER").id,
            account_id=scene.people["member"].id,
            state="pending" if decided is None else "approved",
            created_at=now - timedelta(days=created),
            decided_at=None if decided is None else now - timedelta(days=decided),
            exclusive_key=at,
        )
    with world.database.read() as tx:
        pending = activity.of_days(tx, world.staff.actor).waiting
    # Two from the start, of which one was decided; one for a week; one since three days ago.
    by_age = {days: pending[-1 - days] for days in (29, 11, 10, 6, 5, 4, 3, 2, 0)}
    assert by_age == {29: 2, 11: 2, 10: 3, 6: 3, 5: 2, 4: 2, 3: 2, 2: 2, 0: 2}


def test_chart_of_no_values_has_a_sentence() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC).date() for day in (1, 2)]
    empty = charts.of_days(days, "x", "X", [0, 0])
    assert empty.description == "None in the last 2 days."
    assert [column.height for column in empty.columns] == [0, 0]
    assert charts.of_waits("x", "X", ("1 hour",), [0, 0]).description == "None in this period."
    low = charts.of_days(days, "x", "X", [1, 1000])
    assert [column.height for column in low.columns] == [2, 100]
    assert low.description == "1001 in total. Maximum 1000 a day (2 January), 1000 today."


def test_overdue_and_failed_emails_are_shown(browser: Browser, scene: Scene) -> None:
    world, now = scene.world, datetime.now(UTC)
    browser.sign_in(world, world.staff)
    assert "E-mails are being delivered" in text(browser.open("/staff/"))
    row = {"kind": "email_changed", "recipient": "a@example.org", "payload": {}, "created_at": now}
    put(world, outbox, **row, next_attempt_at=now, state="failed", finished_at=now)
    assert "could not be delivered" in text(browser.open("/staff/"))
    put(world, outbox, **row, next_attempt_at=now - timedelta(minutes=2), state="queued")
    assert "1 e-mail is overdue by more than a minute" in text(browser.open("/staff/"))
