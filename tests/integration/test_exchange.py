"""Statements that go together over one connection, against a real server."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from standfest.storage.connection import Connection, DatabaseSettings, Host
from tests.support.postgres import TestDatabase

COUNT = b"SELECT count(*), sum(number) FROM unnest(%(number)s::bigint []) AS new (number)"
LONG = 3_000_000


@pytest.fixture
async def connection(database: TestDatabase) -> AsyncIterator[Connection]:
    """An open connection of the order plane."""
    host = Host(database.host, database.port)
    password = database.password_file().read_text().strip()
    connection = await Connection.open(host, DatabaseSettings((host,), database.name, "standfest_app", password), 5)
    yield connection
    connection.pgconn.finish()


async def test_lists_arrive_and_answers_come_in_order(connection: Connection) -> None:
    """Each statement is answered with its own result, the first time and when it is prepared already."""
    for numbers in ([1, 2, None], [], [7]):
        first, second = await connection.exchange.run((COUNT, {"number": numbers}), (b"SELECT 'second'", {}))
        total = sum(number or 0 for number in numbers)
        assert (first.get_value(0, 0), first.get_value(0, 1)) == (
            b"%d" % len(numbers),
            b"%d" % total if numbers else None,
        )
        assert second.get_value(0, 0) == b"second"


async def test_after_a_failure_nothing_is_done(connection: Connection) -> None:
    """What failed first is told, what came behind it was not done, and the connection is as good as before."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.exchange.run((b"SELECT 1 / 0", {}), (b"SELECT set_config('standfest.done', 'yes', false)", {}))
    (done,) = await connection.exchange.run((b"SELECT current_setting('standfest.done', true)", {}))
    assert done.get_value(0, 0) is None


async def test_unfit_values_leave_the_connection_as_it_was(connection: Connection) -> None:
    """What cannot be sent is told before anything is."""
    with pytest.raises(psycopg.DataError):
        await connection.exchange.run((b"SELECT 'first'", {}), (COUNT, {"number": [1, "two"]}))
    (again,) = await connection.exchange.run((COUNT, {"number": [1]}))
    assert again.get_value(0, 0) == b"1"


async def test_a_session_that_is_ended_ends_the_exchange(connection: Connection, database: TestDatabase) -> None:
    """Whoever waits when the server ends the session is told so at once."""
    with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
        pid = connection.info.backend_pid
        asyncio.get_running_loop().call_later(0.1, admin.execute, "SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(psycopg.OperationalError):
            async with asyncio.timeout(4):
                await connection.exchange.run((b"SELECT pg_sleep(5)", {}), (b"SELECT 1", {}))
    assert connection.closed


async def test_more_than_a_socket_holds_goes_both_ways(connection: Connection) -> None:
    """Long lists and long answers at once hold nobody up."""
    text = b"SELECT repeat('x', 10000000), cardinality(%(text)s::text [])"
    for answer in await connection.exchange.run(*((text, {"text": ["y" * LONG] * 3}),) * 3):
        assert len(answer.get_value(0, 0) or b"") == 10_000_000
        assert answer.get_value(0, 1) == b"3"


async def test_who_gives_up_leaves_no_answers_behind(connection: Connection) -> None:
    """A cancelled exchange closes the connection: its answers would be taken for those of the next one."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await connection.exchange.run((b"SELECT pg_sleep(5)", {}))
    assert connection.closed


async def test_an_abandoned_exchange_fails_at_once(connection: Connection) -> None:
    """Whoever waits for an answer is told as soon as the connection is given up."""
    asyncio.get_running_loop().call_later(0.1, connection.abandon)
    with pytest.raises(psycopg.OperationalError):
        async with asyncio.timeout(4):
            await connection.exchange.run((b"SELECT pg_sleep(5)", {}))
    assert connection.closed


async def test_what_psycopg_deallocated_is_prepared_again(connection: Connection) -> None:
    """psycopg forgets all prepared statements with a rollback: that is told once, and not for ever."""
    step = (COUNT, {"number": [1]})
    await connection.exchange.run(step)
    await connection.execute("BEGIN")
    await connection.execute("ROLLBACK")
    await connection.execute("SELECT 1")
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        await connection.exchange.run(step)
    (again,) = await connection.exchange.run(step)
    assert again.get_value(0, 0) == b"1"
