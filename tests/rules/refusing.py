"""Helpers: expect a refusal, read and write tables of actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from collegium.access.lifecycles import Lifecycle
from collegium.refusals import Refusal


@contextmanager
def refused(kind: type[Refusal], code: str, facts: dict[str, Any] | None = None) -> Iterator[None]:
    """Expect a refusal with this code, and with these facts if given."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.code == code
    assert facts is None or caught.value.facts == facts


def read_table(table: str) -> dict[tuple[str, str], str]:
    """Return the new state, or "-", for each state (rows) and action (columns)."""
    actions, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (state, action): new_state
        for state, *new_states in rows
        for action, new_state in zip(actions, new_states, strict=True)
    }


def described(actions: type[Lifecycle]) -> dict[str, str]:
    """Return who may take each action, and the event that is recorded, or "-"."""
    return {
        str(action): f"{action.by.value} {action.event.kind if action.event else '-'}"
        for action in actions
    }


def read_descriptions(table: str) -> dict[str, str]:
    """Return the same from a table: action, who, event."""
    rows = (line.split() for line in table.strip().splitlines())
    return {action: f"{by} {event}" for action, by, event in rows}
