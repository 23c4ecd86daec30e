"""Which path an order takes: decided purely; `Intake` acts.

Invariant kept here: nobody goes back to the direct path while the database does not answer, and nobody is on it, gone
back or never gone away, once a look showed that orders may wait which were accepted more than BACKLOG_AGE_MAX_S ago
(save where the drainers stand still or the journal cannot be used).
"""

from enum import Enum

import msgspec

BACKLOG_AGE_MAX_S = 2.0
"""Nobody on the direct path overtakes an order that had waited longer than this when the journal was looked at last,
save one that was left aside. An order waits for a drainer's round and the pause before, and its age is known to a look
only: less would send everybody to the journal where single orders pass through it."""
LOOK_DIRECT_S = 0.5
"""On the direct path the journal is looked at so often: by so much longer may have waited who is overtaken."""
DRAINERS_STUCK_S = 30.0
"""The database answers for so long and nothing is drained: taking orders goes before their order. Drainers that are
only slow are no reason: orders on the direct path would wait for stock that they hold, and make them slower."""
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
    backlog_age_s: float | None
    """The oldest order in the journal has waited for so many seconds at most; None: the journal does not tell."""
    journal_full: bool
    standing_s: float = 0.0
    """For so many seconds nothing of what waits was seen to be drained."""


def next_path(sight: Sight) -> Path:
    """Where to go on from the journal path."""
    if sight.answering_s is None or sight.answering_s < sight.rest_s:
        return Path.JOURNAL
    if sight.answering_s >= DRAINERS_STUCK_S and drainers_stand(sight.standing_s):
        return Path.DIRECT
    return Path.JOURNAL if is_old(sight.backlog_age_s, journal_full=sight.journal_full) else Path.DIRECT


def drainers_stand(standing_s: float) -> bool:
    """Whether nothing has been drained for so long that new orders go past those who wait."""
    return standing_s >= DRAINERS_STUCK_S


def is_old(backlog_age_s: float | None, *, journal_full: bool) -> bool:
    """Whether orders that wait must not be overtaken any more: new ones go behind them, if the journal takes them."""
    return backlog_age_s is not None and not journal_full and backlog_age_s >= BACKLOG_AGE_MAX_S


def look_again_s(sight: Sight) -> float:
    """Seconds until it is worth while to look again."""
    if sight.answering_s is None or sight.backlog_age_s is None:
        return LOOK_S
    return min(max(LOOK_S, sight.backlog_age_s / _LOOKS_AN_AGE), LOOK_MAX_S)
