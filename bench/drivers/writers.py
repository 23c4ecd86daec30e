"""The direct statement, once for each driver: two round trips with psycopg's pipeline, six with asyncpg."""

from __future__ import annotations

from typing import Any, Protocol

import asyncpg  # type: ignore[import-untyped]  # ships no types
import psycopg
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.array import ListBinaryDumper, ListDumper
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

from bench.drivers.workload import DETAILS, HEADS, STOCK, Batch, detail_columns
from standfest.storage.arrays import ArrayDumper


class Writer(Protocol):
    """One connection that writes batches."""

    async def write(self, batch: Batch) -> str:
        """Write the batch in one transaction; returns synchronous_standby_names as the transaction saw it."""

    async def close(self) -> None:
        """Close the connection."""


class ShortageError(Exception):
    """The workload has enough of everything: a shortage is a fault of the measurement."""


class PsycopgWriter:
    """psycopg 3 with pipelines, prepared statements and the order plane's own adaptation of lists."""

    list_dumper: type[Dumper] = ArrayDumper

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection

    @classmethod
    async def connect(cls, dsn: str) -> PsycopgWriter:
        """Connect, with what has to be registered."""
        connection = await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.AsyncRawCursor
        )
        # Fixed types, so that a statement is prepared once and not once for each size of integer.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.adapters.register_dumper(str, StrBinaryDumper)
        connection.adapters.register_dumper(list, cls.list_dumper)
        return cls(connection)

    async def write(self, batch: Batch) -> str:
        """Claim, savepoint, stock; then lines, events, outbox, barrier and commit."""
        control, heads, stock, details = (self.connection.cursor(binary=True) for _ in range(4))
        async with self.connection.pipeline():
            await control.execute(b"BEGIN")
            await heads.execute(HEADS, batch.heads)
            await control.execute(b"SAVEPOINT lines")
            await stock.execute(STOCK, batch.stock)
        refs = {order_id: ref for ref, order_id in await heads.fetchall()}
        if len(await stock.fetchall()) != len(batch.stock[0]):
            raise ShortageError
        async with self.connection.pipeline():
            await details.execute(DETAILS, detail_columns(batch, refs))
            await control.execute(b"COMMIT")
        ((_, names),) = await details.fetchall()
        return str(names)

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()


class TextListsPsycopgWriter(PsycopgWriter):
    """psycopg's first choice for lists."""

    list_dumper = ListDumper


class BinaryListsPsycopgWriter(PsycopgWriter):
    """psycopg's binary form of lists."""

    list_dumper = ListBinaryDumper


class AsyncpgWriter:
    """asyncpg with its statement cache."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @classmethod
    async def connect(cls, dsn: str) -> AsyncpgWriter:
        """Connect."""
        part = conninfo_to_dict(dsn)
        connection = await asyncpg.connect(
            host=part["host"], port=int(str(part["port"])), database=part["dbname"], user=part["user"],
            passfile=part["passfile"],
        )  # fmt: skip
        return cls(connection)

    async def write(self, batch: Batch) -> str:
        """The same statements, one after the other: asyncpg has no pipeline."""
        connection = self.connection
        await connection.execute("BEGIN")
        refs = {row[1]: row[0] for row in await connection.fetch(HEADS, *batch.heads)}
        await connection.execute("SAVEPOINT lines")
        if len(await connection.fetch(STOCK, *batch.stock)) != len(batch.stock[0]):
            raise ShortageError
        row = await connection.fetchrow(DETAILS, *detail_columns(batch, refs))
        await connection.execute("COMMIT")
        return str(row[1])

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()


WRITERS: dict[str, type[PsycopgWriter] | type[AsyncpgWriter]] = {
    "psycopg, text lists": TextListsPsycopgWriter,
    "psycopg, binary lists": BinaryListsPsycopgWriter,
    "psycopg, column-wise": PsycopgWriter,
    "asyncpg": AsyncpgWriter,
}
