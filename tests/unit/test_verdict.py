"""The verdict as data: what was seen in, the exact answer out."""

import json
from dataclasses import replace

import pytest

from standfest.cluster.inventory import Kind, services_of
from standfest.cluster.observation import Observation, Role, SeenNode, SeenService, State
from standfest.cluster.topology import LOCAL
from standfest.redundancy.diagnosis import diagnose
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import Verdict, decide

ROLES = {"n1/postgres": Role.PRIMARY, "n2/postgres": Role.STANDBY, "n3/postgres": Role.STANDBY}


def seen(
    states: dict[str, State] | None = None,
    roles: dict[str, Role] | None = None,
    *,
    held: tuple[str, ...] = (),
    unready: tuple[str, ...] = (),
    strict: bool = True,
    paused: bool = False,
    databases: dict[str, str] | None = None,
) -> Observation:
    """A cluster where all is well but for what is given; a node's name stands for all of its services."""
    states, roles = states or {}, {**ROLES, **(roles or {})}
    nodes = []
    for node in LOCAL.nodes:
        services = []
        for service in services_of(LOCAL, node):
            name = service.full_name
            state = states.get(name, states.get(node.name, State.RUNNING))
            runs = state is State.RUNNING
            services.append(
                SeenService(
                    name=service.name,
                    kind=service.kind,
                    address=service.address,
                    state=state,
                    pid=1 if runs else None,
                    role=roles.get(name) if runs else None,
                    held=name in held or node.name in held,
                    ready=runs and name not in unready,
                    database=(databases or {}).get(name, "ok") if runs and service.kind is Kind.API else "",
                    evidence="" if runs and name not in unready else "no answer",
                )
            )
        nodes.append(SeenNode(node.name, node.address, tuple(services), held=node.name in held))
    return Observation(tuple(nodes), strict=strict, paused=paused)


WELL = Verdict(up=True, can_lose_a_node=True, reasons=())
LOSS = "the loss of {} would leave {}".format
ONE_COPY = "1 of the two PostgreSQL servers that a commit needs"
DOWN = dict.fromkeys(["n1", "n2", "n3"], State.LOST)

CASES = {
    "all is well": (seen(), WELL),
    "a worker is dead": (
        seen({"n3/worker": State.FAILING}),
        Verdict(up=True, can_lose_a_node=True, reasons=("n3/worker is failing",)),
    ),
    "a standby is dead": (
        seen({"n2/postgres": State.FAILING}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=("n2/postgres is failing", LOSS("n1", ONE_COPY), LOSS("n3", ONE_COPY)),
        ),
    ),
    "a standby does not stream yet": (
        seen(roles={"n2/postgres": Role.REPLICA}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                "n2/postgres is a replica on which no commit waits (yet)",
                LOSS("n1", ONE_COPY),
                LOSS("n3", ONE_COPY),
            ),
        ),
    ),
    "an etcd member is dead": (
        seen({"n3/etcd": State.FAILING}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                "n3/etcd is failing",
                LOSS("n1", "1 of 3 etcd members, too few for a quorum"),
                LOSS("n2", "1 of 3 etcd members, too few for a quorum"),
            ),
        ),
    ),
    "a door is dead": (
        seen({"n2/door": State.FAILING}),
        Verdict(up=True, can_lose_a_node=False, reasons=("n2/door is failing", LOSS("n1", "no door"))),
    ),
    "one API process is left": (
        seen({"n1/api": State.FAILING}, unready=("n2/api",)),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                "n1/api is failing",
                "n2/api takes no requests: no answer",
                LOSS("n3", "no API process with a database"),
            ),
        ),
    ),
    "a supervisor is dead": (
        seen({"n1/supervisor": State.LOST}),
        Verdict(up=True, can_lose_a_node=False, reasons=("n1/supervisor is lost",)),
    ),
    "a Patroni is dead": (
        seen({"n1/patroni": State.FAILING}),
        Verdict(up=True, can_lose_a_node=False, reasons=("n1/patroni is failing",)),
    ),
    "Patroni is paused": (
        seen(paused=True),
        Verdict(up=True, can_lose_a_node=False, reasons=("Patroni is paused: nobody takes over by itself",)),
    ),
    "one copy would do": (
        seen(strict=False),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=("Patroni's configuration is not quorum-synchronous and strict",),
        ),
    ),
    "a service is held": (
        seen({"n2/worker": State.STOPPED}, held=("n2/worker",)),
        Verdict(up=True, can_lose_a_node=True, reasons=("n2/worker is held on purpose",)),
    ),
    "a node is held": (
        seen({"n3": State.STOPPED}, held=("n3",)),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                "n3 is held down on purpose",
                LOSS("n1", "1 of 3 etcd members, too few for a quorum"),
                LOSS("n1", ONE_COPY),
                LOSS("n2", "1 of 3 etcd members, too few for a quorum"),
                LOSS("n2", ONE_COPY),
            ),
        ),
    ),
    "no primary": (
        seen({"n1/postgres": State.FAILING}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=("no PostgreSQL is primary: nothing can be written", "n1/postgres is failing"),
        ),
    ),
    "two primaries": (
        seen(roles={"n2/postgres": Role.PRIMARY}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=("more than one PostgreSQL says that it is primary: n1/postgres, n2/postgres",),
        ),
    ),
    "no standby that counts": (
        seen(roles={"n2/postgres": Role.REPLICA, "n3/postgres": Role.REPLICA}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no standby is streaming and named in the primary's quorum: strict mode lets no order commit",
                "n2/postgres is a replica on which no commit waits (yet)",
                "n3/postgres is a replica on which no commit waits (yet)",
            ),
        ),
    ),
    "the API processes miss their database": (
        seen(databases={"n1/api": "unavailable", "n2/api": "unknown", "n3/api": "unavailable"}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no API process that takes requests says that its database is well",
                "n1/api says that its database is 'unavailable'",
                "n2/api says that its database is 'unknown'",
                "n3/api says that its database is 'unavailable'",
            ),
        ),
    ),
    "one API process misses its database": (
        seen(databases={"n2/api": "unavailable"}),
        Verdict(up=True, can_lose_a_node=True, reasons=("n2/api says that its database is 'unavailable'",)),
    ),
    "nobody says how the database is": (
        seen(databases={"n1/api": "", "n2/api": "", "n3/api": ""}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no API process that takes requests says that its database is well",
                "n1/api does not say how its database is",
                "n2/api does not say how its database is",
                "n3/api does not say how its database is",
            ),
        ),
    ),
    "nothing runs": (
        seen(DOWN),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no PostgreSQL is primary: nothing can be written",
                "no API process takes requests",
                "no door takes requests",
                "nothing runs on n1",
                "nothing runs on n2",
                "nothing runs on n3",
            ),
        ),
    ),
}


