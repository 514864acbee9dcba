"""Who has an account cannot be found out by naming addresses: each unknown one is counted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.db.statements import Statement
from collegium.db.tables import rate_limits
from collegium.security.rate_limits.rules import PEOPLE_ACCOUNT, PEOPLE_ADDRESS
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import Site, counted_statements
from tests.support.world import Person, World

FREE = PEOPLE_ACCOUNT.allowed


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)


def name(groups: Groups, who: Person, group: int, *emails: str, **more: Any) -> httpx.Response:
    """Name people in a change of a group."""
    body: dict[str, Any] = {"users": {email: {} for email in emails}}
    return groups.call("PATCH", who, "group", group, json=body, **more)


def unknown(count: int, word: str = "nobody") -> list[str]:
    return [f"{word}{number}@example.org" for number in range(count)]


def test_sixty_unknown_addresses_are_free_however_they_are_spread(groups: Groups) -> None:
    assert (FREE, PEOPLE_ADDRESS.allowed) == (60, 60)
    one, two = groups.world.person("one"), groups.world.person("two")
    first, second = groups.found(one, "First"), groups.found(two, "Second")
    whole = name(groups, one, first, *unknown(60))
    assert whole.status_code == 400
    assert len(whole.json()["users"]) == 60
    over = name(groups, one, first, "nobody@example.org")
    assert over.status_code == 429
    assert int(over.headers["retry-after"]) >= 1
    assert "nobody@example.org" not in over.text
    # The network is counted as well as the account.
    assert name(groups, two, second, "nobody@example.org").status_code == 429


@pytest.mark.parametrize("count", [61, 995])
def test_a_request_that_names_too_many_is_told_nothing(groups: Groups, count: int) -> None:
    olga, known = groups.world.person("olga"), groups.world.person("known")
    group = groups.found(olga)
    answer = name(groups, olga, group, known.email, *unknown(count))
    assert answer.status_code == 429
    assert list(answer.json()) == ["detail"]
    assert "example.org" not in answer.text
    assert int(answer.headers["retry-after"]) >= (5 if count == 61 else 600)
    # And nobody was invited along the way, nor is anybody now.
    assert groups.get(known, "invitation").json()["count"] == 0
    assert name(groups, olga, group, known.email).status_code == 429


def test_known_addresses_are_free(groups: Groups) -> None:
    world, olga = groups.world, groups.world.person("olga")
    group = groups.found(olga)
    people = [world.person() for _ in range(70)]
    emails = [person.email for person in people]
    for _ in range(3):
        assert name(groups, olga, group, *emails).status_code == 200
    # People who were never there are taken out in vain, and that tells nothing.
    body = {"users": {email: {"remove": True} for email in unknown(70)}}
    for _ in range(2):
        assert groups.call("PATCH", olga, "group", group, json=body).status_code == 400
    assert name(groups, olga, group, *unknown(59)).status_code == 400


def test_what_is_refused_for_other_reasons_is_not_counted(groups: Groups) -> None:
    olga, member = groups.world.person("olga"), groups.world.person("member")
    group = groups.found(olga)
    groups.seat(group, member)
    for _ in range(3):
        assert name(groups, member, group, *unknown(40)).status_code == 403
        twice = {"name": " ", "users": {"a@example.org": {}}}
        assert groups.call("PATCH", olga, "group", group, json=twice).status_code == 400
    assert name(groups, olga, group, *unknown(60)).status_code == 400


def test_staff_name_whom_they_like(groups: Groups) -> None:
    olga = groups.world.person("olga")
    group = groups.found(olga)
    for _ in range(2):
        answer = name(groups, groups.world.staff, group, *unknown(200))
        assert answer.status_code == 400
    assert name(groups, olga, group, "nobody@example.org").status_code == 400


def test_a_great_many_addresses_are_counted_in_one_statement(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga = groups.world.person("olga")
    group = groups.found(olga)
    name(groups, olga, group, "first@example.org")
    with counted_statements(monkeypatch) as few:
        assert name(groups, olga, group, "second@example.org").status_code == 400
    with counted_statements(monkeypatch) as many:
        assert name(groups, olga, group, *unknown(50)).status_code == 400
    assert len(many) == len(few)
    assert sum("INSERT INTO rate_limits" in one for one in many) == 2
    with groups.world.database.read() as tx:
        rows = tx.fetch_all(
            Statement(select(rate_limits).where(rate_limits.c.subject.like("people %")))
        )
    assert {row.count for row in rows} == {52}


def test_many_at_once_learn_no_more_than_one_after_the_other(groups: Groups, world: World) -> None:
    olga = world.person("olga")
    group = groups.found(olga)

    def ask(number: int) -> httpx.Response:
        return name(groups, olga, group, *unknown(20, f"x{number}-"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    told = [answer for answer in answers if answer.status_code == 400]
    assert len(told) <= 3
    assert {answer.status_code for answer in answers} <= {400, 429}


def test_a_list_on_a_page_is_counted_with_the_others(site: Site, world: World) -> None:
    groups = Groups(world, site)
    olga = world.person("olga")
    group = groups.found(olga)
    with world.database.read() as tx:
        from collegium.roles import queries as role_queries  # noqa: PLC0415 - used once

        role: Any = role_queries.named(tx, "GROUP.MEMBER", None, groups=True)
    browser = Browser(site).sign_in(world, olga)
    path = f"/group/{group}/team/invite/"
    browser.open(path)

    def send(emails: list[str], action: str = "check") -> httpx.Response:
        browser.open(path)
        return browser.send(path, action=action, addresses="\n".join(emails), role=role.uuid)

    assert name(groups, olga, group, *unknown(30)).status_code == 400
    told = send(unknown(30, "page"))
    assert told.status_code == 200
    assert text(told).count("No account has this address") == 30
    over = send(["one@example.org"])
    assert over.status_code == 429
    assert "one@example.org" not in text(over)
    assert name(groups, olga, group, "one@example.org").status_code == 429


def test_a_list_on_a_page_that_is_too_long_is_told_nothing(site: Site, world: World) -> None:
    groups = Groups(world, site)
    olga = world.person("olga")
    group = groups.found(olga)
    with world.database.read() as tx:
        from collegium.roles import queries as role_queries  # noqa: PLC0415 - used once

        role: Any = role_queries.named(tx, "GROUP.MEMBER", None, groups=True)
    browser = Browser(site).sign_in(world, olga)
    path = f"/group/{group}/team/invite/"
    for action in ("check", "send"):
        browser.open("/account/tokens/")
        answer = browser.send(path, action=action, addresses="\n".join(unknown(90)), role=role.uuid)
        assert answer.status_code == 429
        assert "nobody5@" not in text(answer)


def test_without_limits_nothing_is_counted(
    world: World,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
) -> None:
    groups = Groups(world, make_site(make_settings(rate_limits="false")))
    olga = world.person("olga")
    group = groups.found(olga)
    for _ in range(2):
        assert name(groups, olga, group, *unknown(100)).status_code == 400
