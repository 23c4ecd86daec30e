"""Entries of the journal that cannot be written to the database, of many kinds, among entries that can.

Some kinds are refused as they are, by what the database and the driver really check. The others are errors that the
database raises for marked orders alone: a damaged page cannot be aimed at one order, and neither can a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import psycopg

from standfest.clients.etcd_kv import EtcdStore, Put, Txn
from standfest.domain.orders import Order
from standfest.intake.entries import encode_entry
from standfest.intake.journal import Accepted, Journal

MARK = "unwritable"
"""How the external reference of an order begins that the database refuses; a SQLSTATE follows."""

_RAISED = """
CREATE FUNCTION refuse_marked_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.external_reference = 'unwritable 42703' THEN
        EXECUTE 'SELECT a_column_that_is_not_there FROM orders';
    END IF;
    RAISE EXCEPTION 'this order is refused' USING ERRCODE = right(NEW.external_reference, 5);
END;
$$;
CREATE TRIGGER refuse_marked_orders BEFORE INSERT ON orders FOR EACH ROW
WHEN (new.external_reference LIKE 'unwritable%') EXECUTE FUNCTION refuse_marked_orders();
"""

_DEADLINE_S = 10.0
_ENTRIES_PER_TXN = 50


@dataclass(frozen=True)
class Kind:
    """One kind of entry that cannot be written."""

    name: str
    spoil: Callable[[Order], Order] | None
    """Makes an order unwritable; None where the entry is not even an order."""


def _marked(sqlstate: str) -> Callable[[Order], Order]:
    return lambda order: msgspec.structs.replace(order, external_reference=f"{MARK} {sqlstate}")


def _with_line(**facts: object) -> Callable[[Order], Order]:
    return lambda order: msgspec.structs.replace(
        order, lines=(msgspec.structs.replace(order.lines[0], **facts), *order.lines[1:])
    )


def _with_total(order: Order) -> Order:
    """A gross amount of sixteen digits before the point, where the column has thirteen."""
    gross = Decimal("1234567890123456.00")
    return msgspec.structs.replace(order, totals=msgspec.structs.replace(order.totals, gross=gross))


def _with_nul(order: Order) -> Order:
    """A NUL character, which no text of PostgreSQL can have."""
    return msgspec.structs.replace(order, external_reference="a\0b")


KINDS = (
    Kind("XX001, as of a damaged page", _marked("XX001")),
    Kind("42703, a column that is not there", _marked("42703")),
    Kind("XX000, an internal error", _marked("XX000")),
    Kind("P0001, raised by a trigger", _marked("P0001")),
    Kind("40P01, a deadlock each time", _marked("40P01")),
    Kind("53200, no memory for it", _marked("53200")),
    Kind("57014, cancelled each time", _marked("57014")),
    Kind("08P01, a protocol violation", _marked("08P01")),
    Kind("25006, read only for it alone", _marked("25006")),
    Kind("22003, a number out of range", _with_total),
    Kind("22021, a character that cannot be stored", _with_nul),
    Kind("23514, a check that fails", _with_line(quantity=-1)),
    Kind("a value that cannot be encoded", _with_line(quantity=2**63)),
    Kind("an entry that is no JSON", None),
)


def refuse_marked_orders(owner_dsn: str) -> None:
    """Makes the database refuse orders that `KINDS` marks, each with its own error."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute(_RAISED.encode())


async def fill(store: EtcdStore, journal: Journal, orders: Sequence[Order], kinds: Sequence[Kind]) -> set[str]:
    """Puts orders into the journal, as accepted by it; the ids of those that were made unwritable.

    As many of them as there are `kinds` are made unwritable, spread evenly, each the next kind.
    """
    every = max(len(orders) // max(len(kinds), 1), 1)
    spoilt = {orders[number * every].order_id: kind for number, kind in enumerate(kinds)}
    for start in range(0, len(orders), _ENTRIES_PER_TXN):
        part = [
            msgspec.structs.replace(order, status="accepted", path="journal")
            for order in orders[start : start + _ENTRIES_PER_TXN]
        ]
        answers = await journal.accept(part, _DEADLINE_S)
        if not all(isinstance(answer, Accepted) and not answer.repeated for answer in answers):
            raise RuntimeError("the journal has one of the orders already")
        bad = [(order, spoilt[order.order_id]) for order in part if order.order_id in spoilt]
        if bad:
            puts = tuple(Put(f"standfest/o/{order.order_id}".encode(), _entry(order, kind)) for order, kind in bad)
            await store.txn(Txn((), puts), _DEADLINE_S)
    return {str(order_id) for order_id in spoilt}


def _entry(order: Order, kind: Kind) -> bytes:
    return encode_entry(order)[:-20] if kind.spoil is None else encode_entry(kind.spoil(order))
