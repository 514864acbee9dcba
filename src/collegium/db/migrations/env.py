"""How Alembic runs our migrations: on the connection, and in the transaction, it is given."""

from __future__ import annotations

from alembic import context

from collegium.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_type=True,
    # The caller has begun the transaction and commits it; SQLite changes tables in it too.
    transactional_ddl=False,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
