"""The verdict as data: what was seen in, the exact answer out."""

import json
from dataclasses import replace

import pytest

from standfest.cluster.inventory import Kind, services_of
from standfest.cluster.observation import (
    DEPENDENCIES,
    Backlog,
    Entries,
    Observation,
    Role,
    SeenNode,
    SeenService,
    State,
)
from standfest.cluster.topology import LOCAL
from standfest.redundancy.diagnosis import diagnose
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import Verdict, decide

ROLES = {
    **{"n1/postgres": Role.PRIMARY, "n2/postgres": Role.STANDBY, "n3/postgres": Role.STANDBY},
    **{"n1/journal": Role.FOLLOWER, "n2/journal": Role.LEADER, "n3/journal": Role.FOLLOWER},
}


def seen(
    states: dict[str, State] | None = None,
    roles: dict[str, Role] | None = None,
    *,
    held: tuple[str, ...] = (),
    unready: tuple[str, ...] = (),
    strict: bool = True,
    paused: bool = False,
    said: dict[str, dict[str, str]] | None = None,
    lacking: tuple[str, ...] = (),
    unsupervised: tuple[str, ...] = (),
) -> Observation:
    """A cluster where all is well but for what is given; a node's name stands for all of its services.

    `said` is what API processes say of their dependencies; nodes that are `lacking` hold no member of either etcd.
    """
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
                    unsupervised=name in unsupervised,
                    ready=runs and name not in unready,
                    dependencies=(said or {}).get(name, API_WELL) if runs and service.kind is Kind.API else {},
                    evidence="" if runs and name not in unready else "no answer",
                )
            )
        lacks = (Kind.ETCD, Kind.JOURNAL) if node.name in lacking else ()
        nodes.append(SeenNode(node.name, node.address, tuple(services), held=node.name in held, lacks=lacks))
    return Observation(tuple(nodes), strict=strict, paused=paused)


