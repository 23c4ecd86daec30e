"""Connections of the order plane to a real server: opened, refused, given up."""

import asyncio
import gc
from collections.abc import Iterator

import psutil
import pytest

from standfest.storage.connection import Connection, DatabaseSettings, Host
from standfest.storage.errors import DatabaseUnavailable
from tests.support.postgres import Role, TestDatabase


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is left behind stays where it is."""
    gc.disable()
    yield
    gc.enable()


async def _open(database: TestDatabase, timeout_s: float, with_that_of: Role = "standfest_app") -> Connection:
    host = Host(database.host, database.port)
    password = database.password_file(with_that_of).read_text().strip()
    return await Connection.open(host, DatabaseSettings((host,), database.name, "standfest_app", password), timeout_s)


def _sockets(database: TestDatabase) -> int:
    """How many this process has to the server."""
    server = (database.host, database.port)
    return sum(connection.raddr == server for connection in psutil.Process().net_connections("tcp4"))


@pytest.mark.usefixtures("no_collector")
async def test_an_attempt_without_an_answer_leaves_no_socket(database: TestDatabase) -> None:
    """Whoever gives up a connection to a frozen server, or is told to, has closed it."""
    before = _sockets(database)
    with database.primary.paused():
        with pytest.raises(DatabaseUnavailable, match=r"127\.0\.\d+\.\d+:\d+ did not answer in time"):
            await _open(database, 0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await _open(database, 5)
        assert _sockets(database) == before


@pytest.mark.usefixtures("no_collector")
async def test_a_refusal_leaves_no_socket_and_says_why(database: TestDatabase) -> None:
    """What the server says is told, and the connection is closed."""
    before = _sockets(database)
    with pytest.raises(DatabaseUnavailable, match="password authentication failed"):
        await _open(database, 5, with_that_of="standfest_owner")
    assert _sockets(database) == before


async def test_where_nobody_listens_that_is_told(database: TestDatabase) -> None:
    """A refused connection is the database's absence, told at once."""
    nowhere = Host(database.host, 1)
    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        await Connection.open(nowhere, DatabaseSettings((nowhere,), database.name, "standfest_app", "any"), 5)
