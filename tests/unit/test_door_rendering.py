"""Rendering of the doors. What HAProxy makes of it is asked in the integration tests."""

import re
from pathlib import Path

import msgspec

from standfest.cluster.binaries import Binaries
from standfest.cluster.home import Home
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import LOCAL, Topology
from standfest.interfaces.api.capacity import OF_A_DOOR_MAX
from standfest.interfaces.api.server import DRAIN_S
from standfest.interfaces.api.services import Limits
from standfest.redundancy.haproxy import (
    CHECK_INTERVAL_MS,
    CHECK_TIMEOUT_MS,
    DEAD_MS,
    OUT_OF_ROTATION_MS,
    render_door,
)
from standfest.redundancy.site import Site

HOME = Home(Path("/home/operator/.standfest"))
BINARIES = Binaries(Path("/v/python"), Path("/usr/bin/etcd"), Path("/usr/sbin/haproxy"), Path("/pg/bin"), 18)


def door(topology: Topology = LOCAL) -> str:
    """The first door's configuration."""
    node = topology.nodes[0]
    site = Site(topology, node, HOME.node(node.name), Secrets(HOME.secrets), {"door-stats": "secret"}, BINARIES)
    return render_door(site, topology.doors[0])


def test_only_what_may_be_repeated_is_sent_twice() -> None:
    """Reads and what is posted with an Idempotency-Key go to the back end that sends again what broke; all else goes
    elsewhere only where nothing was sent, which no kept connection can tell."""
    lines = [line.strip() for line in door().splitlines()]
    intake, repeatable, once = (lines.index(f"backend {name}") for name in ("intake", "repeatable", "once"))
    assert "use_backend intake if order has_key !only_reads" in lines
    assert "use_backend repeatable if only_reads or has_key { method POST }" in lines
    assert "default_backend once" in lines
    for backend in (lines[intake:repeatable], lines[repeatable:once]):
        assert "retry-on conn-failure empty-response junk-response" in backend
    assert {"retry-on conn-failure", "http-reuse never"} <= set(lines[once:])
    assert "shutdown-sessions" not in " ".join(lines[once:])


def test_nothing_slow_or_shed_is_sent_again() -> None:
    """A door repeats neither on a status nor on a timeout, which would turn overload into more of it."""
    repeated = [line for line in door().splitlines() if line.strip().startswith("retry-on")]
    assert len(repeated) == 3
    assert not any(cause in line for line in repeated for cause in ("timeout", "429", "50", "all-"))


def test_a_door_says_not_attempted_only_where_nothing_was_sent() -> None:
    """Its own 503 may stand for a repeat that found nobody: without a repeat it leaves as 429, else as 504, and its
    document, which cannot know, says neither."""
    lines = [line.strip() for line in door().splitlines()]
    own = [line for line in lines if "http-error status 503" in line]
    assert len(own) == 1
    assert "problems/" not in own[0]
    made = [line.split() for line in lines if line.startswith("http-after-response set-status")]
    assert [(words[2], words[-1]) for words in made] == [("429", "unsent"), ("504", "by_door")]
    nobody = [line for line in lines if "problems/unavailable" in line]
    assert len(nobody) == 1
    assert nobody[0].endswith("if { nbsrv(repeatable) eq 0 } !{ stopping }")


def test_a_frozen_process_is_out_of_rotation_within_a_second() -> None:
    """The longest time until a door has noticed leaves room for the repeat; a loop busy for 300 ms is not frozen."""
    assert OUT_OF_ROTATION_MS <= 900
    assert OUT_OF_ROTATION_MS - CHECK_INTERVAL_MS >= 300


def test_late_is_not_dead() -> None:
    """A process is asked patiently whether it is alive; what it held until it is called dead is young enough to be done
    by another one, and a door's own waiting ends later."""
    alive = [line.strip() for line in door().partition("backend alive")[2].partition("backend")[0].splitlines()]
    assert "timeout check 5000ms" in alive
    assert 5 * OUT_OF_ROTATION_MS < DEAD_MS < Limits.order_age_max_s * 1000
    assert "timeout server 10s" in door()


def test_a_process_that_ends_serves_on_until_the_doors_have_seen_it() -> None:
    """It is unready for several check intervals before it takes no more connections."""
    assert DRAIN_S * 1000 >= 3 * (CHECK_INTERVAL_MS + CHECK_TIMEOUT_MS)


def test_two_doors_stay_within_what_an_api_process_holds() -> None:
    """Both doors together never send an API process more than it takes, whatever waits in their queues."""
    at_once = sum(map(int, re.findall(r"default-server maxconn (\d+)", door())))
    assert len(LOCAL.doors) * at_once <= Limits.in_flight_max


def test_a_door_knows_every_api_process() -> None:
    """All back ends of each door have every API process of the cluster; each is asked whether it is ready and whether
    it is alive, and used where none is ready if it is alive."""
    topology = msgspec.structs.replace(LOCAL, processes=msgspec.structs.replace(LOCAL.processes, api=2))
    servers = [line.split() for line in door(topology).splitlines() if line.startswith("    server ")]
    for end, count in (("check", 12), ("backup", 18)):
        assert sum(server[-1] == end for server in servers) == count
    assert sum(server[4].startswith("repeatable/") for server in servers if server[3] == "track") == 12
    anyway = [server for server in servers if server[-1] == "backup"]
    tracked = [server[server.index("track") + 1] for server in anyway]
    assert tracked == [f"alive/{server[1].removeprefix('any-')}" for server in anyway]


def test_a_door_asks_every_api_process_how_many_orders_it_wants() -> None:
    """The back end of orders asks each at a port of its own, whether in time or late, and no other back end does; one
    that is late has time to answer."""
    topology = msgspec.structs.replace(LOCAL, processes=msgspec.structs.replace(LOCAL.processes, api=2))
    asked = [line.split() for line in door(topology).splitlines() if "agent-check" in line]
    ports = LOCAL.ports
    agents = [int(server[server.index("agent-port") + 1]) for server in asked]
    assert agents == 6 * [ports.api_capacity, ports.api_capacity + 1]
    assert [int(server[2].rpartition(":")[2]) for server in asked] == 6 * [ports.api, ports.api + 1]
    assert [server[1].startswith("any-") for server in asked] == 6 * [False] + 6 * [True]
    intake = door().partition("\nbackend intake")[2].partition("\nbackend ")[0]
    assert "timeout check 5000ms" in intake


def test_a_process_that_tells_nothing_weighs_as_much_as_it_gets() -> None:
    """Weights are what processes get of orders at a time, so that a door compares how full they are."""
    assert f"default-server maxconn {OF_A_DOOR_MAX} weight {OF_A_DOOR_MAX} " in door()


def test_the_door_does_not_log_who_ordered_what() -> None:
    """The log's format has neither client addresses nor query strings nor header contents."""
    formats = [line for line in door().splitlines() if "log-format" in line]
    assert len(formats) == 1
    assert not any(name in formats[0] for name in ("%ci", "%HU", "%HQ", "%hr", "%r "))
