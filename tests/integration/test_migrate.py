"""The migration runner against a real server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from standfest.storage.migrate import (
    ADVISORY_LOCK_KEY,
    MigrationError,
    MigrationFileError,
    MigrationTimeoutError,
    migrate,
    pending,
)
from tests.support.postgres import TestDatabase
from tests.support.waiting import wait_until


@pytest.fixture
def conninfo(database: TestDatabase) -> str:
    """The schema owner's conninfo for a database that has the shipped schema and no record of it."""
    dsn = database.dsn("standfest_owner")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE schema_migration")
    return dsn


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two migrations: a table in the expand phase, a dropped column in the contract phase."""
    (tmp_path / "0001_a.expand.sql").write_text("CREATE TABLE lab (id bigint, old text, CHECK (id > 0));")
    (tmp_path / "0001_a.contract.sql").write_text("ALTER TABLE lab DROP COLUMN old;")
    return tmp_path


def names(conninfo: str) -> list[object]:
    """The recorded files in the order they were applied."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute("SELECT name FROM schema_migration ORDER BY applied_at").fetchall()
    return [row[0] for row in rows]


def test_nothing_is_pending_in_a_migrated_database(database: TestDatabase) -> None:
    """The fixture's database has every shipped migration, and a second run applies nothing."""
    dsn = database.dsn("standfest_owner")
    assert pending(dsn) == []
    assert migrate(dsn, phase="contract", deadline_s=10) == []


def test_phases_are_applied_one_after_the_other(conninfo: str, files: Path) -> None:
    """Expand leaves the contract files pending; contract applies them; both are recorded with their checksum."""
    assert [m.name for m in migrate(conninfo, deadline_s=10, directory=files)] == ["0001_a.expand.sql"]
    assert [m.name for m in pending(conninfo, directory=files)] == ["0001_a.contract.sql"]
    (applied,) = migrate(conninfo, phase="contract", deadline_s=10, directory=files)
    assert (applied.version, applied.phase, len(applied.checksum)) == (1, "contract", 64)
    assert names(conninfo) == ["0001_a.expand.sql", "0001_a.contract.sql"]


def test_two_runners_at_once_apply_once(conninfo: str, files: Path) -> None:
    """Of runners started together each file is applied by exactly one, and none fails."""
    start = threading.Barrier(4)

    def run() -> list[str]:
        start.wait(10)
        return [m.name for m in migrate(conninfo, phase="contract", deadline_s=20, directory=files)]

    with ThreadPoolExecutor(4) as pool:
        results = [future.result(30) for future in [pool.submit(run) for _ in range(4)]]
    assert sorted(name for result in results for name in result) == [
        "0001_a.contract.sql",
        "0001_a.expand.sql",
    ]


def test_a_lock_held_by_someone_else_ends_in_a_bounded_clear_error(conninfo: str, files: Path) -> None:
    """A long transaction on the table ends the run with an error that names the file; afterwards it goes through."""
    migrate(conninfo, deadline_s=10, directory=files)
    with psycopg.connect(conninfo) as holder:
        holder.execute("SELECT * FROM lab")  # ACCESS SHARE until the transaction ends
        started = time.monotonic()
        with pytest.raises(MigrationTimeoutError, match=r"0001_a\.contract\.sql.*pg_stat_activity"):
            migrate(conninfo, phase="contract", deadline_s=3, directory=files)
        assert time.monotonic() - started < 10
        holder.rollback()
    assert len(migrate(conninfo, phase="contract", deadline_s=10, directory=files)) == 1


def test_a_lock_that_is_let_go_is_waited_for(conninfo: str, files: Path, database: TestDatabase) -> None:
    """A transaction that ends while the runner tries again does not make the run fail."""
    migrate(conninfo, deadline_s=10, directory=files)
    log_start = database.primary.log.stat().st_size
    with psycopg.connect(conninfo) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT * FROM lab")
        run = pool.submit(migrate, conninfo, phase="contract", deadline_s=30, directory=files)
        wait_until(lambda: "lock timeout" in database.primary.log_tail(log_start), "a first attempt that failed", 20)
        holder.rollback()
        assert len(run.result(30)) == 1


def test_another_running_migration_is_waited_for_and_named(conninfo: str, files: Path) -> None:
    """While another session has the runners' advisory lock, a run ends at its deadline and says so."""
    with psycopg.connect(conninfo, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK_KEY,))
        with pytest.raises(MigrationTimeoutError, match="another migration is running"):
            migrate(conninfo, deadline_s=1, directory=files)


def test_a_changed_file_is_refused(conninfo: str, files: Path) -> None:
    """A file that was edited after it had been applied stops everything, before anything is applied."""
    migrate(conninfo, deadline_s=10, directory=files)
    (files / "0001_a.expand.sql").write_text("CREATE TABLE lab (id bigint);")
    with pytest.raises(MigrationFileError, match=r"0001_a\.expand\.sql was changed"):
        migrate(conninfo, phase="contract", deadline_s=10, directory=files)
    with pytest.raises(MigrationFileError, match=r"0001_a\.expand\.sql was changed"):
        pending(conninfo, directory=files)
    assert names(conninfo) == ["0001_a.expand.sql"]


def test_a_failing_file_leaves_nothing_behind(conninfo: str, files: Path) -> None:
    """A file that fails in its second statement is rolled back whole; those before it stay applied."""
    (files / "0002_bad.expand.sql").write_text("CREATE TABLE half ();\nSELECT nothing_like_it();")
    with pytest.raises(MigrationError, match=r"0002_bad\.expand\.sql failed.*nothing_like_it"):
        migrate(conninfo, deadline_s=10, directory=files)
    assert names(conninfo) == ["0001_a.expand.sql"]
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_an_index_is_built_concurrently_outside_a_transaction(conninfo: str, files: Path) -> None:
    """A marked file may build an index concurrently, and is recorded once it is there."""
    (files / "0002_index.expand.sql").write_text(
        "-- squawk-disable-assume-in-transaction\n"
        "DROP INDEX CONCURRENTLY IF EXISTS lab_old;\nCREATE INDEX CONCURRENTLY lab_old ON lab (old);\n"
    )
    applied = migrate(conninfo, deadline_s=10, directory=files)
    assert [m.name for m in applied] == ["0001_a.expand.sql", "0002_index.expand.sql"]


def test_a_frozen_server_does_not_hold_the_runner(conninfo: str, files: Path, database: TestDatabase) -> None:
    """When the server freezes in the middle of a file, the run ends at its deadline with an error of its own."""
    (files / "0002_slow.expand.sql").write_text("SELECT pg_sleep(2);")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(migrate, conninfo, deadline_s=3, directory=files)
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        with database.cluster.admin() as admin:
            wait_until(lambda: admin.execute(sleeping).fetchone() != (0,), "the runner in its slow file", 3)
        with database.primary.paused(), pytest.raises(MigrationTimeoutError, match="did not answer in time"):
            run.result(20)
