"""The schema changes that ship with the product."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from standfest.storage.migrate import MIGRATIONS, MigrationFileError, load

ROOT = Path(__file__).parents[2]


def test_every_shipped_migration_passes_the_linter() -> None:
    """squawk finds nothing in any migration file: no statement that locks out traffic or cannot be rolled forward."""
    squawk = Path(sys.executable).parent / "squawk"
    files = [str(MIGRATIONS / migration.name) for migration in load()]
    assert files
    done = subprocess.run(
        [str(squawk), "-c", str(ROOT / ".squawk.toml"), "--reporter=gcc", *files],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_versions_are_numbered_without_gaps() -> None:
    """The versions of the shipped migrations are 1, 2, 3, …: a lost file would show."""
    versions = sorted({migration.version for migration in load()})
    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.parametrize("name", ["1_short.expand.sql", "0001_base.sql", "0001_Base.expand.sql", "0001_x.both.sql"])
def test_a_badly_named_file_is_refused(tmp_path: Path, name: str) -> None:
    """A file whose name the runner would not understand is an error that names it, never silently left out."""
    (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationFileError, match=re.escape(name)):
        load(tmp_path)


def test_two_files_with_one_number_are_refused(tmp_path: Path) -> None:
    """Two files of the same version and phase are an error that names both."""
    for name in ("0001_a.expand.sql", "0001_b.expand.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationFileError, match=r"0001_a.*0001_b"):
        load(tmp_path)


def test_expand_comes_before_contract_within_a_version(tmp_path: Path) -> None:
    """Files are ordered by version, and expand before contract within one."""
    names = ["0002_c.expand.sql", "0001_a.contract.sql", "0001_a.expand.sql"]
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    assert [m.name for m in load(tmp_path)] == [
        "0001_a.expand.sql",
        "0001_a.contract.sql",
        "0002_c.expand.sql",
    ]


def test_a_file_outside_a_transaction_is_split_into_its_statements(tmp_path: Path) -> None:
    """A marked file yields its statements one by one, without comments; an unmarked one stays whole."""
    text = (
        "-- squawk-disable-assume-in-transaction\n"
        "DROP INDEX CONCURRENTLY IF EXISTS i;\n\n-- why; and how\nCREATE INDEX CONCURRENTLY i\n    ON t (a);\n"
    )
    (tmp_path / "0001_index.expand.sql").write_text(text)
    (tmp_path / "0002_table.expand.sql").write_text("CREATE TABLE t ();\nCREATE TABLE u ();\n")
    index, table = load(tmp_path)
    assert not index.transactional
    assert index.statements == [
        "DROP INDEX CONCURRENTLY IF EXISTS i",
        "CREATE INDEX CONCURRENTLY i\n    ON t (a)",
    ]
    assert table.transactional
    assert len(table.statements) == 1
