"""Is the journal well? Decided purely from what was seen of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from standfest.cluster.journal import JournalView
from standfest.cluster.observation import Backlog, Entries
from standfest.cluster.topology import Journal

BACKLOG_AGE_MAX_S = 10.0
"""With the database there an entry waits for a fraction of a second; an older one says that nobody drains."""

_MIB = 1024 * 1024


@dataclass(frozen=True)
class JournalVerdict:
    """Whether the journal takes orders, and whether what it took goes on to the database."""

    has_quorum: bool
    reasons: tuple[str, ...]
    """Why it is not all well; empty where it is."""

    @property
    def exit_code(self) -> int:
        """0 all well, 1 degraded, 2 no quorum."""
        if not self.has_quorum:
            return 2
        return 1 if self.reasons else 0


def judge_journal(view: JournalView, limits: Journal) -> JournalVerdict:
    """The verdict on what was seen."""
    return JournalVerdict(view.backlog is not None, tuple(_reasons(view, limits)))


def is_stuck(backlog: Backlog) -> bool:
    """Whether orders wait for longer than they do where somebody drains them, or nobody knows for how long."""
    return backlog.oldest_age_s is None or backlog.oldest_age_s > BACKLOG_AGE_MAX_S


def entry_reasons(entries: Entries) -> Iterator[str]:
    """Why what the journal holds is not as it should be."""
    backlog = entries.backlog
    if backlog.oldest_age_s is None:
        yield f"{backlog.count} orders wait to be drained, since when is not known"
    elif backlog.oldest_age_s > BACKLOG_AGE_MAX_S:
        yield f"{backlog.count} orders wait to be drained, the oldest for {backlog.oldest_age_s:.0f} s"
    if entries.apart_count:
        yield f"{entries.apart_count} orders are set apart: a person has to look at them"


def _reasons(view: JournalView, limits: Journal) -> Iterator[str]:
    if view.backlog is None:
        yield f"no quorum of its members answers: {view.evidence}"
    else:
        yield from entry_reasons(Entries(view.backlog, view.apart_count))
    for member in view.members:
        if member.held:
            yield f"{member.node}/journal is held on purpose"
        elif not member.healthy:
            yield f"{member.node}/journal is not healthy: {member.evidence}"
        for alarm in member.alarms:
            yield f"{member.node}/journal has raised its alarm {alarm}"
        if member.size_bytes is not None and member.size_bytes >= limits.size_max_mib * _MIB:
            yield (
                f"the file of {member.node}/journal has {member.size_bytes // _MIB} MiB, and from "
                f"{limits.size_max_mib} MiB on nothing is accepted into the journal"
            )
    if view.backlog is not None and not any(member.is_leader for member in view.members):
        yield "none of its members says that it leads"
