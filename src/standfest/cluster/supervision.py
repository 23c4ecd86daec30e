"""One node's supervision: start its supervisord, start, stop and hold programs, and leave no process behind."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from standfest.clients.asking import UnreachableError
from standfest.clients.supervisor import Program, ProgramState, SupervisorEndingError, SupervisorFaultError
from standfest.cluster.binaries import Binaries
from standfest.cluster.commands import POSTGRES_HELPER, RESTARTER, supervisord_arguments
from standfest.cluster.handle import Cluster
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind, programs_of
from standfest.cluster.processes import (
    POSTGRES_CHILD,
    ProcessesLeftError,
    all_ended,
    everything_of,
    kill,
    of_program,
    processes_of,
    programs_running,
    running,
    send,
    stopped,
)
from standfest.cluster.topology import Node
from standfest.cluster.waiting import NotReadyError
from standfest.errors import StandfestError

_SUPERVISOR_START_S = 45.0
_SUPERVISOR_SILENT_S = 15.0
"""A busy machine makes it slow; one that is replaced costs a restart of each service that it looks after."""

STOP_WAIT_S_MAX = 30.0
"""The longest stopwaitsecs, seconds. supervisord that was told to end stops one program after the other."""

_STOP_S = 45.0
"""Above every stopwaitsecs: supervisor itself kills what does not stop by then."""

_SHUTDOWN_S = 10.0
"""supervisord looks after its own end once a second; by then nothing but its listener is left to end."""

_LAST_CHILDREN_S = 3.0
"""How long what a program started may take to follow it."""

_ORPHANS_STOP_S = 20.0
_POLL_S = 0.1
_LISTINGS_MAX = 10
"""Looks for processes that were started while the others of their node were killed."""

_OPEN_FILES_MAX = 65536

_ENDED_BY_POSTMASTER = (Kind.POSTGRES, POSTGRES_CHILD)

_ENDED_STATES = (ProgramState.STOPPED, ProgramState.FATAL)
"""Nothing runs and nothing will by itself: what has EXITED is about to be started again."""


class SupervisorStartError(StandfestError):
    """A node's supervisord could not be started."""


async def programs(cluster: Cluster, node: Node) -> tuple[Program, ...] | None:
    """The node's programs; None where its supervisord does not answer, or was told to end."""
    try:
        return await cluster.supervisor(node).programs()
    except UnreachableError:
        return None


async def programs_in_time(cluster: Cluster, node: Node) -> tuple[Program, ...] | None:
    """The node's programs, from a supervisord that may be slow; None where it is dead. One that stands still is woken.

    One that was told to end is waited for: meanwhile it stops its programs in good order, and starts none.

    NotReadyError where it lives and is silent for long: what it supervises may be healthy, and it may come back.
    """
    heard_at = began_at = time.monotonic()
    end_s = STOP_WAIT_S_MAX * (len(programs_of(cluster.topology, node)) + 1)  # the restarter is a program as well
    while True:
        try:
            return await cluster.supervisor(node).programs()
        except SupervisorEndingError:
            heard_at = time.monotonic()
        except UnreachableError:
            pass
        alive = running(_own(cluster.node_home(node), Kind.SUPERVISOR.value))
        if not alive:
            return None
        send(stopped(alive), signal.SIGCONT)
        now = time.monotonic()
        if now >= began_at + end_s:
            raise _not_ready(cluster, node, alive[0], f"was told to end and has not ended for {end_s:.0f} s")
        if now >= heard_at + _SUPERVISOR_SILENT_S:
            raise _not_ready(cluster, node, alive[0], f"gave no usable answer for {_SUPERVISOR_SILENT_S:.0f} s")
        await asyncio.sleep(_POLL_S)


def _not_ready(cluster: Cluster, node: Node, supervisor: psutil.Process, what: str) -> NotReadyError:
    return NotReadyError(
        f"the supervisor of {node.name} lives (process {supervisor.pid}) and {what}; "
        f"see {cluster.node_home(node).logs / 'supervisor.log'}, "
        "or replace it, while its services run on: ./standfest up"
    )


