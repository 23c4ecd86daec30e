"""Keeps the catalogue's snapshot on disk up to date, beside everything else and never in its way."""

import asyncio
import math
from typing import Protocol

import structlog

from standfest.catalogue.moment import Moment, now_s
from standfest.catalogue.snapshot_file import SnapshotFile, SnapshotNotWritten
from standfest.catalogue.snapshot_format import Contents
from standfest.telemetry.failures import facts_of

SPACING_S = 2.0
"""A change is on disk about so soon, and while things change the snapshot is written no more often."""
AGE_INTERVAL_S = 30.0
"""So often a snapshot that did not change gets its new age, and one that could not be written another try."""
LOAD_DEADLINE_S = 10.0
_SHARE = 20
"""Writing takes at most one part in so many of the time: a large catalogue is written less often."""

_log = structlog.get_logger(__name__)


class Source(Protocol):
    """What is kept."""

    @property
    def revision(self) -> int:
        """Grows with each change; 0 before the first one."""
        ...

    @property
    def read_at_s(self) -> float | None:
        """When the database was last read, on the clock of `now_s`; None before."""
        ...

    def contents(self) -> Contents:
        """What there is now, at `revision` and `read_at_s`."""
        ...


class SnapshotKeeper:
    """Writes a snapshot soon after a change, and its age every half minute."""

    def __init__(self, file: SnapshotFile) -> None:
        self._file = file
        self._revision = 0
        self._read_at_s: float | None = None
        self._tried_at_s = 0.0
        self._failures = 0

    @property
    def size_bytes(self) -> int:
        """Of the snapshot on disk."""
        return self._file.size_bytes

    @property
    def failures(self) -> int:
        """Writes that failed since the process began."""
        return self._failures

    @property
    def age_s(self) -> float:
        """How old what is on disk is, as far as this process read or wrote it; infinite where there is nothing."""
        return math.inf if self._read_at_s is None else now_s() - self._read_at_s

    async def load(self) -> tuple[Contents, float] | None:
        """What is on disk with its age in seconds, infinite where that is not known; None: nothing that can be used.

        A disk that does not answer is waited for no longer than LOAD_DEADLINE_S: the database may be there.
        """
        loading = asyncio.create_task(asyncio.to_thread(self._file.load))
        done, _ = await asyncio.wait({loading}, timeout=LOAD_DEADLINE_S)
        if not done:
            _log.error("catalogue_snapshot_not_read", error=f"the disk did not answer within {LOAD_DEADLINE_S:g} s")
            return None
        try:
            contents = loading.result()
        except Exception:  # noqa: BLE001 (whatever a file holds, the process starts; the log has it)
            _log.exception("catalogue_snapshot_not_read")
            return None
        if contents is None:
            return None
        age_s = contents.read_at.age_s(Moment.ago(0))
        if age_s is None:
            _log.warning(
                "catalogue_snapshot_age_unknown",
                error="it was read in the future: the clock was set back; it is not used before the database is read",
            )
            return contents, math.inf
        self._read_at_s = now_s() - age_s
        _log.info("catalogue_snapshot_loaded", products=len(contents.products), age_s=round(age_s, 1))
        return contents, age_s

    async def run(self, source: Source) -> None:
        """Writes until it is cancelled. A write that fails is logged, counted, and tried again."""
        while True:
            pause_s = await self._step(source)
            await asyncio.sleep(pause_s)

    async def _step(self, source: Source) -> float:
        """Writes what is to be written; says how many seconds to wait then."""
        began = now_s()
        revision, read_at_s = source.revision, source.read_at_s
        if read_at_s is None:
            return SPACING_S
        if revision == self._revision and (read_at_s == self._read_at_s or began - self._tried_at_s < AGE_INTERVAL_S):
            return SPACING_S
        write = self._file.write_age if revision == self._revision else self._file.write
        self._tried_at_s = began
        try:
            await asyncio.to_thread(write, source.contents())
        except SnapshotNotWritten as error:
            self._failures += 1
            _log.error("catalogue_snapshot_not_written", **facts_of(error))
            return AGE_INTERVAL_S
        except Exception:  # noqa: BLE001 (whatever is wrong with a file, orders are taken; the log has it)
            self._failures += 1
            _log.exception("catalogue_snapshot_not_written")
            return AGE_INTERVAL_S
        self._revision, self._read_at_s = revision, read_at_s
        return min(max(SPACING_S, _SHARE * (now_s() - began)), AGE_INTERVAL_S)
