"""PostgreSQL: connections, statements in .sql files, migrations in expand and contract phases."""
