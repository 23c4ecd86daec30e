"""The whole cluster by its own commands: started, hurt, healed, held and taken down."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from standfest.clients.supervisor import Program, ProgramState
from standfest.cluster.binaries import find_binaries
from standfest.cluster.handle import connected
from standfest.cluster.home import Home
from standfest.cluster.processes import processes_of
from standfest.cluster.supervision import crash_program, start_program
from standfest.cluster.topology_file import render_topology
from tests.support.cluster import LocalCluster

BACKENDS_THAT_COME_AND_GO = 6


@pytest.fixture(autouse=True)
def _well(cluster: LocalCluster) -> None:
    """Every test starts with a cluster that is well."""
    cluster.until_well()


def kill(pid: int) -> None:
    """End a process that `status` named, without warning."""
    assert pid > 1
    os.kill(pid, signal.SIGKILL)


def http_status(url: str) -> int:
    """The status of the answer to a GET request."""
    _, _, authority, path = url.split("/", 3)
    connection = http.client.HTTPConnection(authority, timeout=5)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status
    finally:
        connection.close()


def test_parts_agree_with_their_configuration(cluster: LocalCluster) -> None:
    """HAProxy's and Patroni's own checkers pass what was rendered for them."""
    binaries = find_binaries("")
    config = cluster.home / "nodes" / "n1" / "config"
    commands: list[list[str | Path]] = [
        [binaries.haproxy, "-c", "-f", config / "door.cfg"],
        [sys.executable, "-m", "patroni", "--validate-config", "--ignore-listen-port", config / "patroni.json"],
    ]
    for command in commands:
        checked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_up_on_a_running_cluster_changes_nothing(cluster: LocalCluster) -> None:
    """`up` leaves alone what runs: every process keeps its pid."""
    before = cluster.status()
    cluster.succeed("up")
    assert cluster.status() == before


def test_secrets_are_for_their_owner_alone(cluster: LocalCluster) -> None:
    """No secret and no rendered configuration is for anybody else, nor are their directories."""
    for directory in (cluster.home / "secrets", cluster.home / "nodes" / "n1" / "config"):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o077 for file in directory.iterdir()} == {0}


def test_status_names_the_process_that_does_the_work(cluster: LocalCluster) -> None:
    """The pid of PostgreSQL is the postmaster's, that of a door its worker's."""
    postmaster = cluster.home / "nodes" / "n1" / "postgres" / "postmaster.pid"
    assert cluster.service("n1/postgres")["pid"] == int(postmaster.read_text().split("\n", 1)[0])
    worker = cluster.pid("n1/door")
    master = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"haproxy" in Path(f"/proc/{master}/cmdline").read_bytes()


def test_every_process_is_recognised(cluster: LocalCluster) -> None:
    """What runs for the cluster is all known to it, PostgreSQL's children included, so that `down` leaves nothing."""
    known = [own for node in cluster.topology.nodes for own in processes_of(Home(cluster.home).node(node.name))]
    assert {own.program for own in known} >= {"supervisor", "restarter", "etcd", "postgres", "postgres-child"}
    assert len(known) >= len(cluster.processes()) - BACKENDS_THAT_COME_AND_GO


def test_both_doors_lead_to_api_processes(cluster: LocalCluster) -> None:
    """Both doors pass requests on, and keep the measurements of the processes behind them to themselves."""
    for door in cluster.status()["endpoints"]["doors"]:
        assert http_status(f"{door}/v1/health") == 200
        for path in ("/metrics", "//metrics", "/metrics/", "/%6Detrics", "/metrics%0A"):
            assert http_status(f"{door}{path}") == 404, path


def test_what_dies_comes_back(cluster: LocalCluster) -> None:
    """Each kind of service that is killed on one node is running again, with another pid, without a command."""
    names = ("n2/etcd", "n3/patroni", "n3/api", "n1/worker", "n1/door")
    before = {name: cluster.pid(name) for name in names}
    for pid in before.values():
        kill(pid)
    cluster.until_well()
    after = {name: cluster.service(name)["pid"] for name in names}
    assert all(after[name] not in (None, before[name]) for name in names)


def test_the_primary_is_killed_and_another_takes_over(cluster: LocalCluster) -> None:
    """After the primary's postmaster is killed another node is primary, and the first is a standby of it again."""
    primary = cluster.primary()
    kill(cluster.pid(f"{primary}/postgres"))
    cluster.until_well()
    assert cluster.primary() != primary
    cluster.assert_protected()


