"""A GET that changes something is sent by a program that means it, or by nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.settings import Settings
from tests.db.test_read_slots import places_at_writing
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import Person

Deed = tuple["Person", str, tuple[object, ...]]


@pytest.fixture
def actions(groups: Groups) -> list[Deed]:
    """Every action that can be done by GET, by somebody who may do it now."""
    world = groups.world
    olga, alice, bob, cleo = (world.person(name) for name in ("olga", "alice", "bob", "cleo"))
    group = groups.found(olga)
    request, other = groups.ask(group, alice), groups.ask(group, bob)
    taken = groups.invite(group, olga, cleo)
    member, stranger = world.person("member"), world.person("stranger")
    groups.seat(group, member)
    return [
        (olga, "request", (request, "accept")),
        (olga, "request", (other, "reject")),
        (bob, "request", (other, "cancel")),
        (cleo, "invitation", (taken, "accept")),
        (cleo, "invitation", (taken, "reject")),
        (olga, "invitation", (taken, "cancel")),
        (stranger, "group", (group, "join")),
        (member, "group", (group, "leave")),
    ]


WRONG: dict[str, tuple[str, Callable[[Person], dict[str, Any]], int]] = {
    "cookie": ("GET", lambda who: {"headers": {"Cookie": f"session={who.token}"}}, 401),
    "cookie of the pages": (
        "GET",
        lambda who: {"headers": {"Cookie": f"collegium_session={who.token}"}},
        401,
    ),
    "query": ("GET", lambda who: {"query": f"?token={who.token}&access_token={who.token}"}, 401),
    "HEAD": ("HEAD", lambda who: {"headers": {"Authorization": f"Bearer {who.token}"}}, 405),
    "prefetch": (
        "GET",
        lambda who: {
            "headers": {"Authorization": f"Bearer {who.token}", "Sec-Purpose": "prefetch;prerender"}
        },
        403,
    ),
    "old prefetch": (
        "GET",
        lambda who: {"headers": {"Authorization": f"Bearer {who.token}", "Purpose": "prefetch"}},
        403,
    ),
}


def test_what_nobody_has_meant_does_nothing(groups: Groups, actions: list[Deed]) -> None:
    before = everything(groups)
    for name, (method, options, status) in WRONG.items():
        for who, model, parts in actions:
            answer = groups.call(method, None, model, *parts, **options(who))
            assert answer.status_code == status, (name, model, parts, answer.text)
    assert everything(groups) == before


def test_the_same_does_something_where_it_is_meant(groups: Groups, actions: list[Deed]) -> None:
    done = 0
    before = everything(groups)
    for who, model, parts in actions:
        answer = groups.get(who, model, *parts)
        assert answer.headers["cache-control"] == "no-store"
        done += answer.status_code == 200
        assert answer.status_code == 400 or everything(groups) != before
        before = everything(groups)
    # One of two decisions on the same thing comes too late.
    assert done == len(actions) - 3


def test_an_operator_can_switch_them_off(
    groups: Groups,
    actions: list[Deed],
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
) -> None:
    strict = Groups(groups.world, make_site(make_settings(brainstem_get_actions="false")))
    before = everything(groups)
    for who, model, parts in actions:
        answer = strict.get(who, model, *parts)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "PATCH, POST, OPTIONS"
    assert everything(groups) == before
    who, model, parts = actions[0]
    assert strict.call("PATCH", who, model, *parts, json={}).status_code == 200


def everything(groups: Groups) -> list[Any]:
    """What the actions would change: history tells all of it."""
    with groups.world.database.read() as tx:
        return tx.fetch_all(Statement(events.select().order_by(events.c.id)))


def test_whoever_changes_something_keeps_nobody_from_asking(
    groups: Groups, actions: list[Deed], monkeypatch: pytest.MonkeyPatch
) -> None:
    with places_at_writing(groups.world.database, monkeypatch) as held:
        for who, model, parts in actions:
            groups.get(who, model, *parts)
    assert len(held) >= len(actions)
    assert not any(held)