API_WELL = dict.fromkeys(DEPENDENCIES, "ok")
NO_DATABASE = {**API_WELL, "database": "unavailable", "catalogue": "stale"}
NO_JOURNAL = {**API_WELL, "journal": "unavailable"}
NO_CATALOGUE = {**API_WELL, "catalogue": "unavailable"}
APIS = ("n1/api", "n2/api", "n3/api")
JOURNALS = ("n1/journal", "n2/journal", "n3/journal")
BY_JOURNAL = "orders are accepted by the journal alone, and confirmed later"
BY_DATABASE = "orders are accepted by the database alone: while it fails over none will be"
FEW_MEMBERS = "1 of 3 journal members, too few for a quorum"

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
    "a worker runs beside its node's supervisor, not under it": (
        seen(unsupervised=("n3/worker",)),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=("n3/worker runs without its supervisor: once it dies it stays dead",),
        ),
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
                LOSS("n3", "no API process"),
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
                LOSS("n1", FEW_MEMBERS),
                LOSS("n2", "1 of 3 etcd members, too few for a quorum"),
                LOSS("n2", ONE_COPY),
                LOSS("n2", FEW_MEMBERS),
            ),
        ),
    ),
    "no primary": (
        seen({"n1/postgres": State.FAILING}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(BY_JOURNAL, "no PostgreSQL is primary: nothing can be written", "n1/postgres is failing"),
        ),
    ),
    "two primaries": (
        seen(roles={"n2/postgres": Role.PRIMARY}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(BY_JOURNAL, "more than one PostgreSQL says that it is primary: n1/postgres, n2/postgres"),
        ),
    ),
    "no standby that counts": (
        seen(roles={"n2/postgres": Role.REPLICA, "n3/postgres": Role.REPLICA}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                BY_JOURNAL,
                "no standby is streaming and named in the primary's quorum: strict mode lets no order commit",
                "n2/postgres is a replica on which no commit waits (yet)",
                "n3/postgres is a replica on which no commit waits (yet)",
            ),
        ),
    ),
    "the API processes miss their database": (
        seen(said=dict.fromkeys(APIS, NO_DATABASE)),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                BY_JOURNAL,
                "no API process that takes requests says that its database is well",
                *(
                    f"{api} says that its database is 'unavailable' and says that its catalogue is 'stale'"
                    for api in APIS
                ),
            ),
        ),
    ),
    "one API process misses its database": (
        seen(said={"n2/api": {**API_WELL, "database": "unavailable"}}),
        Verdict(up=True, can_lose_a_node=True, reasons=("n2/api says that its database is 'unavailable'",)),
    ),
    "nobody says how what it needs is": (
        seen(said={api: {} for api in APIS}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no API process that takes requests says that its database is well",
                "no API process that takes requests says that its journal is well",
                *(
                    f"{api} does not say how its database is and does not say how its journal is "
                    "and does not say how its catalogue is"
                    for api in APIS
                ),
            ),
        ),
    ),
    "no API process knows prices": (
        seen(said=dict.fromkeys(APIS, NO_CATALOGUE)),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no API process that takes requests says that its database is well",
                "no API process that takes requests says that its journal is well",
                *(f"{api} says that its catalogue is 'unavailable'" for api in APIS),
            ),
        ),
    ),
    "a journal member is dead": (
        seen({"n3/journal": State.FAILING}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=("n3/journal is failing", LOSS("n1", FEW_MEMBERS), LOSS("n2", FEW_MEMBERS)),
        ),
    ),
    "the journal is held": (
        seen(dict.fromkeys(JOURNALS, State.STOPPED), held=JOURNALS, said=dict.fromkeys(APIS, NO_JOURNAL)),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                BY_DATABASE,
                "the journal has no quorum: 0 of 3 members can take an order",
                "no API process that takes requests says that its journal is well",
                *(
                    reason
                    for node in ("n1", "n2", "n3")
                    for reason in (
                        f"{node}/journal is held on purpose",
                        f"{node}/api says that its journal is 'unavailable'",
                    )
                ),
            ),
        ),
    ),
    "the journal chooses a leader": (
        seen(roles={"n2/journal": Role.FOLLOWER}),
        Verdict(up=True, can_lose_a_node=False, reasons=(BY_DATABASE, "the journal has no leader")),
    ),
    "two journal members lead": (
        seen(roles={"n3/journal": Role.LEADER}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=("more than one journal member says that it leads: n2/journal, n3/journal",),
        ),
    ),
    "two etcd members lead": (
        seen(roles={"n1/etcd": Role.LEADER, "n3/etcd": Role.LEADER}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=("more than one etcd member says that it leads: n1/etcd, n3/etcd",),
        ),
    ),
    "database and journal are away": (
        seen({"n1/postgres": State.FAILING, "n1/journal": State.FAILING, "n2/journal": State.UNRESPONSIVE}),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no PostgreSQL is primary: nothing can be written",
                "the journal has no quorum: 1 of 3 members can take an order",
                "n1/journal is failing",
                "n1/postgres is failing",
                "n2/journal is unresponsive",
            ),
        ),
    ),
    "one worker is left": (
        seen({"n1/worker": State.FAILING, "n2/worker": State.UNRESPONSIVE}),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                "n1/worker is failing",
                "n2/worker is unresponsive",
                LOSS("n3", "no worker that drains the journal"),
            ),
        ),
    ),
    "an empty node waits for its place": (
        seen({"n3": State.LOST}, lacking=("n3",)),
        Verdict(
            up=True,
            can_lose_a_node=False,
            reasons=(
                "n3 holds no member of etcd and journal, and others do; see ./standfest doctor",
                "nothing runs on n3",
                LOSS("n1", "1 of 3 etcd members, too few for a quorum"),
                LOSS("n1", ONE_COPY),
                LOSS("n1", FEW_MEMBERS),
                LOSS("n2", "1 of 3 etcd members, too few for a quorum"),
                LOSS("n2", ONE_COPY),
                LOSS("n2", FEW_MEMBERS),
            ),
        ),
    ),
    "nothing runs": (
        seen(DOWN),
        Verdict(
            up=False,
            can_lose_a_node=False,
            reasons=(
                "no API process takes requests",
                "no door takes requests",
                "no PostgreSQL is primary: nothing can be written",
                "the journal has no quorum: 0 of 3 members can take an order",
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


@pytest.mark.parametrize(
    ("name", "code"),
    [("all is well", 0), ("no primary", 1), ("the journal is held", 1), ("database and journal are away", 2)],
)
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


def test_orders_that_are_not_as_acknowledged_are_a_reason() -> None:
    """What the audit finds and what the journal holds for too long is said, with where to look."""
    well = seen()
    audits = [
        replace(each, findings={"missing": 3, "damaged": 1}) if each.kind is Kind.AUDIT else each
        for each in well.nodes[0].services
    ]
    nodes = (replace(well.nodes[0], services=tuple(audits)), *well.nodes[1:])
    observation = replace(well, nodes=nodes, entries=Entries(Backlog(70, None, 12.4), 2))
    assert decide(observation) == Verdict(
        up=True,
        can_lose_a_node=False,
        reasons=(
            "70 orders wait to be drained, the oldest for 12 s; see ./standfest journal",
            "2 orders are set apart: a person has to look at them; see ./standfest journal",
            "n1/audit finds 3 orders missing, 1 receipts damaged; see ./standfest audit",
        ),
    )
    commands = [finding.next_command for finding in diagnose(observation)]
    assert commands == ["./standfest journal", "./standfest journal", "./standfest audit"]
    assert decide(replace(well, entries=Entries(Backlog(1, "an-id", 0.3), 0))) == WELL


@pytest.mark.parametrize("age_s", [12.4, None])
def test_no_node_can_be_lost_while_nobody_drains(age_s: float | None) -> None:
    """Orders that wait in the journal for long, or nobody knows how long, have to go on to the database first."""
    verdict = decide(replace(seen(), entries=Entries(Backlog(105, "an-id", age_s), 0)))
    assert (verdict.up, verdict.can_lose_a_node, verdict.exit_code) == (True, False, 1)


def test_orders_that_are_set_apart_are_a_reason_and_hold_up_nothing() -> None:
    """A person has to look at them; they are kept as safely as before, and the others go on."""
    verdict = decide(replace(seen(), entries=Entries(Backlog(0, None, 0.0), 2)))
    assert (verdict.can_lose_a_node, verdict.exit_code) == (True, 1)
    assert verdict.reasons == ("2 orders are set apart: a person has to look at them; see ./standfest journal",)


def test_what_the_audit_could_not_look_at_is_a_reason() -> None:
    """Faults of stock, of receipts, and of the audit's own sight are said; the last one accuses no order."""
    well = seen()
    for findings, words, fault in (
        ({"stock": 2, "unreceipted": 1}, "2 faults in stock, 1 orders without a receipt", "is not what is stored"),
        ({"behind": 1}, "1 things not looked at for too long", "cannot say that all is well"),
    ):
        audits = [
            replace(each, findings=findings) if each.kind is Kind.AUDIT else each for each in well.nodes[0].services
        ]
        observation = replace(well, nodes=(replace(well.nodes[0], services=tuple(audits)), *well.nodes[1:]))
        verdict = decide(observation)
        assert verdict.reasons == (f"n1/audit finds {words}; see ./standfest audit",)
        assert verdict.exit_code == 1
        [finding] = diagnose(observation)
        assert fault in finding.fault
        assert words in finding.fault


def test_a_cluster_that_is_down_is_one_finding() -> None:
    """Where nothing runs the doctor says that once, and how to start."""
    first = diagnose(seen(DOWN))[0]
    assert (first.fault, first.next_command) == ("the cluster is down", "./standfest up")


@pytest.mark.parametrize(
    ("lacking", "held", "commands"),
    [
        (("n1", "n2"), (), ("./standfest recover n3",) * 3),
        (("n1",), ("n2",), ("./standfest up", "./standfest recover n3", "./standfest node start n2")),
    ],
)
def test_empty_nodes_are_given_their_place(
    lacking: tuple[str, ...], held: tuple[str, ...], commands: tuple[str, ...]
) -> None:
    """The doctor never sends to `up` where two nodes are empty, and names the node from which they get their place."""
    findings = diagnose(seen(DOWN, lacking=lacking, held=held))
    assert tuple(finding.next_command for finding in findings) == commands


def test_status_document_has_exactly_the_agreed_fields() -> None:
    """The JSON of `status` has the fields that other programs rely on, and no others."""
    document = json.loads(json.dumps(status_document(LOCAL, seen(), WELL)))
    assert document["verdict"] == {"up": True, "can_lose_a_node": True, "reasons": [], "warnings": []}
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
