"""What parts said in their logs of data that they cannot go on with: read from the end, and only what is recent."""

import contextlib
import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 64 * 1024
_LINE_CHARACTERS_MAX = 300

_TOO_FAR_BEHIND = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\S* UTC .*(requested WAL segment \S+ has already been removed)"
)
"""A walreceiver's words (walsender.c), after `log_line_prefix` as it is by default, in `log_timezone` UTC."""

_TOO_FAR_BEHIND_LATELY = datetime.timedelta(seconds=60)
"""A standby asks its primary every five seconds (wal_retrieve_retry_interval)."""

_DIED = re.compile(r'^\{"level":"(?:fatal|panic)"|^panic:|^unexpected fault address|^fatal error:')
"""How etcd's last words begin; what it says else, of a broken connection too, is no reason to end."""

_DAMAGED = re.compile(
    r'"error":"(?:proto|wal|walpb|snap|snappb|raft|bolt|mvcc): |crc mismatch|checksum error|invalid database|corrupt|'
    r"version mismatch|unexpected EOF|file size too small|"
    r"failed to (?:recover|read|open) (?:\w+ )*(?:WAL|snapshot|snap|backend|database|db)|"
    r"^panic:|^unexpected fault|fault$",
    re.IGNORECASE,
)
"""What etcd 3.4 and bbolt say before they end for the sake of their data (wal/, etcdserver/storage.go, raft/log.go)."""

_NOT_ITS_DATA = re.compile(r"no space left|permission denied|already in use|too many open files|allocate memory")
"""What making its data anew would not help against."""

_LAST_WORDS = 3
"""Lines with which etcd ends: as JSON, as a panic, and what Go adds."""


def too_far_behind(logs: Path, now: datetime.datetime, since: datetime.datetime | None = None) -> str:
    """What a node's PostgreSQL said lately of WAL that its primary has no more; empty where nothing of the kind.

    What it said before `since`, when its data was given up, was about other data.
    """
    newest = max(logs.glob("postgres-*.log"), key=lambda file: file.stat().st_mtime, default=None)
    for line in _last_lines(newest) if newest is not None else ():
        if found := _TOO_FAR_BEHIND.match(line):
            said_at = datetime.datetime.fromisoformat(found[1]).replace(tzinfo=datetime.UTC)
            lately = now - said_at < _TOO_FAR_BEHIND_LATELY and (since is None or said_at > since)
            return found[2] if lately else ""
    return ""


def damage(log: Path) -> str:
    """What a member of etcd that ends again and again said of its data at last; empty where nothing of the kind."""
    lines = list(_last_lines(log))
    died = next((number for number, line in enumerate(lines) if _DIED.search(line)), len(lines))
    words = [line[:_LINE_CHARACTERS_MAX] for line in lines[died : died + _LAST_WORDS] if _DIED.search(line)]
    if any(_NOT_ITS_DATA.search(line) for line in words):
        return ""
    return next((line for line in reversed(words) if _DAMAGED.search(line)), "")


def _last_lines(file: Path) -> Iterator[str]:
    """From the last one on backwards, as far as is read."""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - _READ_BYTES))
        yield from reversed(opened.read().decode(errors="replace").splitlines())