def test_a_dead_supervisor_is_told_and_healed(cluster: LocalCluster) -> None:
    """A supervisor's death shows in status and doctor, its services can still be held, and `up` brings the node back.

    PostgreSQL is held together with its Patroni, which would start it again, supervised or not, and past `up`.
    """
    kill(cluster.pid("n3/supervisor"))
    verdict = cluster.status()["verdict"]
    assert not verdict["can_lose_a_node"]
    assert "n3/supervisor is lost" in verdict["reasons"]
    assert "nothing supervises n3" in cluster.succeed("doctor", codes=(1,))
    cluster.succeed("service", "stop", "n3/postgres")
    assert cluster.service("n3/postgres")["pid"] is None
    cluster.succeed("up", codes=(1,))
    assert cluster.service("n3/supervisor")["state"] == "running"
    assert cluster.service("n3/postgres")["pid"] is None
    assert cluster.service("n3/patroni")["held"]
    cluster.succeed("service", "start", "n3/postgres")
    cluster.until_well()
    assert cluster.succeed("doctor") == "no fault found\n"


def test_what_dies_while_up_takes_over_is_started(cluster: LocalCluster) -> None:
    """With no supervisor left, what dies before `up` comes to it runs again, and `up` takes over all the others."""
    primary = cluster.primary()
    nodes = [node.name for node in cluster.topology.nodes]
    before = {f"{node}/{service['name']}": service["pid"] for node in nodes for service in _services(cluster, node)}
    for node in nodes:
        kill(before.pop(f"{node}/supervisor"))
    # The primary's node is the last one, and the others' API processes wait for its own.
    with cluster.begin("up") as up:
        deadline = time.monotonic() + 60
        while all(psutil.pid_exists(pid) for pid in before.values()):
            assert time.monotonic() < deadline, "`up` took nothing over"
            time.sleep(0.02)
        assert psutil.pid_exists(before[f"{primary}/api"])
        kill(before[f"{primary}/api"])
        said, _ = up.communicate(timeout=180)
    assert up.returncode == 0, said
    cluster.until_well()
    after = {f"{node}/{service['name']}": service["pid"] for node in nodes for service in _services(cluster, node)}
    assert {name for name in before if before[name] == after[name]} == {f"{node}/postgres" for node in nodes}


def test_a_supervisor_that_was_told_to_end_ends_before_up_replaces_it(cluster: LocalCluster) -> None:
    """`up` waits until all that it looks after has ended with it, and starts that again; doctor says to run `up`."""
    before = {service["name"]: service["pid"] for service in _services(cluster, "n3")}
    os.kill(before["worker"], signal.SIGSTOP)  # it does not hear that it shall stop
    os.kill(before["supervisor"], signal.SIGTERM)
    cluster.until(
        "the supervisor waits", lambda status: "n3/supervisor is unresponsive" in status["verdict"]["reasons"]
    )
    assert "told to end" in (said := cluster.succeed("doctor", codes=(1,)))
    assert "./standfest up" in said
    cluster.succeed("up")
    cluster.until_well()
    after = {service["name"]: service["pid"] for service in _services(cluster, "n3")}
    assert not set(after.values()) & set(before.values())


def test_another_topology_is_refused_while_the_cluster_runs(cluster: LocalCluster, tmp_path: Path) -> None:
    """`up` does not forget what runs: a topology with other ports is taken only once the cluster is down."""
    ports = msgspec.structs.replace(cluster.topology.ports, api=18500)
    other = tmp_path / "other.toml"
    other.write_text(render_topology(msgspec.structs.replace(cluster.topology, ports=ports)), encoding="utf-8")
    refused = cluster.run("up", "--topology", str(other))
    assert refused.returncode == 2
    assert "stop it first: ./standfest down" in refused.stderr


def test_a_service_is_held_until_it_is_started(cluster: LocalCluster) -> None:
    """A service that is killed on purpose stays down, says so, and runs again once it is started."""
    cluster.succeed("service", "stop", "n2/api", "--crash")
    assert cluster.service("n2/api") | {"address": ""} == {
        "name": "api",
        "state": "stopped",
        "pid": None,
        "role": None,
        "address": "",
        "held": True,
    }
    assert "n2/api is held on purpose" in cluster.status()["verdict"]["reasons"]
    cluster.succeed("service", "start", "n2/api")


def test_what_has_just_died_is_held_all_the_same(cluster: LocalCluster) -> None:
    """A program that its supervisor is about to start again stays down once it is killed on purpose."""

    async def act() -> None:
        async with connected(Home(cluster.home), cluster.topology) as handle:
            node = handle.topology.node("n1")

            async def door() -> Program:
                return next(each for each in await handle.supervisor(node).programs() if each.name == "door")

            for _ in range(5):
                kill((await door()).pid)
                await crash_program(handle, node, "door")
                assert (await door()).state is ProgramState.STOPPED
                await start_program(handle, node, "door")
                deadline = time.monotonic() + 60
                while (await door()).state is not ProgramState.RUNNING:
                    assert time.monotonic() < deadline, "the door was not started"
                    await asyncio.sleep(0.05)

    asyncio.run(act())


