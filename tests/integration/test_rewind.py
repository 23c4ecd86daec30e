"""A primary that was replaced comes back by pg_rewind, whatever WAL its successor has removed."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from standfest.cluster import rewind as program
from tests.support.postgres import PostgresCluster, Server, postgres_bin
from tests.support.waiting import wait_until

TIMEOUT_S = 60.0
FILL = "INSERT INTO filling SELECT repeat('x', 500) FROM generate_series(1, 40000)"  # more than one segment of WAL
SETTINGS = (
    "checkpoint_timeout = '30s'",
    "checkpoint_completion_target = 0.2",
    "synchronous_commit = 'local'",
    "wal_keep_size = '1GB'",
)


def spread_checkpoint(dsn: str) -> None:
    """A checkpoint that takes its time."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_backup_start('slow', fast => false)")


def until(connection: psycopg.Connection[tuple[object, ...]], condition: str, *act: str) -> None:
    """Wait until an SQL expression is true; `act` is done before each look."""

    def holds() -> bool:
        for statement in act:
            connection.execute(statement.encode())
        row = connection.execute(f"SELECT {condition}".encode()).fetchone()
        return row == (True,)

    wait_until(holds, condition, TIMEOUT_S)


def redo_before_its_record(primary: psycopg.Connection[tuple[object, ...]], dsn: str) -> str:
    """Makes a checkpoint during which more than a segment is written; the name of the segment where redo begins."""
    for setting in SETTINGS:
        primary.execute(f"ALTER SYSTEM SET {setting}".encode())
    primary.execute("SELECT pg_reload_conf()")
    primary.execute("CREATE TABLE filling (text text)")
    primary.execute(FILL)
    with ThreadPoolExecutor() as pool:
        checkpointing = pool.submit(spread_checkpoint, dsn)
        until(primary, "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'CheckpointDone')")
        primary.execute(FILL)
        checkpointing.result(TIMEOUT_S)
    row = primary.execute(
        "SELECT pg_walfile_name(redo_lsn), pg_walfile_name(checkpoint_lsn) FROM pg_control_checkpoint()"
    ).fetchone()
    assert row is not None
    assert str(row[0]) < str(row[1])
    return str(row[0])


def rewind(old: Server, source: str) -> None:
    """As Patroni calls it."""
    program = str(postgres_bin() / "pg_rewind")
    arguments = ("-m", "standfest.cluster.rewind", program, "-D", str(old.data), "--source-server", source)
    old.run(Path(sys.executable), *arguments)


def test_wal_that_only_the_old_primary_has_is_kept(disposable_postgres: PostgresCluster) -> None:
    """Rewound to a checkpoint that began in a segment which its successor has removed, it streams again, also where an
    attempt failed before."""
    cluster = disposable_postgres
    old, new = cluster.primary, cluster.standby
    with cluster.admin() as admin:
        first = redo_before_its_record(admin, cluster.dsn("postgres", "postgres"))
        until(admin, "(SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication)")
        source = cluster.dsn("postgres", "postgres", new)
        with psycopg.connect(source, autocommit=True) as successor:
            successor.execute("SELECT pg_promote()")
            successor.execute("CHECKPOINT")
            successor.execute("SELECT pg_create_physical_replication_slot('old', true)")  # its own WAL is all kept
            admin.execute(FILL)
            until(
                successor,
                f"NOT EXISTS (SELECT FROM pg_ls_waldir() WHERE name = '{first}')",
                "SELECT pg_switch_wal()",
                "CHECKPOINT",
            )
    old.stop()
    with pytest.raises(RuntimeError):
        rewind(old, cluster.dsn("postgres", "nowhere", new))
    rewind(old, source)
    assert (old.data / "pg_wal" / first).exists()
    assert not list(old.data.parent.glob("*before-rewind"))
    passfile = str(cluster.passfile("replicator"))
    old.follow(make_conninfo(host=new.host, port=new.port, user="replicator", passfile=passfile))
    with psycopg.connect(source, autocommit=True) as successor:
        until(successor, "EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')")


def segment(number: int) -> str:
    """The name of a WAL segment."""
    return f"0000000100000000000000{number:02X}"


@pytest.mark.parametrize(
    ("cloned", "put_back"),
    [
        (False, {segment(5): "first", segment(6): "second", segment(7): "second"}),
        (True, {segment(6): "second", segment(7): "second"}),
    ],
)
def test_wal_of_an_attempt_that_failed_is_put_back_where_it_is_right(
    tmp_path: Path, cloned: bool, put_back: dict[str, str]
) -> None:
    """What an earlier attempt kept is put back where nothing is there under its name since, and nothing of it where the
    data directory was cloned anew."""
    data = tmp_path / "data"

    def write(*numbers: int, text: str) -> None:
        for number in numbers:
            (data / "pg_wal" / segment(number)).unlink(missing_ok=True)
            (data / "pg_wal" / segment(number)).write_text(text)

    def create() -> None:
        (data / "pg_wal").mkdir(parents=True)
        (data / "PG_VERSION").touch()

    create()
    write(5, 6, text="first")
    assert program.main(["false", "-D", str(data)]) == 1
    if cloned:
        shutil.rmtree(data)
        create()
    else:
        (data / "pg_wal" / segment(5)).unlink()
    write(6, 7, text="second")
    label = f"START WAL LOCATION: 0/5000028 (file {segment(5)})"
    stand_in = f'rm "$0"/pg_wal/*; echo "{label}" > "$0"/backup_label'
    assert program.main(["sh", "-c", stand_in, str(data), "-D", str(data)]) == 0
    assert {each.name: each.read_text() for each in (data / "pg_wal").iterdir()} == put_back
    assert not list(tmp_path.glob(".*"))
