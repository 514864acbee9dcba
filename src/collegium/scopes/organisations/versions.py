"""Versions of an organisation: what its columns were after each change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collegium.db.tables import events
from collegium.events.types import OrganisationCreated, OrganisationUpdated
from collegium.events.versions import Change, History


def _change(payload: Mapping[str, Any]) -> Change:
    # Earlier releases kept only the names of the columns.
    return Change(tuple(payload.get("fields", ())), payload.get("replaced"))


HISTORY: Final = History(events.c.scope_id, OrganisationCreated, {OrganisationUpdated: _change})
