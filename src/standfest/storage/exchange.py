"""Statements that go together: sent at once, prepared, and answered at once.

The way of every order. psycopg's own pipeline waits for the socket at every statement, looks for placeholders anew in
those that are longer than 4 KiB, and looks up a dumper for each value: half of a small batch's processor time
(docs/performance.md). So this speaks with libpq itself, by its manual's chapter "Pipeline Mode"; all else goes by
psycopg.
"""

import asyncio
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from standfest.storage.arrays import encode

Columns = Mapping[str, list[Any]]
Step = tuple[bytes, Columns]
"""A statement with a placeholder `%(name)s` for each list that it takes."""

_PLACEHOLDER = re.compile(rb"%\((\w+)\)s")


_Key = tuple[bytes, tuple[int, ...]]


class Exchange:
    """Speaks over one connection, which nobody else uses meanwhile, and remembers what was prepared there."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._prepared: dict[_Key, bytes] = {}
        self._named = 0

    async def run(self, *steps: Step) -> list[PGresult]:
        """Runs statements in their order, none after one that failed; the values in the results are text.

        Where this is cancelled or the connection breaks, the connection is closed.

        Raises:
            psycopg.Error: what failed first.
        """
        fresh: dict[_Key, bytes] = {}
        self._pgconn.enter_pipeline_mode()
        preparing = [each for statement, columns in steps for each in self._send(statement, columns, fresh)]
        self._pgconn.pipeline_sync()
        try:
            results = await self._results()
        except BaseException:
            self._pgconn.finish()  # answers are still to come, which would be taken for those of the next ones
            raise
        self._pgconn.exit_pipeline_mode()
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                error = error_from_result(result)
                if isinstance(error, InvalidSqlStatementName):
                    self._prepared.clear()  # psycopg deallocates all where it is told to roll back
                raise error
        self._prepared |= fresh
        return [result for result, is_prepare in zip(results, preparing, strict=True) if not is_prepare]

    def _send(self, statement: bytes, columns: Columns, fresh: dict[_Key, bytes]) -> list[bool]:
        """Sends a statement, and before it, where it is new here, its preparation (True)."""
        text, names = _numbered(statement)
        arrays = [encode(columns[name]) for name in names]
        key = (statement, tuple(oid for oid, _ in arrays))
        name = self._prepared.get(key) or fresh.get(key)
        preparing = [False]
        if name is None:
            name = fresh[key] = b"exchange_%d" % self._named
            self._named += 1
            self._pgconn.send_prepare(name, text, key[1])
            preparing = [True, False]
        self._pgconn.send_query_prepared(name, [array for _, array in arrays], [Format.BINARY] * len(arrays))
        return preparing

    async def _results(self) -> list[PGresult]:
        pgconn = self._pgconn
        while pgconn.flush():  # the server may want to be read from before it reads on
            await _ready(pgconn.socket, to_write=True)
            pgconn.consume_input()
        results: list[PGresult] = []
        while True:
            while pgconn.is_busy():
                await _ready(pgconn.socket, to_write=False)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                continue  # the end of one command's results
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)


async def _ready(descriptor: int, *, to_write: bool) -> None:
    """Waits until there is something to read, or room to write where that is wanted."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def done() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, done)
    if to_write:
        loop.add_writer(descriptor, done)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        if to_write:
            loop.remove_writer(descriptor)


@cache
def _numbered(statement: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The statement with `$1`, `$2` … for its placeholders, and their names in this order."""
    names = list(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    text = _PLACEHOLDER.sub(lambda match: b"$%d" % (names.index(match[1]) + 1), statement)
    return text, tuple(name.decode() for name in names)
