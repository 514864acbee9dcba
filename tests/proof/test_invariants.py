"""What is looked for after every run is found: rows as no action leaves them behind."""

from __future__ import annotations

import pytest

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.scopes import queries as scope_queries
from collegium.sign_in.tokens import queries as token_queries
from tests.proof.invariants import broken
from tests.support.world import World


@pytest.mark.parametrize("gone", ["scope", "account"])
def test_what_is_left_of_something_that_is_gone_is_told(
    world: World, database: Database, gone: str
) -> None:
    olga, ada, bob = world.person("olga"), world.person("ada"), world.person("bob")
    place = world.organisation(owner=olga)
    project = world.project(place)
    world.seat(ada, "PROJECT.MEMBER", project)
    world.invite(olga, "cleo@example.org", "PROJECT.MEMBER", project)
    world.ask(bob, world.open(olga, "PROJECT.MEMBER", project))
    assert broken(database) == []
    with database.write() as tx:
        if gone == "scope":
            scope_queries.remove(tx, project.id)
        else:
            account_queries.anonymise(tx, ada.id)
            account_queries.anonymise(tx, bob.id)
            account_queries.change(tx, ada.id, {"is_active": True})
            token_queries.add(tx, bob.id, b"digest", b"sealed")
    found = sorted(line.split(" ", maxsplit=1)[0] for line in broken(database))
    scope = ["grant", "invitation", "open", "request"]
    assert found == (scope if gone == "scope" else ["account", "grant", "request", "tokens:"])
