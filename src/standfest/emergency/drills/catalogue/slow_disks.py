"""Drills in which flushes take twenty times as long: on a standby's node, on the primary's, or on all of them."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from standfest.clients.asking import UnreachableError
from standfest.emergency.drills import faults
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.disks import Disk, delayable, etcd_flushes
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import STATUS_POLL_S, Stage

TIMES = 20.0
TIMES_MIN = 15.0
"""By the measurement under the fault: a flush is not always equally quick without a delay."""
SLOW_S_MIN = 0.02
"""A slow flush takes at least so long, 20 times the millisecond of an ordinary SSD: virtual disks answer before
anything is on a disk, and 20 times as long is still quick there."""
HOLD_S = 20.0
SWITCHOVER_TIMEOUT_S = 60.0


@contextlib.asynccontextmanager
async def _ready(stage: Stage, drill: Drill, where: str) -> AsyncIterator[Drill]:
    """The drill with the disks that are to be slow."""
    await stage.primary()
    standbys = faults.having_role(await stage.status(), "postgres", "standby")
    nodes = [node.name for node in stage.cluster.topology.nodes]
    # A primary that is restarted is one no more: where it is to be the primary's disk, a standby's node becomes that.
    chosen = nodes if where == "all" else [standby.node for standby in standbys[:1]]
    async with delayable(stage, chosen) as disks:
        if where == "primary":
            await _make_primary(stage, chosen[0])
        yield replace(drill, fault=partial(_slow, disks=disks))


async def _make_primary(stage: Stage, node: str) -> None:
    async def missing() -> str:
        _, target = await stage.primary()
        if target.node == node:
            return ""
        patroni = stage.cluster.patroni(stage.cluster.topology.node(target.node))
        try:
            await patroni.switch_over(target.node, node, SWITCHOVER_TIMEOUT_S)
        except UnreachableError as error:
            return str(error)  # Patroni refuses where the standby is behind just then, and has done nothing.
        return f"{target.node} was primary until now"

    await stage.until(f"{node} to be primary", missing, SWITCHOVER_TIMEOUT_S, every_s=STATUS_POLL_S)
    await stage.until_well()


async def _slow(stage: Stage, disks: Sequence[Disk]) -> Proof:
    """Delays flushes while the fault is held; FaultFailed where they were not so slow as they should be."""
    before = {disk.node: await disk.flush_s() for disk in disks}
    etcd_before = [await etcd_flushes(stage, disk.node) for disk in disks]
    stage.begin("flushes take longer", flush_ms=_ms(before))
    try:
        for disk in disks:
            await disk.delay(max(TIMES * before[disk.node], SLOW_S_MIN) - before[disk.node])
        span = Span(stage)
        await stage.hold(_nothing)
        span.end()
        under = {disk.node: await disk.flush_s() for disk in disks}
        etcd_under = [await etcd_flushes(stage, disk.node) for disk in disks]
    finally:
        for disk in disks:
            await disk.delay(0.0)
    if quick := [node for node in under if under[node] < TIMES_MIN * before[node]]:
        raise FaultFailed(f"flushes of {', '.join(quick)} took {_ms(under)} ms under the fault, {_ms(before)} before")
    await stage.until_well()
    stage.rules["orders do not pile up"] = not span.piles_up()
    stage.also["p99_ms"] = span.p99_ms()
    _, target = await stage.primary()
    etcd = {disk.node: _between(*looks) for disk, *looks in zip(disks, etcd_before, etcd_under, strict=True)}
    return {
        "flush_ms_before": _ms(before),
        "flush_ms_under": _ms(under),
        "etcd_flush_ms_under": {node: _ms(members) for node, members in etcd.items()},
        "primary": target.node,
        "held_s": stage.hold_s,
    }


async def _nothing() -> str:
    """The processes that delay flushes are seen by what is measured at the end."""
    return ""


def _between(before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Of each member of etcd: the mean time of its flushes between two looks."""
    differences = {each: (after[each][0] - before[each][0], after[each][1] - before[each][1]) for each in after}
    return {each: took_s / count for each, (took_s, count) in differences.items() if count}


def _ms(seconds: Mapping[str, float]) -> dict[str, Any]:
    return {name: round(1000 * value, 2) for name, value in seconds.items()}


def _drill(name: str, summary: str, where: str) -> Drill:
    without_disks = partial(_slow, disks=())  # they come with what is made ready
    return Drill((52,), name, summary, without_disks, hold_s=HOLD_S, ready=partial(_ready, where=where))


DRILLS = (
    _drill("disk-slow-at-a-standby", "Flushes on a standby's node take 20 times as long.", "standby"),
    _drill("disk-slow-at-the-primary", "Flushes on the primary's node take 20 times as long.", "primary"),
    _drill("disk-slow-everywhere", "Flushes on all nodes take 20 times as long.", "all"),
)
