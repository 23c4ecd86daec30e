"""pg_rewind, and the WAL put back that it takes away although the rewound server needs it.

A rewound server recovers from the redo location of the last checkpoint that it has in common with its source.
pg_rewind (17 and later) keeps the segments from that checkpoint's record on, and removes older ones that the source
does not have any more. But redo begins where the checkpoint began, and under load that is segments before its record:
then the server asks its source for ever for WAL that nobody has (src/bin/pg_rewind/parsexlog.c, findLastCheckpoint).

Called as pg_rewind by Patroni. Standard library only, as it runs where much may be broken.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_BEGINS = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", re.MULTILINE)
_TIMELINE_DIGITS = 8
_LABEL_BYTES_MAX = 64 * 1024


def main(arguments: Sequence[str]) -> int:
    """`PG_REWIND OPTIONS...`: its exit code."""
    data = _target(arguments[1:])
    with _kept(data) if data else contextlib.nullcontext():
        return subprocess.run(arguments, check=False).returncode


def _target(options: Sequence[str]) -> Path | None:
    """The data directory that is rewound: `-D DIRECTORY`; None where nothing is, as for --help."""
    return Path(options[options.index("-D") + 1]) if "-D" in options[:-1] else None


@contextlib.contextmanager
def _kept(data: Path) -> Iterator[None]:
    """For the length of the block segments have a second name beside the data directory; then what is needed returns.

    What cannot be kept (another file system) is told, and the rewind goes on as it would without us.
    """
    wal, kept = data / "pg_wal", data.parent / f".{data.name}-wal-before-rewind"
    shutil.rmtree(kept, ignore_errors=True)
    try:
        kept.mkdir(mode=0o700)
        for segment in wal.iterdir():
            if _SEGMENT.fullmatch(segment.name):
                (kept / segment.name).hardlink_to(segment)
    except OSError as error:
        _tell(f"the WAL in {wal} is not kept: {error}")
    try:
        yield
        _put_back(wal, kept, data / "backup_label")
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _put_back(wal: Path, kept: Path, label: Path) -> None:
    """The segments from the one where recovery begins up to the first that is there, on that timeline."""
    try:
        with label.open(encoding="utf-8", errors="replace") as file:
            begins = _BEGINS.search(file.read(_LABEL_BYTES_MAX))
    except FileNotFoundError:
        return  # nothing was rewound
    if begins is None:
        _tell(f"{label} does not say where recovery begins")
        return
    first = begins[1]
    for segment in sorted(kept.iterdir()):
        if segment.name[:_TIMELINE_DIGITS] == first[:_TIMELINE_DIGITS] and segment.name >= first:
            if (wal / segment.name).exists():
                break
            segment.rename(wal / segment.name)
            _tell(f"kept {segment.name}, where recovery begins")
    directory = os.open(wal, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _tell(what: str) -> None:
    sys.stderr.write(f"standfest: {what}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
