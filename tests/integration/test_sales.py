"""Finding, listing and cancelling orders against a real PostgreSQL."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from standfest.domain.cancellation import CancelRequest, Conflict, LineWish
from standfest.domain.events import broken_at
from standfest.domain.faults import Invalid
from standfest.domain.identity import order_number
from standfest.sales import bounds
from standfest.sales.cancel import CancelCommand, Cancelled, cancel
from standfest.sales.cursors import KEY_BYTES, Cursors, Sealed, parse_cursor
from standfest.sales.errors import CommandKeyReused, CursorExpired, OrderNotFound
from standfest.sales.find import OrderFilter, find_order, list_orders
from standfest.storage.database import Database
from standfest.storage.orders import read_events, read_orders
from tests.integration.orders import CLIENT, order, place_one, pool_of, query, stock_product
from tests.support.postgres import TestDatabase

CURSORS = Cursors(bytes(KEY_BYTES))


def parsed(cursor: str | None) -> Sealed | None:
    """A cursor as the API takes it."""
    return None if cursor is None else parse_cursor("orders", cursor)


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


def command(order_id: UUID, key: str, *lines: tuple[int, str], **changes: Any) -> CancelCommand:
    """A wish to cancel (position, quantity) lines of an order, or the whole of it."""
    wishes = tuple(LineWish(position, quantity) for position, quantity in lines) or None
    values: dict[str, Any] = {
        "client_id": CLIENT,
        "idempotency_key": key,
        "order_id": order_id,
        "body": {"lines": [list(line) for line in lines]},
        "request": CancelRequest("changed my mind", wishes),
        "any_order": False,
        "at": datetime.datetime.now(datetime.UTC),
    }
    return CancelCommand(**(values | changes))


async def carry_out(pool: Database, wanted: CancelCommand) -> Cancelled:
    """Cancels in a transaction of its own."""
    async with pool.write(5) as connection:
        return await cancel(connection, wanted)


async def test_a_whole_order_is_cancelled_and_its_stock_comes_back(database: TestDatabase, pool: Database) -> None:
    """The order is empty and worth nothing, its reservations are free, and event and feed say so."""
    apple, pear = stock_product(database, "apple", 5), stock_product(database, "pear", 5)
    placed = (await place_one(pool, order("k1", (apple, 2), (pear, 3), (apple, 1)))).order
    cancelled = await carry_out(pool, command(placed.order_id, "c1"))
    assert not cancelled.repeated
    async with pool.read(5) as connection:
        stored = (await read_orders(connection, [placed.order_id]))[placed.order_id]
        events = (await read_events(connection, [placed.order_id]))[placed.order_id]
    assert stored == cancelled.order
    assert (stored.status, stored.version, stored.totals.gross) == ("cancelled", 2, Decimal(0))
    assert [(line.open, line.reserved, line.cancelled) for line in stored.lines] == [(0, 0, 2), (0, 0, 3), (0, 0, 1)]
    assert query(database, "SELECT net, gross FROM orders") == [(Decimal(0), Decimal(0))]
    assert query(database, "SELECT DISTINCT reserved FROM stock") == [(0,)]
    assert broken_at(events) is None
    assert (events[1].type, events[1].actor, events[1].reason) == (
        "order.cancelled",
        f"client:{CLIENT}",
        "changed my mind",
    )
    assert events[1].content_hash == stored.content_hash != placed.content_hash
    assert query(database, "SELECT type, version FROM change WHERE order_id IS NOT NULL ORDER BY sequence") == [
        ("order.confirmed", 1),
        ("order.cancelled", 2),
    ]


async def test_single_lines_are_cancelled_in_part(database: TestDatabase, pool: Database) -> None:
    """What is left stays confirmed, with its totals; what was cancelled is free again."""
    apple, pear = stock_product(database, "apple", 5), stock_product(database, "pear", 5)
    placed = (await place_one(pool, order("k1", (apple, 3), (pear, 3)))).order
    left = (await carry_out(pool, command(placed.order_id, "c1", (1, "1"), (2, "3")))).order
    assert (left.status, left.totals.net) == ("confirmed", Decimal(20))
    assert query(database, "SELECT reserved FROM stock ORDER BY product_id") == [(2,), (0,)]
    assert query(database, "SELECT type FROM order_event ORDER BY version") == [
        ("order.confirmed",),
        ("order.lines_cancelled",),
    ]
    gone = (await carry_out(pool, command(placed.order_id, "c2", (1, "2")))).order
    assert (gone.status, gone.version) == ("cancelled", 3)


async def test_cancelling_what_is_waited_for_confirms_the_rest(database: TestDatabase, pool: Database) -> None:
    """Of a line that is reserved in part, the missing part goes first, and no stock moves for it."""
    pear = stock_product(database, "pear", 3, "backorder")
    placed = (await place_one(pool, order("k1", (pear, 5)))).order
    assert placed.status == "backordered"
    left = (await carry_out(pool, command(placed.order_id, "c1", (1, "2")))).order
    assert (left.status, left.lines[0].reserved, left.lines[0].backordered) == ("confirmed", 3, 0)
    assert query(database, "SELECT reserved FROM stock") == [(3,)]


async def test_a_repeated_cancellation_is_carried_out_once(database: TestDatabase, pool: Database) -> None:
    """The same key with the same request gets the order and changes nothing."""
    apple = stock_product(database, "apple", 5)
    placed = (await place_one(pool, order("k1", (apple, 4)))).order
    first = await carry_out(pool, command(placed.order_id, "c1", (1, "1")))
    again = await carry_out(pool, command(placed.order_id, "c1", (1, "1")))
    assert again.repeated
    assert again.order == first.order
    assert query(database, "SELECT reserved FROM stock") == [(3,)]
    assert query(database, "SELECT count(*) FROM order_event") == [(2,)]


async def test_a_key_belongs_to_one_cancellation_for_ever(database: TestDatabase, pool: Database) -> None:
    """A key with another request, or for another order, is refused and nothing changes."""
    apple = stock_product(database, "apple", 9)
    placed = (await place_one(pool, order("k1", (apple, 4)))).order
    other = (await place_one(pool, order("k2", (apple, 4)))).order
    await carry_out(pool, command(placed.order_id, "c1", (1, "1")))
    with pytest.raises(CommandKeyReused):
        await carry_out(pool, command(placed.order_id, "c1", (1, "2")))
    with pytest.raises(CommandKeyReused):
        await carry_out(pool, command(other.order_id, "c1", (1, "1")))
    assert query(database, "SELECT reserved FROM stock") == [(7,)]


async def test_another_clients_order_is_not_found(database: TestDatabase, pool: Database) -> None:
    """A client cancels its own orders alone, unless it may cancel any; the event names who did it."""
    apple = stock_product(database, "apple", 9)
    placed = (await place_one(pool, order("k1", (apple, 4)))).order
    stranger = uuid4()
    with pytest.raises(OrderNotFound):
        await carry_out(pool, command(placed.order_id, "c1", client_id=stranger))
    with pytest.raises(OrderNotFound):
        await carry_out(pool, command(uuid4(), "c1"))
    await carry_out(pool, command(placed.order_id, "c1", client_id=stranger, any_order=True))
    assert query(database, "SELECT actor FROM order_event WHERE version = 2") == [(f"client:{stranger}",)]


async def test_a_refused_cancellation_leaves_nothing_and_its_key_free(database: TestDatabase, pool: Database) -> None:
    """Faults in the wish and states that forbid it change nothing; the key can be used for a better wish."""
    apple = stock_product(database, "apple", 5)
    placed = (await place_one(pool, order("k1", (apple, 4)))).order
    declined = (await place_one(pool, order("k2", (apple, 4)))).order
    with pytest.raises(Invalid):
        await carry_out(pool, command(placed.order_id, "c1", (1, "5")))
    with pytest.raises(Conflict):
        await carry_out(pool, command(declined.order_id, "c1"))
    assert query(database, "SELECT count(*) FROM order_command") == [(0,)]
    assert query(database, "SELECT max(version) FROM orders") == [(1,)]
    await carry_out(pool, command(placed.order_id, "c1", (1, "4")))


async def test_an_order_is_found_by_id_for_who_may_see_it(database: TestDatabase, pool: Database) -> None:
    """The owner and who may see all find it; another client does not."""
    placed = (await place_one(pool, order("k1", (stock_product(database, "apple", 5), 1)))).order
    async with pool.read(5) as connection:
        assert await find_order(connection, placed.order_id, CLIENT) == placed
        assert await find_order(connection, placed.order_id, None) == placed
        assert await find_order(connection, placed.order_id, uuid4()) is None
        assert await find_order(connection, uuid4(), None) is None


async def test_orders_are_paged_newest_first(database: TestDatabase, pool: Database) -> None:
    """Pages hold every order once, the newest first, while new ones come in."""
    apple = stock_product(database, "apple", 50)
    placed = [(await place_one(pool, order(f"k{number}", (apple, 1)))).order.order_id for number in range(5)]
    seen: list[UUID] = []
    cursor = None
    for expected in (2, 2, 1):
        async with pool.read(5) as connection:
            page = await list_orders(connection, CURSORS, OrderFilter(), 2, parsed(cursor))
        assert len(page.orders) == expected
        seen += [each.order_id for each in page.orders]
        cursor = page.next
        await place_one(pool, order(f"new{expected}{len(seen)}", (apple, 1)))
    assert cursor is None
    assert seen == placed[::-1]


async def test_orders_are_listed_by_what_is_asked_for(database: TestDatabase, pool: Database) -> None:
    """Status, customer, external reference, number and client each narrow the list, alone and together."""
    apple = stock_product(database, "apple", 1)
    first = (await place_one(pool, order("k1", (apple, 1)))).order
    stranger = uuid4()
    declined = (await place_one(pool, order("k2", (apple, 1), client=stranger))).order
    with_reference(database, first.order_id, "C-7", "PO 1")
    number = order_number(first.order_id)

    async def listed(**wanted: Any) -> list[UUID]:
        async with pool.read(5) as connection:
            page = await list_orders(connection, CURSORS, OrderFilter(**wanted), 10)
        return [each.order_id for each in page.orders]

    assert await listed(status="declined") == [declined.order_id]
    assert await listed(client_id=stranger) == [declined.order_id]
    assert await listed(client_id=stranger, status="confirmed") == []
    assert await listed(customer="C-7") == [first.order_id]
    assert await listed(customer="c-7") == []
    assert await listed(external_reference="PO 1", client_id=CLIENT) == [first.order_id]
    assert await listed(number=number.lower().replace("-", " ")) == [first.order_id]
    assert await listed(number=number, client_id=stranger) == []
    assert await listed(number="what") == []
    assert await listed() == [declined.order_id, first.order_id]


def with_reference(database: TestDatabase, order_id: UUID, customer: str, external: str) -> None:
    """Gives a stored order its references."""
    query(
        database,
        f"UPDATE orders SET customer_reference = '{customer}', external_reference = '{external}'"
        f" WHERE order_id = '{order_id}' RETURNING 1",
    )


async def test_a_cursor_of_another_history_is_refused(database: TestDatabase, pool: Database) -> None:
    """After a restore ingest positions may be those of other orders: a page of the list before is not continued."""
    apple = stock_product(database, "apple", 100)
    for number in range(2):
        await place_one(pool, order(f"k{number}", (apple, 1)))
    async with pool.read(5) as connection:
        page = await list_orders(connection, CURSORS, OrderFilter(), 1)
    query(database, "SELECT begin_generation()")
    with pytest.raises(CursorExpired):
        async with pool.read(5) as connection:
            await list_orders(connection, CURSORS, OrderFilter(), 1, parsed(page.next))


async def test_a_page_ends_where_its_orders_have_many_lines(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Big orders make short pages, each with the cursor to the next; a page has one order however big it is."""
    monkeypatch.setattr(bounds, "LINES_MAX", 3)
    apple = stock_product(database, "apple", 100)
    for number, lines in enumerate((1, 4, 1, 2)):
        await place_one(pool, order(f"k{number}", *[(apple, 1)] * lines))
    pages: list[list[int]] = []
    cursor: str | None = None
    while not pages or cursor:
        async with pool.read(5) as connection:
            page = await list_orders(connection, CURSORS, OrderFilter(), 100, parsed(cursor))
        pages.append([len(each.lines) for each in page.orders])
        cursor = page.next
    assert pages == [[2, 1], [4], [1]]
