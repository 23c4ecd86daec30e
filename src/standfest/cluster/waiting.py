"""Waiting for a condition: with a deadline, saying what is waited for, and failing with the last evidence."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from standfest.errors import StandfestError

_POLL_S = 0.25


class NotReadyError(StandfestError):
    """Something did not become ready before its deadline."""


class Progress(Protocol):
    """Where a long command says what it is doing."""

    def doing(self, what: str) -> None:
        """`what` has begun, and is waited for."""

    def done(self, what: str) -> None:
        """`what` is reached."""


class Silent:
    """Progress where the caller has its own."""

    def doing(self, what: str) -> None:
        """Says nothing."""

    def done(self, what: str) -> None:
        """Says nothing."""


async def until(what: str, missing: Callable[[], Awaitable[str]], timeout_s: float, progress: Progress) -> None:
    """Ask `missing` again and again until it answers "" (nothing is missing any more).

    NotReadyError names what was waited for and what was missing at the last look.
    """
    progress.doing(what)
    asked = time.monotonic()
    deadline = asked + timeout_s
    while gap := await missing():
        now = time.monotonic()
        if now >= deadline:
            raise NotReadyError(f"waited {timeout_s:.0f} s for {what}: {gap}")
        # On a busy machine asking takes from what is waited for: half of the time at most goes into it.
        await asyncio.sleep(max(_POLL_S, now - asked))
        asked = time.monotonic()
    progress.done(what)
