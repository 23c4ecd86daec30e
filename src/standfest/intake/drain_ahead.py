"""What a drainer's round does with the journal while the database works."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self
from uuid import UUID

import msgspec

from standfest.intake.journal import Journal, Progress, Waiting
from standfest.intake.left_aside import Pair

JOURNAL_DEADLINE_S = 3.0


class Ahead:
    """What a round does with the journal while the database works: it reads the next entries and removes the last."""

    def __init__(
        self, journal: Journal, order_ids: Sequence[UUID], part_max: int, progress: Progress | None = None
    ) -> None:
        self._journal = journal
        self.part_max = part_max
        """The next part that is read has so many entries at most."""
        # What was left aside then may be drained by now, in this round.
        self._progress = None if progress is None else msgspec.structs.replace(progress, aside=0)
        self._order_ids = order_ids
        self._asked = 0
        self._reading: asyncio.Task[list[Waiting]] | None = None
        self._removing: asyncio.Task[None] | None = None

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
        self._read_on()
        while self._reading is not None:
            entries = await self._reading
            self._read_on()
            yield entries

    def _read_on(self) -> None:
        part = self._order_ids[self._asked : self._asked + self.part_max]
        self._asked += len(part)
        self._reading = asyncio.create_task(self._journal.read(part, JOURNAL_DEADLINE_S)) if part else None

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
