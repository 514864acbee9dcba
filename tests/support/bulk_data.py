"""A hundred thousand accounts, inserted in bulk, for tests of query plans."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from collegium.accounts.queries import with_derived_columns
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import (
    account_texts,
    accounts,
    grants,
    invitations,
    organisations,
    projects,
    roles,
    scopes,
)
from collegium.lists import account_search, row_counts
from collegium.text.names import sort_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Table

    from collegium.db.database import Database

    Tables = Sequence[tuple[Table, Iterable[dict[str, Any]]]]

ACCOUNTS: Final = 100_000
GRANTS: Final = 2 * ACCOUNTS
INVITATIONS: Final = ACCOUNTS
ORGANISATIONS: Final = 1_000
PROJECTS: Final = 4_000
START: Final = datetime(2020, 1, 1, tzinfo=UTC)

_BEGINNINGS = tuple(
    "al ber ca do el fri ga he in jo ka lu ma ni ol pe ra si to ul vi wa yo ze".split()  # noqa: SIM905 - read as words
)
_ENDINGS = tuple(
    "na bert mir lde ška rt sso lyn dür ne vik ro the nis mo lia ham ck stein pé".split()  # noqa: SIM905 - read as words
)
_WORKS = ("Postdoc", "Professor", "Technician", "Student", "Accountant")


def _word(chance: random.Random, syllables: int) -> str:
    inner = "".join(chance.choice(_BEGINNINGS) for _ in range(syllables - 1))
    return (inner + chance.choice(_ENDINGS)).title()


def account_row(number: int, chance: random.Random) -> dict[str, Any]:
    """Return the row of an invented account."""
    first, last = _word(chance, 2), _word(chance, 3)
    username = f"{account_search.to_ascii(first)[:4]}.{account_search.to_ascii(last)[:6]}{number}"
    joined = START + timedelta(minutes=10 * number)
    values: dict[str, Any] = {
        "id": number,
        "uuid": f"{number:032x}",
        "username": username,
        "slug": f"slug-{number}",
        "email": f"{username}@{account_search.to_ascii(_word(chance, 2))}.example.org",
        "first_name": first,
        "last_name": last,
        "native_name": f"{last} {number}" if number % 50 == 0 else "",
        "job_title": f"{chance.choice(_WORKS)} {number}" if number % 4 == 0 else "",
        "phone_number": f"+49 {number:08}",
        "organization": f"Institute of {_word(chance, 2)} {number % 3000}" if number % 3 else "",
        "civil_number": f"{number:011}" if number % 2 else None,
        "description": f"Remark on {number}" if number % 10 == 0 else "",
        "is_active": number % 200 != 0,
        "is_staff": number % 5000 == 0,
        "is_support": number % 4000 == 0,
        "registration_method": "saml2" if number % 2500 == 0 else "default",
        "affiliations": "[]",
        "joined_at": joined,
        "modified_at": joined + timedelta(days=1),
        "agreed_at": joined if number % 3 else None,
        "deleted_at": joined if number % 997 == 0 else None,
    }
    return {**with_derived_columns(values), "search": account_search.text_of(values)}


@cache
def _accounts() -> list[dict[str, Any]]:
    chance = random.Random(0)  # noqa: S311 - reproducible
    return [account_row(number, chance) for number in range(1, ACCOUNTS + 1)]


@cache
def _texts() -> list[dict[str, Any]]:
    return [
        {"account_id": row["id"], **account_search.texts_of(row)}
        for row in _accounts()
        if row["deleted_at"] is None
    ]


def scope_row(number: int, kind: str, parent: int | None, word: str) -> dict[str, Any]:
    """Return the row of an organisation or project."""
    return {
        "id": number,
        "uuid": f"{number:032x}",
        "kind": kind,
        "parent_id": parent,
        "name": f"{word} {number}",
        "name_sort": sort_key(f"{word} {number}"),
        "slug": f"{kind}-{number}",
        "created_at": START,
    }


def _grants(chance: random.Random, role_ids: dict[str, int]) -> list[dict[str, Any]]:
    made: dict[tuple[int, int, int], dict[str, Any]] = {}
    while len(made) < GRANTS:
        account = chance.randrange(1, ACCOUNTS + 1)
        scope = chance.randrange(1, ORGANISATIONS + PROJECTS + 1)
        if scope <= ORGANISATIONS:
            rare = "CUSTOMER.SUPPORT" if chance.random() < 0.01 else "CUSTOMER.OWNER"
        else:
            rare = "PROJECT.MANAGER" if chance.random() < 0.005 else "PROJECT.MEMBER"
        number = len(made) + 1
        made.setdefault(
            (account, scope, role_ids[rare]),
            {
                "uuid": f"{number:032x}",
                "account_id": account,
                "scope_id": scope,
                "role_id": role_ids[rare],
                "valid_from": START,
                "valid_until": START + timedelta(days=1) if number % 50 == 0 else None,
                "ended_at": START if number % 25 == 0 else None,
            },
        )
    return list(made.values())


def _invitations(chance: random.Random, role_ids: dict[str, int]) -> list[dict[str, Any]]:
    """Return invitations as after years: nearly all decided, most to common roles."""
    people = _accounts()
    made = []
    for number in range(1, INVITATIONS + 1):
        created = START + timedelta(minutes=10 * number)
        scope = chance.randrange(1, ORGANISATIONS + PROJECTS + 1)
        common, rare = ("OWNER", "SUPPORT") if scope <= ORGANISATIONS else ("MEMBER", "MANAGER")
        kind = "CUSTOMER" if scope <= ORGANISATIONS else "PROJECT"
        late = number > INVITATIONS - 200
        made.append(
            {
                "id": number,
                "uuid": f"{number:032x}",
                "scope_id": scope,
                "role_id": role_ids[f"{kind}.{rare if number % 500 == 0 else common}"],
                "email": people[number - 1]["email"].title(),
                "email_comparable": people[number - 1]["email_comparable"],
                "email_search": people[number - 1]["email_comparable"],
                "civil_number": f"{number:011}" if number % 50 == 0 else "",
                "state": "requested"
                if number % 400 == 0
                else ("pending" if late or number % 300 == 0 else "accepted"),
                "created_at": created,
                "expires_at": created + timedelta(days=3000 if late else 7),
                "created_by": chance.randrange(1, 1000),
            }
        )
    return made


def fill(database: Database) -> None:
    """Insert accounts, scopes, grants and invitations into a migrated, empty database."""
    chance = random.Random(1)  # noqa: S311 - reproducible
    with database.read() as tx:
        role_ids = {row.name: row.id for row in tx.fetch_all(Statement[Any](select(roles)))}
    places = [scope_row(n, "organisation", None, "Institute") for n in range(1, ORGANISATIONS + 1)]
    places += [
        scope_row(ORGANISATIONS + n, "project", chance.randrange(1, ORGANISATIONS + 1), "Survey")
        for n in range(1, PROJECTS + 1)
    ]
    tables = [
        (accounts, _accounts()),
        (account_texts, _texts()),
        (scopes, places),
        (organisations, [{"scope_id": one["id"]} for one in places if one["parent_id"] is None]),
        (projects, [{"scope_id": one["id"]} for one in places if one["parent_id"]]),
        (grants, _grants(chance, role_ids)),
        (invitations, _invitations(chance, role_ids)),
    ]
    write(database, tables)


def write(database: Database, tables: Tables) -> None:
    """Write rows in bulk, in the order of the tables; all rows of a table name the same columns.

    Creating an index afterwards is several times faster than updating it for each row.
    """
    connection = database.engine.raw_connection()
    try:
        cursor = connection.cursor()
        (_write_sqlite if database.is_sqlite else _write_postgresql)(cursor, tables)
    finally:
        connection.close()
    with database.write() as tx:
        row_counts.rebuild(tx)


def add(database: Database, tables: Tables, *, analyse: bool = True) -> None:
    """Insert more rows in bulk into a filled database.

    Args:
        analyse: whether to run ANALYZE afterwards.
    """
    connection = database.engine.raw_connection()
    try:
        cursor = connection.cursor()
        (_add_sqlite if database.is_sqlite else _add_postgresql)(cursor, tables, analyse)
    finally:
        connection.close()
    with database.write() as tx:
        row_counts.rebuild(tx)


def _add_sqlite(cursor: Any, tables: Tables, analyse: bool) -> None:
    _go_fast(cursor)
    cursor.execute("BEGIN")
    for table, rows in tables:
        _insert(cursor, table, rows)
    cursor.execute("COMMIT")
    if analyse:
        cursor.execute("ANALYZE")


def _add_postgresql(cursor: Any, tables: Tables, analyse: bool) -> None:
    for line in (
        "SET default_statistics_target = 20",
        "SET session_replication_role = replica",  # skips foreign keys
        "BEGIN",
    ):
        cursor.execute(line)
    for table, rows in tables:
        _copy(cursor, table, rows)
    cursor.execute("COMMIT")
    if analyse:
        cursor.execute(f"VACUUM ANALYZE {', '.join(table.name for table, _ in tables)}")


def _write_sqlite(cursor: Any, tables: Tables) -> None:
    _go_fast(cursor)
    cursor.execute("BEGIN")
    later = cursor.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND "
        "tbl_name IN (SELECT value FROM json_each(?)) AND "
        "(type = 'index' OR type = 'trigger' AND name LIKE '%_search_insert')",
        [json.dumps([table.name for table, _ in tables])],
    ).fetchall()
    for kind, name, _ in later:
        cursor.execute(f"DROP {kind} {name}")
    for table, rows in tables:
        _insert(cursor, table, rows)
    for name in ("account_search", "invitation_search"):
        cursor.execute(f"INSERT INTO {name}({name}) VALUES ('rebuild')")
    for _, _, statement in later:
        cursor.execute(statement)
    cursor.execute("COMMIT")
    cursor.execute("ANALYZE")


def _write_postgresql(cursor: Any, tables: Tables) -> None:
    written = [table.name for table, _ in tables]
    later = cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes "
        "WHERE tablename = ANY(%s) AND indexname LIKE 'ix%%'",
        [written],
    ).fetchall()
    for line in (
        "SET maintenance_work_mem = '256MB'",
        "SET default_statistics_target = 20",
        "SET session_replication_role = replica",  # skips foreign keys
        "BEGIN",
        *(f"DROP INDEX {name}" for name, _ in later),
    ):
        cursor.execute(line)
    for table, rows in tables:
        _copy(cursor, table, rows)
    (ours,) = cursor.execute("SELECT pg_get_functiondef('collegium_trigrams'::regproc)").fetchone()
    cursor.execute(_FASTER_TRIGRAMS)
    for _, statement in later:
        cursor.execute(statement)
    cursor.execute(ours)
    cursor.execute("COMMIT")
    cursor.execute(f"VACUUM ANALYZE roles, {', '.join(written)}")


_FASTER_TRIGRAMS: Final = """
    CREATE OR REPLACE FUNCTION collegium_trigrams(value text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
    DECLARE
        letters text[] := string_to_array(value, NULL);
        made text[] := ARRAY[]::text[];
    BEGIN
        FOR i IN 1 .. length(value) - 2 LOOP
            made[i] := letters[i] || letters[i + 1] || letters[i + 2];
        END LOOP;
        RETURN made;
    END $$
"""
"""The trigrams of a text with repetitions, which an index drops, in a quarter of the time."""


def _go_fast(cursor: Any) -> None:
    for name, value in (
        ("cache_size", "-200000"),
        ("synchronous", "OFF"),
        ("foreign_keys", "OFF"),
    ):
        cursor.execute(f"PRAGMA {name} = {value}")


def _insert(cursor: Any, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    names, found = _named(rows)
    # To call a function for each value would take half of the time.
    times = [at for at, name in enumerate(names) if isinstance(table.c[name].type, UtcDateTime)]

    def values() -> Iterator[list[Any]]:
        for row in found:
            columns = [row[name] for name in names]
            for at in times:
                if columns[at] is not None:
                    text = columns[at].replace(tzinfo=None).isoformat(timespec="microseconds")
                    columns[at] = text
            yield columns

    places = ", ".join("?" * len(names))
    cursor.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})", values())


def _copy(cursor: Any, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    names, found = _named(rows)
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as stream:
        for row in found:
            stream.write_row([row[name] for name in names])
    if "id" in names:
        reset_sequence(cursor, table.name)


def reset_sequence(cursor: Any, table: str) -> None:
    """Set the sequence of PostgreSQL after rows were inserted with their ids."""
    cursor.execute(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'),"
        f" (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
    )


def _named(rows: Iterable[dict[str, Any]]) -> tuple[list[str], Iterable[dict[str, Any]]]:
    """Return the names of the columns, and all the rows."""
    remaining = iter(rows)
    first = next(remaining)
    return list(first), chain([first], remaining)
