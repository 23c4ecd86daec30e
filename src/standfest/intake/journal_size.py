"""How full the journal is, looked at by each process that takes orders: it has to know before it is asked."""

import asyncio
import time

from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.intake.journal import Journal

INTERVAL_S = 4.0
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
        sizes = await maintenance.sizes(_DEADLINE_S)
        if sizes:
            told_at = time.monotonic()
            journal.learn_size(max(size.db_size_bytes for size in sizes), alarm=any(size.no_space for size in sizes))
        elif time.monotonic() - told_at >= UNKNOWN_MAX_S:
            journal.size_is_unknown()
        await asyncio.sleep(INTERVAL_S)
