"""Fixtures of the tests of remote directories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collegium.integrations.eduteams import client
from tests.support.remote import Remote


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use neither a proxy nor a token of another test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(client, "_token_cache", client._TokenCache())


@pytest.fixture
def remote() -> Iterator[Remote]:
    """Return a running directory."""
    yield from Remote().running()
