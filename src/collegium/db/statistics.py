"""Set the statistics that query planners use: row counts, and how values are distributed.

Planners know only the statistics that were gathered. On SQLite, statistics from the time when a
database was small are worse than none: SQLite believes that a table has a few rows, and scans all
of them when there are many. So a small table gets the statistics of a database with ten thousand
accounts. A plan made for that costs almost nothing extra on a small table. Larger tables keep their
gathered statistics.

PostgreSQL always knows how large a table is, but nothing about its content before the first
ANALYZE. Until then it gets the same expected statistics. PostgreSQL 18 can import them; earlier
versions analyse sample rows (``sample_statistics``).
"""

from __future__ import annotations

from typing import Any, Final

from collegium.db import expected_statistics, sample_statistics

_GATHER: Final = ("PRAGMA analysis_limit = 1000", "ANALYZE")
"""Sample the indexes; this takes milliseconds."""

_RELOAD_STATISTICS: Final = "ANALYZE sqlite_master"
"""Gather nothing, but make this connection load the statistics that were written."""

_FIRST_VERSION: Final = 180_000
"""First version of PostgreSQL in which the owner of a table can import statistics."""

_ANALYSED: Final = "SELECT tablename, attname FROM pg_stats WHERE schemaname = current_schema()"
_IMPORT: Final = """
    SELECT pg_restore_attribute_stats(
        'schemaname', current_schema()::text, 'relname', %s::text, 'attname', %s::text,
        'inherited', false, 'null_frac', %s::real, 'avg_width', %s::integer,
        'n_distinct', %s::real, 'most_common_vals', %s::text, 'most_common_freqs', %s::real[],
        'correlation', %s::real
    )
"""
_LINE_LENGTH: Final = 6
"""Number of values of a line: column name and statistics. The last two are often absent."""


def gather(cursor: Any) -> None:
    """Gather statistics on SQLite, and replace those of small tables by expected ones.

    Other connections use the new statistics only after they have loaded the schema again.

    Args:
        cursor: a SQLite cursor in a write transaction.
    """
    for statement in _GATHER:
        cursor.execute(statement)
    row_counts: dict[str, int] = {}
    for table, stat in cursor.execute("SELECT tbl, stat FROM sqlite_stat1").fetchall():
        row_counts[table] = max(row_counts.get(table, 0), _rows(stat))
    for table, expected in expected_statistics.SQLITE.items():
        if row_counts.get(table, 0) < max(map(_rows, expected.values())):
            cursor.execute("DELETE FROM sqlite_stat1 WHERE tbl = ?", (table,))
            cursor.executemany(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)",
                [(table, index or None, stat) for index, stat in expected.items()],
            )
    cursor.execute(_RELOAD_STATISTICS)


def _rows(stat: str) -> int:
    return int(stat.split(" ", 1)[0])


def apply_expected(cursor: Any) -> None:
    """Set expected statistics in PostgreSQL for columns that were never analysed.

    Before version 18, do nothing if there are accounts.

    Args:
        cursor: a PostgreSQL cursor of the owner of the tables, in a transaction.
    """
    tables = {
        table: [line.split() for line in lines.strip().splitlines()]
        for table, lines in expected_statistics.POSTGRESQL.items()
    }
    if cursor.connection.info.server_version < _FIRST_VERSION:
        sample_statistics.analyse(cursor, tables)
        return
    cursor.execute(_ANALYSED)
    analysed = set(cursor.fetchall())
    parameters: list[tuple[str | float | None, ...]] = []
    for table, lines in tables.items():
        for column, *values in lines:
            if (table, column) not in analysed:
                missing = [None] * (_LINE_LENGTH - 1 - len(values))
                correlation = 1.0 if (table, column) in expected_statistics.ORDERED else None
                parameters.append((table, column, *values, *missing, correlation))
    cursor.executemany(_IMPORT, parameters)
