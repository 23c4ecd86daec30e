"""Schema changes: versioned SQL files in two phases, applied once, in order, under an advisory lock.

Files are called NNNN_name.expand.sql or NNNN_name.contract.sql. *Expand* only adds and is applied before a rolling
update: releases N and N+1 both work on the schema that it leaves. *Contract* removes what release N alone needed
and is applied when no process of N is left.

Each file is one transaction, together with the row that records it. A file with a line
`-- squawk-disable-assume-in-transaction` (the linter's own mark) is run outside one, for CREATE INDEX CONCURRENTLY;
its statements each end with ";" at the end of a line, and it must be safe to run again after half of it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import errors

from standfest.errors import StandfestError
from standfest.storage.abandon import socket_closed_at

Phase = Literal["expand", "contract"]

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK_KEY = 0x5354_4644_4D49_4752  # "STFDMIGR"; only migration runners use it
LOCK_TIMEOUT_MS = 2_000  # how long one attempt may make the traffic queue up behind it
ATTEMPTS_MAX = 8  # of one file that meets locks
PAUSE_MAX_S = 2.0
NO_TRANSACTION_MARK = "-- squawk-disable-assume-in-transaction"

_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<phase>expand|contract)\.sql")
_PHASE_ORDER: dict[str, int] = {"expand": 0, "contract": 1}
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version integer NOT NULL,
    phase text NOT NULL CHECK (phase IN ('expand', 'contract')),
    name text NOT NULL,
    checksum text NOT NULL,  -- SHA-256 of the file, hexadecimal
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (version, phase)
)"""


class MigrationError(StandfestError):
    """A schema change could not be carried out; what was recorded before it stays."""


class MigrationFileError(MigrationError):
    """The migration files are not what they should be: names, numbers, or a change after they were applied."""


class MigrationTimeoutError(MigrationError):
    """Locks, another runner or the server kept the schema change from being made in time."""


@dataclass(frozen=True, order=True)
class Migration:
    """One migration file."""

    version: int  # NNNN of the file's name
    phase_order: int  # 0 expand, 1 contract: their order within a version
    phase: Phase
    name: str  # the file's name
    text: str  # its SQL
    checksum: str  # SHA-256 of the file, hexadecimal

    @property
    def transactional(self) -> bool:
        """Whether the file is run as one transaction."""
        return NO_TRANSACTION_MARK not in self.text.splitlines()

    @property
    def statements(self) -> list[str]:
        """The whole file, or, outside a transaction, its statements one by one."""
        if self.transactional:
            return [self.text]
        code = "\n".join(line for line in self.text.splitlines() if not line.lstrip().startswith("--"))
        return [part for part in (part.strip() for part in re.split(r";\s*$", code, flags=re.MULTILINE)) if part]


@dataclass(frozen=True)
class AppliedMigration:
    """A migration as the database has recorded it."""

    version: int
    phase: Phase
    name: str  # the file's name when it was applied
    checksum: str  # SHA-256 of the file when it was applied, hexadecimal
    applied_at: datetime


def load(directory: Path = MIGRATIONS) -> list[Migration]:
    """All migrations of a directory in the order of version and phase; MigrationFileError on a bad or doubled name."""
    found: dict[tuple[int, str], Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationFileError(f"{path}: call it NNNN_name.expand.sql or NNNN_name.contract.sql")
        phase: Phase = "expand" if match["phase"] == "expand" else "contract"
        content = path.read_bytes()
        migration = Migration(
            int(match["version"]), _PHASE_ORDER[phase], phase, path.name, content.decode(),
            hashlib.sha256(content).hexdigest(),
        )  # fmt: skip
        twin = found.setdefault((migration.version, phase), migration)
        if twin is not migration:
            raise MigrationFileError(f"{twin.name} and {migration.name} have one number: give one the next free one")
    return sorted(found.values())


def pending(conninfo: str, *, directory: Path = MIGRATIONS, deadline_s: float = 10.0) -> list[Migration]:
    """The migrations that are not yet applied, of both phases, in order. Changes nothing.

    Raises MigrationFileError where an applied file has been changed since, MigrationError where the database
    does not answer within `deadline_s` seconds.
    """
    migrations = load(directory)
    with _session(conninfo, time.monotonic() + deadline_s) as connection:
        return _pending(migrations, _applied(connection))


def migrate(
    conninfo: str, *, phase: Phase = "expand", deadline_s: float, directory: Path = MIGRATIONS
) -> list[AppliedMigration]:
    """Apply what is pending and return what this call applied (nothing, when another runner was faster).

    `phase="expand"` applies the expand files; `phase="contract"` everything, each version's expand file first.
    `conninfo` is the schema owner's, on the primary. Raises MigrationFileError for files that were changed after
    they were applied, MigrationTimeoutError when locks or the server held it up for `deadline_s` seconds, and
    MigrationError when a file fails. Running it again is always safe.
    """
    migrations = load(directory)
    deadline = time.monotonic() + deadline_s
    with _session(conninfo, deadline) as connection:
        _take_advisory_lock(connection, deadline)
        connection.execute(_CREATE_TABLE)
        todo = [m for m in _pending(migrations, _applied(connection)) if phase == "contract" or m.phase == phase]
        return [_apply_with_retries(connection, migration, deadline) for migration in todo]


@contextmanager
def _session(conninfo: str, deadline: float) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """An autocommit connection whose socket is shut at the deadline, so that not even a frozen server holds us."""
    seconds = max(2, int(deadline - time.monotonic()))  # libpq takes whole seconds, 2 at least
    try:
        with (
            psycopg.connect(conninfo, autocommit=True, connect_timeout=seconds) as connection,
            socket_closed_at(connection, deadline),
        ):
            # So that the server, too, gives up what we have abandoned (it does not end a wait for the standby).
            connection.execute(f"SET statement_timeout = {max(1, int(1000 * (deadline - time.monotonic())))}")
            yield connection
    except psycopg.Error as error:
        if time.monotonic() >= deadline:
            raise MigrationTimeoutError(
                "the database did not answer in time; what was in progress may or may not have been applied: "
                "look at its state (standfest doctor), then run the migration again"
            ) from error
        raise MigrationError(f"migrating the database: {_first_line(error)}") from error


def _take_advisory_lock(connection: psycopg.Connection[tuple[object, ...]], deadline: float) -> None:
    # Polled, not waited for: a session that waits in pg_advisory_lock() holds a snapshot, for which the other
    # runner's CREATE INDEX CONCURRENTLY would wait in turn.
    while connection.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK_KEY,)).fetchone() != (True,):
        if time.monotonic() + 0.1 > deadline:
            raise MigrationTimeoutError(
                "another migration is running (it holds the advisory lock): wait until it has ended, or end its "
                "session, which pg_locks names; then run the migration again"
            )
        time.sleep(0.1)


