"""pg_rewind, and the WAL put back that it takes away although the rewound server needs it.

A rewound server recovers from the redo location of the last checkpoint that it has in common with its source.
pg_rewind (17 and later) keeps the segments from that checkpoint's record on, and removes older ones that the source
does not have any more. But redo begins where the checkpoint began, and under load that is segments before its record:
then the server asks its source for ever for WAL that nobody has (src/bin/pg_rewind/parsexlog.c, findLastCheckpoint).

Called as pg_rewind by Patroni. Standard library only, as it runs where much may be broken.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_BEGINS = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", re.MULTILINE)
_MARK = "PG_VERSION"
"""A file that lives as long as a data directory: pg_rewind does not touch it, a clone has its own."""
_TIMELINE_DIGITS = 8
_LABEL_BYTES_MAX = 64 * 1024


def main(arguments: Sequence[str]) -> int:
    """`PG_REWIND OPTIONS...`: its exit code."""
    data = _target(arguments[1:])
    if data is None:
        return subprocess.run(arguments, check=False).returncode
    kept = data.parent / f".{data.name}-wal-before-rewind"  # beside it, as pg_rewind would remove it there
    _keep(data, kept)
    code = subprocess.run(arguments, check=False).returncode
    if code == 0 and _is_of(kept, data):
        _put_back(data / "pg_wal", kept, data / "backup_label")
        shutil.rmtree(kept, ignore_errors=True)
    return code


def _target(options: Sequence[str]) -> Path | None:
    """The data directory that is rewound: `-D DIRECTORY`; None where nothing is, as for --help."""
    return Path(options[options.index("-D") + 1]) if "-D" in options[:-1] else None


def _keep(data: Path, kept: Path) -> None:
    """Give each segment a second name. Where that fails the rewind goes on as it would without us.

    What is kept already is of an attempt that did not end well, and may have taken away what is needed; where the data
    directory was cloned anew since, it is of another one. What is there under a name now is right.
    """
    try:
        if not _is_of(kept, data):
            if kept.exists():
                shutil.rmtree(kept)
            kept.mkdir(mode=0o700)
            (kept / _MARK).hardlink_to(data / _MARK)
        for segment in (data / "pg_wal").iterdir():
            if _SEGMENT.fullmatch(segment.name):
                (kept / segment.name).unlink(missing_ok=True)
                (kept / segment.name).hardlink_to(segment)
    except OSError as error:
        _tell(f"the WAL in {data} is not kept: {error}")


def _is_of(kept: Path, data: Path) -> bool:
    """Whether what is kept is of this data directory, and of no earlier one in its place."""
    return (kept / _MARK).exists() and (kept / _MARK).samefile(data / _MARK)


def _put_back(wal: Path, kept: Path, label: Path) -> None:
    """The segments from the one where recovery begins up to the first that is there, on that timeline."""
    if not label.exists():
        return  # nothing had to be rewound
    with label.open(encoding="utf-8", errors="replace") as file:
        begins = _BEGINS.search(file.read(_LABEL_BYTES_MAX))
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
