"""Hooks of tests, whose endpoint nobody calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from collegium.db.database import WriteTransaction
from collegium.hooks import actions as hook_actions
from collegium.hooks.rules import Kind
from collegium.settings import DEFAULTS
from tests.support.world import Person

DESTINATION: Final = "https://93.184.215.14/hook"
"""An address of the public internet, which no name server need look up."""


def add_hook(tx: WriteTransaction, person: Person, kind: Kind = Kind.WEB) -> str:
    """Add a hook of a person; return its UUID."""
    values: dict[str, Any] = {"event_groups": ["projects"]}
    values |= {"destination_url": DESTINATION} if kind is Kind.WEB else {"email": person.email}
    settings = replace(DEFAULTS, max_hooks_per_account=100)
    return hook_actions.create(tx, person.actor, kind, values, settings=settings)
