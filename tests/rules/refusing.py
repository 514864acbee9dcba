"""Helpers: expect a refusal, read a table of transitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

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
