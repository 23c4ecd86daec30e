"""One request to an etcd cluster, in as many attempts at its members as the deadline allows."""

from __future__ import annotations

import asyncio

from standfest.clients.etcd_attempt import (
    PATIENCE_MAX_S,
    Answered,
    Gateway,
    Members,
    NotSent,
    Outcome,
    Refused,
    Unanswered,
)
from standfest.clients.etcd_errors import (
    EtcdCompacted,
    EtcdFull,
    EtcdOutcomeUnknown,
    EtcdRejected,
    EtcdUnavailable,
    Refusal,
)

ATTEMPTS_UNDER_WAY_MAX = 3
"""Attempts of a request that are listened to at once; a further one takes the place of the oldest."""
FAILURES_IN_A_ROW_MAX = 3
"""Attempts that fail at once, one after the other, before a pause."""
PAUSE_S = 0.05
PATIENCE_GROWTH = 1.5
"""From one silent attempt of a request to the next, so that the last ones have time where all is slow."""
ATTEMPT_MIN_S = 0.02
"""With less time left no attempt begins: it would end in doubt, and for nothing."""


class Request:
    """One request. Silence and failures lead to the next member; an attempt that was sent is still listened to.

    A proposal that a follower forwarded to a leader that is dying is lost without a word, so waiting alone does not
    help; one that is merely slow is answered in the end, so giving it up at once does not help either.
    """

    def __init__(
        self,
        gateway: Gateway,
        members: Members,
        path: str,
        body: bytes,
        deadline_s: float,
    ) -> None:
        self._gateway = gateway
        self._members = members
        self._path = path
        self._body = body
        self._now = asyncio.get_running_loop().time
        self._deadline = self._now() + deadline_s
        self._under_way: dict[asyncio.Task[Outcome], str] = {}
        self._failures_in_a_row = 0
        self._silences = 0
        self._in_doubt = False
        self._reason = f"{deadline_s:g} s were too short"

    async def answer(self) -> bytes:
        """The body of the first good answer.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown, EtcdFull, EtcdRejected: there is none, as their docstrings say.
        """
        try:
            while (left_s := self._deadline - self._now()) > 0:
                if left_s >= ATTEMPT_MIN_S:
                    self._begin(left_s)
                answer = await self._listen()
                if answer is not None:
                    return answer
            if self._in_doubt or self._under_way:
                raise EtcdOutcomeUnknown(f"{self._path} was sent to etcd, and no answer came in time: {self._reason}")
            raise EtcdUnavailable(f"no member of etcd took {self._path}: {self._reason}")
        finally:
            for attempt in self._under_way:
                self._gateway.leave_alone(attempt)

    def _begin(self, left_s: float) -> None:
        if len(self._under_way) == ATTEMPTS_UNDER_WAY_MAX:
            oldest = next(iter(self._under_way))
            self._reason = f"{self._under_way.pop(oldest)} was silent"
            self._in_doubt = True
            oldest.cancel()
        address = self._members.choose(self._now())
        attempt = self._gateway.attempt(address, self._path, self._body, left_s)
        self._under_way[asyncio.create_task(attempt)] = address

    async def _listen(self) -> bytes | None:
        """The first good answer, or None once the next attempt is due: after silence, or soon after a failure."""
        newest = next(reversed(self._under_way), None)
        due = min(self._now() + self._patience_s(), self._deadline)
        while (left_s := due - self._now()) > 0:
            if not self._under_way:
                await asyncio.sleep(left_s)
                break
            ended, _ = await asyncio.wait(self._under_way, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            for attempt in ended:
                address, outcome = self._under_way.pop(attempt), attempt.result()
                if isinstance(outcome, Answered):
                    self._members.worked(address, outcome.took_s)
                    return outcome.body
                self._note(address, outcome)
            if newest in ended:
                due = min(self._now() + self._pause_s(), self._deadline)
        if newest in self._under_way:
            self._failures_in_a_row = 0
            self._silences += 1
            self._members.failed(self._under_way[newest], self._now())
        return None

    def _patience_s(self) -> float:
        return min(self._members.patience_s * PATIENCE_GROWTH**self._silences, PATIENCE_MAX_S)

    def _pause_s(self) -> float:
        """Members that fail at once are asked in turn, then all of them are left alone for a moment."""
        self._failures_in_a_row += 1
        return 0.0 if self._failures_in_a_row % FAILURES_IN_A_ROW_MAX else PAUSE_S

    def _note(self, address: str, outcome: NotSent | Unanswered | Refused) -> None:
        """Learns from an attempt that failed; raises where a further one would be of no use."""
        self._reason = outcome.reason
        kind = outcome.kind if isinstance(outcome, Refused) else None
        match kind:
            case Refusal.COMPACTED:
                raise EtcdCompacted(outcome.reason)
            case Refusal.INVALID:
                raise EtcdRejected(f"etcd does not take {self._path}: {outcome.reason}")
            case Refusal.FULL if not self._in_doubt:
                raise EtcdFull(f"etcd's file is at its quota: {outcome.reason}; compact, defragment, then disarm")
            case Refusal.FULL:
                raise EtcdOutcomeUnknown(f"{self._path} was sent, then etcd's file was full: {outcome.reason}")
        if kind is Refusal.UNCERTAIN or isinstance(outcome, Unanswered):
            self._in_doubt = True
        self._members.failed(address, self._now())
