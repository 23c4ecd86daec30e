"""The course of a taking over, with the cluster as data: what is asked of whom, and what dies meanwhile."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock, patch

import pytest

from standfest.cluster import starting, takeover
from standfest.cluster.handle import Cluster
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import programs_of
from standfest.cluster.observation import Observation, State
from standfest.cluster.takeover import take_over
from standfest.cluster.topology import LOCAL, Node
from standfest.cluster.waiting import Silent
from tests.unit.test_verdict import seen

APIS = ["n1/api", "n2/api", "n3/api"]
TIMEOUT_S = 5.0


class _World:
    """A cluster whose API processes have no supervisor, and whatever each start and end does to them."""

    def __init__(self) -> None:
        self.orphans = set(APIS)
        self.down: set[str] = set()
        self.started: list[str] = []
        self.dies_after_first: str | None = None

    async def observe(self, *_: object) -> Observation:
        return seen(dict.fromkeys(self.down, State.STOPPED), unsupervised=tuple(self.orphans))

    def unsupervised(self, _: Cluster, node: Node) -> dict[str, list[str]]:
        names = {program.full_name: program.program for program in programs_of(LOCAL, node)}
        return {program: [name] if name in self.orphans else [] for name, program in names.items()}

    def end(self, names: list[str], *_: object) -> None:
        self.orphans -= set(names)

    async def start(self, _: Cluster, node: Node, program: str) -> None:
        self.started.append(f"{node.name}/{program}")
        self.down.discard(f"{node.name}/{program}")
        if self.dies_after_first is not None:
            self.orphans.discard(self.dies_after_first)
            self.down.add(self.dies_after_first)
            self.dies_after_first = None


async def _ended(*_: object) -> bool:
    return True


@pytest.fixture
def world() -> Iterator[_World]:
    """It stands in for the processes and for those who are asked."""
    world = _World()
    with (
        patch.multiple(takeover, observe=world.observe, unsupervised=world.unsupervised, send=world.end),
        patch.multiple(takeover, all_ended=_ended, start_program=world.start),
        patch.multiple(starting, start_program=world.start),
    ):
        yield world


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """The built-in topology in an empty home, with nobody to ask."""
    return Mock(spec=Cluster, topology=LOCAL, node_home=lambda node: NodeHome(tmp_path / node.name))


def test_each_is_taken_over_once(world: _World, cluster: Cluster) -> None:
    """All that has no supervisor is started under its own, the primary's node last, and nothing else is."""
    asyncio.run(take_over(cluster, LOCAL.nodes, TIMEOUT_S, Silent()))
    assert world.started == ["n2/api", "n3/api", "n1/api"]


def test_what_dies_before_its_turn_is_started_while_others_wait_for_it(world: _World, cluster: Cluster) -> None:
    """One that dies without a supervisor is started under its own at once, and the others are taken over after it."""
    world.dies_after_first = "n1/api"
    asyncio.run(take_over(cluster, LOCAL.nodes, TIMEOUT_S, Silent()))
    assert world.started[:3] == ["n2/api", "n1/api", "n3/api"]
    assert not world.orphans
    assert not world.down


def test_what_died_on_a_node_that_is_left_alone_stays_down(world: _World, cluster: Cluster) -> None:
    """Only on the nodes that are taken over anything is started."""
    world.down, world.orphans = {"n3/worker"}, {"n2/api"}
    asyncio.run(take_over(cluster, [LOCAL.node("n2")], TIMEOUT_S, Silent()))
    assert world.started == ["n2/api"]
