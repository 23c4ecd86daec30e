"""What is wrong, how that is known, and what to do next: drawn purely from what was seen."""

from collections.abc import Iterator
from dataclasses import dataclass

from standfest.cluster.inventory import Kind
from standfest.cluster.observation import Observation, Role, SeenNode, SeenService, State
from standfest.redundancy.endings import ending, ending_words
from standfest.redundancy.gaps import able_members, rival_leaders, running
from standfest.redundancy.journal_verdict import entry_reasons
from standfest.redundancy.verdict import flaws, unwell_dependencies


@dataclass(frozen=True)
class Finding:
    """One fault."""

    fault: str
    evidence: str
    next_command: str
    warning: bool = False
    """It is no fault yet, and will be one if nobody does anything."""


def diagnose(seen: Observation) -> tuple[Finding, ...]:
    """The faults, the widest first: what explains others stands before them."""
    if all(_is_lost(node) or node.held for node in seen.nodes):
        down = Finding("the cluster is down", "no supervisor answers and no process runs", _start_again(seen))
        held = (finding for node in seen.nodes if node.held for finding in _node_findings(node))
        return (down, *_empty_findings(seen), *held, *_ending_findings(seen))
    return (
        *_cluster_findings(seen),
        *_empty_findings(seen),
        *(finding for node in seen.nodes for finding in _node_findings(node)),
        *_order_findings(seen),
        *_ending_findings(seen),
    )


def _ending_findings(seen: Observation) -> Iterator[Finding]:
    for certificate, urgent in ending(seen):
        evidence = f"{certificate.file} says so; without it no connection to etcd is made any more"
        yield Finding(ending_words(certificate), evidence, "./standfest up", warning=not urgent)


def _order_findings(seen: Observation) -> Iterator[Finding]:
    if seen.entries is not None:
        for reason in entry_reasons(seen.entries):
            yield Finding(reason, "counted in the journal by a quorum of its members", "./standfest journal")
    for node in seen.nodes:
        for service in node.of_kind(Kind.AUDIT):
            if service.findings:
                words = flaws(service)
                only_behind = set(service.findings) == {"behind"}
                fault = f"the audit cannot say that all is well: {words}"
                if not only_behind:
                    fault = f"what was acknowledged is not what is stored: {words}"
                evidence = f"{node.name}/{service.name} compared receipts, orders, stock and feed"
                yield Finding(fault, evidence, "./standfest audit")


def _start_again(seen: Observation) -> str:
    """`up` starts no empty node: where too few are left that are not, the way back is another one."""
    whole = [node for node in seen.nodes if not node.lacks]
    return "./standfest up" if len(whole) > len(seen.nodes) // 2 else _give_place(seen)


def _give_place(seen: Observation) -> str:
    """The command that gives empty nodes their place again, from a node that lacks nothing."""
    whole = sorted((node for node in seen.nodes if not node.lacks), key=lambda node: node.held)
    return f"./standfest recover {whole[0].name if whole else 'NAME'}"


def _empty_findings(seen: Observation) -> Iterator[Finding]:
    for node in seen.nodes:
        if node.lacks:
            yield Finding(
                f"{node.name} is empty: it has lost its place in the cluster and is not started",
                f"its disk holds no member of {' and '.join(node.lacks)}, and others hold theirs",
                _give_place(seen),
            )


def _is_lost(node: SeenNode) -> bool:
    return all(service.state is State.LOST for service in node.services if not service.held)


def _cluster_findings(seen: Observation) -> Iterator[Finding]:
    etcd = [service for node in seen.nodes for service in node.of_kind(Kind.ETCD)]
    members = sum(service.state is State.RUNNING for service in etcd)
    if members < len(etcd) // 2 + 1:
        yield Finding(
            "etcd has no quorum: Patroni can neither keep nor choose a primary for long",
            f"{members} of {len(etcd)} members can commit",
            _start_again(seen),
        )
    yield from _journal_findings(seen)
    primaries = [
        f"{node.name}/{service.name}"
        for node in seen.nodes
        for service in node.services
        if service.role is Role.PRIMARY
    ]
    if len(primaries) > 1:
        evidence = f"{' and '.join(primaries)} both say that they are primary"
        yield Finding("more than one primary database", evidence, "./standfest logs patroni")
    if not primaries:
        yield Finding(
            "no primary database: no order can be confirmed", _postgres_states(seen), "./standfest logs patroni"
        )
    elif not any(service.role is Role.STANDBY for node in seen.nodes for service in node.services):
        yield Finding(
            "no standby protects the primary: strict mode lets no order commit",
            _postgres_states(seen),
            "./standfest logs patroni",
        )
    apis = [service for node in seen.nodes for service in node.of_kind(Kind.API)]
    doors = [service for node in seen.nodes for service in node.of_kind(Kind.DOOR)]
    if apis and not any(service.ready for service in doors):
        ready = sum(service.ready for service in apis)
        evidence = f"{ready} of {len(apis)} API processes want traffic, and no door says that it has one behind it"
        yield Finding("no door takes orders", evidence, "./standfest logs door" if ready else "./standfest logs api")
    if not seen.strict:
        evidence = "Patroni's shared configuration lacks synchronous_mode: quorum or synchronous_mode_strict"
        yield Finding("orders could be acknowledged on one copy", evidence, "./standfest up")
    for rivals in rival_leaders(seen):
        evidence = "each says so itself; for longer than an election that means two clusters of the same name"
        yield Finding(rivals, evidence, "./standfest journal" if "journal" in rivals else "./standfest logs etcd")
    if seen.paused:
        yield Finding("automatic failover is switched off", "Patroni says that it is paused", "./standfest up")


