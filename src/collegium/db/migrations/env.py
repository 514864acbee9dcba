"""Configure Alembic to run migrations in the transaction of the caller."""

from __future__ import annotations

from alembic import context

from collegium.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_type=True,
    # The caller begins and commits the transaction. SQLite too changes tables inside it.
    transactional_ddl=False,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
