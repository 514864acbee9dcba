"""A page begins with its own rows, in their order, whatever SQLite believes of their number.

It believes what samples have told it, and those can be far from true.
"""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from pkgutil import walk_packages

import pytest

import collegium
from collegium.db.database import Database
from collegium.db.tables import metadata
from collegium.lists.listing import Listing, SearchPlan

LISTINGS = {
    f"{module.name}.{name}": known
    for module in walk_packages(collegium.__path__, "collegium.")
    if module.name.endswith(("queries", "organisation_users"))
    for name, known in vars(import_module(module.name)).items()
    if isinstance(known, Listing)
}
MANY, FEW = 1_000_000, 1_000


@pytest.fixture
def database(new_sqlite: str) -> Database:
    return Database(new_sqlite)


def plan(listing: Listing, database: Database, beliefs: dict[str | None, str], first: bool) -> str:
    """How SQLite would give a page to whoever sees all.

    Args:
        beliefs: of the listing's own table, by index; as ``sqlite_stat1`` says it.
    """
    own = listing._key.table
    with database.write() as tx:
        tx._cursor.execute("ANALYZE")
        for table in metadata.tables.values():
            for index in (None, *(one.name for one in table.indexes)):
                known = f"{FEW} 10 1 1 1" if index else str(FEW)
                if table is own:
                    known = beliefs.get(index, f"{MANY} 10 1 1 1" if index else str(MANY))
                tx._cursor.execute(
                    "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (table.name, index, known)
                )
    database.close()  # what SQLite believes is read when a connection is opened
    with database.read() as tx:
        page = listing._statement(
            sees_all=True, filters=(), order=(), way=SearchPlan.INDEX, size=100, first=first
        )
        compiled = page.compiled(database.dialect)
        names = Anything.fromkeys(compiled.parameters({}))
        tx._cursor.execute(f"EXPLAIN QUERY PLAN {compiled.text}", names)
        return "\n".join(str(line[-1]) for line in tx._cursor.fetchall())


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", LISTINGS)
def test_a_page_makes_no_bloom_filter_of_a_joined_table(
    name: str, first: bool, database: Database
) -> None:
    with closing(database):
        assert "BLOOM" not in plan(LISTINGS[name], database, {}, first)


@pytest.mark.parametrize(
    "name",
    [
        "collegium.accounts.queries.listing",
        "collegium.invitations.queries.listing",
        "collegium.join_requests.queries.listing",
        "collegium.join_requests.queries.deciding",
    ],
)
def test_a_page_is_not_gathered_from_the_roles_and_sorted(name: str, database: Database) -> None:
    listing = LISTINGS[name]
    own = listing._key.table.name
    of_a_sample: dict[str | None, str] = {
        f"ix_{own}_{column}": f"{MANY} 1001 1 1" for column in ("role_id", "scope_id")
    }
    with closing(database):
        found = plan(listing, database, of_a_sample, first=True)
    assert found.startswith(f"SCAN {own} USING INDEX"), found
    assert "USE TEMP B-TREE" not in found, found


class Anything(dict[str, None]):
    """Has a value for whatever a statement asks for."""

    def __missing__(self, _name: str) -> None:
        return None
