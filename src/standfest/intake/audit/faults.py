"""What is wrong with something else than one order: receipt files, stock, feed, seals, or the audit's own sight.

A fault stays until a later look finds the thing well, over restarts too; nobody can wave it away.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
import structlog

FAULTS_MAX = 1_000
"""So many are kept one by one; further ones are counted each time they are met, and kept once there is room."""

FaultKind = Literal[
    "receipts_missing",
    "receipts_damaged",
    "receipts_unreadable",
    "receipts_unwritten",
    "receipts_lost",
    "unreceipted",
    "sealed",
    "stock",
    "feed",
    "behind",
]
"""receipts_missing: receipts that were given, or read before, are in no file. receipts_lost: more than usual went with
processes that ended uncleanly. unreceipted: an order that nobody acknowledged. sealed: an order that was audited is
gone or another, or its seal is. behind: the audit has not looked at something for too long."""

_log = structlog.get_logger(__name__)


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    kind: FaultKind
    subject: str
    """What it is about: a file, an order, a product, an ingest position."""
    detail: str
    """In words, without personal data."""
    found_at: float
    """Seconds since 1970."""


class Faults:
    """All faults of one node, by kind and subject."""

    def __init__(self, kept: Iterable[Fault] = ()) -> None:
        self._faults: dict[tuple[FaultKind, str], Fault] = {}
        self._faults.update(((fault.kind, fault.subject), fault) for fault in kept if fault.kind != "behind")
        self._beyond: Counter[str] = Counter()

    def all(self) -> list[Fault]:
        """The faults that are kept, oldest first."""
        return list(self._faults.values())

    def found_at(self, kind: FaultKind, subject: str) -> float | None:
        """When a fault was found, in seconds since 1970; None where it is none, or not kept."""
        fault = self._faults.get((kind, subject))
        return None if fault is None else fault.found_at

    def counts(self) -> dict[str, int]:
        """Faults by kind, without kinds that have none."""
        return dict(Counter[str](kind for kind, _ in self._faults) + self._beyond)

    def note(self, kind: FaultKind, subject: str, detail: str) -> None:
        """Takes a fault over; one that is known gets the newer words."""
        known = self._faults.get((kind, subject))
        if known is None:
            _log.error("audit_fault", kind=kind, subject=subject, detail=detail)
            if len(self._faults) >= FAULTS_MAX:
                self._beyond[kind] += 1
                return
        found_at = time.time() if known is None else known.found_at
        self._faults[kind, subject] = Fault(kind, subject, detail, found_at)

    def clear(self, kind: FaultKind, subject: str) -> None:
        """Drops a fault that a later look found well."""
        gone = self._faults.pop((kind, subject), None)
        if gone is not None:
            self._beyond.clear()
            _log.warning("audit_fault_gone", kind=kind, subject=subject, reason="a later look finds it well")

    def leave(self, kind: FaultKind, among: Callable[[str], bool] = lambda _: True) -> None:
        """Drops faults with a subject `among` some that another node judges now: it finds what is wrong still."""
        for known_kind, subject in list(self._faults):
            if known_kind == kind and among(subject):
                del self._faults[kind, subject]
                self._beyond.clear()
                _log.warning("audit_fault_left", kind=kind, subject=subject, reason="another node judges it now")

    def replace(self, kind: FaultKind, found: dict[str, str], among: Callable[[str], bool] = lambda _: True) -> None:
        """Takes over what a look at all subjects `among` found: details by subject, all others are well."""
        for known_kind, subject in list(self._faults):
            if known_kind == kind and subject not in found and among(subject):
                self.clear(kind, subject)
        for subject, detail in found.items():
            self.note(kind, subject, detail)
