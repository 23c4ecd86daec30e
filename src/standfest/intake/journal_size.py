"""How full the journal is, looked at by each process that takes orders: it has to know before it is asked."""

import asyncio
import time

from standfest.clients.etcd_maintenance import NO_SPACE, EtcdMaintenance
from standfest.intake.journal import Journal

INTERVAL_S = 2.0
UNKNOWN_MAX_S = 20.0
"""Where no member has told its size for so long, nothing more is accepted: a file may have grown to its quota."""
_DEADLINE_S = 1.5


async def watch_size(journal: Journal, maintenance: EtcdMaintenance) -> None:
    """Tells the journal how large its largest file is, of all members that answer, until it is cancelled.

    A member that is away does not count: it takes nothing either. While none answers, what was last seen counts for
    UNKNOWN_MAX_S.
    """
    told_at = time.monotonic()
    while True:
        statuses = await maintenance.statuses(_DEADLINE_S)
        sizes = [status.db_size_bytes for status in statuses if status.db_size_bytes]
        if sizes:
            told_at = time.monotonic()
            alarm = any(alarm.name == NO_SPACE for status in statuses for alarm in status.alarms)
            journal.learn_size(max(sizes), alarm=alarm)
        elif time.monotonic() - told_at >= UNKNOWN_MAX_S:
            journal.size_is_unknown()
        await asyncio.sleep(INTERVAL_S)