@pytest.mark.parametrize(("observation", "verdict"), CASES.values(), ids=CASES.keys())
def test_verdict(observation: Observation, verdict: Verdict) -> None:
    """What was seen alone decides whether we are up, whether a node can be lost, and the reasons."""
    assert decide(observation) == verdict


@pytest.mark.parametrize(("name", "code"), [("all is well", 0), ("a worker is dead", 1), ("no primary", 2)])
def test_exit_code(name: str, code: int) -> None:
    """The exit code is 0 where all is well, 1 where it is degraded, 2 where it is down."""
    assert decide(CASES[name][0]).exit_code == code


def test_a_cluster_without_the_order_plane_is_judged_by_its_database() -> None:
    """Where the topology has no API processes, none is missed, and neither are doors."""
    nodes = tuple(
        replace(node, services=tuple(each for each in node.services if each.kind not in (Kind.API, Kind.DOOR)))
        for node in seen().nodes
    )
    assert decide(Observation(nodes)) == WELL


def test_no_fault_no_finding() -> None:
    """The doctor finds nothing where all is well."""
    assert diagnose(seen()) == ()


@pytest.mark.parametrize("name", [name for name in CASES if name != "all is well"])
def test_whatever_is_wrong_is_found(name: str) -> None:
    """Wherever the verdict has a reason the doctor has a finding with evidence and a next command."""
    findings = diagnose(CASES[name][0])
    assert findings
    assert all(finding.evidence and finding.next_command for finding in findings)


def test_a_cluster_that_is_down_is_one_finding() -> None:
    """Where nothing runs the doctor says that once, and how to start."""
    first = diagnose(seen(DOWN))[0]
    assert (first.fault, first.next_command) == ("the cluster is down", "./standfest up")


def test_status_document_has_exactly_the_agreed_fields() -> None:
    """The JSON of `status` has the fields that other programs rely on, and no others."""
    document = json.loads(json.dumps(status_document(LOCAL, seen(), WELL)))
    assert document["verdict"] == {"up": True, "can_lose_a_node": True, "reasons": []}
    assert document["endpoints"]["doors"] == ["http://127.0.0.1:8080", "http://127.0.0.1:8081"]
    assert [set(node) for node in document["nodes"]] == [{"name", "address", "services"}] * 3
    assert document["nodes"][0]["services"][4] == {
        "name": "postgres",
        "state": "running",
        "pid": 1,
        "role": "primary",
        "address": "127.0.1.1:15432",
        "held": False,
    }
