"""Measures the direct path's statement with psycopg and with asyncpg; see docs/decisions/0001-postgresql-driver.md."""
