"""The desk of staff: there for staff and support alone, and nothing there is changed by support."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, bindparam, insert

from collegium.db.statements import Statement
from collegium.db.tables import join_requests, outbox
from collegium.refusals import NotFound
from collegium.scopes import activity
from collegium.web import charts
from collegium.web.staff import PARTS
from tests.join_requests.test_pages import ask, opened
from tests.support.browser import Browser, text
from tests.support.site import counted_statements
from tests.support.team import Scene, everybody
from tests.support.world import World
from tests.web.test_forms import PAGES


def real(path: str, scene: Scene) -> str:
    """The path of a page with an object that is there."""
    uuids = {
        "accounts": scene.people["member"].uuid,
        "organisations": scene.organisation.uuid,
        "roles": scene.world.role("PROJECT.MEMBER").uuid,
    }
    return path.replace("0" * 32, uuids.get(path.split("/")[2], ""))


def mine(scene: Scene, method: str) -> list[str]:
    return [
        real(path, scene) for path, one, _ in PAGES if path.startswith("/staff/") and one == method
    ]


def test_the_desk_is_there_for_staff_and_support_alone(browser: Browser, scene: Scene) -> None:
    paths = mine(scene, "GET")
    assert len(paths) == 11
    for name, _ in everybody(browser, scene):
        sees = name in {"staff", "support"}
        for path in paths:
            status = browser.call("GET", path).status_code
            forms = 200 if name == "staff" else 403
            wanted = (forms if path.endswith("/new/") else 200) if sees else 404
            assert status == wanted, (name, path)
        assert ('href="/staff/"' in browser.open("/account/").text) == sees, name


def put(world: World, table: Table, **values: object) -> None:
    """Write a row that no action could write today."""
    with world.database.write() as tx:
        named = {name: bindparam(name, type_=table.c[name].type) for name in values}
        tx.execute(Statement(insert(table).values(named)), **values)


def count(world: World) -> dict[str, int]:
    with world.database.engine.connect() as connection:
        return {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            # What changes without a new row leaves one in history; so does signing in.
            for table in (
                *("accounts", "roles", "organisations", "outbox"),
                "events WHERE kind != 'login.succeeded'",
            )
        }


def test_nobody_but_staff_changes_anything_there(browser: Browser, scene: Scene) -> None:
    paths = mine(scene, "POST")
    assert len(paths) == 7
    before = None
    for name, _ in everybody(browser, scene):
        before = before or count(scene.world)
        if name == "staff":
            continue
        for path in paths:
            # Were it taken, each of these would do something somewhere.
            for action in ("deactivate", "block", "disable", "save", "retry_all"):
                sent = browser.send(
                    path,
                    action=action,
                    username="eve",
                    email="eve@example.org",
                    first_name="Eve",
                    last_name="Lee",
                    name="Evil",
                    kind="project",
                    permissions="PROJECT.CREATE",
                )
                assert sent.status_code == (403 if name == "support" else 404), (name, path)
                browser.open("/account/tokens/")
    assert count(scene.world) == before


def test_support_sees_no_button_that_staff_have(browser: Browser, scene: Scene) -> None:
    buttons = {}
    for name in ("staff", "support"):
        browser.cookies.clear()
        browser.sign_in(scene.world, scene.people[name])
        pages = [browser.open(path).text for path in mine(scene, "GET") if "/new/" not in path]
        buttons[name] = sum(one.count('name="action"') + one.count("/new/") for one in pages)
    assert buttons["support"] == 0
    assert buttons["staff"] > 8


def test_every_page_of_the_desk_leads_to_the_others(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.world.staff)
    for path, said in PARTS:
        page = browser.open(path).text
        assert f'<a href="{path}" aria-current="page">{said}</a>' in page
        assert all(f'href="{other}"' in page for other, _ in PARTS)


def test_no_page_of_the_desk_asks_more_for_more(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene.world
    browser.sign_in(world, world.staff)
    paths = [*mine(scene, "GET"), "/staff/accounts/?q=lee&sort=name", "/staff/mails/?show=queued"]
    few = {}
    for path in paths:
        with counted_statements(monkeypatch) as ran:
            assert browser.open(path).status_code == 200
        few[path] = len(ran)
    for at in range(30):
        somebody = world.person()
        place = world.organisation()
        world.seat(scene.people["member"], "CUSTOMER.OWNER", place)
        world.project(scene.organisation)
        world.invite(scene.people["owner"], f"{at}@example.org", "PROJECT.MEMBER", scene.project)
        ask(world, somebody, opened(world, scene.people["owner"], scene.project, "PROJECT.MEMBER"))
    for path in paths:
        with counted_statements(monkeypatch) as ran:
            browser.open(path)
        assert len(ran) == few[path] <= 9, path


def test_charts_show_each_day_and_say_it_in_words_and_numbers(
    browser: Browser, scene: Scene
) -> None:
    world = scene.world
    now = datetime.now(UTC)
    ago = [now - timedelta(days=days) for days in (1, 1, 29, 30)]
    for joined in ago:
        world.person(joined_at=joined)
    uuid = world.invite(
        scene.people["owner"],
        "outsider@example.org",
        "PROJECT.MEMBER",
        scene.project,
        now=now - timedelta(hours=30),
    )
    asked = opened(world, scene.people["owner"], scene.project, "PROJECT.MEMBER")
    ask(world, scene.people["former"], asked)
    browser.sign_in(world, scene.people["outsider"])
    browser._site.post(f"/api/user-invitations/{uuid}/accept/", scene.people["outsider"], json={})
    with world.database.read() as tx:
        found = activity.of_days(tx, world.staff.actor)
        with pytest.raises(NotFound):
            activity.of_days(tx, scene.people["owner"].actor)
    assert (found.days[0], found.days[-1]) == (ago[2].date(), now.date())
    assert (found.joined[0], found.joined[-2]) == (1, 2)
    assert sum(found.joined) == len(scene.people) + 3
    assert found.accepted == [0] * 29 + [1]
    assert found.waits == [0, 0, 1, 0, 0]
    assert found.waiting == [0] * 29 + [1]
    browser.cookies.clear()
    browser.sign_in(world, scene.people["support"])
    page = browser.open("/staff/")
    said = text(page)
    for part in (
        f"{len(scene.people) + 3} in total",
        "Of 1, 0 took up to 1 hour, none more than 7 days",
        "1 pending join request",
        "Maximum 1 a day",
    ):
        assert part in said, part
    assert page.text.count("<svg") == page.text.count("<desc") == 4
    assert page.text.count("<rect") == 3 + 1 + 1 + 1
    assert len(re.findall(r'<th scope="row"', page.text)) == 3 * activity.DAYS + 5


def test_requests_are_counted_day_by_day_as_they_waited(scene: Scene) -> None:
    world, now = scene.world, datetime.now(UTC)
    moments = ((40, None), (40, 35), (40, 5), (10, 10), (10, 3), (3, None), (0, 0))
    for at, (asked, decided) in enumerate(moments):
        put(
            world,
            join_requests,
            uuid=f"{at + 1:032x}",
            scope_id=scene.project.id,
            role_id=world.role("PROJECT.MEMBER").id,
            account_id=scene.people["member"].id,
            state="pending" if decided is None else "approved",
            created_at=now - timedelta(days=asked),
            decided_at=None if decided is None else now - timedelta(days=decided),
            exclusive_key=at,
        )
    with world.database.read() as tx:
        waiting = activity.of_days(tx, world.staff.actor).waiting
    # Two waited all the time until one was answered; one for a week; one since three days ago.
    ago = {days: waiting[-1 - days] for days in (29, 11, 10, 6, 5, 4, 3, 2, 0)}
    assert ago == {29: 2, 11: 2, 10: 3, 6: 3, 5: 2, 4: 2, 3: 2, 2: 2, 0: 2}


def test_a_chart_of_nothing_says_so() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC).date() for day in (1, 2)]
    empty = charts.of_days(days, "x", "X", [0, 0])
    assert empty.said == "None in the last 2 days."
    assert [bar.height for bar in empty.bars] == [0, 0]
    assert charts.of_steps("x", "X", ("1 hour",), [0, 0]).said == "None in this period."
    low = charts.of_days(days, "x", "X", [1, 1000])
    assert [bar.height for bar in low.bars] == [2, 100]
    assert low.said == "1001 in total. Maximum 1000 a day (2 January), 1000 today."


def test_late_and_abandoned_mails_are_told(browser: Browser, scene: Scene) -> None:
    world, now = scene.world, datetime.now(UTC)
    browser.sign_in(world, world.staff)
    assert "E-mails are being delivered" in text(browser.open("/staff/"))
    row = {"kind": "email_changed", "recipient": "a@example.org", "payload": {}, "created_at": now}
    put(world, outbox, **row, next_attempt_at=now, state="failed", finished_at=now)
    assert "could not be delivered" in text(browser.open("/staff/"))
    put(world, outbox, **row, next_attempt_at=now - timedelta(minutes=2), state="queued")
    assert "1 e-mail is overdue by more than a minute" in text(browser.open("/staff/"))
