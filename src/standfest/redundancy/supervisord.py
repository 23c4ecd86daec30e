"""supervisor's configuration: one supervisord a node. http://supervisord.org/configuration.html

Nothing starts by itself: `up` and `node start` start programs in their order and leave out what is held.
"""

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from standfest.cluster.commands import member_start, program_arguments, program_start, restarter_arguments
from standfest.cluster.inventory import Kind, Service, programs_of
from standfest.redundancy.site import Site

_START_RETRIES = 3
"""Quick attempts before supervisor gives up (FATAL) and the restarter takes over with longer pauses."""

_LOG_BYTES = "5MB"
_LOG_BACKUPS = "2"

_STOP_WAIT_S = {
    Kind.ETCD: 10,
    Kind.JOURNAL: 10,
    Kind.PATRONI: 30,
    Kind.API: 15,
    Kind.WORKER: 15,
    Kind.AUDIT: 15,
    Kind.DOOR: 10,
}
"""How long a program may take to stop in good order before it is killed."""

_STOP_SIGNAL = {Kind.ETCD: "KILL"}
"""TERM for all others. While a member of Patroni's etcd ends in good order it answers a renewal of the leader's lease
with an unknown error for a second, and Patroni demotes the primary (https://github.com/patroni/patroni/issues/3118).
What it has acknowledged is on disk either way, and Patroni goes to another member when a connection breaks."""

_START_S = {
    Kind.ETCD: 5,
    Kind.JOURNAL: 5,
    Kind.PATRONI: 5,
    Kind.API: 5,
    Kind.WORKER: 5,
    Kind.AUDIT: 5,
    Kind.DOOR: 1,
}
"""How long a program must live to count as started."""


def render_supervisord(site: Site) -> str:
    """The node's supervisord.conf."""
    home, ports = site.home, site.topology.ports
    user, password = "supervisor", site.passwords["supervisor"]
    sections = [
        _section(
            "inet_http_server",
            {
                "port": f"{site.node.address}:{ports.supervisor}",
                "username": user,
                "password": "{SHA}" + hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest(),
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
            },
        ),
        _section(
            "supervisord",
            {
                "identifier": f"{site.topology.name}-{site.node.name}",
                "directory": str(home.run),
                "pidfile": str(home.run / "supervisord.pid"),
                "logfile": str(home.logs / "supervisor.log"),
                "logfile_maxbytes": _LOG_BYTES,
                "logfile_backups": _LOG_BACKUPS,
                "childlogdir": str(home.logs),
                "umask": "077",
                "nodaemon": "false",
            },
        ),
        _section(
            "eventlistener:restarter",
            {
                "command": _command(
                    [
                        site.binaries.python,
                        *restarter_arguments(site.home),
                        "--url",
                        f"http://{site.node.address}:{ports.supervisor}",
                        "--password-file",
                        site.secrets.directory / "supervisor",
                    ]
                ),
                "events": "PROCESS_STATE_FATAL,PROCESS_STATE_RUNNING",
                "autostart": "true",
                "autorestart": "true",
                "startretries": "1000000",
                "stderr_logfile": str(home.logs / "restarter.log"),
                "stderr_logfile_maxbytes": _LOG_BYTES,
                "stderr_logfile_backups": "1",
            },
        ),
        *(_program(site, service) for service in programs_of(site.topology, site.node)),
    ]
    return "\n".join(sections)


def _program(site: Site, service: Service) -> str:
    return _section(
        f"program:{service.name}",
        {
            "command": _command(_start(site, service)),
            "directory": str(site.home.run),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": str(_START_S[service.kind]),
            "startretries": str(_START_RETRIES),
            "stopwaitsecs": str(_STOP_WAIT_S[service.kind]),
            "stopsignal": _STOP_SIGNAL.get(service.kind, "TERM"),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": "NONE",
        },
    )


def _start(site: Site, service: Service) -> Sequence[str | Path]:
    program, arguments = _executable(site, service.kind), program_arguments(site.home, service)
    log = site.home.logs / f"{service.name}.log"
    data = {Kind.ETCD: site.home.etcd, Kind.JOURNAL: site.home.journal}.get(service.kind)
    if data is not None:
        return member_start(log, site.home.founded(service.name), data, program, arguments)
    return program_start(log, program, arguments)


def _executable(site: Site, kind: Kind) -> Path:
    programs = {Kind.ETCD: site.binaries.etcd, Kind.JOURNAL: site.binaries.etcd, Kind.DOOR: site.binaries.haproxy}
    return programs.get(kind, site.binaries.python)


def _command(arguments: Sequence[str | Path]) -> str:
    return shlex.join(str(argument) for argument in arguments)


def _section(name: str, entries: dict[str, str]) -> str:
    """One section; supervisor expands %, so it is doubled."""
    lines = [f"{key} = {value.replace('%', '%%')}" for key, value in entries.items()]
    return "\n".join([f"[{name}]", *lines, ""])
