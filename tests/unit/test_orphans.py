"""Taking over what runs on without a supervisor, as data: what is seen in, what waits for what out."""

from dataclasses import replace
from unittest.mock import Mock

import psutil
import pytest

from standfest.cluster.inventory import Kind, Service, find_service, programs_of
from standfest.cluster.observation import Observation, Role, State
from standfest.cluster.orphans import broken, in_order, left_stopped, missing_beside, orphaned
from standfest.cluster.processes import NodeProcess
from standfest.cluster.topology import LOCAL
from tests.unit.test_verdict import NO_DATABASE, seen

PROGRAMS = [service for node in LOCAL.nodes for service in programs_of(LOCAL, node)]


def service(full_name: str) -> Service:
    """NODE/NAME of the built-in topology."""
    return find_service(LOCAL, full_name)


def process(program: str, pid: int, parent: int | None) -> NodeProcess:
    """A process that is not looked at."""
    return NodeProcess(program, Mock(spec=psutil.Process, pid=pid), parent)


def test_who_has_no_supervisor() -> None:
    """A process is an orphan unless the node's supervisor or its own program started it: a dead one keeps nobody."""
    of_the_dead = [process("etcd", 11, 1), process("door", 12, 1), process("door", 13, 12)]
    found = [process("supervisor", 10, 1), *of_the_dead, process("api", 20, 10), process("door", 21, 10)]
    assert [each.pid for each in orphaned(found, "etcd")] == [11]
    assert [each.pid for each in orphaned(found, "door")] == [12]
    assert orphaned(found, "api") == []
    assert [each.pid for each in orphaned([process("api", 20, 10)], "api")] == [20]


@pytest.mark.parametrize(("primary", "nodes"), [("n1", ["n2", "n3", "n1"]), ("n2", ["n1", "n3", "n2"])])
def test_node_by_node_and_the_primarys_last(primary: str, nodes: list[str]) -> None:
    """A node is done before the next one begins, the primary's is the last, and each begins with what others need."""
    roles = {f"{node.name}/postgres": Role.STANDBY for node in LOCAL.nodes} | {f"{primary}/postgres": Role.PRIMARY}
    order = in_order(PROGRAMS, seen(roles=roles))
    assert list(dict.fromkeys(each.node for each in order)) == nodes
    kinds = [each.kind for each in order if each.node == "n1"]
    assert kinds == [Kind.ETCD, Kind.JOURNAL, Kind.PATRONI, Kind.API, Kind.WORKER, Kind.AUDIT, Kind.DOOR]


def test_what_does_not_serve_comes_first() -> None:
    """Nothing is taken away with a process that stood still before: it comes first, and waits for none of its kind, but
    for those that were taken over."""
    silent = seen({"n3/api": State.UNRESPONSIVE, "n2/api": State.UNRESPONSIVE})
    useless = broken(PROGRAMS, silent)
    assert in_order(PROGRAMS, silent)[:2] == useless == [service("n2/api"), service("n3/api")]
    assert missing_beside(service("n2/api"), useless, [], silent) == ""
    assert (
        missing_beside(service("n3/api"), useless, [service("n2/api")], silent) == "n2/api is unresponsive: no answer"
    )
    # By now it serves: then it is like any other.
    assert missing_beside(service("n2/api"), useless, [], seen({"n3/api": State.UNRESPONSIVE})) != ""


def test_a_member_waits_for_another_though_neither_serves() -> None:
    """While a quorum is away no member serves: those that did before are not restarted on top of that."""
    electing = seen({"n1/etcd": State.UNRESPONSIVE, "n2/etcd": State.STARTING, "n3/etcd": State.UNRESPONSIVE})
    assert "n2/etcd is starting" in missing_beside(service("n1/etcd"), [], [service("n2/etcd")], electing)


@pytest.mark.parametrize(
    ("there", "left"),
    [
        (seen(), []),
        (seen({"n1/api": State.STOPPED, "n3/etcd": State.STOPPED}), ["n1/api", "n3/etcd"]),
        (seen({"n1/patroni": State.STOPPED, "n1/postgres": State.STOPPED}), ["n1/patroni"]),
        # Those are held, have a supervisor that starts them, have none, or have to be given their place first.
        (seen({"n1/api": State.STOPPED}, held=("n1/api",)), []),
        (seen({"n1/api": State.FAILING, "n2/api": State.STARTING, "n3": State.LOST}), []),
        (seen({"n1/etcd": State.STOPPED}, lacking=("n1",)), []),
    ],
)
def test_what_died_before_its_turn_is_started_by_nobody(there: Observation, left: list[str]) -> None:
    """What does not run, is not held, and was not asked to start by the supervisor that runs, is found."""
    assert left_stopped(there) == left


@pytest.mark.parametrize(
    ("due", "there", "said"),
    [
        ("n1/etcd", seen(), ""),
        ("n1/etcd", seen({"n2/etcd": State.STARTING}), "n2/etcd is starting: no answer"),
        ("n1/etcd", seen({"n2/journal": State.FAILING}), ""),
        ("n1/patroni", seen(roles={"n3/postgres": Role.REPLICA}), "no commit waits for n3 yet"),
        ("n1/api", seen(unready=("n3/api",)), "n3/api takes no requests: no answer"),
        ("n1/api", seen(said={"n2/api": NO_DATABASE}), "n2/api says that its database is 'unavailable'"),
        ("n1/door", seen({"n2/door": State.LOST}), "n2/door is lost: no answer"),
        # What is held, or waits for its place, does not come: who waited for it would wait for ever.
        ("n1/etcd", seen({"n2/etcd": State.STOPPED}, held=("n2/etcd",)), ""),
        ("n1/etcd", seen({"n2": State.LOST}, lacking=("n2",)), ""),
    ],
)
def test_others_of_the_kind_serve_meanwhile(due: str, there: Observation, said: str) -> None:
    """A service goes away only while every other one of its kind that may run does what the others rely on."""
    assert missing_beside(service(due), [], [], there) == said


def test_what_was_taken_over_serves_before_anything_else_goes() -> None:
    """A service that does not come back keeps all others where they are, whatever their kind, to the end."""
    taken = [service("n2/etcd"), service("n2/patroni")]
    gone = seen({"n2/etcd": State.FAILING}, {"n2/postgres": Role.REPLICA})
    for due in (service("n2/journal"), None):
        assert missing_beside(due, [], taken, gone) == "n2/etcd is failing: no answer; no commit waits for n2 yet"
        assert missing_beside(due, [], taken, seen()) == ""


def test_a_database_cluster_has_doors_that_want_nothing() -> None:
    """Without API processes a door has nobody behind it, and is not waited for to want requests."""
    well = seen(unready=("n1/door", "n2/door"))
    without = tuple(
        replace(node, services=tuple(each for each in node.services if each.kind is not Kind.API))
        for node in well.nodes
    )
    assert missing_beside(None, [], [service("n1/door")], replace(well, nodes=without)) == ""
    assert missing_beside(None, [], [service("n1/door")], well) != ""