def _applied(connection: psycopg.Connection[tuple[object, ...]]) -> dict[tuple[int, str], str]:
    """Checksums by version and phase of what the database has recorded."""
    if connection.execute("SELECT to_regclass('schema_migration')").fetchone() == (None,):
        return {}
    rows = connection.execute("SELECT version, phase, checksum FROM schema_migration").fetchall()
    return {(int(str(version)), str(phase)): str(checksum) for version, phase, checksum in rows}


def _pending(migrations: list[Migration], applied: dict[tuple[int, str], str]) -> list[Migration]:
    # What is recorded and not among our files belongs to a newer release: expand leaves this one working.
    for migration in migrations:
        recorded = applied.get((migration.version, migration.phase), migration.checksum)
        if recorded != migration.checksum:
            raise MigrationFileError(
                f"{migration.name} was changed after it had been applied (recorded {recorded[:12]}…, "
                f"file {migration.checksum[:12]}…): restore the file and put the change into a new one"
            )
    return [migration for migration in migrations if (migration.version, migration.phase) not in applied]


def _apply_with_retries(
    connection: psycopg.Connection[tuple[object, ...]], migration: Migration, deadline: float
) -> AppliedMigration:
    for attempt in range(1, ATTEMPTS_MAX + 1):
        # Ends before the deadline, so that what the caller is told is what the server saw.
        patience_ms = max(1, min(LOCK_TIMEOUT_MS, int(1000 * (deadline - time.monotonic())) - 200))
        connection.execute(f"SET lock_timeout = {patience_ms}")
        try:
            return _apply(connection, migration)
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            pause_s = min(PAUSE_MAX_S, 0.1 * 2**attempt)  # lets through what has queued up behind our lock request
            if attempt == ATTEMPTS_MAX or time.monotonic() + pause_s + 0.5 > deadline:
                raise MigrationTimeoutError(
                    f"{migration.name}: did not get its locks in {attempt} attempts ({_first_line(error)}): find the "
                    "long transaction in pg_stat_activity, end it or wait for it, and run the migration again"
                ) from error
            time.sleep(pause_s)
        except psycopg.OperationalError:
            raise  # the connection went away: judged where it was opened
        except psycopg.Error as error:
            raise MigrationError(
                f"{migration.name} failed and is not applied: {_first_line(error)}; mend the file, then run the "
                "migration again"
            ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _apply(connection: psycopg.Connection[tuple[object, ...]], migration: Migration) -> AppliedMigration:
    if migration.transactional:
        with connection.transaction():
            connection.execute(migration.text.encode())
            return _record(connection, migration)
    for statement in migration.statements:
        connection.execute(statement.encode())
    return _record(connection, migration)


def _record(connection: psycopg.Connection[tuple[object, ...]], migration: Migration) -> AppliedMigration:
    row = connection.execute(
        "INSERT INTO schema_migration (version, phase, name, checksum) VALUES (%s, %s, %s, %s) RETURNING applied_at",
        (migration.version, migration.phase, migration.name, migration.checksum),
    ).fetchone()
    if row is None or not isinstance(row[0], datetime):
        raise MigrationError(f"{migration.name}: the database did not record it; run the migration again")
    return AppliedMigration(migration.version, migration.phase, migration.name, migration.checksum, row[0])


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
