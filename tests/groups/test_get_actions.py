"""GET routes that change something require a bearer token and no prefetch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.settings import Settings
from tests.db.test_read_slots import slots_taken_at_writes
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import Person

Action = tuple[Person, str, tuple[object, ...]]


@pytest.fixture
def actions(groups: Groups) -> list[Action]:
    """Return every action by GET, with an account that may execute it."""
    olga, alice, bob, cleo = groups.people("olga", "alice", "bob", "cleo")
    member, stranger = groups.people("member", "stranger")
    group = groups.create(olga)
    request, other = groups.ask(group, alice), groups.ask(group, bob)
    invitation = groups.invite(group, olga, cleo)
    groups.give_role(group, member)
    return [
        (olga, "request", (request, "accept")),
        (olga, "request", (other, "reject")),
        (bob, "request", (other, "cancel")),
        (cleo, "invitation", (invitation, "accept")),
        (cleo, "invitation", (invitation, "reject")),
        (olga, "invitation", (invitation, "cancel")),
        (stranger, "group", (group, "join")),
        (member, "group", (group, "leave")),
    ]


BEARER = {"Authorization": "Bearer {token}"}
REFUSED: dict[str, tuple[str, dict[str, str], str, int]] = {
    "cookie": ("GET", {"Cookie": "session={token}"}, "", 401),
    "cookie of the pages": ("GET", {"Cookie": "collegium_session={token}"}, "", 401),
    "query": ("GET", {}, "?token={token}&access_token={token}", 401),
    "HEAD": ("HEAD", BEARER, "", 405),
    "prefetch": ("GET", BEARER | {"Sec-Purpose": "prefetch;prerender"}, "", 403),
    "old prefetch": ("GET", BEARER | {"Purpose": "prefetch"}, "", 403),
}


def test_get_action_without_bearer_token_or_by_prefetch_is_refused(
    groups: Groups, actions: list[Action]
) -> None:
    before = all_events(groups)
    for name, (method, templates, query_template, status) in REFUSED.items():
        for person, model, parts in actions:
            headers = {key: text.format(token=person.token) for key, text in templates.items()}
            query = query_template.format(token=person.token)
            response = groups.call(method, None, model, *parts, headers=headers, query=query)
            assert response.status_code == status, (name, model, parts, response.text)
    assert all_events(groups) == before


def test_get_action_with_bearer_token_is_executed(groups: Groups, actions: list[Action]) -> None:
    executed = 0
    before = all_events(groups)
    for person, model, parts in actions:
        response = groups.get(person, model, *parts)
        assert response.headers["cache-control"] == "no-store"
        executed += response.status_code == 200
        assert response.status_code == 400 or all_events(groups) != before
        before = all_events(groups)
    # Only the first decision on a request or invitation succeeds.
    assert executed == len(actions) - 3


def test_get_actions_can_be_disabled(
    groups: Groups,
    actions: list[Action],
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
) -> None:
    strict = Groups(groups.world, make_site(make_settings(brainstem_get_actions="false")))
    before = all_events(groups)
    for person, model, parts in actions:
        response = strict.get(person, model, *parts)
        assert response.status_code == 405
        assert response.headers["allow"] == "PATCH, POST, OPTIONS"
    assert all_events(groups) == before
    person, model, parts = actions[0]
    assert strict.call("PATCH", person, model, *parts, json={}).status_code == 200


def all_events(groups: Groups) -> list[Any]:
    """Return the audit log: every action is in it."""
    with groups.world.database.read() as tx:
        return tx.fetch_all(Statement(events.select().order_by(events.c.id)))


def test_get_actions_hold_no_read_slot(
    groups: Groups, actions: list[Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    with slots_taken_at_writes(groups.world.database, monkeypatch) as slots_held:
        for person, model, parts in actions:
            groups.get(person, model, *parts)
    assert len(slots_held) >= len(actions)
    assert not any(slots_held)
