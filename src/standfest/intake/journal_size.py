"""How full the journal is, looked at by each process that takes orders: it has to know before it is asked."""

import asyncio

from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.intake.journal import Journal

INTERVAL_S = 2.0
_DEADLINE_S = 1.5


async def watch_size(journal: Journal, maintenance: EtcdMaintenance, member: str) -> None:
    """Tells the journal how large its file is on one member (`host:port`), until it is cancelled.

    While the member does not answer, what was last seen counts. One member stands for all: they hold the same history,
    and the bound leaves as much room as their files can differ by.
    """
    while True:
        status = await maintenance.member_status(member, _DEADLINE_S)
        if status.healthy:
            journal.learn_size(status.db_size_bytes, alarm=any(alarm.name == "NOSPACE" for alarm in status.alarms))
        await asyncio.sleep(INTERVAL_S)
