"""What a drainer's round does with the journal while the database works."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Self
from uuid import UUID

import msgspec

from standfest.intake.journal import Journal, Progress, Waiting
from standfest.intake.left_aside import Pair

JOURNAL_DEADLINE_S = 3.0
STRAINED_S = 0.1
"""A journal that takes so long to answer is strained, and new orders wait for it as well."""
GIVE_WAY_MAX_S = 0.5


class Ahead:
    """What a round does with the journal while the database works: it reads the next entries and removes the last."""

    def __init__(
        self, journal: Journal, order_ids: Sequence[UUID], batch_max: int, progress: Progress | None = None
    ) -> None:
        self._journal = journal
        # What was left aside then may be drained by now, in this round.
        self._progress = None if progress is None else msgspec.structs.replace(progress, aside=0)
        self._parts = [order_ids[start : start + batch_max] for start in range(0, len(order_ids), batch_max)]
        self._reading: asyncio.Task[list[Waiting]] | None = None
        self._removing: asyncio.Task[None] | None = None
        self.read_s = 0.0
        """How long the journal took to answer the last read."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits for the last removal, which has a deadline of its own: what is written need not be written again."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._removing is not None:
            removed = await asyncio.gather(self._removing, return_exceptions=True)
            if kind is None and isinstance(removed[0], BaseException):
                raise removed[0]

    async def __aiter__(self) -> AsyncIterator[list[Waiting]]:
        """The entries, part by part."""
        for number, part in enumerate(self._parts):
            entries = await (self._reading or self._read(part))
            self._reading = None
            if number + 1 < len(self._parts):
                self._reading = asyncio.create_task(self._read(self._parts[number + 1]))
            yield entries

    async def _read(self, part: Sequence[UUID]) -> list[Waiting]:
        began = time.monotonic()
        entries = await self._journal.read(part, JOURNAL_DEADLINE_S)
        self.read_s = time.monotonic() - began
        return entries

    async def remove(self, batch: Sequence[Pair], left: int) -> None:
        """Removes written entries; waits only for the removal before. `left`: see `Progress`."""
        if self._removing is not None:
            await self._removing
        if self._progress is not None:  # what was said to be left aside is all that can be removed after it
            aside = max(self._progress.aside - len(batch), 0)
            self._progress = msgspec.structs.replace(self._progress, aside=aside, left=left)
        self._removing = asyncio.create_task(self._journal.remove(batch, JOURNAL_DEADLINE_S, self._progress))

    async def say(self, progress: Progress) -> None:
        """Says how far the round came, once what it wrote is removed."""
        if self._removing is not None:
            await self._removing
        self._progress = progress
        await self._journal.say_progress(progress, JOURNAL_DEADLINE_S)


def give_way_s(read_s: float) -> float:
    """Seconds to pause where the journal took `read_s` to answer: new orders go before old ones."""
    return 0.0 if read_s < STRAINED_S else min(read_s, GIVE_WAY_MAX_S)
