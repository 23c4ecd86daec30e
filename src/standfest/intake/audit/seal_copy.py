"""The digests of all seals as this node has them: in memory, and a line each in a file that is flushed to the disk.

What could not be written is written later. A line that was cut off, as by a full disk or a loss of power, is no digest,
and the next one begins behind it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from standfest.intake.audit.faults import Faults
from standfest.telemetry.failures import facts_of

COPY_FILE = "audit.seals"
LOST_WITH_MACHINE_MAX = 1_000
"""So many digests at the end may be lost with the machine: a release before did not wait for the disk."""
SHOWN_S = 3_600.0
"""That digests are lost is a fault for so long at least: copied anew they are within seconds."""

_log = structlog.get_logger(__name__)


class SealCopy:
    """Block -> digest of its seal."""

    def __init__(self, directory: Path, faults: Faults, written: int = 0, *, booted: bool = False) -> None:
        """
        Args:
            directory: where the file is.
            faults: where it goes that digests are lost.
            written: how many the file had before.
            booted: the machine was started since then.
        """
        self._path = directory / COPY_FILE
        self._faults = faults
        self._digests = _read(self._path)
        self._unwritten: dict[int, bytes] = {}
        self._writing = asyncio.Lock()
        self.written = len(self._digests)
        """Digests that are on the disk."""
        lost = written - self.written
        if lost > 0:
            facts = {"had": written, "has": self.written, "booted": booted}
            _log.warning("audit_seals_lost", **facts, next="all seals are copied again")
        if lost > (LOST_WITH_MACHINE_MAX if booted else 0):
            faults.note("sealed", COPY_FILE, f"it has {self.written} digests of seals, and had {written}")

    def __len__(self) -> int:
        """How many digests are known, whether they are on the disk yet or not."""
        return len(self._digests)

    def __contains__(self, block: int) -> bool:
        """Whether a block's digest is known."""
        return block in self._digests

    def get(self, block: int) -> bytes | None:
        """The digest of a block's seal; None where it is not known."""
        return self._digests.get(block)

    def blocks(self) -> set[int]:
        """All blocks whose digests are known now."""
        return set(self._digests)

    async def add(self, digests: Mapping[int, bytes]) -> bool:
        """Takes digests of further blocks over, and writes them; whether all that are known are on the disk."""
        self._digests |= digests
        self._unwritten |= digests
        async with self._writing:
            new = dict(self._unwritten)
            if not new:
                return True
            try:
                await asyncio.to_thread(_append, self._path, new)
            except OSError as error:
                _log.error("audit_seals_not_kept", **facts_of(error), next="they are written later")
                return False
            for block in new:
                del self._unwritten[block]
            self.written += len(new)
        return True

    def is_whole(self) -> None:
        """Says that all seals which the database has are on the disk again, whatever was lost before."""
        found_at = self._faults.found_at("sealed", COPY_FILE)
        if found_at is not None and time.time() - found_at >= SHOWN_S:
            self._faults.clear("sealed", COPY_FILE)


def _read(path: Path) -> dict[int, bytes]:
    digests: dict[int, bytes] = {}
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        _log.error("audit_seals_not_read", **facts_of(error))
        return {}
    for line in lines:
        block, _, digest = line.partition(" ")
        if block.isdigit() and len(digest) == 64 and not digest.strip("0123456789abcdef"):
            digests.setdefault(int(block), bytes.fromhex(digest))
    return digests


def _append(path: Path, new: Mapping[int, bytes]) -> None:
    """Appends digests, and waits for the disk; where that fails the file is as long as before, if that can be done.

    Raises:
        OSError: they are not there for certain.
    """
    lines = b"".join(b"%d %b\n" % (block, digest.hex().encode()) for block, digest in new.items())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        end = os.fstat(descriptor).st_size
        cut_off = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        try:
            rest = b"\n" + lines if cut_off else lines
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)
    if end == 0:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
