"""Drills that take most of the processor: when nothing remains of it, and when the cluster has collapsed."""

import itertools
import os
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from standfest.cluster import processes
from standfest.cluster.home import NodeHome
from standfest.emergency.drills.catalogue import processor
from standfest.emergency.drills.catalogue.processor import (
    ACCEPTS,
    LEAST_PER_S,
    OFFERED,
    measured_idle_share,
    nothing_remains,
    offered_under_loops,
)
from standfest.emergency.drills.stage import Stage
from tests.unit.drills.results import DRILL


@pytest.mark.parametrize(
    ("idle_share", "taken_share", "nothing"),
    [
        (0.08, 0.9, True),
        (0.05, 0.9, True),
        (0.04, 0.9, False),
        (0.15, 0.75, False),
        (0.22, 0.74, True),
        (0.1, 0.5, False),
    ],
)
def test_nothing_remains_where_idle_work_takes_what_the_loops_leave(
    idle_share: float, taken_share: float, nothing: bool
) -> None:
    """Both shares together decide, within what the loops' share is right."""
    assert nothing_remains(idle_share, taken_share) is nothing


@pytest.mark.parametrize(
    ("most_per_s", "idle_share", "rate_per_s", "allowed", "rules"),
    [
        (80.0, 0.1, OFFERED * 80.0, False, {}),
        (80.0, 0.3, OFFERED * 80.0, False, {}),  # what was reached was there
        (0.0, 0.3, LEAST_PER_S, True, {}),
        (0.0, 0.1, LEAST_PER_S, False, {ACCEPTS: False}),
    ],
)
def test_a_cluster_that_accepts_nothing_though_a_processor_remains_has_collapsed(
    most_per_s: float, idle_share: float, rate_per_s: float, allowed: bool, rules: dict[str, bool]
) -> None:
    """Only where idle work takes the rest may submissions fail; else a rule is broken, and failures count."""
    stage = SimpleNamespace(also={}, rules={})
    offered = offered_under_loops(cast("Stage", stage), DRILL, most_per_s, idle_share, 0.75)
    assert (offered.rate_per_s, offered.failures_allowed, stage.rules) == (rate_per_s, allowed, rules)
    assert stage.also == {"most_per_s": most_per_s, "idle_share": idle_share, "nothing_remains": allowed}


class Gone:
    """A process that has ended since it was listed."""

    def cpu_times(self) -> None:
        raise psutil.NoSuchProcess(7)


def test_processor_time_is_that_of_all_processes_and_of_those_that_they_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was started and ended between two looks counts, and one that is gone does not end the look."""
    times = SimpleNamespace(user=1.0, system=0.5, children_user=2.0, children_system=0.25)
    listed = [SimpleNamespace(cpu_times=lambda: times), Gone(), SimpleNamespace(cpu_times=lambda: times)]
    monkeypatch.setattr(processes, "everything_of", lambda _: listed)
    assert processes.processor_s(cast("NodeHome", None)) == pytest.approx(7.5)


@pytest.mark.parametrize("node", [None, "n2"])
async def test_idle_work_is_a_share_of_the_cores_that_are_starved(
    monkeypatch: pytest.MonkeyPatch, node: str | None
) -> None:
    """All nodes' processes of all cores, or one node's of its one core."""
    seconds, looks = 0.2, {name: itertools.count(5.0, 0.02) for name in ("n1", "n2", "n3")}
    topology = SimpleNamespace(nodes=[SimpleNamespace(name=name) for name in looks])
    cluster = SimpleNamespace(topology=topology, node_home=lambda each: each.name)
    monkeypatch.setattr(processor, "IDLE_S", seconds)
    monkeypatch.setattr(processor, "processor_s", lambda home: next(looks[home]))
    found = await measured_idle_share(cast("Stage", SimpleNamespace(cluster=cluster)), node)
    used_s, cores = (0.06, len(os.sched_getaffinity(0))) if node is None else (0.02, 1)
    assert 0 < found <= used_s / (cores * seconds) + 1e-9
    assert [next(count) for count in looks.values()] == pytest.approx([5.04] * 3 if node is None else [5.0, 5.04, 5.0])
