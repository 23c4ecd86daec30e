"""What runs on without a supervisor: recognised, put in order, and what each waits for. Decided purely.

Invariant: while a service is away, every other one of its kind serves, and so does every one that was taken over before
it. So a cluster that can lose a node goes on taking orders, and what does not come back ends the taking over with
everything else untouched. With one that never served nothing is taken away: it does not wait for others of its kind.
"""

from collections.abc import Collection, Sequence

import psutil

from standfest.cluster.inventory import Kind, Service
from standfest.cluster.observation import Observation, Role, SeenNode, SeenService, State
from standfest.cluster.processes import NodeProcess

_ORDER = (Kind.ETCD, Kind.JOURNAL, Kind.PATRONI, Kind.API, Kind.WORKER, Kind.AUDIT, Kind.DOOR)
_PROTECTED = (Role.PRIMARY, Role.STANDBY)


def orphaned(found: Sequence[NodeProcess], program: str) -> list[psutil.Process]:
    """Of a node's processes, those of a program that neither the node's supervisor nor the program itself started."""
    keepers = {each.process.pid for each in found if each.program in (program, Kind.SUPERVISOR)}
    return [each.process for each in found if each.program == program and each.parent not in keepers]


def broken(services: Sequence[Service], seen: Observation) -> list[Service]:
    """Those that do not serve."""
    return [each for each in services if _unserving(seen, *_find(each, seen))]


def in_order(services: Sequence[Service], seen: Observation) -> list[Service]:
    """What does not serve first; then node by node, the primary's last."""
    names, useless = [node.name for node in sorted(seen.nodes, key=_has_primary)], broken(services, seen)
    return sorted(services, key=lambda each: (each not in useless, names.index(each.node), _ORDER.index(each.kind)))


def left_stopped(seen: Observation) -> list[str]:
    """NODE/NAME of what nothing holds down and nobody starts: its supervisor runs, and was not asked to start it.

    So is what ran on without a supervisor, and died after the next one was asked for all that did not run.
    """
    return [
        f"{node.name}/{each.name}"
        for node in seen.nodes
        for each in node.services
        if each.kind in _ORDER and each.state is State.STOPPED and not each.held and each.kind not in node.lacks
    ]


def missing_beside(
    service: Service | None, useless: Collection[Service], taken: Collection[Service], seen: Observation
) -> str:
    """What has to serve while `service` is away and does not; empty where nothing is missing.

    Args:
        service: is about to go away; None where none is.
        useless: did not serve when the taking over began. Later that proves nothing: a member of an etcd does not
            serve either while the others elect.
        taken: were taken over before.
        seen: the cluster now.
    """
    if service is not None and service in useless and _unserving(seen, *_find(service, seen)):
        service = None
    reasons = [
        reason
        for node in seen.nodes
        for each in node.services
        if _is_expected(node, each)
        and _is_needed(node, each, service, taken)
        and (reason := _unserving(seen, node, each))
    ]
    return "; ".join(reasons)


def _is_needed(node: SeenNode, each: SeenService, service: Service | None, taken: Collection[Service]) -> bool:
    if service is not None and (node.name, each.name) == (service.node, service.name):
        return False
    same_kind = service is not None and each.kind is service.kind
    return same_kind or any((node.name, each.name) == (other.node, other.name) for other in taken)


def _is_expected(node: SeenNode, service: SeenService) -> bool:
    return not service.held and not node.lacks


def _unserving(seen: Observation, node: SeenNode, service: SeenService) -> str:
    """Why a service does not do what the others rely on; empty where it does."""
    name = f"{node.name}/{service.name}"
    if service.state is not State.RUNNING:
        return f"{name} is {service.state}{': ' if service.evidence else ''}{service.evidence}"
    if service.kind is Kind.PATRONI:
        databases = node.of_kind(Kind.POSTGRES)
        return "" if all(each.role in _PROTECTED for each in databases) else f"no commit waits for {node.name} yet"
    if service.kind is Kind.API and (told := service.dependencies.get("database")) != "ok":
        return f"{name} says that its database is '{told or 'no answer'}'"
    # In a topology without API processes doors have nobody behind them.
    useless = not service.ready and any(node.of_kind(Kind.API) for node in seen.nodes)
    return f"{name} takes no requests: {service.evidence}" if useless else ""


def _has_primary(node: SeenNode) -> bool:
    return any(service.role is Role.PRIMARY for service in node.services)


def _find(service: Service, seen: Observation) -> tuple[SeenNode, SeenService]:
    node = next(node for node in seen.nodes if node.name == service.node)
    return node, next(each for each in node.services if each.name == service.name)
