"""The reference: pgbench writes the rows that the product writes, one prepared statement and transaction an order.

It writes them to tables of its own in the schema `reference`, made like the product's: to the running audit, orders
that nobody placed would be findings.
"""

import json
import os
import re
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from standfest.scaling.bench.child import BenchFailed, output
from standfest.scaling.bench.requests import agreed

ENDS_AFTER_S = 30.0
"""How long pgbench may take beyond the time that it was given."""
SECONDS_MAX = 16
"""Where no transaction ended in so many seconds, or in the time that was asked for, there is no rate."""
FILL_ORDERS = 10_000
"""In one transaction."""
TABLES = ("stock", "orders", "order_line", "order_event", "change")
_SCRIPT, _FILL = "reference.sql", "fill.sql"


@dataclass(frozen=True)
class Reference:
    """What pgbench reached."""

    orders_per_s: float
    p50_ms: float


@dataclass(frozen=True)
class Writing:
    """Where pgbench writes, and what it has to know of it."""

    pgbench: Path
    conninfo: str
    """libpq's, of the role that the product writes with; holds the password."""
    owner: str
    """The same of the role that owns the schema."""
    client: str
    """Id of the client whose orders they are."""
    first_product: int
    """Id of the first of the benchmarks' products; those of the others follow."""

    async def run(self, run: str, clients: int, seconds: int) -> Reference:
        """Writes for so many seconds over so many connections; longer where a slow machine ends no transaction in that
        time. Raises BenchFailed."""
        while True:
            said, reached = await self._run(run, clients, seconds)
            if reached is not None:
                return reached
            if seconds >= SECONDS_MAX:
                raise BenchFailed(f"pgbench told no rate: {said.strip()[-500:]}")
            seconds *= 2

    async def _run(self, run: str, clients: int, seconds: int) -> tuple[str, Reference | None]:
        """What pgbench said, and what it reached; None where no transaction ended."""
        given = {
            "client": self.client,
            "first_product": self.first_product,
            "run": run,
            "agreed": json.dumps(agreed(0)),
        }
        with (
            tempfile.TemporaryDirectory(prefix="standfest-bench-") as directory,
            as_file(files(__package__) / _SCRIPT) as script,
        ):
            target, environment = _without_password(self.conninfo, Path(directory))
            command = [
                *(str(self.pgbench), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
                *(f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}"),
                *("--log", f"--log-prefix={directory}/log"),
                *(f"--define={name}={value}" for name, value in given.items()),
                target,
            ]
            said = (await output("pgbench", command, seconds + ENDS_AFTER_S, environment=environment)).decode()
            rate = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
            times = list(_times_ms(Path(directory)))
        if rate is None or not times:
            return said, None
        return said, Reference(float(rate[1]), round(statistics.median(times), 3))

    async def make_tables(self) -> None:
        """Makes the reference's tables, like the product's in all but their rows; the stock is copied."""
        async with await psycopg.AsyncConnection.connect(self.owner, autocommit=True) as connection:
            await connection.execute("DROP SCHEMA IF EXISTS reference CASCADE")
            await connection.execute("CREATE SCHEMA reference")
            for table in map(sql.Identifier, TABLES):
                await connection.execute(
                    sql.SQL("CREATE TABLE reference.{0} (LIKE public.{0} INCLUDING ALL)").format(table)
                )
                asking = sql.SQL(
                    "SELECT coalesce(array_to_string(reloptions, ', '), '') FROM pg_class WHERE oid = {}::regclass"
                )
                named = asking.format(sql.Literal(f"public.{table.as_string()}"))
                ((options,),) = await (await connection.execute(named)).fetchall()
                if options:
                    await connection.execute(
                        sql.SQL("ALTER TABLE reference.{} SET ({})").format(table, sql.SQL(options))
                    )
            await connection.execute("INSERT INTO reference.stock SELECT * FROM public.stock")
            user = sql.Identifier(str(conninfo_to_dict(self.conninfo)["user"]))
            await connection.execute(sql.SQL("GRANT USAGE ON SCHEMA reference TO {}").format(user))
            granting = "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA reference TO {}"
            await connection.execute(sql.SQL(granting).format(user))

    async def fill(self, among: int) -> None:
        """Adds orders until there are `among`, without their taking anything from stock."""
        text = (files(__package__) / _FILL).read_bytes()
        async with await psycopg.AsyncConnection.connect(self.owner, autocommit=True) as connection:
            counting = "SELECT count(*) FROM orders WHERE client_id = %s"
            ((there,),) = await (await connection.execute(counting, [self.client])).fetchall()
            given = {"client": self.client, "first_product": self.first_product, "agreed": json.dumps(agreed(0))}
            while there < among:
                orders = min(among - there, FILL_ORDERS)
                await connection.execute(text, given | {"orders": orders})
                there += orders
            # Statistics and the visibility map are those of a table that has been so large for a while.
            await connection.execute("VACUUM (ANALYZE) orders, order_line, order_event, change")


def _without_password(conninfo: str, directory: Path) -> tuple[str, dict[str, str]]:
    """The target for a command line, which everybody may read, and an environment with a file for the password."""
    part = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    file = directory / "pgpass"
    file.touch(mode=0o600)
    escaped = part.pop("password").replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"*:*:*:*:{escaped}\n")
    target = " ".join(f"{name}='{value}'" for name, value in part.items())
    return target, os.environ | {"PGPASSFILE": str(file), "PGOPTIONS": "-c search_path=reference"}


def _times_ms(directory: Path) -> Iterator[float]:
    """The third column of pgbench's logs is a transaction's time in microseconds."""
    for log in directory.glob("log.*"):
        for line in log.read_text().splitlines():
            yield int(line.split()[2]) / 1000
