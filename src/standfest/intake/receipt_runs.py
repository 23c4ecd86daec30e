"""The run file of a process that gives receipts: when it began, what its files held, and how it ended.

It lies beside the receipts (`<run>.run`), is locked (flock) for as long as the process lives, and its modification time
is set once a second. A file without an `ended` note whose lock is free is an unclean end: of orders that were accepted
about then the receipts may be lost with the process.

An empty file beside it (`<run>.written`) says by its modification time until when all receipts and notes are in files.
To set a time takes no space: both are set as well while nothing can be written.
"""

import contextlib
import fcntl
import os
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Literal

import msgspec

RUN_SUFFIX = ".run"
WRITTEN_SUFFIX = ".written"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_encode = msgspec.json.Encoder(uuid_format="hex").encode


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """A note of a process about its receipts."""

    at: float
    """Seconds since 1970."""
    what: Literal["began", "closed", "unanswered", "ended"]
    """closed: one of its files. unanswered: an order whose client got no definite answer."""
    file: str = ""
    """Name of the file that was closed."""
    lines: int = 0
    """Receipts in that file; of `ended`, in all files of the run."""
    order_id: uuid.UUID | None = None
    """The order without a definite answer."""
    service: str = ""
    boot: str = ""
    """The machine's boot id when the process began."""


class _Line(msgspec.Struct, frozen=True):
    crc32: int
    mark: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_mark = msgspec.json.Decoder(Mark).decode


def began_mark(service: str) -> Mark:
    """The first note of a process."""
    return Mark(time(), "began", service=service, boot=boot_id())


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class RunFile:
    """The run file that a process writes. Used by one thread at a time.

    It remembers its lines, of which there are as many as orders without an answer, to write them again where somebody
    took the file away.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written_until = path.with_suffix(WRITTEN_SUFFIX)
        self._written: list[bytes] = []
        self._descriptor: int | None = None

    def is_gone(self) -> bool:
        """Whether the path is not the open file any more: somebody removed or replaced it."""
        if self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        try:
            there = self.path.stat()
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)

    def write(self, marks: Sequence[Mark]) -> None:
        """Appends notes, synchronised, and says that the process lives.

        Raises:
            OSError: none of the notes is written.
        """
        if self._descriptor is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._written and not os.fstat(self._descriptor).st_size:
                self._append(b"".join(self._written))  # somebody took it away
        os.utime(self._descriptor)  # first: it takes no space
        if marks:
            lines = [_line_of(mark) for mark in marks]
            self._append(b"".join(lines))
            self._written += lines

    def say_alive(self, written_until: float) -> None:
        """Says that the process lives, and until when all is written, in seconds since 1970. From any thread.

        What cannot be said is said the next time.
        """
        with contextlib.suppress(OSError):
            os.utime(self.path)
        with contextlib.suppress(OSError):
            if not self._written_until.exists():
                self._written_until.touch(mode=0o600)
            os.utime(self._written_until, (written_until, written_until))

    def _append(self, data: bytes) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            raise OSError("no run file is open")
        size, rest = os.fstat(descriptor).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def close(self) -> None:
        """Lets go of the file and its lock."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _line_of(mark: Mark) -> bytes:
    data = _encode(mark)
    return b'{"crc32":%d,"mark":%b}\n' % (zlib.crc32(data), data)


def read_marks(data: bytes) -> tuple[list[Mark], int, int]:
    """The notes in some bytes of a run file, how many whole lines are none, and where the last whole line ends."""
    marks: list[Mark] = []
    damaged, at = 0, 0
    while (end := data.find(b"\n", at)) >= 0:
        mark = _mark(data[at:end])
        if mark is None:
            damaged += 1
        else:
            marks.append(mark)
        at = end + 1
    return marks, damaged, at


def _mark(line: bytes) -> Mark | None:
    try:
        outer = _decode_line(line)
        return _decode_mark(outer.mark) if zlib.crc32(outer.mark) == outer.crc32 else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
