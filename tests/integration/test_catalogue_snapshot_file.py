"""The catalogue's file: written whole or not at all, read only where nothing is wrong with it."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from standfest.catalogue import snapshot_format
from standfest.catalogue.moment import Moment
from standfest.catalogue.snapshot_file import SnapshotFile, SnapshotNotWritten
from standfest.catalogue.snapshot_format import Contents, KeyRecord, Position
from standfest.domain.products import Product

APPLE = Product(1, "apple", "Apfel", "Apple", "piece", 0, Decimal("2.55"), "reduced", True, "tracked", 1)
KEY = KeyRecord("abc", bytes(32), UUID(int=7), "Shop", ("orders:write",))
CONTENTS = Contents((APPLE,), (KEY,), Position("771", "server"), Moment.ago(60))


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    """A snapshot file in a folder that is not there yet, written once."""
    file = SnapshotFile(tmp_path / "catalogue" / "api.snapshot")
    file.write(CONTENTS)
    return file


def fresh(file: SnapshotFile) -> SnapshotFile:
    """The same file as another process sees it."""
    return SnapshotFile(file.path)


def test_what_was_written_is_read_by_another_process_and_nobody_else(file: SnapshotFile) -> None:
    """All of it comes back, from a file of mode 0600 in a folder of mode 0700, and nothing else lies there."""
    other = fresh(file)
    contents = other.load()
    assert contents is not None
    assert (tuple(contents.products), tuple(contents.keys)) == (CONTENTS.products, CONTENTS.keys)
    assert (contents.position, contents.read_at) == (CONTENTS.position, CONTENTS.read_at)
    assert other.size_bytes == file.size_bytes == file.path.stat().st_size
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert list(file.path.parent.iterdir()) == [file.path]


def test_where_there_is_no_file_there_is_no_catalogue(tmp_path: Path) -> None:
    """A process that never ran before starts with nothing, without a word."""
    with capture_logs() as logs:
        assert SnapshotFile(tmp_path / "none" / "api.snapshot").load() is None
    assert logs == []


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: os.truncate(path, path.stat().st_size - 40), id="truncated"),
        pytest.param(lambda path: os.truncate(path, 0), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), id="wrong checksum"),
        pytest.param(_flip, id="one bit"),
        pytest.param(lambda path: path.write_text("something else"), id="another file"),
        pytest.param(lambda path: path.chmod(0o640), id="its group may read it"),
        pytest.param(lambda path: path.chmod(0o602), id="others may write it"),
    ],
)
def test_a_file_with_anything_wrong_is_set_aside(file: SnapshotFile, damage: Callable[[Path], object]) -> None:
    """Nothing of it is used, it is kept for who wants to know, the log says so, and the next write is well."""
    damage(file.path)
    with capture_logs() as logs:
        assert fresh(file).load() is None
    [entry] = logs
    assert (entry["event"], entry["log_level"]) == ("catalogue_snapshot_unusable", "error")
    assert "api.snapshot.broken" in entry["error"]
    assert not file.path.exists()
    assert file.path.with_name("api.snapshot.broken").exists()
    file.write(CONTENTS)
    assert fresh(file).load() is not None


def test_a_file_of_a_newer_release_is_ignored_and_left(file: SnapshotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this release cannot read is not broken: it stays where it is until there is something to write."""
    with monkeypatch.context() as newer:
        newer.setattr(snapshot_format, "FORMAT", snapshot_format.FORMAT + 1)
        file.write(CONTENTS)
    with capture_logs() as logs:
        assert fresh(file).load() is None
    assert [entry["event"] for entry in logs] == ["catalogue_snapshot_ignored"]
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_file_that_is_a_link_is_not_followed(file: SnapshotFile, tmp_path: Path) -> None:
    """A link could lead to what somebody else wrote."""
    elsewhere = file.path.replace(tmp_path / "elsewhere")
    file.path.symlink_to(elsewhere)
    with capture_logs() as logs:
        assert fresh(file).load() is None
    assert [entry["event"] for entry in logs] == ["catalogue_snapshot_unreadable"]


