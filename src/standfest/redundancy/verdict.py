"""Are we up, and can we lose a node now? Decided purely from what was seen, and every "no" with its reasons."""

from collections.abc import Iterator
from dataclasses import dataclass

from standfest.cluster.inventory import Kind
from standfest.cluster.observation import DEPENDENCIES, Observation, Role, SeenNode, SeenService, State
from standfest.redundancy.endings import ending, ending_words
from standfest.redundancy.gaps import (
    database_gaps,
    database_gaps_without,
    entrance_gaps,
    entrance_gaps_without,
    journal_gaps,
    journal_gaps_without,
    rival_leaders,
)
from standfest.redundancy.journal_verdict import entry_reasons, is_stuck

_FLAWS = {
    "missing": "orders missing",
    "doubled": "orders doubled",
    "altered": "orders altered",
    "damaged": "receipts damaged",
    "receipts_missing": "receipt files of which receipts are missing",
    "receipts_damaged": "receipt files changed",
    "receipts_unreadable": "receipt files unreadable",
    "receipts_unwritten": "processes that cannot write their receipts",
    "receipts_lost": "times more receipts lost than is usual",
    "unreceipted": "orders without a receipt",
    "sealed": "audited orders or seals gone or changed",
    "stock": "faults in stock",
    "feed": "faults in the feed of changes",
    "behind": "things not looked at for too long",
}
"""Words for what an audit finds."""


@dataclass(frozen=True)
class Verdict:
    """The answer to the two questions that matter."""

    up: bool
    """Orders are accepted, into the database or into the journal."""
    can_lose_a_node: bool
    """Orders would still be accepted, both ways, after the loss of any one node, whichever it is; and those that the
    journal has accepted go on to the database.
    """
    reasons: tuple[str, ...]
    """Why it is not all well; empty where it is."""
    warnings: tuple[str, ...] = ()
    """What will be a reason if nobody does anything; all is well nevertheless."""

    @property
    def exit_code(self) -> int:
        """0 all well, 1 degraded, 2 down."""
        if not self.up:
            return 2
        return 1 if self.reasons else 0


def decide(seen: Observation) -> Verdict:
    """The verdict on what was seen."""
    entrance, database, journal = (tuple(gaps(seen)) for gaps in (entrance_gaps, database_gaps, journal_gaps))
    # Without API processes nobody puts anything into the journal: such a cluster is a database alone.
    bridged = bool(database) and not journal and any(node.of_kind(Kind.API) for node in seen.nodes)
    up = not entrance and (not database or bridged)
    reasons = [*entrance, *database, *journal]
    if up and bridged:
        reasons.insert(0, "orders are accepted by the journal alone, and confirmed later")
    elif up and journal:
        reasons.insert(0, "orders are accepted by the database alone: while it fails over none will be")
    loss_gaps = tuple(_loss_gaps(seen, with_database=not database, with_journal=not journal)) if up else ()
    protection_gaps = tuple(_protection_gaps(seen))
    reasons += [*_service_reasons(seen), *protection_gaps, *loss_gaps, *_order_reasons(seen)]
    endings = [(f"{ending_words(each)}; renew it with ./standfest up", urgent) for each, urgent in ending(seen)]
    reasons += [words for words, urgent in endings if urgent]
    safe = up and not (database or journal or loss_gaps or protection_gaps or _drain_stands(seen))
    return Verdict(
        up=up,
        can_lose_a_node=safe and _all_supervised(seen),
        reasons=tuple(dict.fromkeys(reasons)),
        warnings=tuple(words for words, urgent in endings if not urgent),
    )


def _loss_gaps(seen: Observation, *, with_database: bool, with_journal: bool) -> Iterator[str]:
    """What would be missing after the loss of each node in turn; of a way that is closed now that is no news."""
    for lost in seen.nodes:
        gaps = list(entrance_gaps_without(lost, seen))
        if with_database:
            gaps += database_gaps_without(lost, seen)
        if with_journal:
            gaps += journal_gaps_without(lost, seen)
        for gap in gaps:
            yield f"the loss of {lost.name} would leave {gap}"


def _service_reasons(seen: Observation) -> Iterator[str]:
    """Every service that is not as it should be, held ones included: held is a reason, not an excuse."""
    serving = any(node.of_kind(Kind.API) for node in seen.nodes)
    for node in seen.nodes:
        if node.lacks:
            yield f"{node.name} holds no member of {' and '.join(node.lacks)}, and others do; see ./standfest doctor"
        if node.held or all(service.state is State.LOST for service in node.services):
            yield f"{node.name} is held down on purpose" if node.held else f"nothing runs on {node.name}"
            continue
        for service in node.services:
            complaint = _complaint(node, service, serving=serving)
            if complaint:
                yield f"{node.name}/{service.name} {complaint}"


def _complaint(node: SeenNode, service: SeenService, *, serving: bool) -> str:
    """What is wrong with one service, as words after its name; empty where nothing is."""
    if service.held:
        return "is held on purpose"
    if service.mending:
        return f"is {service.role or service.state}, and made anew: {service.mending}"
    if service.state is not State.RUNNING:
        return f"is {service.state}"
    if service.unsupervised:
        return "runs without its supervisor: once it dies it stays dead"
    if not service.ready and serving:
        return f"takes no requests: {service.evidence}"
    if service.alarm:
        return f"has raised the alarm {service.alarm}"
    if service.kind is Kind.API:
        return unwell_dependencies(service)
    return "is a replica on which no commit waits (yet)" if service.role is Role.REPLICA else ""


def unwell_dependencies(service: SeenService) -> str:
    """What an API process said of dependencies that are not well, as words after its name; empty where all are."""
    words = []
    for name in DEPENDENCIES:
        state = service.dependencies.get(name)
        if state is None:
            words.append(f"does not say how its {name} is")
        elif state != "ok":
            words.append(f"says that its {name} is '{state}'")
    return " and ".join(words)


def _protection_gaps(seen: Observation) -> Iterator[str]:
    if not seen.strict:
        yield "Patroni's configuration is not quorum-synchronous and strict"
    if seen.paused:
        yield "Patroni is paused: nobody takes over by itself"
    yield from rival_leaders(seen)


def _drain_stands(seen: Observation) -> bool:
    """Whether accepted orders wait in the journal for so long that nobody seems to drain them."""
    return seen.entries is not None and is_stuck(seen.entries.backlog)


def _order_reasons(seen: Observation) -> Iterator[str]:
    """What is wrong with orders that were acknowledged, where that was asked."""
    if seen.entries is not None:
        yield from (f"{reason}; see ./standfest journal" for reason in entry_reasons(seen.entries))
    for node in seen.nodes:
        for service in node.of_kind(Kind.AUDIT):
            if service.findings:
                yield f"{node.name}/{service.name} finds {flaws(service)}; see ./standfest audit"


def flaws(service: SeenService) -> str:
    """What an audit finds, in words."""
    return ", ".join(f"{count} {_FLAWS.get(flaw, flaw)}" for flaw, count in service.findings.items())


def _all_supervised(seen: Observation) -> bool:
    """A node without supervision has no second try: what dies there stays dead."""
    supervision = (Kind.SUPERVISOR, Kind.PATRONI)
    services = [service for node in seen.nodes for service in node.services]
    return not any(
        service.unsupervised or (service.kind in supervision and service.state is not State.RUNNING)
        for service in services
    )
