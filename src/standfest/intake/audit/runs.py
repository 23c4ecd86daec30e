"""The runs of this node's API processes: what their run files say, and which of them ended uncleanly."""

import contextlib
import datetime
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import UUID

import msgspec

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import is_closed, read_piece
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.windows import Window, Windows
from standfest.intake.receipt_log import receipt_files
from standfest.intake.receipt_runs import RUN_SUFFIX, WRITTEN_SUFFIX, read_marks
from standfest.telemetry.failures import facts_of

KEPT_S = 24 * 3_600.0
"""A run file is removed so long after its process ended, once the audit has removed the run's receipts."""
BEFORE_END_S = 10.0
"""Orders that were accepted so long before a process was last alive, or before the oldest receipt that it had not
written, may have lost their receipts with it: longer than an order's deadline."""
AFTER_END_S = 5.0
"""And so long afterwards: a process says once a second that it lives."""


THOROUGH = 10
"""Every so many looks the run files of ended processes are looked at as well."""


class _Run(msgspec.Struct):
    offset: int = 0
    service: str = ""
    began_at: float = 0.0
    ended: bool = False
    alive: bool = True
    alive_at: float = 0.0
    written_until: float = 0.0
    closed: dict[str, int] = {}
    unanswered: set[UUID] = set()
    """Orders whose clients got no definite answer."""
    damaged: int = 0


