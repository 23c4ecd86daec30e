"""Statements that go together: sent at once, prepared, and answered at once.

The way of every order. psycopg's own pipeline waits for the socket at every statement, looks for placeholders anew in
those that are longer than 4 KiB, and looks up a dumper for each value: half of a small batch's processor time
(docs/performance.md). So this speaks with libpq itself, by its manual's chapter "Pipeline Mode"; all other
statements go by psycopg.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from psycopg import OperationalError
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from standfest.storage.arrays import encode
from standfest.storage.libpq import ready

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
        encoded = [_encoded(*step) for step in steps]
        try:
            self._pgconn.enter_pipeline_mode()
            sent = [each for step in encoded for each in self._send(*step)]
            self._pgconn.pipeline_sync()
            results = await self._results()
            self._pgconn.exit_pipeline_mode()
        except BaseException as error:
            self._pgconn.finish()  # answers are still to come, which would be taken for those of the next ones
            if isinstance(error, OSError):
                raise OperationalError(f"the connection cannot be waited for: {error}") from error
            raise
        for prepared, result in zip(sent, results, strict=True):
            if prepared is not None and result.status != ExecStatus.COMMAND_OK:
                del self._prepared[prepared]
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                failure = error_from_result(result)
                if isinstance(failure, InvalidSqlStatementName):
                    self._prepared.clear()  # psycopg deallocates all where it is told to roll back
                raise failure
        return [result for prepared, result in zip(sent, results, strict=True) if prepared is None]

    def _send(self, key: _Key, text: bytes, arrays: list[bytes]) -> list[_Key | None]:
        """Sends a statement (None), and before it, where it is new here, its preparation (its key)."""
        sent: list[_Key | None] = [None]
        if key not in self._prepared:
            self._prepared[key] = b"exchange_%d" % self._named
            self._named += 1
            self._pgconn.send_prepare(self._prepared[key], text, key[1])
            sent = [key, None]
        self._pgconn.send_query_prepared(self._prepared[key], arrays, [Format.BINARY] * len(arrays))
        return sent

    async def _results(self) -> list[PGresult]:
        pgconn = self._pgconn
        while pgconn.flush():  # the server may want to be read from before it reads on
            await ready(pgconn.socket, to_read=True, to_write=True)
            pgconn.consume_input()
        results: list[PGresult] = []
        ended = True
        while True:
            while pgconn.is_busy():
                await ready(pgconn.socket, to_read=True)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                if ended:
                    raise OperationalError("the connection ended in the middle of an exchange")
                ended = True  # of one command's results
            elif result.status == ExecStatus.PIPELINE_SYNC:
                return results
            else:
                ended = False
                results.append(result)


def _encoded(statement: bytes, columns: Columns) -> tuple[_Key, bytes, list[bytes]]:
    """What it is prepared by, its text, its values. What is wrong with them is found here, before anything is sent."""
    text, names = _numbered(statement)
    arrays = [encode(columns[name]) for name in names]
    return (statement, tuple(oid for oid, _ in arrays)), text, [array for _, array in arrays]


@cache
def _numbered(statement: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The statement with `$1`, `$2` … for its placeholders, and their names in this order."""
    names = list(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    text = _PLACEHOLDER.sub(lambda match: b"$%d" % (names.index(match[1]) + 1), statement)
    return text, tuple(name.decode() for name in names)
