"""etcd's key-value store as one thing with several doors: transactions, reads and compaction through any member."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar

import aiohttp
import msgspec

from standfest.clients.etcd_attempt import Gateway, Members
from standfest.clients.etcd_errors import (
    EtcdCompacted,
    EtcdError,
    EtcdFull,
    EtcdOutcomeUnknown,
    EtcdRejected,
    EtcdUnavailable,
)
from standfest.clients.etcd_request import Request
from standfest.clients.etcd_wire import (
    Absent,
    Delete,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnAnswer,
    TxnResult,
    Unchanged,
    decode_range,
    decode_txn,
    encode_range,
    encode_txn,
)

__all__ = [
    "Absent",
    "Delete",
    "EtcdError",
    "EtcdFull",
    "EtcdOutcomeUnknown",
    "EtcdRejected",
    "EtcdStore",
    "EtcdUnavailable",
    "KeyValue",
    "Put",
    "Range",
    "RangeResult",
    "Txn",
    "TxnAnswer",
    "TxnResult",
    "Unchanged",
]

_Answer = TypeVar("_Answer")


class EtcdStore:
    """One etcd cluster. Every request ends within its deadline, in seconds from now.

    A request goes to the first of `members` unless that failed lately. Where no answer has come after `attempt_s`
    (more while answers are slow), it is sent to the next member as well, and so on until the deadline; the first
    answer counts. So a request may be applied more than once, and an attempt that was given up may be applied at any
    later time: callers' transactions have to be idempotent.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        members: Sequence[str],
        tls: ssl.SSLContext,
        attempt_s: float = 0.2,
    ) -> None:
        """Uses `session`, which stays the caller's, for `members` (`host:port`, the nearest first)."""
        self._gateway = Gateway(session, tls)
        self._members = Members(members, attempt_s)

    async def txn(self, txn: Txn, deadline_s: float) -> TxnAnswer:
        """Carry out a transaction.

        Raises:
            EtcdUnavailable: nothing was sent that could have been applied.
            EtcdOutcomeUnknown: no answer came to what was sent.
            EtcdFull: the quota is reached; see there what that does not say.
            EtcdRejected: no member will ever take it.
        """
        return _decoded(decode_txn, await self._ask("/v3/kv/txn", encode_txn(txn), deadline_s))

    async def get(self, range: Range, deadline_s: float) -> RangeResult:
        """Read keys, linearizable; see facts on 3.4 before concluding from their absence.

        Raises:
            EtcdUnavailable: no answer came in time.
            EtcdRejected: no member will ever answer it.
        """
        try:
            return _decoded(decode_range, await self._ask("/v3/kv/range", encode_range(range), deadline_s))
        except EtcdOutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error  # a read changes nothing

    async def compact(self, revision: int, deadline_s: float) -> None:
        """Forget what was overwritten or deleted before `revision`; fine where that was done already.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown, EtcdRejected: as for `txn`.
        """
        body = msgspec.json.encode({"revision": str(revision)})
        with contextlib.suppress(EtcdCompacted):
            await self._ask("/v3/kv/compaction", body, deadline_s)

    async def _ask(self, path: str, body: bytes, deadline_s: float) -> bytes:
        return await Request(self._gateway, self._members, path, body, deadline_s).answer()


def _decoded(decode: Callable[[bytes], _Answer], body: bytes) -> _Answer:
    try:
        return decode(body)
    except msgspec.MsgspecError as error:
        raise EtcdOutcomeUnknown(f"etcd's answer is not what it should be: {error}") from error