def test_an_age_makes_the_snapshot_younger_without_writing_it(file: SnapshotFile) -> None:
    """The age's moment and position hold for the snapshot that it names, which is left as it is."""
    before = file.path.stat()
    later = msgspec.structs.replace(CONTENTS, position=Position("780", "server"), read_at=Moment.ago(1))
    file.write_age(later)
    contents = fresh(file).load()
    assert contents is not None
    assert (contents.position, contents.read_at) == (later.position, later.read_at)
    assert file.path.stat().st_ino == before.st_ino
    other = fresh(file)
    assert other.load() is not None
    other.write_age(msgspec.structs.replace(later, read_at=Moment.ago(0)))  # who only read it knows which one it is
    again = fresh(file).load()
    assert again is not None
    assert again.read_at.wall_s > later.read_at.wall_s


def test_an_age_that_is_damaged_or_another_snapshots_counts_for_nothing(file: SnapshotFile) -> None:
    """Then the snapshot is as old as it says itself."""
    age = file.path.with_name("api.snapshot.age")
    file.write_age(msgspec.structs.replace(CONTENTS, read_at=Moment.ago(0)))
    kept = age.read_bytes()
    for damaged in (b"", kept[:-10], b"{}"):
        age.write_bytes(damaged)
        contents = fresh(file).load()
        assert contents is not None
        assert contents.read_at == CONTENTS.read_at
    age.write_bytes(kept)
    file.write(msgspec.structs.replace(CONTENTS, products=(), read_at=Moment.ago(30)))
    contents = fresh(file).load()
    assert contents is not None
    assert 29 < (contents.read_at.age_s(Moment.ago(0)) or 0) < 40


def test_a_write_that_fails_leaves_the_one_before(file: SnapshotFile) -> None:
    """Without room for it the snapshot stays as it was, nothing is left over, and the error says where and why."""
    large = msgspec.structs.replace(CONTENTS, products=(APPLE,) * 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SnapshotNotWritten, match="too large; is there room"):
            file.write(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    contents = fresh(file).load()
    assert contents is not None
    assert len(contents.products) == 1
    assert list(file.path.parent.iterdir()) == [file.path]
    (file.path.parent / "file").touch()
    with pytest.raises(SnapshotNotWritten, match="exists"):
        SnapshotFile(file.path.parent / "file" / "api.snapshot").write(large)


_WRITER = """
import sys
from pathlib import Path
import msgspec
from standfest.catalogue.snapshot_file import SnapshotFile
file = SnapshotFile(Path(sys.argv[1]))
contents = file.load()
while True:
    version = contents.products[0].version + 1
    products = tuple(msgspec.structs.replace(product, version=version) for product in contents.products)
    contents = msgspec.structs.replace(contents, products=products)
    file.write(contents)
    print(version, flush=True)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(file: SnapshotFile) -> None:
    """Whenever the writer dies, the file is the one before or the new one; what it left over goes with the next."""
    file.write(msgspec.structs.replace(CONTENTS, products=(APPLE,) * 5_000))
    version, left_over = 1, 0
    for _ in range(8):
        command = [sys.executable, "-c", _WRITER, str(file.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            written = int(writer.stdout.readline())
            time.sleep(random.uniform(0, 0.1))  # somewhere in the next write
            writer.send_signal(signal.SIGKILL)
            assert writer.wait(10) == -signal.SIGKILL
            rest = [int(line) for line in writer.stdout if line.endswith("\n")]
        written = max([written, *rest])
        left_over += len(list(file.path.parent.glob("*.new")))
        contents = fresh(file).load()
        assert contents is not None
        assert {product.version for product in contents.products} <= {written, written + 1}
        assert len({product.version for product in contents.products}) == 1
        assert written > version
        version = contents.products[0].version
    assert left_over, "no writer died while it wrote"
    file.write(CONTENTS)
    assert list(file.path.parent.iterdir()) == [file.path]
