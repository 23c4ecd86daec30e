"""Whether a PostgreSQL server answers at all, without logging in."""

import asyncio
import os
import struct

from standfest.clients.asking import UnreachableError

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""SSLRequest of the frontend/backend protocol (PostgreSQL manual, "Message Formats"): every server answers S or N."""


async def answers(host: str, port: int, timeout_s: float) -> None:
    """Ask the server at `host`:`port` for a sign of life; UnreachableError where none comes in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_SSL_REQUEST)
                answer = await reader.read(1)
            finally:
                writer.close()
    except TimeoutError as error:
        raise UnreachableError(f"{host}:{port} did not answer within {timeout_s:g} s") from error
    except OSError as error:
        raise UnreachableError(
            f"{host}:{port} does not answer: {os.strerror(error.errno) if error.errno else error}"
        ) from error
    if answer not in (b"S", b"N"):
        raise UnreachableError(f"{host}:{port} closed the connection: PostgreSQL takes none there")
