"""The journal's verdict as data: what was seen of it in, the exact answer out."""

from dataclasses import replace

import pytest

from standfest.cluster.journal import JournalMember, JournalView
from standfest.cluster.observation import Backlog
from standfest.cluster.topology import LOCAL
from standfest.redundancy.journal_verdict import judge_journal

MIB = 1024 * 1024
MEMBERS = tuple(
    JournalMember(
        node=node.name,
        address=f"{node.address}:12389",
        held=False,
        healthy=True,
        is_leader=node.name == "n2",
        size_bytes=MIB,
        in_use_bytes=MIB,
    )
    for node in LOCAL.nodes
)
WELL = JournalView(MEMBERS, Backlog(1, "an-id", 0.3))


def with_member(**changes: object) -> JournalView:
    """The first member is different."""
    return replace(WELL, members=(replace(MEMBERS[0], **changes), *MEMBERS[1:]))  # type: ignore[arg-type]


CASES: dict[str, tuple[JournalView, int, tuple[str, ...]]] = {
    "all is well": (WELL, 0, ()),
    "nobody drains": (
        replace(WELL, backlog=Backlog(70, "an-id", 12.4)),
        1,
        ("70 orders wait to be drained, the oldest for 12 s",),
    ),
    "an entry of a later release waits": (
        replace(WELL, backlog=Backlog(1, "an-id", None)),
        1,
        ("1 orders wait to be drained, since when is not known",),
    ),
    "something is set apart": (
        replace(WELL, apart_count=2),
        1,
        ("2 orders are set apart: a person has to look at them",),
    ),
    "a member is silent": (
        with_member(healthy=False, size_bytes=None, in_use_bytes=None, evidence="no answer"),
        1,
        ("n1/journal is not healthy: no answer",),
    ),
    "a member is held": (with_member(held=True, healthy=False), 1, ("n1/journal is held on purpose",)),
    "a member has raised its alarm": (
        with_member(alarms=("NOSPACE",)),
        1,
        ("n1/journal has raised its alarm NOSPACE",),
    ),
    "a member's file is at intake's limit": (
        with_member(size_bytes=512 * MIB),
        1,
        ("the file of n1/journal has 512 MiB, and from 512 MiB on nothing is accepted into the journal",),
    ),
    "it chooses a leader": (
        replace(WELL, members=tuple(replace(member, is_leader=False) for member in MEMBERS)),
        1,
        ("none of its members says that it leads",),
    ),
    "it has no quorum": (
        JournalView(
            tuple(replace(member, healthy=False, held=member.node != "n2", evidence="no leader") for member in MEMBERS),
            backlog=None,
            evidence="nobody answered",
        ),
        2,
        (
            "no quorum of its members answers: nobody answered",
            "n1/journal is held on purpose",
            "n2/journal is not healthy: no leader",
            "n3/journal is held on purpose",
        ),
    ),
}


@pytest.mark.parametrize(("view", "code", "reasons"), CASES.values(), ids=CASES.keys())
def test_the_journals_verdict(view: JournalView, code: int, reasons: tuple[str, ...]) -> None:
    """What was seen alone decides the exit code and the reasons; what waits for less than 10 s is no reason."""
    verdict = judge_journal(view, LOCAL.journal)
    assert (verdict.exit_code, verdict.reasons) == (code, reasons)
