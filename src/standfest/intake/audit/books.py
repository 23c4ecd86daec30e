"""Stock and feed, by whoever has the duty: what is reserved, what was counted, and what the feed told.

Each statement sees one snapshot, so nothing that is under way looks wrong. Whoever calls decides how long to rest: a
look takes as long as the tables are large.
"""

import time
from pathlib import Path

import msgspec
import psycopg
import structlog

from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.intake.audit.faults import Faults
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.storage.statements import statement
from standfest.telemetry.failures import facts_of

DEADLINE_S = 60.0
"""For one look: tens of millions of order lines."""
BOOKS_FILE = "audit.books"
COUNTS_MAX = 200_000
"""Products whose counts are remembered on disk."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)
_CATALOGUE = "catalogue"
_log = structlog.get_logger(__name__)


class _Count(msgspec.Struct, frozen=True, array_like=True):
    on_hand: int
    version: int


class _Kept(msgspec.Struct):
    """What is remembered of the last look."""

    upto: int = 0
    """No transaction below this one was running any more."""
    catalogue: str = "0"
    """Sum of what the feed had of the catalogue below `upto`."""
    counts: dict[str, _Count] = {}
    """Product -> what was counted of it."""


class Books:
    """Looks at stock and feed."""

    def __init__(self, directory: Path, database: Database, faults: Faults) -> None:
        """`database`: a pool of one connection, for this alone: a look may take long."""
        self._path = directory / BOOKS_FILE
        self._database = database
        self._faults = faults
        self._kept = _read(self._path)
        self.passed_at: float | None = None
        """When the last look ended, in seconds since 1970; None: there was none yet."""
        self.began_at = time.time()

    @property
    def age_s(self) -> float:
        """Time since the last look ended; while there was none, since this process began."""
        return max(0.0, time.time() - (self.began_at if self.passed_at is None else self.passed_at))

    async def look(self) -> bool:
        """Looks at all of it once; whether it could. What was read counts once it is proven."""
        kept = msgspec.structs.replace(self._kept)
        try:
            async with self._database.read(DEADLINE_S) as connection:
                await connection.execute(f"SET LOCAL statement_timeout = '{DEADLINE_S:g}s'".encode())
                stock = await _differences(connection) | await _recount(connection, kept)
                feed = await _feed(connection, kept)
        except _COULD_NOT as error:
            _log.info("audit_books_not_read", **facts_of(error))
            return False
        self._kept = kept
        self._faults.replace("stock", stock)
        self._faults.replace("feed", feed)
        self.passed_at = time.time()
        return True

    def leave(self) -> None:
        """Lets go of what was found: another node looks now."""
        self._faults.leave("stock")
        self._faults.leave("feed")

    def write(self) -> None:
        """Keeps what is remembered on disk."""
        kept = self._kept if len(self._kept.counts) <= COUNTS_MAX else msgspec.structs.replace(self._kept, counts={})
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            temporary.write_bytes(msgspec.json.encode(kept))
            temporary.chmod(0o600)
            temporary.replace(self._path)
        except OSError as error:
            _log.error("audit_books_not_kept", **facts_of(error))


async def _differences(connection: Connection) -> dict[str, str]:
    cursor = await connection.execute(statement("audit/stock_differences"))
    found: dict[str, str] = {}
    for sku, reserved, promised, backordered, waiting in await cursor.fetchall():
        if reserved != promised:
            found[f"{sku}: reserved"] = f"{reserved} is reserved, and {promised} promised to orders"
        if backordered != waiting:
            found[f"{sku}: backordered"] = f"{backordered} is counted as waited for, and orders wait for {waiting}"
    return found


async def _recount(connection: Connection, kept: _Kept) -> dict[str, str]:
    """Products whose count changed although nothing was told of it, or whose version went back."""
    cursor = await connection.execute(statement("audit/stock_counts"))
    counts = {sku: _Count(on_hand, version) for sku, on_hand, version in await cursor.fetchall()}
    moved = [
        sku
        for sku, count in counts.items()
        if sku in kept.counts
        and (kept.counts[sku].on_hand != count.on_hand or count.version < kept.counts[sku].version)
    ]
    told: dict[str, int] = {}
    if moved:
        values = {"since": str(kept.upto), "sku": moved}
        told = dict(await (await connection.execute(statement("audit/stock_changes"), values)).fetchall())
    found: dict[str, str] = {}
    for sku in moved:
        before, after = kept.counts[sku], counts[sku]
        if after.version < before.version:
            found[f"{sku}: version"] = f"it was {before.version} and is {after.version}"
        elif not before.version < told.get(sku, 0) <= after.version:
            detail = f"on hand was {before.on_hand} and is {after.on_hand}, and the feed tells of no change"
            found[f"{sku}: on hand"] = detail
        if f"{sku}: on hand" in found or f"{sku}: version" in found:
            counts[sku] = before
    gone = {sku: count for sku, count in kept.counts.items() if sku not in counts}
    found |= {f"{sku}: row": "the product's stock is gone" for sku in gone}
    kept.counts = counts | gone
    return found


async def _feed(connection: Connection, kept: _Kept) -> dict[str, str]:
    values = {"before": str(kept.upto), "synthetic": SYNTHETIC_CLIENT}
    row = await (await connection.execute(statement("audit/feed_sums"), values)).fetchone()
    if row is None:
        return {}
    well, before, now, upto = row
    found: dict[str, str] = {}
    if before != kept.catalogue and int(upto) >= kept.upto:
        found[_CATALOGUE] = "what it told of products and stock is not what it told before"
    else:
        kept.catalogue, kept.upto = now, int(upto)
    if not well:
        cursor = await connection.execute(statement("audit/feed_differences"), values)
        for order_id, version, type_, times, happened in await cursor.fetchall():
            what = f"has it {times} times" if happened else "tells of it, and it did not happen so"
            found[f"order {order_id} version {version} {type_}"] = f"the feed {what}"
    return found


def _read(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.warning("audit_books_unusable", **facts_of(error), next="counts are remembered anew")
        return _Kept()
