"""The direct statement, once for each driver: two round trips with psycopg's pipeline, six with asyncpg."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

import asyncpg
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import DecimalBinaryDumper, Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

from bench.drivers import packed
from bench.drivers.workload import (
    DETAIL_KINDS,
    DETAILS,
    HEAD_KINDS,
    HEADS,
    STOCK,
    STOCK_KINDS,
    Batch,
    Columns,
    detail_columns,
)


class Writer(Protocol):
    """One connection that writes batches."""

    async def write(self, batch: Batch) -> str:
        """Write the batch in one transaction; returns synchronous_standby_names as the transaction saw it."""

    async def close(self) -> None:
        """Close the connection."""


class ShortageError(Exception):
    """The workload has enough of everything: a shortage is a fault of the measurement."""


class PsycopgWriter:
    """psycopg 3, its own adaptation of lists."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection

    @classmethod
    async def connect(cls, dsn: str) -> PsycopgWriter:
        connection = await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.AsyncRawCursor
        )
        # Fixed types, so that a statement is prepared once and not once for each size of integer.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.adapters.register_dumper(str, StrBinaryDumper)
        connection.adapters.register_dumper(Decimal, DecimalBinaryDumper)
        for wrapper, dumper in packed.DUMPERS.items():
            connection.adapters.register_dumper(wrapper, dumper)
        return cls(connection)

    def parameters(self, kinds: tuple[str, ...], columns: Columns) -> list[Any]:
        return list(columns)

    async def write(self, batch: Batch) -> str:
        heads, stock, details = (self.connection.cursor(binary=True) for _ in range(3))
        async with self.connection.pipeline():
            await heads.execute(b"BEGIN")
            heads = self.connection.cursor(binary=True)
            await heads.execute(HEADS, self.parameters(HEAD_KINDS, batch.heads))
            await details.execute(b"SAVEPOINT lines")
            await stock.execute(STOCK, self.parameters(STOCK_KINDS, batch.stock))
        refs = {order_id: ref for ref, order_id in await heads.fetchall()}
        if len(await stock.fetchall()) != len(batch.stock[0]):
            raise ShortageError
        details = self.connection.cursor(binary=True)
        async with self.connection.pipeline():
            await details.execute(DETAILS, self.parameters(DETAIL_KINDS, detail_columns(batch, refs)))
            await stock.execute(b"COMMIT")
        row = await details.fetchone()
        assert row is not None
        return str(row[1])

    async def close(self) -> None:
        await self.connection.close()


class PackedPsycopgWriter(PsycopgWriter):
    """psycopg 3 with arrays encoded a column at a time."""

    def parameters(self, kinds: tuple[str, ...], columns: Columns) -> list[Any]:
        return list(packed.pack(kinds, columns))


class AsyncpgWriter:
    """asyncpg with its statement cache."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    @classmethod
    async def connect(cls, dsn: str) -> AsyncpgWriter:
        part = conninfo_to_dict(dsn)
        connection = await asyncpg.connect(
            host=part["host"], port=int(str(part["port"])), database=part["dbname"], user=part["user"],
            passfile=part["passfile"],
        )  # fmt: skip
        return cls(connection)

    async def write(self, batch: Batch) -> str:
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
        await self.connection.close()


WRITERS: dict[str, type[PsycopgWriter] | type[AsyncpgWriter]] = {
    "psycopg": PsycopgWriter,
    "psycopg-packed": PackedPsycopgWriter,
    "asyncpg": AsyncpgWriter,
}
