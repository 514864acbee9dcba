"""What the planners are told of how many rows there are, and how they are spread.

They know only what was gathered. On SQLite, what was gathered while a database was small is worse
than nothing: SQLite believes that there are a few rows, and goes through all of them when there are
many. So a table that is still small is planned as if it were one of ten thousand accounts; a plan
that suits those costs a small table next to nothing. What is larger speaks for itself.

PostgreSQL always knows how large a table is, but nothing of what is in it before it has looked
for the first time. Until then it expects the same (from 18 on, which lets itself be told).
"""

from __future__ import annotations

from typing import Any, Final

from collegium.db import expected_statistics

_GATHER: Final = ("PRAGMA analysis_limit = 1000", "ANALYZE")
"""From samples, and in milliseconds."""

_READ_OURSELVES: Final = "ANALYZE sqlite_master"
"""Gathers nothing, but has this connection read what was written."""

_CAN_BE_TOLD: Final = 180_000
"""The version of PostgreSQL that lets the owner of a table say how its rows are spread."""

_KNOWN: Final = "SELECT tablename, attname FROM pg_stats WHERE schemaname = current_schema()"
_TELL: Final = """
    SELECT pg_restore_attribute_stats(
        'schemaname', current_schema()::text, 'relname', %s::text, 'attname', %s::text,
        'inherited', false, 'null_frac', %s::real, 'avg_width', %s::integer,
        'n_distinct', %s::real, 'most_common_vals', %s::text, 'most_common_freqs', %s::real[]
    )
"""
_FEATURES: Final = 6
"""The name of a column and what is told of it; the last two are mostly not there."""


def gather(cursor: Any) -> None:
    """Have SQLite learn how the rows are spread, and expect more of tables that are small.

    Other connections do not know it before they read the schema again.

    Args:
        cursor: of SQLite, in a transaction that writes.
    """
    for line in _GATHER:
        cursor.execute(line)
    known: dict[str, int] = {}
    for table, stat in cursor.execute("SELECT tbl, stat FROM sqlite_stat1").fetchall():
        known[table] = max(known.get(table, 0), _rows(stat))
    for table, expected in expected_statistics.SQLITE.items():
        if known.get(table, 0) < max(map(_rows, expected.values())):
            cursor.execute("DELETE FROM sqlite_stat1 WHERE tbl = ?", (table,))
            cursor.executemany(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)",
                [(table, index or None, stat) for index, stat in expected.items()],
            )
    cursor.execute(_READ_OURSELVES)


def _rows(stat: str) -> int:
    return int(stat.split(" ", 1)[0])


def expect(cursor: Any) -> None:
    """Tell PostgreSQL what to expect of columns in which it has not looked yet.

    Args:
        cursor: of PostgreSQL, of the owner of the tables.
    """
    if cursor.connection.info.server_version < _CAN_BE_TOLD:
        return
    cursor.execute(_KNOWN)
    known = set(cursor.fetchall())
    told: list[tuple[str | None, ...]] = []
    for table, lines in expected_statistics.POSTGRESQL.items():
        for column, *features in map(str.split, lines.strip().splitlines()):
            if (table, column) not in known:
                missing = [None] * (_FEATURES - 1 - len(features))
                told.append((table, column, *features, *missing))
    cursor.executemany(_TELL, told)
