"""The tests of the matrix rely on this: what a request has changed is noticed and restored."""

from sqlalchemy import delete, text, update

from collegium.db.statements import Statement
from collegium.db.tables import accounts, outbox
from tests.matrix.scene import Scene

NO_CHANGE = Statement(update(accounts).values(slug=accounts.c.slug))
CHANGES = (
    Statement(update(accounts).values(first_name="Other", search="other")),
    Statement(delete(outbox)),
)


def test_changed_rows_are_noticed_and_restored(scene: Scene) -> None:
    before = scene.contents()
    with scene.database.write() as tx:
        tx.execute(NO_CHANGE)
    assert not scene.has_changed()
    for change in CHANGES:
        with scene.database.write() as tx:
            tx.execute(change)
        assert scene.has_changed()
        scene.restore()
        assert scene.contents() == before
        assert not scene.has_changed()
    scene.world.person("newcomer")
    assert scene.has_changed()
    scene.restore()
    assert scene.contents() == before
    if scene.database.is_sqlite:
        with scene.database.engine.begin() as connection:
            # It raises an error if the index lacks a text, or has one too many.
            check = "INSERT INTO account_search(account_search, rank) VALUES ('integrity-check', 1)"
            connection.execute(text(check))
