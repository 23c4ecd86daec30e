"""Renew what runs without holding it: restart a service, and let a door take up a configuration without a pause."""

import asyncio
import signal
import subprocess
from dataclasses import dataclass

import psutil

from standfest.clients.asking import UnreachableError
from standfest.cluster.binaries import Binaries
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held
from standfest.cluster.home import write_private
from standfest.cluster.inventory import Kind, Service
from standfest.cluster.membership import refuse_empty
from standfest.cluster.processes import parent_of, processes_of, running, send, working_pid
from standfest.cluster.supervision import start_program, stop_program
from standfest.cluster.takedown import (
    HeldError,
    UnsupportedServiceError,
    refuse_supervisor,
    until_running,
)
from standfest.cluster.waiting import NotReadyError, Progress, until
from standfest.errors import StandfestError

_CHECK_TIMEOUT_S = 20
_RELOAD_S = 15.0
"""A new worker takes connections within a second; an old one may live on until its clients have gone."""


class ConfigurationRefusedError(StandfestError):
    """A part refuses the configuration that was rendered for it; it goes on with the one that it has."""


@dataclass(frozen=True)
class Renewed:
    """A service that was restarted or reloaded."""

    name: str
    pid_before: int | None
    """Of the process that did the work before; None where none ran."""
    pid: int | None


async def restart_service(cluster: Cluster, service: Service, timeout_s: float, progress: Progress) -> Renewed:
    """Stop a service in good order and start it again; PostgreSQL and its Patroni go together.

    Raises:
        HeldError: it is held; what was stopped on purpose is not started by the way.
        EmptyNodeError: it is a member of etcd whose data is gone.
    """
    refuse_supervisor(service)
    _refuse_held(cluster, service)
    node = cluster.topology.node(service.node)
    refuse_empty(cluster, node, (service.kind,))
    pid_before = _pid(cluster, service)
    progress.doing(f"stopping {service.full_name}")
    await stop_program(cluster, node, service.program)
    progress.done(f"stopping {service.full_name}")
    try:
        await start_program(cluster, node, service.program)
    except UnreachableError as error:
        raise HeldError(f"the supervisor of {node.name} does not answer; heal it with: ./standfest up") from error
    after = await until_running(cluster, service, timeout_s, progress)
    return Renewed(service.full_name, pid_before, after.pid)


async def reload_door(
    cluster: Cluster, service: Service, configuration: str, binaries: Binaries, progress: Progress
) -> Renewed:
    """Have a door take up `configuration` once HAProxy's own check has passed it; no connection is refused meanwhile.

    ConfigurationRefusedError where HAProxy does not pass it: the door and its file stay as they are.
    """
    if service.kind is not Kind.DOOR:
        raise UnsupportedServiceError(
            f"{service.full_name} cannot be reloaded, only a door can; restart it with: "
            f"./standfest service restart {service.full_name}"
        )
    _refuse_held(cluster, service)
    home = cluster.node_home(cluster.topology.node(service.node))
    candidate, current = home.config / "door.cfg.new", home.config / "door.cfg"
    write_private(candidate, configuration)
    try:
        await asyncio.to_thread(_check, binaries, str(candidate))
        master, pid_before = _master(cluster, service), _pid(cluster, service)
        candidate.replace(current)
    finally:
        candidate.unlink(missing_ok=True)
    send([master], signal.SIGUSR2)

    async def missing() -> str:
        if not running([master]):
            raise NotReadyError(f"{service.full_name} died while it was reloaded; supervision starts it again")
        started = _pid(cluster, service) not in (pid_before, master.pid, None)
        return "" if started else f"no new worker has started; see {home.logs / 'door.log'}"

    await until(f"a new worker of {service.full_name}", missing, _RELOAD_S, progress)
    after = await until_running(cluster, service, _RELOAD_S, progress)
    return Renewed(service.full_name, pid_before, after.pid)


def _refuse_held(cluster: Cluster, service: Service) -> None:
    if is_held(cluster.node_home(cluster.topology.node(service.node)), service.program):
        raise HeldError(
            f"{service.full_name} is held on purpose; start it with: ./standfest service start {service.full_name}"
        )


def _pid(cluster: Cluster, service: Service) -> int | None:
    home = cluster.node_home(cluster.topology.node(service.node))
    return working_pid(processes_of(home), service.kind, service.program)


def _check(binaries: Binaries, file: str) -> None:
    checked = subprocess.run(
        [binaries.haproxy, "-c", "-f", file],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CHECK_TIMEOUT_S,
        check=False,
    )
    if checked.returncode != 0:
        complaint = next((line for line in checked.stderr.splitlines() if "[ALERT]" in line), "it did not say why")
        raise ConfigurationRefusedError(f"HAProxy refuses the door's configuration: {complaint.strip()}")


def _master(cluster: Cluster, service: Service) -> psutil.Process:
    """The process that watches the door's workers: the one of the door's that no other one of them started."""
    home = cluster.node_home(cluster.topology.node(service.node))
    own = [each.process for each in processes_of(home) if each.program == service.program]
    pids = {process.pid for process in own}
    masters = [process for process in running(own) if parent_of(process) not in pids]
    if len(masters) != 1:
        raise NotReadyError(
            f"{service.full_name} has {len(masters)} master processes instead of one; "
            f"start it with: ./standfest service start {service.full_name}"
        )
    return masters[0]
