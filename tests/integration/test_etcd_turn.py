"""Taking turns through a real etcd cluster."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from standfest.clients.asking import Asker
from standfest.clients.etcd import EtcdMember
from standfest.clients.etcd_turn import take_turn
from tests.support.etcd import EtcdCluster, start_etcd

KEY = "/test/turn"
TIMEOUT_S = 30.0
POLL_S = 0.1


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    """Three members for this module."""
    with start_etcd() as cluster:
        yield cluster


@pytest_asyncio.fixture
async def members(etcd: EtcdCluster) -> AsyncIterator[list[EtcdMember]]:
    """Each member, asked by itself."""
    async with etcd.session() as session:
        yield [EtcdMember(Asker(session, TIMEOUT_S), address, etcd.tls()) for address in etcd.addresses]


async def test_one_at_a_time(members: list[EtcdMember]) -> None:
    """Whoever asks second has no turn, through whichever member, until the first has ended its own."""
    first = await take_turn(members[0], KEY, "n1", 60)
    assert first is not None
    assert await take_turn(members[1], KEY, "n2", 60) is None
    await first.end()
    second = await take_turn(members[2], KEY, "n2", 60)
    assert second is not None
    await second.end()


async def test_a_turn_ends_with_its_lease(members: list[EtcdMember]) -> None:
    """The turn of one who is gone is over when its lease is."""
    assert await take_turn(members[0], KEY, "n1", 1) is not None
    deadline = time.monotonic() + TIMEOUT_S
    while (turn := await take_turn(members[1], KEY, "n2", 60)) is None:
        assert time.monotonic() < deadline, "the turn is not over"
        await asyncio.sleep(POLL_S)
    await turn.end()