async def ensure_supervisor(
    cluster: Cluster, node: Node, binaries: Binaries, within: Sequence[str | Path] = ()
) -> None:
    """Start the node's supervisord where it does not run, or is silent for long. What that one looked after runs on.

    `within`: a program and its arguments that becomes supervisord, once it has changed what is inherited.
    One that answers learns of the programs that the written configuration has beyond those of its start. One that was
    told to end ends first, and what it looked after with it.
    """
    with contextlib.suppress(NotReadyError):  # that one is replaced
        while await programs_in_time(cluster, node) is not None:
            with contextlib.suppress(SupervisorEndingError):  # told so just now
                await cluster.supervisor(node).take_up_new_programs()
                return
    home = cluster.node_home(node)
    await kill(_leavings(home))
    _raise_open_files()
    started = await asyncio.to_thread(_run_supervisord, home, binaries, within)
    if started.returncode != 0:
        said = (started.stderr or started.stdout).strip().splitlines()
        complaint = [line for line in said if not line.startswith("For help")]  # of which it has none
        raise SupervisorStartError(
            f"{node.name}: supervisord did not start: {complaint[-1] if complaint else 'no message'}; "
            f"see {home.logs / 'supervisor.log'}"
        )
    deadline = time.monotonic() + _SUPERVISOR_START_S
    while await programs(cluster, node) is None:
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{node.name}: supervisord does not answer; see {home.logs / 'supervisor.log'}")
        await asyncio.sleep(_POLL_S)


def _leavings(home: NodeHome) -> list[psutil.Process]:
    """What serves nobody any more: supervision of before, and what a Patroni that is gone had begun."""
    found = programs_running(home)
    stale = {Kind.SUPERVISOR.value, RESTARTER}
    if not any(own.program == Kind.PATRONI for own in found):
        stale.add(POSTGRES_HELPER)
    return [own.process for own in found if own.program in stale]


def _run_supervisord(
    home: NodeHome, binaries: Binaries, within: Sequence[str | Path]
) -> subprocess.CompletedProcess[str]:
    """It goes into the background by itself, once it has read its configuration and bound its port."""
    return subprocess.run(
        [*within, binaries.python, *supervisord_arguments(home)],
        cwd=home.run,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SUPERVISOR_START_S,
        check=False,
    )


def _environment() -> dict[str, str]:
    """What the parts inherit: nothing of the caller's but what they need to find their way."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "USER", "LOGNAME") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "TZ": "UTC"}


def _raise_open_files() -> None:
    """Each connection is a file: let the parts inherit what the system allows, up to a bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


async def stop_program(cluster: Cluster, node: Node, program: str, timeout_s: float = _STOP_S) -> None:
    """Stop one program in good order, PostgreSQL with its Patroni; what still runs after `timeout_s` is killed."""
    deadline = time.monotonic() + timeout_s
    home = cluster.node_home(node)
    # Known before it stops: PostgreSQL's logger outlives its postmaster by a moment, and is nobody's child then.
    known = _processes_of_program(cluster, node, program)
    await _stopped_by_supervisor(cluster, node, program, deadline)
    # To what no supervisor started nobody passes it on. Patroni first, and it alone: it stops its PostgreSQL, and would
    # start it again else.
    own = running(_own(home, program))
    send(own, signal.SIGTERM)
    await all_ended(own, max(_LAST_CHILDREN_S, deadline - time.monotonic()))
    if not await all_ended(known, _LAST_CHILDREN_S) and program == Kind.PATRONI:
        # Patroni was not there to stop it: fast shutdown, as Patroni would have asked for.
        send(_own(home, Kind.POSTGRES.value), signal.SIGINT)
        await all_ended(known, max(_LAST_CHILDREN_S, deadline - time.monotonic()))
    await kill(running([*known, *_processes_of_program(cluster, node, program)]))


async def _stopped_by_supervisor(cluster: Cluster, node: Node, program: str, deadline: float) -> None:
    """Have supervisord stop the program, at the latest until `deadline`; nothing happens where it does not answer.

    One that was told to end stops all its programs, and is waited for.
    """
    with contextlib.suppress(NotReadyError):
        while (told := await programs_in_time(cluster, node)) is not None:
            if _has_ended(program, told) or time.monotonic() >= deadline:
                return
            await tell_to_stop(cluster, node, program)
            await asyncio.sleep(_POLL_S)


