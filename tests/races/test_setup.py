"""Two browsers use the set-up link at the same moment, or a command makes an account."""

from functools import partial
from typing import Any

from sqlalchemy import func, select

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.refusals import NotFound
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.site import actions as site_actions
from collegium.staff_command import ensure_staff
from tests.races.conftest import Together, outcome


def _set_up(database: Database, settings: Settings, vault: Vault, token: str, name: str) -> Any:
    with database.write() as tx:
        email = f"{name}@example.org"
        return site_actions.set_up(tx, settings, vault, token, name, email, "hash", name)


def test_one_of_many_browsers_sets_the_service_up(
    database: Database, settings: Settings, vault: Vault, together: Together
) -> None:
    """Each also learns the link at that moment, as nodes that start together do."""
    paths = together(*[partial(site_actions.setup_path, database, vault)] * 4)
    assert len(set(paths)) == 1
    token = paths[0].split("/")[2]
    by_page = [partial(_set_up, database, settings, vault, token, f"page{n}") for n in range(6)]
    results = together(*(partial(outcome, one) for one in by_page))
    assert sum(isinstance(one, NotFound) for one in results) == 5
    assert _count(database) == 1


def test_command_that_makes_staff_ends_the_link_of_a_waiting_browser(
    database: Database, settings: Settings, vault: Vault, together: Together
) -> None:
    path = site_actions.setup_path(database, vault)
    assert path is not None
    set_up = partial(_set_up, database, settings, vault, path.split("/")[2], "page")
    command = partial(
        ensure_staff, database, settings, vault, "command", "command@example.org", None
    )
    by_page, _ = together(partial(outcome, set_up), command)
    # The command works in either order; the page only before it.
    assert _count(database) == (1 if isinstance(by_page, NotFound) else 2)
    assert site_actions.setup_path(database, vault) is None


def _count(database: Database) -> int:
    with database.read() as tx:
        return tx.fetch_only(Statement[int](select(func.count(accounts.c.id).label("count"))))
