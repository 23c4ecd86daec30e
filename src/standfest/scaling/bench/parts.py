"""Processor time and memory of each part of a cluster on this machine."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from standfest.cluster.home import Home
from standfest.cluster.processes import POSTGRES_CHILD, processes_of
from standfest.cluster.topology import Topology

_SAME = {POSTGRES_CHILD: "postgres"}
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """Of all processes of a part, on all nodes."""

    processor_s: Mapping[psutil.Process, float]
    memory_mib: float
    """Resident, what they share counted once a process."""


def usage(home: Home, topology: Topology) -> Mapping[str, Usage]:
    """What each part has used until now."""
    processor: defaultdict[str, dict[psutil.Process, float]] = defaultdict(dict)
    memory: defaultdict[str, float] = defaultdict(float)
    for node in topology.nodes:
        for own in processes_of(home.node(node.name)):
            with contextlib.suppress(psutil.NoSuchProcess):
                part = _SAME.get(own.program, own.program).split("-")[0]
                times = own.process.cpu_times()
                processor[part][own.process] = times.user + times.system
                memory[part] += own.process.memory_info().rss / _MIB
    return {part: Usage(used, memory[part]) for part, used in processor.items()}


def an_order(before: Mapping[str, Usage], after: Mapping[str, Usage], orders: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time an order, and MiB, of each part between two looks."""
    told = {}
    for part, now in after.items():
        then = before[part].processor_s if part in before else {}
        used_s = sum(seconds - then.get(process, 0.0) for process, seconds in now.processor_s.items())
        told[part] = {"ms_an_order": round(1000 * used_s / max(orders, 1), 3), "memory_mib": round(now.memory_mib, 1)}
    return told
