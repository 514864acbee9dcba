"""Set expected statistics in PostgreSQL before version 18, which cannot import them.

Only ANALYZE sets statistics there. So it analyses sample rows, which are removed again in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_ROWS: Final = 200
"""Number of sample rows of a table: one is half a percent."""

_HAS_ROWS: Final = "SELECT EXISTS (SELECT FROM {})"
_COLUMN_TYPES: Final = """
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
_CONSTRAINTS: Final = """
    SELECT conrelid::regclass, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace AND contype IN ('c', 'f')
"""
_UNLISTED: Final = ("0", "1", "0")
"""Share of nulls, width and number of distinct values of a column that is not analysed."""

_VALUES: Final = {
    "boolean": "false",
    "bytea": "decode(lpad(to_hex(n), {width} * 2, '0'), 'hex')",
    "character varying": "lpad(n::text, {width}, '0')",
    "date": "current_date + n",
    "jsonb": "'{{}}'",
    "text": "lpad(n::text, {width}, '0')",
    "timestamp with time zone": "now() + make_interval(days => n - {rows} / 2)",
    "uuid": "md5(n::text)::uuid",
}
"""SQL for the value of row ``n``, by column type. A number is ``n`` itself."""


def analyse(cursor: Any, tables: Mapping[str, Iterable[list[str]]]) -> None:
    """Analyse sample rows in the empty tables of a database without accounts.

    The samples violate constraints. These are dropped and added again, which is fast in an empty
    database. Nothing is done if there are accounts.

    Args:
        cursor: a PostgreSQL cursor of the owner of the tables, in a transaction.
        tables: the lines of each table, with the column name and its statistics.
    """
    if _has_rows(cursor, "accounts"):
        return
    # In a subtransaction TRUNCATE marks even a new table as never analysed. Otherwise the planner
    # would rely on it to be empty.
    cursor.execute("SAVEPOINT samples")
    cursor.execute(_CONSTRAINTS)
    constraints = cursor.fetchall()
    for table, name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for table, lines in tables.items():
        if _has_rows(cursor, table):
            cursor.execute(f"ANALYZE {table}")
        else:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            _analyse_samples(cursor, table, {column: values for column, *values in lines})
            cursor.execute(f"TRUNCATE {table}")
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    for table, name, definition in constraints:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    cursor.execute("RELEASE SAVEPOINT samples")


def _has_rows(cursor: Any, table: str) -> bool:
    cursor.execute(_HAS_ROWS.format(table))
    return bool(cursor.fetchone()[0])


def _analyse_samples(cursor: Any, table: str, expected: Mapping[str, list[str]]) -> None:
    """Insert samples in an empty table and analyse the columns by their expected statistics.

    Most columns are analysed while the table has one row. From different rows ANALYZE would make a
    histogram of the invented values, and from equal rows a list of common values.
    """
    alter = f"ALTER TABLE {table} ALTER "
    distinct = {column: count for column, (_, _, count, *_) in expected.items() if float(count)}
    options = (f"{column} SET (n_distinct = {count})" for column, count in distinct.items())
    cursor.execute(alter + ", ALTER ".join(options))
    several = {
        column for column, (nulls, _, _, *common) in expected.items() if common or float(nulls)
    }
    cursor.execute(_COLUMN_TYPES, (table,))
    values = {column: _value(type_, *expected.get(column, _UNLISTED)) for column, type_ in cursor}
    for first, last, columns in (
        (_ROWS, _ROWS, expected.keys() - several),
        (1, _ROWS - 1, several),
    ):
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
            f" FROM generate_series({first}, {last}) AS n ON CONFLICT DO NOTHING"
        )
        if columns:
            cursor.execute(f"ANALYZE {table} ({', '.join(sorted(columns))})")
    cursor.execute(alter + ", ALTER ".join(f"{column} RESET (n_distinct)" for column in distinct))


def _value(type_: str, nulls: str, width: str, _distinct: str, *common: str) -> str:
    """Return the SQL expression for the value of row ``n``: null, a common value, or its own."""
    limit = float(nulls) * _ROWS
    branches = f"WHEN n <= {limit} THEN NULL"
    if common:
        for value, share in zip(*(each.strip("{}").split(",") for each in common), strict=True):
            limit += float(share) * _ROWS
            branches += f" WHEN n <= {limit} THEN '{value}'"
    own = _VALUES.get(type_, "n").format(width=width, rows=_ROWS)
    return f"(CASE {branches} ELSE {own} END)::{type_}"
