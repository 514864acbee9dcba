"""The database: connections, transactions, statements, tables, migrations."""