def _has_ended(program: str, told: Sequence[Program]) -> bool:
    return all(each.state in _ENDED_STATES for each in told if each.name == program)


async def tell_to_stop(cluster: Cluster, node: Node, program: str) -> None:
    """Have supervisord tell a program to stop, and not wait for it; nothing happens where it does not answer.

    Nor where it was told to end: then it stops all its programs.
    """
    with contextlib.suppress(UnreachableError):
        await cluster.supervisor(node).stop(program)


async def start_program(cluster: Cluster, node: Node, program: str) -> None:
    """Start one program; one that runs is left alone, one that is stopping is started once it has stopped.

    NotReadyError where it goes on stopping or supervisord is silent, UnreachableError where that is dead or has ended.
    """
    deadline = time.monotonic() + _STOP_S
    # Asked now, supervisord would say yes and forget it.
    while any(
        each.name == program and each.state is ProgramState.STOPPING
        for each in await programs_in_time(cluster, node) or ()
    ):
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{node.name}/{program} was told to stop and still runs after {_STOP_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    try:
        await cluster.supervisor(node).start(program)
    except UnreachableError as error:
        raise UnreachableError(
            f"the supervisor of {node.name} did not start {program} ({error}); heal it with: ./standfest up"
        ) from error


async def crash_program(cluster: Cluster, node: Node, program: str) -> None:
    """Kill one program without warning and without a restart by its supervisor; NotReadyError where it may run on."""
    deadline = time.monotonic() + _STOP_S
    while True:
        processes = _processes_of_program(cluster, node, program)
        # Frozen first: the request to stop, which keeps supervisor from restarting it, must not be heard as one.
        send(processes, signal.SIGSTOP)
        await tell_to_stop(cluster, node, program)
        await kill(processes)
        told = await programs_in_time(cluster, node)
        if told is None or _has_ended(program, told):
            return
        # It had died by itself, and is being started again.
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{node.name}/{program} was killed again and again for {_STOP_S:.0f} s, and runs")
        await asyncio.sleep(_POLL_S)


async def crash_node(cluster: Cluster, node: Node) -> None:
    """Kill everything on the node at once, as a loss of power would; ProcessesLeftError where something is left."""
    home = cluster.node_home(node)
    for _ in range(_LISTINGS_MAX):
        # Everything is frozen before anything dies, so that nothing sees the others go and reacts. What was being
        # started meanwhile is found by the second listing, or the next one.
        frozen = running(everything_of(home))
        if not frozen:
            return
        send(frozen, signal.SIGSTOP)
        await kill(running([*frozen, *everything_of(home)]))
    raise ProcessesLeftError(f"something goes on starting processes of {node.name}; see: ./standfest status")


async def shut_down(cluster: Cluster, node: Node, stages: Sequence[Sequence[str]]) -> None:
    """Stop the node's programs, stage after stage, then its supervisord; no process is left."""
    # supervisord would wait for its listener for seconds in the end.
    for stage in (*stages, (RESTARTER,)):
        await asyncio.gather(*(stop_program(cluster, node, program) for program in stage))
    with contextlib.suppress(UnreachableError, SupervisorFaultError):  # dead, silent, or on its way: it is ended below
        await cluster.supervisor(node).shutdown()
        await all_ended(everything_of(cluster.node_home(node)), _SHUTDOWN_S)
    await end_all_processes(cluster, node)


async def end_all_processes(cluster: Cluster, node: Node) -> None:
    """End whatever runs of the node: asked first, and killed where it does not go."""
    home = cluster.node_home(node)
    left = everything_of(home)
    if left:
        recognised = processes_of(home)
        send(_own(home, Kind.POSTGRES.value), signal.SIGINT)
        send([own.process for own in recognised if own.program not in _ENDED_BY_POSTMASTER], signal.SIGTERM)
        send(stopped(left), signal.SIGCONT)
        await all_ended(left, _ORPHANS_STOP_S)
        await kill(running(left))
    await crash_node(cluster, node)


def _own(home: NodeHome, program: str) -> list[psutil.Process]:
    """The processes of this program alone, without what stops and starts with it."""
    return [own.process for own in programs_running(home) if own.program == program]


def _processes_of_program(cluster: Cluster, node: Node, program: str) -> list[psutil.Process]:
    return of_program(processes_of(cluster.node_home(node)), program)
