"""Account enumeration: unknown addresses in invitations to groups are rate limited."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.db.statements import Statement
from collegium.db.tables import rate_limits
from collegium.roles import queries as role_queries
from collegium.security.rate_limits.rules import PEOPLE
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import Site, record_statements
from tests.support.world import Person, World


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)


@pytest.fixture
def olga(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def group(groups: Groups, olga: Person) -> int:
    """Return the id of Olga's group."""
    return groups.create(olga)


def invite(groups: Groups, inviter: Person, group: int, *emails: str) -> httpx.Response:
    """Invite people in a change of a group."""
    body: dict[str, Any] = {"users": {email: {} for email in emails}}
    return groups.call("PATCH", inviter, "group", group, json=body)


def unknown(count: int, name: str = "nobody") -> list[str]:
    return [f"{name}{number}@example.org" for number in range(count)]


def test_sixty_unknown_addresses_are_allowed_per_account_and_network(
    groups: Groups, olga: Person, group: int
) -> None:
    assert [rate.allowed for rate in PEOPLE.rates.values()] == [60, 60]
    other = groups.world.person("other")
    allowed = invite(groups, olga, group, *unknown(60))
    assert allowed.status_code == 400
    assert len(allowed.json()["users"]) == 60
    limited = invite(groups, olga, group, "nobody@example.org")
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) >= 1
    assert "nobody@example.org" not in limited.text
    # Another account in the same network is limited as well.
    second = groups.create(other, "Second")
    assert invite(groups, other, second, "nobody@example.org").status_code == 429


@pytest.mark.parametrize("count", [61, 995])
def test_request_with_too_many_unknown_addresses_reveals_nothing(
    groups: Groups, olga: Person, group: int, count: int
) -> None:
    known = groups.world.person("known")
    response = invite(groups, olga, group, known.email, *unknown(count))
    assert response.status_code == 429
    assert list(response.json()) == ["detail"]
    assert "example.org" not in response.text
    assert int(response.headers["retry-after"]) >= (5 if count == 61 else 600)
    assert groups.get(known, "invitation").json()["count"] == 0
    assert invite(groups, olga, group, known.email).status_code == 429


def test_known_addresses_and_removals_are_not_limited(
    groups: Groups, olga: Person, group: int
) -> None:
    emails = [groups.world.person().email for _ in range(70)]
    for _ in range(3):
        assert invite(groups, olga, group, *emails).status_code == 200
    # Removing people who are no members reveals nothing.
    body = {"users": {email: {"remove": True} for email in unknown(70)}}
    for _ in range(2):
        assert groups.call("PATCH", olga, "group", group, json=body).status_code == 400
    assert invite(groups, olga, group, *unknown(59)).status_code == 400


def test_requests_refused_for_other_reasons_are_not_counted(
    groups: Groups, olga: Person, group: int
) -> None:
    member = groups.world.person("member")
    groups.give_role(group, member)
    for _ in range(3):
        assert invite(groups, member, group, *unknown(40)).status_code == 403
        body: dict[str, Any] = {"name": " ", "users": {"a@example.org": 5}}
        assert groups.call("PATCH", olga, "group", group, json=body).status_code == 400
    # What the response says besides another error is counted.
    body = {"name": " ", "users": {email: {} for email in unknown(60)}}
    response = groups.call("PATCH", olga, "group", group, json=body)
    assert (response.status_code, len(response.json()["users"])) == (400, 60)
    assert invite(groups, olga, group, "a@example.org").status_code == 429


def test_unknown_addresses_of_staff_are_not_limited(
    groups: Groups, olga: Person, group: int
) -> None:
    for _ in range(2):
        assert invite(groups, groups.world.staff, group, *unknown(200)).status_code == 400
    assert invite(groups, olga, group, "nobody@example.org").status_code == 400


def test_unknown_addresses_are_counted_in_one_statement(
    groups: Groups, olga: Person, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    invite(groups, olga, group, "first@example.org")
    with record_statements(monkeypatch) as one:
        assert invite(groups, olga, group, "second@example.org").status_code == 400
    with record_statements(monkeypatch) as fifty:
        assert invite(groups, olga, group, *unknown(50)).status_code == 400
    assert len(fifty) == len(one)
    assert sum("INSERT INTO rate_limits" in statement for statement in fifty) == 2
    query = Statement[Any](select(rate_limits).where(rate_limits.c.subject.like("people %")))
    with groups.world.database.read() as tx:
        assert {row.count for row in tx.fetch_all(query)} == {52}


def test_concurrent_requests_share_the_limit_of_unknown_addresses(
    groups: Groups, olga: Person, group: int
) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(
                lambda n: invite(groups, olga, group, *unknown(20, f"x{n}-")).status_code, range(8)
            )
        )
    assert statuses.count(400) <= 3
    assert set(statuses) <= {400, 429}


@pytest.fixture
def invite_on_page(groups: Groups, site: Site, olga: Person, group: int) -> Any:
    with groups.world.database.read() as tx:
        role: Any = role_queries.by_name_or_uuid(tx, "GROUP.MEMBER", None, {"group"})
    browser = Browser(site).sign_in(groups.world, olga)
    path = f"/group/{group}/team/invite/"

    def invite_on_page(emails: list[str], action: str = "check") -> httpx.Response:
        browser.open(path)
        return browser.send(path, action=action, addresses="\n".join(emails), role=role.uuid)

    return invite_on_page


def test_page_and_api_count_unknown_addresses_together(
    groups: Groups, olga: Person, group: int, invite_on_page: Any
) -> None:
    assert invite(groups, olga, group, *unknown(30)).status_code == 400
    allowed = invite_on_page(unknown(30, "page"))
    assert allowed.status_code == 200
    assert text(allowed).count("No account has this address") == 30
    limited = invite_on_page(["one@example.org"])
    assert limited.status_code == 429
    assert "one@example.org" not in text(limited)
    assert invite(groups, olga, group, "one@example.org").status_code == 429


@pytest.mark.parametrize("action", ["check", "send"])
def test_page_with_too_many_unknown_addresses_reveals_nothing(
    invite_on_page: Any, action: str
) -> None:
    response = invite_on_page(unknown(90), action)
    assert response.status_code == 429
    assert "nobody5@" not in text(response)


def test_unknown_addresses_are_unlimited_without_rate_limits(
    world: World, site_with: Callable[..., Site], olga: Person, group: int
) -> None:
    groups = Groups(world, site_with(rate_limits="false"))
    for _ in range(2):
        assert invite(groups, olga, group, *unknown(100)).status_code == 400
