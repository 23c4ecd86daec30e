"""PostgreSQL under Patroni: quorum-synchronous and strict, credentials on every connection, failover at once.

Options: https://patroni.readthedocs.io/en/latest/ (dynamic and YAML configuration; JSON is YAML) and the
documentation of PostgreSQL 18.
"""

import ipaddress
import json
import os
import shlex
from pathlib import Path

from standfest.cluster.commands import promotion_arguments, rewind_arguments, rewind_program
from standfest.cluster.topology import Topology
from standfest.redundancy.site import Site

LOOP_WAIT_S = 1
"""How often Patroni looks after its member, its smallest: on three nodes that costs 0.02 cores (bench/idle.py)."""

TTL_S = 20
"""Patroni's smallest ttl; LOOP_WAIT_S + 2 · _RETRY_TIMEOUT_S must not exceed it."""

_RETRY_TIMEOUT_S = 3
"""Patroni's smallest retry_timeout."""

SHARE_OF_MEMORY = 8
SHARED_BUFFERS_MIN_MIB, SHARED_BUFFERS_MAX_MIB = 64, 8192

IDLE_IN_TRANSACTION_S = 60
"""A session that waits within a transaction for its client is ended after so many seconds; the order plane's sooner."""

_STOP_TIMEOUT_S = 10
"""A primary that does not stop by then is killed, so that a switchover ends."""


def render_patroni(site: Site) -> str:
    """The configuration file of the node's Patroni; it holds passwords."""
    topology, node = site.topology, site.node
    ports = topology.ports
    settings = {
        "scope": topology.name,
        "namespace": "/standfest/",
        "name": node.name,
        "restapi": {
            "listen": f"{node.address}:{ports.patroni}",
            "connect_address": f"{node.address}:{ports.patroni}",
            "authentication": {"username": "patroni", "password": site.passwords["patroni-rest"]},
        },
        # A standby is cloned from another one where there is one, and never while the primary could be spared it.
        "tags": {"clonefrom": True},
        # By default Patroni opens /dev/watchdog where it may: when it is then killed, the whole machine is reset.
        "watchdog": {"mode": "off"},
        "etcd3": {
            "hosts": [f"{other.address}:{ports.etcd_client}" for other in topology.nodes],
            "protocol": "https",
            "cacert": str(site.secrets.authority),
            "cert": str(site.secrets.certificate("client")),
            "key": str(site.secrets.key("client")),
        },
        "bootstrap": {"dcs": dynamic_settings(topology), "initdb": _initdb(site.binaries.postgres_major)},
        "postgresql": {
            "listen": f"{node.address}:{ports.postgres}",
            "connect_address": f"{node.address}:{ports.postgres}",
            "data_dir": str(site.home.postgres),
            "bin_dir": str(site.binaries.postgres_bin),
            "bin_name": {"pg_rewind": str(rewind_program(site.home))},
            # Nobody is promoted before a quorum has left the old primary (decision 0012).
            "pre_promote": shlex.join([str(site.binaries.python), *promotion_arguments(site.home)]),
            "pgpass": str(site.home.run / "pgpass"),
            "pg_hba": _host_based_authentication(topology),
            "basebackup": [{"checkpoint": "fast"}, {"max-rate": f"{topology.postgres.clone_mib_per_s}M"}],
            "authentication": {
                "superuser": _login("postgres", site.passwords["postgres-superuser"]),
                "replication": _login("replicator", site.passwords["postgres-replicator"]),
                "rewind": _login("rewinder", site.passwords["postgres-rewinder"]),
            },
            "parameters": _local_parameters(site),
        },
    }
    return json.dumps(settings, indent=2) + "\n"


def render_rewind(site: Site) -> str:
    """The program that Patroni calls as pg_rewind."""
    command = [str(site.binaries.python), *rewind_arguments(site.binaries.postgres_bin)]
    return f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'


def dynamic_settings(topology: Topology) -> dict[str, object]:
    """What Patroni keeps in etcd for all members alike: set at bootstrap, brought up to date at every `up`."""
    return {
        "ttl": TTL_S,
        "loop_wait": LOOP_WAIT_S,
        "retry_timeout": _RETRY_TIMEOUT_S,
        "synchronous_mode": "quorum",
        "synchronous_mode_strict": True,
        "synchronous_node_count": 1,
        # Without etcd the primary stays primary as long as every member answers it.
        "failsafe_mode": True,
        # A crashed postmaster is a failover, never a crash recovery that shows unreplicated rows.
        "primary_start_timeout": 0,
        "primary_stop_timeout": _STOP_TIMEOUT_S,
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": _shared_parameters(topology)},
    }


