"""How a drill that is under way is shown: one line a phase; on a terminal also a line with counts that moves."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from standfest.emergency.drills.runner import Phase


class DrillProgress:
    """One line a phase; on a terminal also a line with the counts that moves. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._began = time.monotonic()
        self._phase: Phase | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, phase: Phase, counts: Mapping[str, int]) -> None:
        """Takes what the drill tells."""
        if phase is not self._phase:
            self._phase = phase
            self._console.print(f"{self._elapsed_s():5.1f} s  {phase.value}", highlight=False)
        if self._console.is_terminal:
            self._live.update(Text(f"         {_counts(counts)}", style="dim"))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began


def _counts(counts: Mapping[str, int]) -> str:
    sent, acknowledged = counts.get("invoke", 0), counts.get("ok", 0)
    ended = acknowledged + counts.get("fail", 0) + counts.get("unknown", 0)
    return f"sent {sent}   acknowledged {acknowledged}   under way {sent - ended}"
