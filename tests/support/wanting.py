"""API processes, in the event loop of a test, that tell the doors how many orders each wants at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from standfest.interfaces.api.capacity import capacity_line
from standfest.interfaces.api.server import listen


@dataclass
class Wanting:
    """One such process."""

    address: str
    wants: int
    """Orders it wants at a time."""
    order_s: float
    """An order takes so long."""
    late_s: float = 0.0
    """It answers so late, checks as well as doors that ask what it wants."""
    under_way: int = 0
    most: int = 0
    """The most orders that were ever under way."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                if head.startswith(b"POST"):
                    await self._take()
                else:
                    await asyncio.sleep(self.late_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def _take(self) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.order_s)
        self.under_way -= 1

    async def tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says what it wants."""
        await asyncio.sleep(self.late_s)
        writer.write(capacity_line(self.wants, doors=1))
        writer.close()


@contextlib.asynccontextmanager
async def running(processes: list[Wanting], port: int, capacity_port: int) -> AsyncIterator[None]:
    """Runs them, each at its address, until the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        for process in processes:
            orders = await asyncio.start_server(process.answer, sock=listen(process.address, port))
            telling = await asyncio.start_server(process.tell, sock=listen(process.address, capacity_port))
            stack.callback(orders.close)
            stack.callback(telling.close)
        yield
