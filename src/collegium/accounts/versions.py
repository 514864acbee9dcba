"""Versions of an account: what its columns were after each change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from collegium.db.tables import events
from collegium.events.types import AccountCreated, AccountMadeStaff, AccountUpdated, EmailChanged
from collegium.events.versions import Change, History, json_value

_TIMES: Final = frozenset({"agreed_at"})


def _update(payload: Mapping[str, Any]) -> Change:
    replaced = {name: former for name, (former, _) in payload["changes"].items()}
    for name in _TIMES & replaced.keys():
        # The event has another form of times than this API.
        if replaced[name] is not None:
            replaced[name] = json_value(datetime.fromisoformat(replaced[name]))
    return Change(tuple(replaced), replaced)


def _email(payload: Mapping[str, Any]) -> Change:
    return Change(("email",), {"email": payload["old"]})


HISTORY: Final = History(
    events.c.account_id,
    AccountCreated,
    {
        AccountUpdated: _update,
        EmailChanged: _email,
        AccountMadeStaff: lambda _payload: Change(("is_staff",), {"is_staff": False}),
    },
)