def _journal_findings(seen: Observation) -> Iterator[Finding]:
    members = able_members(seen.nodes, Kind.JOURNAL)
    if len(members) < len(seen.nodes) // 2 + 1:
        yield Finding(
            "the journal has no quorum: no order is accepted while the database fails over",
            f"{len(members)} of {len(seen.nodes)} members can take an order",
            "./standfest journal",
        )
    elif not any(member.role is Role.LEADER for _, member in members):
        evidence = "none of its members says that it leads"
        yield Finding("the journal has no leader", evidence, "./standfest journal")
    workers = [service for node in seen.nodes for service in node.of_kind(Kind.WORKER)]
    if workers and not running(seen.nodes, Kind.WORKER):
        evidence = f"none of {len(workers)} workers runs"
        yield Finding("nobody drains the journal", evidence, "./standfest journal")


def _postgres_states(seen: Observation) -> str:
    servers = [(node, service) for node in seen.nodes for service in node.of_kind(Kind.POSTGRES)]
    return ", ".join(f"{node.name} is {service.role or service.state}" for node, service in servers)


def _node_findings(node: SeenNode) -> Iterator[Finding]:
    if node.held:
        yield Finding(
            f"{node.name} is held down on purpose", "its hold marker is set", f"./standfest node start {node.name}"
        )
        return
    if _is_lost(node):
        if node.lacks:
            return
        yield Finding(
            f"nothing runs on {node.name}", "its supervisor does not answer and no process runs", "./standfest up"
        )
        return
    supervisor = next((service for service in node.services if service.kind is Kind.SUPERVISOR), None)
    if supervisor is not None and supervisor.state is not State.RUNNING:
        alive = [service.name for service in node.services if service.pid is not None and service is not supervisor]
        evidence = f"{supervisor.evidence}; still running there: {', '.join(alive) or 'nothing'}"
        yield Finding(f"nothing supervises {node.name}: what dies there stays dead", evidence, "./standfest up")
    for service in node.services:
        if service is not supervisor:
            yield from _service_findings(node, service)


def _service_findings(node: SeenNode, service: SeenService) -> Iterator[Finding]:
    full_name = f"{node.name}/{service.name}"
    if service.held:
        evidence = "its hold marker is set"
        yield Finding(f"{full_name} is held on purpose", evidence, f"./standfest service start {full_name}")
    elif service.mending:
        yield Finding(f"{full_name} is made anew by its node", service.mending, f"./standfest logs {full_name}")
    elif service.state is State.STOPPED:
        evidence = "its supervisor was told to stop it, or never to start it"
        yield Finding(f"{full_name} is stopped", evidence, f"./standfest service start {full_name}")
    elif service.state is not State.RUNNING:
        evidence = service.evidence or f"its process {service.pid or 'does not run'}"
        yield Finding(f"{full_name} is {service.state}", evidence, f"./standfest logs {full_name}")
    elif service.unsupervised:
        evidence = f"its process {service.pid} was started by another one than the supervisor that runs"
        yield Finding(f"nothing supervises {full_name}: once it dies it stays dead", evidence, "./standfest up")
    elif service.alarm:
        evidence = f"its status names the alarm {service.alarm}"
        next_command = "./standfest journal" if service.kind is Kind.JOURNAL else f"./standfest logs {full_name}"
        yield Finding(f"{full_name} takes nothing more", evidence, next_command)
    elif not service.ready and service.kind is Kind.API:
        yield Finding(f"{full_name} takes no requests", service.evidence, f"./standfest logs {full_name}")
    elif service.kind is Kind.API and (unwell := unwell_dependencies(service)):
        evidence = f"its /v1/health {unwell}"
        yield Finding(f"{full_name} does not reach all that it needs", evidence, f"./standfest logs {full_name}")
    elif service.role is Role.REPLICA:
        yield Finding(
            f"{full_name} does not protect orders (yet)",
            "it is not streaming, or the primary's quorum does not name it",
            f"./standfest logs {full_name}",
        )