class Runs:
    """Follows the run files of one directory."""

    def __init__(
        self,
        directory: Path,
        follower: Follower,
        faults: Faults,
        sizes: Mapping[str, int] = {},
        kept: Windows | None = None,
    ) -> None:
        """
        Args:
            directory: where the files are.
            follower: of the receipts there.
            faults: where what is wrong with files goes.
            sizes: run files that were there before, and how long they were.
            kept: where unclean ends go whose run files are removed; None where nobody asks.
        """
        self._directory = directory
        self._follower = follower
        self._faults = faults
        self._before = dict(sizes)
        self._kept = Windows() if kept is None else kept
        self._runs: dict[str, _Run] = {}
        self._looks = 0
        self._numbered: dict[str, bool] = {}
        self._old: dict[str, Window] = {}
        self.windows: list[Window] = []
        """Unclean ends."""

    def sizes(self) -> dict[str, int]:
        """Run files and how long they are, those that are gone and should not be included."""
        return self._before | {name: run.offset for name, run in self._runs.items()}

    def alive(self) -> dict[str, float]:
        """Names of the runs whose process lives, and when it began."""
        return {
            name.removesuffix(RUN_SUFFIX): run.began_at
            for name, run in self._runs.items()
            if run.alive and not run.ended and run.service != "audit"
        }

    def look(self) -> None:
        """Reads what is new, and compares what finished files held with what was read of them."""
        thorough = self._looks % THOROUGH == 0
        self._looks += 1
        there = {path.name: path for path in self._directory.glob(f"*{RUN_SUFFIX}")}
        for name in self._before.keys() - there.keys():
            self._faults.note("receipts_missing", name, "the run file of a process is gone; only the audit removes it")
        for name, path in there.items():
            self._faults.clear("receipts_missing", name)
            known = self._runs.get(name)
            if known is None or known.alive or thorough:  # what has ended says nothing more
                with contextlib.suppress(FileNotFoundError):
                    self._read(name, path)
        stems = {_stem(path.name) for path in receipt_files(self._directory)}
        if thorough:
            self._look_at_old(stems - {name.removesuffix(RUN_SUFFIX) for name in there.keys() | self._before.keys()})
            self._remove_done(there, stems)
        ends = [_window(run) for run in self._runs.values() if not run.alive and not run.ended]
        self.windows = [*ends, *self._old.values()]

    def compare(self) -> None:
        """Compares finished files with what their writers noted; for when all files were read to their ends."""
        for run in self._runs.values():
            compare_counts(self._follower, self._faults, run.closed.items())

    def explains(self, order_id: UUID, accepted_at: float) -> str:
        """Why there may be no receipt of an order: `unanswered`, `unclean`, or nothing."""
        if any(order_id in run.unanswered for run in self._runs.values()):
            return "unanswered"
        return "unclean" if any(each.covers(accepted_at) for each in self.windows) else ""

    def _read(self, name: str, path: Path) -> None:
        run = self._runs.setdefault(name, _Run())
        try:
            run.alive = not is_closed(path)  # first: what is written before it ends is read below
            found = path.stat()
            run.alive_at = found.st_mtime
            run.written_until = _changed_at(path.with_suffix(WRITTEN_SUFFIX)) or run.alive_at
            data = path.read_bytes() if found.st_size > run.offset else b""
        except FileNotFoundError:
            raise
        except OSError as error:
            self._faults.note("receipts_unreadable", name, str(facts_of(error)["error"]))
            return
        self._faults.clear("receipts_unreadable", name)
        size = max(run.offset, self._before.get(name, 0))
        if found.st_size < size:
            self._faults.note("receipts_damaged", name, f"it was {size} bytes long and is {found.st_size}")
            return
        self._before[name] = size
        marks, damaged, end = read_marks(data[run.offset :])
        if damaged:
            self._faults.note("receipts_damaged", name, f"{damaged} lines are no notes of a process")
        elif not run.damaged:
            self._faults.clear("receipts_damaged", name)
        run.damaged += damaged
        run.offset += end
        for mark in marks:
            match mark.what:
                case "began":
                    run.service, run.began_at = mark.service, mark.at
                case "closed":
                    run.closed[mark.file] = mark.lines
                case "unanswered" if mark.order_id is not None:
                    run.unanswered.add(mark.order_id)
                case "ended":
                    run.ended = True
                case _:
                    pass

    def _look_at_old(self, stems: set[str]) -> None:
        """Runs without a run file: of the release before, whose lines have no numbers, or somebody took it away."""
        for stem in stems:
            numbered = self._numbered.get(stem)
            if numbered is None:
                numbered = self._is_numbered(stem)
                if numbered is None:
                    continue
                self._numbered[stem] = numbered
            if numbered:
                name = f"{stem}{RUN_SUFFIX}"
                self._faults.note(
                    "receipts_missing", name, "the run file of a process is gone; only the audit removes it"
                )
            else:
                self._old[stem] = self._lifetime(stem)
        for gone in self._old.keys() - stems:
            del self._old[gone]
        for gone in self._numbered.keys() - stems:
            del self._numbered[gone]

    def _is_numbered(self, stem: str) -> bool | None:
        for path in self._directory.glob(f"{stem}-*.jsonl"):
            with contextlib.suppress(OSError):
                for read in read_piece(path, 0, 1).lines:
                    return read.entry.seq is not None
        return None

    def _lifetime(self, stem: str) -> Window:
        paths = list(self._directory.glob(f"{stem}-*.jsonl"))
        until = max((_changed_at(path) for path in paths), default=0.0)
        return Window(_began(stem) - BEFORE_END_S, until + BEFORE_END_S)

    def _remove_done(self, there: Mapping[str, Path], stems: set[str]) -> None:
        for name, path in there.items():
            run = self._runs.get(name)
            if run is None or run.alive or run.alive_at >= time.time() - KEPT_S:
                continue
            if not run.ended and not self._kept.covers(run.alive_at):
                self._kept.add(_window(run))  # its file is removed the next time: what is kept is on disk by then
            elif name.removesuffix(RUN_SUFFIX) not in stems:
                del self._runs[name]
                self._before.pop(name, None)
                for done_with in (path, path.with_suffix(WRITTEN_SUFFIX)):
                    done_with.unlink(missing_ok=True)


def compare_counts(follower: Follower, faults: Faults, files: Iterable[tuple[str, int]]) -> None:
    """Notes files that hold fewer receipts than their process says."""
    for name, lines in files:
        read = follower.lines_of(name)
        subject = f"{name} as counted"
        if read is not None and read < lines:
            faults.note("receipts_missing", subject, f"its process wrote {lines} receipts into it, {read} are there")
        else:
            faults.clear("receipts_missing", subject)


def _window(run: _Run) -> Window:
    """Of an unclean end: from before the oldest receipt that was not written."""
    return Window(min(run.written_until, run.alive_at) - BEFORE_END_S, run.alive_at + AFTER_END_S)


def _changed_at(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _stem(name: str) -> str:
    return name.rsplit("-", 1)[0]


def _began(stem: str) -> float:
    """When a run began, by its name."""
    try:
        return datetime.datetime.strptime(f"{stem.rsplit('-', 1)[-1]}+0000", "%Y%m%dT%H%M%S.%fZ%z").timestamp()
    except ValueError:
        return 0.0
