"""libpq's calls that do not block, on the event loop: its manual, "PQconnectStartParams" and "PQisBusy".

psycopg's own `connect` leaves the socket of an attempt that was given up open until the garbage collector comes by. The
server keeps a place for it meanwhile, for up to `authentication_timeout`, while others look for one.
"""

import asyncio

from psycopg import OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, PGconn, PollingStatus, abc


async def connect(**parameters: str | int) -> abc.PGconn:
    """Connects as libpq's parameters say; `hostaddr` for the address, for libpq looks up a `host` while all else waits.

    Where this fails or is cancelled the socket is closed.

    Raises:
        psycopg.OperationalError: the server is not there, or refuses.
    """
    pgconn = PGconn.connect_start(make_conninfo("", **parameters).encode())
    try:
        status: int = PollingStatus.FAILED if pgconn.status == ConnStatus.BAD else PollingStatus.WRITING
        while status != PollingStatus.OK:
            if status == PollingStatus.FAILED:
                raise OperationalError(pgconn.get_error_message())
            to_read = status == PollingStatus.READING
            await ready(pgconn.socket, to_read=to_read, to_write=not to_read)
            status = pgconn.connect_poll()
        pgconn.nonblocking = 1
    except BaseException:
        pgconn.finish()
        raise
    return pgconn


async def ready(descriptor: int, *, to_read: bool = False, to_write: bool = False) -> None:
    """Waits until there is something to read, or room to write, whichever is wanted."""
    loop = asyncio.get_running_loop()
    happened = loop.create_future()

    def done() -> None:
        if not happened.done():
            happened.set_result(None)

    if to_read:
        loop.add_reader(descriptor, done)
    if to_write:
        loop.add_writer(descriptor, done)
    try:
        await happened
    finally:
        if to_read:
            loop.remove_reader(descriptor)
        if to_write:
            loop.remove_writer(descriptor)
