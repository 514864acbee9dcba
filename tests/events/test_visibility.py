"""One rule says who sees which fact of an event, in the API and on the pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from inspect import signature
from typing import Any

import pytest

from collegium.access.rules import Permission
from collegium.events.event import Event, Readers
from collegium.events.types import BY_KIND
from tests.events.test_api import Team, sqlite_only, team
from tests.support.browser import Browser, text

__all__ = ["team"]

ALLOWED = {
    "staff": set(Readers),
    "manager": {Readers.ALL, Readers.SCOPE, Readers.INVITATIONS, Readers.REQUESTS},
    "updater": {Readers.ALL, Readers.SCOPE},
    "member": {Readers.ALL, Readers.SCOPE, Readers.PERSON, Readers.REQUESTS},
    "outsider": {Readers.ALL},
}
"""Whose facts a reader sees. The manager did it, to the member; the outsider left the scope."""


def marked(event: type[Event], **ids: int) -> Event:
    """Return an event in which every fact can be recognised, and a field that only staff see."""
    facts: dict[str, Any] = {}
    for name, fact in event.facts.items():
        mark = f"<{name} of {event.kind}>"
        hidden = f"<staff only: {event.kind}>"
        if name == "changes":
            facts[name] = {"email": ["", mark], "description": ["", hidden]}
        elif name == "fields":
            facts[name] = [mark, *fact.staff_only]
        else:
            facts[name] = datetime(2031, 1, 1, tzinfo=UTC) if name == "until" else mark
    return event(
        **facts, **{name: ids[name] for name in ids if name in signature(event).parameters}
    )


@sqlite_only
@pytest.mark.parametrize("name", ALLOWED)
def test_each_fact_is_shown_only_to_its_readers(team: Team, browser: Browser, name: str) -> None:
    world = team.world
    viewer = team.add_with(Permission.PROJECT_UPDATE) if name == "updater" else team.person(name)
    person = team.outsider if name == "outsider" else team.member
    recorded = [
        event
        for event in BY_KIND.values()
        if event.message and (name != "outsider" or "scope" in signature(event).parameters)
    ]
    earlier = {one["id"] for one in team.events(viewer)}
    for event in recorded:
        team.record(team.manager.actor, marked(event, scope=team.project.id, account=person.id))
    shown = {
        one["event_type"]: json.dumps(one)
        for one in team.events(viewer)
        if one["id"] not in earlier
    }
    browser.sign_in(world, viewer)
    page = text(browser.open(f"/project/{team.project.uuid}/history/"))
    checked = set()
    for event in recorded:
        for fact_name, fact in event.facts.items():
            mark = "2031-01-01" if fact_name == "until" else f"<{fact_name} of {event.kind}>"
            is_allowed = bool(fact.key) and fact.readers in ALLOWED[name]
            if event.waldur_type in shown:
                found = mark in shown[event.waldur_type]
                assert found == is_allowed, (event.kind, fact_name)
                checked.add(fact.readers)
            assert is_allowed or mark not in page, (event.kind, fact_name)
    everything = " ".join([page, *shown.values()])
    for secret in ("staff_notes", "<staff only: account.updated>"):
        assert (secret in everything) == (name == "staff")
    assert ("<email of invitation.sent>" in page) == (name in {"staff", "manager"})
    assert checked >= {Readers.ALL, Readers.SCOPE, Readers.REQUESTS}
