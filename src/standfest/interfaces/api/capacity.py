"""Tells the doors how many orders this process wants at a time, as HAProxy's agent check asks.

A door opens a connection, reads one line, `maxconn:N M%`, and gives this process no more than N orders at a time from
then on (configuration manual of HAProxy 2.6, `agent-check`). The others wait at the door, or are refused there, which
costs a tenth of what it does here. By the weight, M%, a door compares how full processes are, not how many orders each
has. A door that gets no answer goes on with what it had.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable

OF_A_DOOR_MAX = 64
"""More than this no door gives. It is the weight of an API process at a door as well."""
_ANSWER_S = 1.0


@contextlib.asynccontextmanager
async def told_capacity(listener: socket.socket, limit: Callable[[], int], doors: int) -> AsyncIterator[None]:
    """Answers doors for as long as the block lasts.

    Args:
        listener: from `server.listen`; closed at the end.
        limit: how many orders may be under way in this process now.
        doors: how many doors share them.
    """

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(capacity_line(limit(), doors))
        with contextlib.suppress(OSError, TimeoutError):  # the door has gone: it asks again
            async with asyncio.timeout(_ANSWER_S):
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, sock=listener):
        yield


def capacity_line(limit: int, doors: int) -> bytes:
    """What one door is told: its share of the orders, one at least (0 would mean any number), and the same as a weight.

    The percentage is of the weight that this process has in a door's configuration, OF_A_DOOR_MAX, of which HAProxy
    takes the whole number below: rounded up here, it makes a weight equal to the share.
    """
    share = min(max(math.ceil(limit / max(doors, 1)), 1), OF_A_DOOR_MAX)
    return b"maxconn:%d %d%%\n" % (share, math.ceil(share * 100 / OF_A_DOOR_MAX))