def _shared_parameters(topology: Topology) -> dict[str, object]:
    return {
        # what an acknowledgement rests on
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "restart_after_crash": "off",
        # size
        "max_connections": topology.postgres.max_connections,
        "io_method": "sync",  # no pool of I/O workers: three processes less on each node
        "autovacuum_max_workers": 2,
        "jit": "off",
        # replication
        "max_wal_senders": 10,
        "max_replication_slots": 10,
        # A primary that was replaced comes back by pg_rewind, which copies all of its successor's WAL.
        "wal_keep_size": "512MB",
        # After each checkpoint the first change of a page writes all of it: rare checkpoints keep random indexes cheap.
        "max_wal_size": "2GB",
        "max_slot_wal_keep_size": "4GB",  # a node held for days must not fill the primary's disk
        "wal_sender_timeout": "10s",
        "wal_receiver_timeout": "10s",
        # Every role's, an operator's too: the feed of changes shows nothing above a transaction that runs, and VACUUM
        # cleans nothing. Replication has no transaction; pg_rewind, pg_dump and autovacuum set it off for themselves.
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
        # a peer that vanished without a word
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 10000,
        # who may log in, and what the log must not repeat: orders carry names and addresses
        "password_encryption": "scram-sha-256",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_parameter_max_length": 0,
        "log_parameter_max_length_on_error": 0,
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def _local_parameters(site: Site) -> dict[str, object]:
    return {
        # TCP only: three servers on one machine could meet in a socket directory, and paths may be too long for one.
        "unix_socket_directories": "",
        "shared_buffers": f"{site.topology.postgres.shared_buffers_mib or shared_buffers_mib(site.topology)}MB",
        # A postmaster outlives the Patroni that started it and that Patroni's pipe to supervisor.
        "logging_collector": "on",
        "log_directory": str(site.home.logs),
        # A file of a known size has a name of its own; the oldest ones are removed (cluster/caretaker.py). PostgreSQL
        # itself appends to a file whose name comes again by size, whatever log_truncate_on_rotation says.
        "log_filename": "postgres-%Y%m%dT%H%M%S.log",
        "log_file_mode": "0600",
        "log_rotation_age": "1d",
        "log_rotation_size": "5MB",
    }


def shared_buffers_mib(topology: Topology, memory_bytes: int | None = None) -> int:
    """What one server keeps in memory, in MiB: an eighth of the machine's, shared by the cluster's servers on it.

    PostgreSQL's manual suggests a quarter for a machine of its own; here API processes and etcd live as well.

    Args:
        topology: nodes on the loopback network are all on this machine.
        memory_bytes: of the machine; None: what it has, or a container is allowed.
    """
    servers = sum(ipaddress.ip_address(node.address).is_loopback for node in topology.nodes) or 1
    share = (memory_bytes or _memory_bytes()) // (SHARE_OF_MEMORY * servers * 2**20)
    return min(max(share, SHARED_BUFFERS_MIN_MIB), SHARED_BUFFERS_MAX_MIB)


def _memory_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.strip().isdigit() else memory


def _host_based_authentication(topology: Topology) -> list[str]:
    rules = []
    for source in _sources(topology):
        rules += [
            f"host replication replicator {source} scram-sha-256",
            f"host all postgres,rewinder {source} scram-sha-256",
            f"host standfest standfest_owner,standfest_app {source} scram-sha-256",
        ]
    return rules


def _sources(topology: Topology) -> list[str]:
    """Where connections come from: the nodes, and on loopback whatever address the kernel picks there."""
    addresses = [ipaddress.ip_address(node.address) for node in topology.nodes]
    if all(address.is_loopback for address in addresses):
        return ["127.0.0.0/8"]
    return [f"{address}/32" for address in addresses]


def _initdb(postgres_major: int) -> list[object]:
    options: list[object] = [{"encoding": "UTF8"}, "data-checksums"]
    if postgres_major >= 17:
        # Sorting does not change with the machine's C library, so a standby elsewhere cannot disagree on an index.
        return [
            *options,
            {"locale-provider": "builtin"},
            {"builtin-locale": "C.UTF-8"},
            {"locale": "C.UTF-8"},
        ]
    return [*options, {"locale": "C.UTF-8"}]


def _login(user: str, password: str) -> dict[str, str]:
    return {"username": user, "password": password}