def test_what_is_stopping_is_started_once_it_has_stopped(cluster: LocalCluster) -> None:
    """A start that comes while the program still stops is not forgotten: it waits, and a new process runs."""
    before = cluster.service("n1/worker")["pid"]

    async def act() -> None:
        async with connected(Home(cluster.home), cluster.topology) as handle:
            node = handle.topology.node("n1")
            os.kill(before, signal.SIGSTOP)  # it does not hear that it shall stop
            await handle.supervisor(node).stop("worker")
            starting = asyncio.create_task(start_program(handle, node, "worker"))
            await asyncio.wait({starting}, timeout=1)
            assert not starting.done()
            os.kill(before, signal.SIGCONT)
            await starting

    asyncio.run(act())
    cluster.until_well()
    assert cluster.service("n1/worker")["pid"] not in (None, before)


def test_a_service_is_renewed(cluster: LocalCluster) -> None:
    """A reloaded door has another worker under the same master, a restarted service another process; neither is held.

    What is held is not started by the way, and only a door can be reloaded.
    """
    master, worker = (own.process.pid for own in processes_of(Home(cluster.home).node("n1")) if own.program == "door")
    reloaded = json.loads(cluster.succeed("service", "reload", "n1/door", "--json"))
    assert reloaded["pid_before"] == worker
    assert cluster.service("n1/door")["pid"] == reloaded["pid"] != worker
    assert Path(f"/proc/{master}").exists()
    restarted = json.loads(cluster.succeed("service", "restart", "n3/worker", "--json"))
    assert cluster.service("n3/worker")["pid"] == restarted["pid"] != restarted["pid_before"]
    assert cluster.run("service", "reload", "n1/api").returncode == 2
    cluster.succeed("service", "stop", "n3/worker")
    assert "is held on purpose" in cluster.run("service", "restart", "n3/worker").stderr
    cluster.succeed("service", "start", "n3/worker")


def test_the_primarys_node_is_lost_and_comes_back(cluster: LocalCluster) -> None:
    """With the primary's node crashed and held another takes over, no process is left there, and it comes back."""
    primary = cluster.primary()
    cluster.succeed("node", "stop", primary, "--crash")
    assert not any(f"/nodes/{primary}/" in command for command in cluster.processes())
    cluster.until("the others go on, with the journal", lambda status: bool(status["verdict"]["up"]))
    status = cluster.until("another is primary", lambda status: _roles(status).count("primary") == 1)
    assert status["verdict"]["up"]
    assert not status["verdict"]["can_lose_a_node"]
    assert f"{primary} is held down on purpose" in status["verdict"]["reasons"]
    node = next(node for node in status["nodes"] if node["name"] == primary)
    assert {service["pid"] for service in node["services"]} == {None}
    cluster.succeed("node", "start", primary)


def test_down_leaves_no_process_and_up_finds_everything_again(cluster: LocalCluster) -> None:
    """`down` leaves no process, of those that stand still neither, nor where a supervisor was told to end before; `up`
    brings back what was stored, and leaves down a node that is held."""
    cluster.do("CREATE TABLE kept AS SELECT 42 AS answer")
    cluster.succeed("node", "stop", "n2")
    assert not any("/nodes/n2/" in command for command in cluster.processes())
    standing = [cluster.pid(name) for name in ("n1/supervisor", "n1/etcd", "n3/api", "n3/patroni", "n3/postgres")]
    ending = cluster.pid("n3/supervisor")
    for pid in standing:
        os.kill(pid, signal.SIGSTOP)
    os.kill(ending, signal.SIGTERM)
    cluster.succeed("down")
    assert cluster.processes() == []
    assert cluster.run("status").returncode == 2
    cluster.succeed("up", codes=(1,))
    assert cluster.ask("SELECT answer FROM kept") == "42"
    assert "n2 is held down on purpose" in cluster.look()["verdict"]["reasons"]
    cluster.do("DROP TABLE kept")
    cluster.succeed("node", "start", "n2")


def test_logs_and_misuse(cluster: LocalCluster) -> None:
    """`logs` shows a service's own log; a name that does not exist is refused in one line with exit code 2."""
    assert "n1/patroni" in cluster.succeed("logs", "n1/patroni")
    refused = cluster.run("service", "stop", "n3/door")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "there is no service 'n3/door'" in refused.stderr


def _services(cluster: LocalCluster, name: str) -> list[dict[str, Any]]:
    return next(node["services"] for node in cluster.look()["nodes"] if node["name"] == name)


def _roles(status: dict[str, list[dict[str, list[dict[str, object]]]]]) -> list[object]:
    return [service["role"] for node in status["nodes"] for service in node["services"]]
