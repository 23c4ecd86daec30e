"""Whose turn it is to look after the journal: one key that its holder writes anew, without leases and without clocks.

A lease could not be had while the store is full, which is when upkeep is needed most. So the others watch the key's
revision: who has seen it unchanged for long enough takes the turn. It saves work; nothing rests on it.
"""

from __future__ import annotations

import time

from standfest.clients.etcd_kv import Absent, EtcdFull, EtcdStore, Put, Range, Txn, Unchanged

KEY = b"standfest/upkeep"
PATIENCE_S = 20.0
"""Several rounds: a holder that has not written for so long is gone, or busy with one member."""
DEADLINE_S = 5.0


class Turn:
    """One worker's view of the turn."""

    def __init__(self, store: EtcdStore, holder: bytes) -> None:
        """`holder` is this process's own name, no other's."""
        self._store = store
        self._holder = holder
        self._revision = 0
        self._unchanged_since = time.monotonic()

    async def mine(self) -> bool:
        """Takes or keeps the turn; False where another worker has it.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown: it cannot be found out now.
        """
        values = (await self._store.get(Range(KEY), DEADLINE_S)).values
        if not values:
            return await self._write(Absent(KEY))
        found = values[0]
        if found.value != self._holder and not self._given_up(found.mod_revision):
            return False
        return await self._write(Unchanged(KEY, found.mod_revision))

    def _given_up(self, revision: int) -> bool:
        now = time.monotonic()
        if revision != self._revision:
            self._revision, self._unchanged_since = revision, now
        return now - self._unchanged_since >= PATIENCE_S

    async def _write(self, condition: Absent | Unchanged) -> bool:
        try:
            answer = await self._store.txn(Txn((condition,), (Put(KEY, self._holder),)), DEADLINE_S)
        except EtcdFull:
            return True  # nobody can write it then, and somebody has to make room
        return answer.result.succeeded
