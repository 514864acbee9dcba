"""With wrong statistics of SQLite, a page still reads its own table first, in order."""

from contextlib import closing
from importlib import import_module
from pkgutil import walk_packages

import pytest

import collegium
from collegium.api.resources import ResourceList
from collegium.db.database import Database
from collegium.db.tables import metadata
from collegium.lists.listing import Listing, SearchPlan

LISTINGS = {
    f"{module.name}.{name}": found.listing if isinstance(found, ResourceList) else found
    for module in walk_packages(collegium.__path__, "collegium.")
    if module.name.endswith(("queries", "organisation_users")) or ".api." in module.name
    for name, found in vars(import_module(module.name)).items()
    if isinstance(found, Listing | ResourceList)
}
MANY, FEW = 1_000_000, 1_000


@pytest.fixture
def database(new_sqlite: str) -> Database:
    return Database(new_sqlite)


def plan(
    listing: Listing, database: Database, statistics: dict[str | None, str], first: bool
) -> str:
    """Return the plan of a page for staff.

    Args:
        statistics: the statistics of the listing's own table, by index, as in ``sqlite_stat1``.
    """
    own = listing.key.table
    with database.write() as tx:
        tx._cursor.execute("ANALYZE")
        for table in metadata.tables.values():
            for name in (None, *(index.name for index in table.indexes)):
                stat = f"{FEW} 10 1 1 1" if name else str(FEW)
                if table is own:
                    stat = statistics.get(name, f"{MANY} 10 1 1 1" if name else str(MANY))
                tx._cursor.execute(
                    "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (table.name, name, stat)
                )
    database.close()  # statistics are read when a connection is opened
    with database.read() as tx:
        page = listing._statement(
            sees_all=True, filters=(), order=(), plan=SearchPlan.INDEX, size=100, is_first=first
        )
        compiled = page.compiled(database.dialect)
        names = Anything.fromkeys(compiled.parameters({}))
        tx._cursor.execute(f"EXPLAIN QUERY PLAN {compiled.text}", names)
        return "\n".join(str(line[-1]) for line in tx._cursor.fetchall())


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", LISTINGS)
def test_page_builds_no_bloom_filter_for_a_joined_table(
    name: str, first: bool, database: Database
) -> None:
    with closing(database):
        assert "BLOOM" not in plan(LISTINGS[name], database, {}, first)


@pytest.mark.parametrize(
    "name",
    [
        "collegium.api.waldur.accounts.LIST",
        "collegium.api.waldur.invitations.LIST",
        "collegium.api.waldur.join_requests.LIST",
        "collegium.join_requests.queries.deciding",
    ],
)
def test_page_is_not_collected_by_role_and_sorted(name: str, database: Database) -> None:
    listing = LISTINGS[name]
    own = listing.key.table.name
    statistics: dict[str | None, str] = {
        f"ix_{own}_{column}": f"{MANY} 1001 1 1" for column in ("role_id", "scope_id")
    }
    with closing(database):
        page = plan(listing, database, statistics, first=True)
    assert page.startswith(f"SCAN {own} USING INDEX"), page
    assert "USE TEMP B-TREE" not in page, page


class Anything(dict[str, None]):
    """Has a value for every parameter."""

    def __missing__(self, _name: str) -> None:
        return None
