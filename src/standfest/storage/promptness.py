"""Whether durable answers come in time, or have failed to for so long that asking for one is no use. Pure.

An order that is sent and not answered within its time is the worst outcome of all: nobody knows what became of it.
Where neither database nor journal is prompt it had better be refused at once. What goes on by itself, proofs of reads
(`proof.py`), probes and synthetic orders, finds out when one of them is again.
"""

PROMPT_S = 2.0
"""An answer is prompt within so long: an order has 4 s, and waits for others before it is sent."""
GIVEN_UP_S = 3.0
"""Asking is no use once it has failed for so long. Of a journal without a leader the first failure takes 3 s: elections
and failovers end before. A process that stood still itself has failed for no time when it goes on."""
PROMPT_AGAIN = 3
"""So many prompt answers in a row make it worth while again: a starved machine gives one now and then."""


class Promptness:
    """Of one of them, as one process sees it; times of day are monotonic seconds."""

    def __init__(self) -> None:
        self._failing_since: float | None = None
        self._given_up = False
        self._in_a_row = 0

    def answered(self, took_s: float, now: float) -> None:
        """Something was durable after so long."""
        if took_s > PROMPT_S:
            self.failed(now)
            return
        self._in_a_row += 1
        self._given_up = self.given_up(now) and self._in_a_row < PROMPT_AGAIN
        self._failing_since = None

    def failed(self, now: float) -> None:
        """No answer came, or a late one, or it was no."""
        self._in_a_row = 0
        if self._failing_since is None:
            self._failing_since = now

    def given_up(self, now: float) -> bool:
        """Whether asking is no use. Where nothing was asked, nothing is known, and it is worth while."""
        self._given_up |= self._failing_since is not None and now - self._failing_since > GIVEN_UP_S
        return self._given_up
