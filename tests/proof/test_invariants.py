"""The checks of the invariants find rows that no action leaves."""

import pytest

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.scopes import queries as scope_queries
from collegium.sign_in.tokens import queries as token_queries
from tests.proof.invariants import broken
from tests.support.world import World


@pytest.mark.parametrize("deleted", ["scope", "account"])
def test_objects_of_a_deleted_scope_or_account_are_found(
    world: World, database: Database, deleted: str
) -> None:
    olga, ada, bob = world.person("olga"), world.person("ada"), world.person("bob")
    project = world.project(world.organisation(owner=olga))
    world.give_role(ada, "PROJECT.MEMBER", project)
    world.invite(olga, "cleo@example.org", "PROJECT.MEMBER", project)
    world.ask(bob, world.create_link(olga, "PROJECT.MEMBER", project))
    assert broken(database) == []
    with database.write() as tx:
        if deleted == "scope":
            scope_queries.remove(tx, project.id)
        else:
            account_queries.anonymise(tx, ada.id)
            account_queries.anonymise(tx, bob.id)
            account_queries.change(tx, ada.id, {"is_active": True})
            token_queries.add(tx, bob.id, b"digest", b"sealed")
    kinds = sorted(line.split(" ", maxsplit=1)[0] for line in broken(database))
    of_scope = ["grant", "invitation", "open", "request"]
    of_account = ["account", "grant", "request", "tokens:"]
    assert kinds == (of_scope if deleted == "scope" else of_account)
