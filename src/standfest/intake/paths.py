"""Which path an order takes: decided purely; `Intake` acts.

Invariant kept here: nobody goes back to the direct path while the database does not answer, or while orders wait that
were accepted more than BACKLOG_AGE_MAX_S ago (save where the drainers stand still or the journal cannot be used).
"""

import datetime
from enum import Enum

import msgspec

from standfest.intake.journal import Backlog

BACKLOG_AGE_MAX_S = 1.0
"""Going back to the direct path, nobody overtakes an order that was accepted longer ago than this."""
DRAINERS_STUCK_S = 30.0
"""The database answers for so long and the backlog does not get younger: taking orders goes before their order."""
LOOK_S, LOOK_MAX_S = 0.1, 1.0
"""Pauses between two looks: a backlog of many seconds is not gone in the next tenth of one."""
_LOOKS_AN_AGE = 20


class Path(Enum):
    """The way that new orders take."""

    DIRECT = "direct"
    JOURNAL = "journal"


class Sight(msgspec.Struct, frozen=True):
    """What a process on the journal path sees."""

    answering_s: float | None
    """The database has answered probes for so many seconds on end; None: it does not answer."""
    rest_s: float
    """It has to answer for so long before it is trusted."""
    backlog: Backlog | None
    """None: the journal does not tell."""
    journal_full: bool
    now: datetime.datetime
    """UTC."""


def next_path(sight: Sight) -> Path:
    """Where to go on from the journal path."""
    if sight.answering_s is None or sight.answering_s < sight.rest_s:
        return Path.JOURNAL
    if sight.backlog is None or sight.journal_full or sight.answering_s >= DRAINERS_STUCK_S:
        return Path.DIRECT
    return Path.DIRECT if sight.backlog.age_s(sight.now) < BACKLOG_AGE_MAX_S else Path.JOURNAL


def look_again_s(sight: Sight) -> float:
    """Seconds until it is worth while to look again."""
    if sight.answering_s is None or sight.backlog is None:
        return LOOK_S
    return min(max(LOOK_S, sight.backlog.age_s(sight.now) / _LOOKS_AN_AGE), LOOK_MAX_S)
