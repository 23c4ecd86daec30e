"""Entries that the journal held a moment ago: brought back where the database that was to have them may be lost.

An entry is deleted once the database has its order, on the primary and one standby. Where these two are lost, the node
that is left may hold the order nowhere but in the history of its journal, which reaches back a minute or so. Bringing
back what the database has already does no harm: draining finds the order there and deletes the entry again.

https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ (service Watch)
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from standfest.clients.asking import UnreachableError
from standfest.clients.etcd_kv import Absent, Delete, EtcdStore, Put, Txn

PREFIXES = (b"standfest/c/", b"standfest/o/")
"""Claims and entries, as the order plane keeps them (intake/journal.py)."""

_FIRST, _END = b"standfest/c/", b"standfest/p"
_MARK = b"standfest/o/~end-of-history"
"""Deleted at the end of what is read, so that the end is seen; no order has such an id."""

_PER_TXN_MAX = 40
_DEADLINE_S = 10.0
_HISTORY_S = 120.0
"""Within it the whole history is read."""
_LINE_BYTES_MAX = 64 * 1024 * 1024


class _KeyValue(msgspec.Struct, frozen=True):
    key: str
    value: str = ""
    create_revision: str = "0"


class _Event(msgspec.Struct, frozen=True):
    kv: _KeyValue
    prev_kv: _KeyValue | None = None


class _Result(msgspec.Struct, frozen=True):
    events: tuple[_Event, ...] = ()
    canceled: bool = False
    compact_revision: str = "0"


class _Line(msgspec.Struct, frozen=True):
    result: _Result


@dataclass(frozen=True)
class _Deleted:
    key: bytes
    value: bytes
    create_revision: int


async def bring_back(session: aiohttp.ClientSession, address: str, tls: ssl.SSLContext) -> int:
    """Put every claim and entry that a member's history shows as deleted, and that is not there; how many entries.

    `address` is the client address (`host:port`) of a member that serves.

    Raises:
        UnreachableError: the history could not be read to its end; nothing was put.
        EtcdError: some may have been put; it may be repeated.
    """
    store = EtcdStore(session, [address], tls)
    await store.txn(Txn((), (Put(_MARK, b""),)), _DEADLINE_S)
    await store.txn(Txn((), (Delete(_MARK),)), _DEADLINE_S)
    try:
        async with asyncio.timeout(_HISTORY_S):
            found = await _deleted(session, address, tls)
    except (TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
        raise UnreachableError(f"the history of the journal at {address} cannot be read: {error!r}") from error
    ascending = sorted(found, key=lambda each: each.create_revision)
    for start in range(0, len(ascending), _PER_TXN_MAX):
        await store.txn(Txn((), _puts(ascending[start : start + _PER_TXN_MAX])), _DEADLINE_S)
    return sum(each.key.startswith(PREFIXES[1]) for each in found)


def _puts(deleted: Sequence[_Deleted]) -> tuple[Txn, ...]:
    return tuple(Txn((Absent(each.key),), (Put(each.key, each.value),)) for each in deleted)


async def _deleted(session: aiohttp.ClientSession, address: str, tls: ssl.SSLContext) -> Iterable[_Deleted]:
    """What was deleted since the history begins, each key as it was last."""
    revision = 1
    while True:
        found: dict[bytes, _Deleted] = {}
        async for result in _watch(session, address, tls, revision):
            if result.canceled:
                break
            for event in result.events:
                key = base64.b64decode(event.kv.key)
                if key == _MARK:
                    return found.values()
                if event.prev_kv is not None and key.startswith(PREFIXES):
                    value = base64.b64decode(event.prev_kv.value)
                    found[key] = _Deleted(key, value, int(event.prev_kv.create_revision))
        if int(result.compact_revision) <= revision:
            raise UnreachableError(f"{address} ended the reading of its history")
        revision = int(result.compact_revision)


async def _watch(
    session: aiohttp.ClientSession, address: str, tls: ssl.SSLContext, revision: int
) -> AsyncIterator[_Result]:
    """Deletions from a revision on; the last result says `canceled` where the history does not reach back so far."""
    asked = {
        "key": base64.b64encode(_FIRST).decode(),
        "range_end": base64.b64encode(_END).decode(),
        "start_revision": str(revision),
        "filters": ["NOPUT"],
        "prev_kv": True,
    }
    url = f"https://{address}/v3/watch"
    body = msgspec.json.encode({"create_request": asked})
    unread = bytearray()
    async with session.post(url, data=body, ssl=tls, timeout=aiohttp.ClientTimeout(total=_HISTORY_S)) as response:
        if response.status != 200:
            raise UnreachableError(f"{url} answered {response.status}")
        async for chunk in response.content.iter_any():
            unread += chunk
            if len(unread) > _LINE_BYTES_MAX:
                raise UnreachableError(f"{url} answered more than {_LINE_BYTES_MAX} bytes in one piece")
            *lines, rest = bytes(unread).split(b"\n")
            unread = bytearray(rest)
            for line in filter(None, lines):
                yield msgspec.json.decode(line, type=_Line).result
    raise UnreachableError(f"{url} ended")
