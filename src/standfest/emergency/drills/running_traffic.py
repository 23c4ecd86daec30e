"""The drill's side of the traffic: the process that sends is started, let go, stopped, and waited for."""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from standfest.emergency.drills.traffic.prepare import TrafficNotReady
from standfest.emergency.drills.traffic_process import Traffic
from standfest.errors import StandfestError

READY_TIMEOUT_S = 60.0
ENDS_AFTER_S = 15.0
"""How long the process may take beyond its client's deadline."""
POLL_S = 0.1


class TrafficBroke(StandfestError):
    """The process that sends ended before it was told to, or not when it was: its history proves nothing."""


class RunningTraffic:
    """Made by `traffic`."""

    def __init__(self, given: Traffic, process: asyncio.subprocess.Process) -> None:
        self._given = given
        self._process = process
        self._reading: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()
        """Lines of the history so far, by op."""
        self.error = ""

    async def ready(self) -> None:
        """Hands over what is to be sent, and waits until it is in catalogue and stock; TrafficNotReady otherwise."""
        self._write(self._given.order())
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                told = await self._line()
        except TimeoutError:
            raise TrafficNotReady(f"the traffic was not prepared within {READY_TIMEOUT_S:.0f} s") from None
        if told is None or not told.get("ready"):
            raise TrafficNotReady(str((told or {}).get("error", "the traffic ended before it began")))

    def go(self) -> None:
        """Lets it send."""
        self._write(b"go\n")
        self._reading = asyncio.create_task(self._read())

    async def first_acknowledged(self, timeout_s: float) -> None:
        """Waits for the first acknowledgement; TrafficBroke after the timeout."""
        if not await self.acknowledged_within(timeout_s):
            raise TrafficBroke(
                f"no order was acknowledged within {timeout_s:.0f} s{self._why()}: see `standfest doctor`"
            )

    async def acknowledged_within(self, timeout_s: float) -> bool:
        """Waits for the first acknowledgement; False after the timeout, or where the process ended."""
        deadline = time.monotonic() + timeout_s
        while not self.counts["ok"]:
            if self.ended or time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    @property
    def pid(self) -> int:
        """Of the process that sends."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process sends no more."""
        return self._process.returncode is not None

    async def finish(self) -> None:
        """No further arrivals; waits for the last answers. TrafficBroke where the process does not end well."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        timeout_s = self._given.deadline_s * 2 + ENDS_AFTER_S
        try:
            async with asyncio.timeout(timeout_s):
                if self._reading is not None:
                    await self._reading
                code = await self._process.wait()
        except TimeoutError:
            raise TrafficBroke(f"the traffic did not end within {timeout_s:.0f} s after its last order") from None
        if code:
            raise TrafficBroke(f"the process that sends ended with {code}{self._why()}")

    def _why(self) -> str:
        return f" ({self.error})" if self.error else ""

    async def _read(self) -> None:
        while (told := await self._line()) is not None:
            self.counts = Counter(told.get("counts", self.counts))
            self.error = told.get("error", self.error)

    async def _line(self) -> dict[str, Any] | None:
        line = b"" if self._process.stdout is None else await self._process.stdout.readline()
        return json.loads(line) if line else None

    def _write(self, line: bytes) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the traffic has no standard input")
        self._process.stdin.write(line)

    async def end(self) -> None:
        """Kills what still runs."""
        if self._reading is not None:
            self._reading.cancel()
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def traffic(given: Traffic) -> AsyncIterator[RunningTraffic]:
    """The process that sends, prepared; it is gone when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "standfest.emergency.drills.traffic_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # An interrupt from the terminal is for the drill, which tells this process to stop and waits for it.
        start_new_session=True,
    )
    running = RunningTraffic(given, process)
    try:
        await running.ready()
        yield running
    finally:
        await running.end()
