"""Receipt files that the audit itself removed: of each run the ranges of their numbers, of which there are few.

A run numbers its files upwards, and they are removed oldest first, so that one range is the rule. A number between two
ranges is a file that the audit did not remove.
"""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

RANGES_MAX = 2_000
"""Ranges that are remembered, of all runs; of more those of the run are forgotten of which none was removed for
longest."""
_NAMES_MAX = 2_000  # that the release before remembered

Ranges = dict[str, list[tuple[int, int]]]
"""Run -> first and last number of files that were removed, lowest first."""
KeptLeft = Mapping[str, Sequence[tuple[int, int]]] | Sequence[str]
"""Such ranges, or names of files, which the release before kept."""


class Left:
    """Which files the audit removed."""

    def __init__(self, kept: KeptLeft = ()) -> None:
        self._ranges: Ranges = {}
        if isinstance(kept, Mapping):
            self._ranges.update((run, list(ranges)) for run, ranges in kept.items())
        else:
            self._take_names(kept)

    def __contains__(self, name: str) -> bool:
        run, number = _parted(name)
        ranges = self._ranges.get(run, [])
        before = bisect_right(ranges, number, key=lambda each: each[0])
        return before > 0 and number <= ranges[before - 1][1]

    def add(self, name: str) -> None:
        """Notes a file that is about to be removed."""
        run, number = _parted(name)
        self._ranges[run] = _joined(self._ranges.pop(run, []), number)  # the run comes last by that
        while sum(map(len, self._ranges.values())) > RANGES_MAX:
            oldest = next(iter(self._ranges))
            del self._ranges[oldest][0]
            if not self._ranges[oldest]:
                del self._ranges[oldest]

    def kept(self) -> Ranges:
        """All of them, to be kept on disk."""
        return {run: list(ranges) for run, ranges in self._ranges.items()}

    def _take_names(self, names: Sequence[str]) -> None:
        for name in names:
            self.add(name)
        if len(names) >= _NAMES_MAX:  # it had forgotten those before them
            for ranges in self._ranges.values():
                ranges[0] = (min(1, ranges[0][0]), ranges[0][1])


def _joined(ranges: list[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """Ranges with one more number."""
    first = last = number
    apart: list[tuple[int, int]] = []
    for lowest, highest in ranges:
        if highest < number - 1 or number + 1 < lowest:
            apart.append((lowest, highest))
        else:
            first, last = min(first, lowest), max(last, highest)
    insort(apart, (first, last))
    return apart


def _parted(name: str) -> tuple[str, int]:
    """Run and number of a file; of a name that no process gives the whole name, and 0."""
    run, _, number = name.removesuffix(".jsonl").rpartition("-")
    return (run, int(number)) if run and number.isdecimal() else (name, 0)
