"""Prepare connections to PostgreSQL. Only processes that use PostgreSQL load this module."""

from __future__ import annotations

from typing import Any

import msgspec
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextLoader
from sqlalchemy.engine.interfaces import DBAPIConnection

from collegium.db.connections import CACHED_STATEMENTS


def prepare(connection: DBAPIConnection, _record: object) -> None:
    """Set the types and the parameters of a new connection."""
    raw: Any = connection
    raw.prepared_max = CACHED_STATEMENTS
    set_json_loads(msgspec.json.decode, raw)
    raw.execute("SET TIME ZONE 'UTC'")
    # Compiling a statement takes longer than any of our statements should run.
    raw.execute("SET jit = off")
    # Rows that are read often are cached in memory, where random access costs little more than
    # sequential access.
    raw.execute("SET random_page_cost = 1.1")
    raw.execute("SET lock_timeout = '10s'")
    raw.execute("SET idle_in_transaction_session_timeout = '60s'")


def leave_as_text(connection: Any) -> None:
    """Have JSON and UUIDs returned as text, which ``db.statements`` converts.

    The driver would call Python for each value, which takes several times as long.
    """
    for name in ("json", "jsonb", "uuid"):
        connection.adapters.register_loader(name, TextLoader)
