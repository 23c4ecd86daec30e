"""The journal as the operations plane sees it: asked of its members themselves, so that nothing else has to run.

Its keys and what is in them are the order plane's contract (intake/journal.py, intake/entries.py): `standfest/o/ID`
waits to be drained, `standfest/x/ID` could not be and is set apart, `standfest/progress` says how far drainers came.
"""

import asyncio
import base64
import binascii
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import msgspec

from standfest.clients.etcd_kv import (
    Absent,
    Delete,
    EtcdError,
    EtcdStore,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnAnswer,
    Unchanged,
)
from standfest.clients.packed import PackedBroken, unpack
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held
from standfest.cluster.inventory import Kind
from standfest.cluster.observation import Backlog, Entries
from standfest.cluster.topology import Node
from standfest.errors import StandfestError

_WAITING, _WAITING_END = b"standfest/o/", b"standfest/o0"  # "0" follows "/"
_APART, _APART_END = b"standfest/x/", b"standfest/x0"
_PROGRESS = b"standfest/progress"
_BARRIER = Delete(b"standfest/barrier")
"""Nothing is ever there. A transaction that may write goes through the log, and its reads are of its place there: a
mere read of this etcd can show the past after a pause (3.4.20 to 3.4.41)."""

_DEADLINE_S = 3.0
_SORTED_MAX = 20_000
"""etcd loads a whole range to sort it: with more entries the oldest one's age is taken from what was drained last, and
is not known where some that are older were left."""
_SORTED_CHEAPLY_MAX = 200
"""The same where the answer is only a part of the cluster's and no older entry was left."""

_APART_LISTED_MAX = 50
"""Entries that are set apart are listed up to so many; they are counted all."""


class NoSuchEntryError(StandfestError):
    """The journal has no entry of this id, or none that can be put back."""

    exit_code = 2


@dataclass(frozen=True)
class JournalMember:
    """One member of the journal's etcd."""

    node: str
    address: str
    held: bool
    healthy: bool
    """It can commit."""
    is_leader: bool = False
    size_bytes: int | None = None
    """Of its file, with free pages and history; None where it did not say."""
    in_use_bytes: int | None = None
    alarms: tuple[str, ...] = ()
    evidence: str = ""
    """What came back where it is not healthy."""


@dataclass(frozen=True)
class SetApart:
    """An entry in quarantine."""

    id: str
    since: str
    """RFC 3339."""
    reason: str


@dataclass(frozen=True)
class FoundEntry:
    """What the journal holds of one order."""

    id: str
    state: Literal["waiting", "quarantined"]
    entry: object
    """As JSON values; one that is set apart with its reason."""


@dataclass(frozen=True)
class JournalView:
    """The journal as it was seen."""

    members: tuple[JournalMember, ...]
    backlog: Backlog | None
    """None where no quorum answered."""
    apart_count: int = 0
    apart: tuple[SetApart, ...] = ()
    """The first of those that are set apart."""
    evidence: str = ""
    """Why the backlog is not known."""


class _Order(msgspec.Struct, frozen=True):
    accepted_at: datetime.datetime


class _Entry(msgspec.Struct, frozen=True):
    order: _Order


class _Progress(msgspec.Struct, frozen=True):
    accepted_at: datetime.datetime
    left: int = 0
    """What was accepted before and waits still: its age is another one."""
    aside: int = 0
    """The same, where a drainer of the release before says it."""


class _Apart(msgspec.Struct, frozen=True):
    reason: str
    since: str
    entry: msgspec.Raw


async def view_journal(cluster: Cluster, now: datetime.datetime) -> JournalView:
    """The journal as it is at `now`; over after a known time whatever does not answer."""
    seen = asyncio.gather(*(_member(cluster, node) for node in cluster.topology.nodes))
    store = cluster.journal_store()
    try:
        entries = await _entries(store, now, _SORTED_MAX, _DEADLINE_S)
        apart = await _apart(store)
    except EtcdError as error:
        return JournalView(tuple(await seen), None, evidence=str(error))
    return JournalView(tuple(await seen), entries.backlog, entries.apart_count, apart)


async def count_entries(cluster: Cluster, now: datetime.datetime) -> Entries | None:
    """What the journal holds at `now`; None where no quorum answers in time.

    Cheap, unless many wait and some were left while younger ones were drained.
    """
    try:
        return await _entries(cluster.journal_store(), now, _SORTED_CHEAPLY_MAX, cluster.asker.timeout_s)
    except EtcdError:
        return None  # what its members answer says why


async def read_entry(cluster: Cluster, order_id: UUID) -> FoundEntry:
    """What the journal holds of an order: an entry, or one that is set apart with its reason.

    Raises:
        NoSuchEntryError: nothing; it was drained, or never accepted.
        EtcdError: no quorum answered.
    """
    waiting, apart = await _find(cluster.journal_store(), order_id)
    found = apart or waiting
    if found is None:
        raise NoSuchEntryError(
            f"the journal holds nothing of order {order_id}; if it was accepted it has been drained, and the database "
            "has it: ask GET /v1/orders/ID"
        )
    state: Literal["waiting", "quarantined"] = "waiting" if apart is None else "quarantined"
    return FoundEntry(str(order_id), state, _json(found.value))


async def retry_entry(cluster: Cluster, order_id: UUID) -> None:
    """Put an entry that is set apart back among those that wait, as the youngest; nothing is ever deleted.

    Raises:
        NoSuchEntryError: it is not set apart, or somebody else put it back meanwhile.
        EtcdError: no quorum answered, or it is not known whether it was done.
    """
    store = cluster.journal_store()
    waiting, apart = await _find(store, order_id)
    if waiting is not None:
        raise NoSuchEntryError(f"order {order_id} waits to be drained already")
    if apart is None:
        raise NoSuchEntryError(f"order {order_id} is not set apart; `./standfest journal` lists those that are")
    to, there = _WAITING + _name(order_id), _APART + _name(order_id)
    back = Txn((Absent(to), Unchanged(there, apart.mod_revision)), (Put(to, _original(apart.value)), Delete(there)))
    if not (await store.txn(back, _DEADLINE_S)).result.succeeded:
        raise NoSuchEntryError(f"order {order_id} was changed meanwhile; see: ./standfest journal show {order_id}")


async def _member(cluster: Cluster, node: Node) -> JournalMember:
    address = f"{node.address}:{cluster.topology.ports.journal_client}"
    status = await cluster.maintenance.member_status(address, cluster.asker.timeout_s)
    return JournalMember(
        node=node.name,
        address=address,
        held=is_held(cluster.node_home(node), Kind.JOURNAL),
        healthy=status.healthy,
        is_leader=status.is_leader,
        size_bytes=status.db_size_bytes or None,
        in_use_bytes=status.db_in_use_bytes or None,
        alarms=tuple(alarm.name for alarm in status.alarms if alarm.member_id == status.member_id),
        evidence=status.reason,
    )


async def _entries(store: EtcdStore, now: datetime.datetime, sorted_max: int, deadline_s: float) -> Entries:
    reads = (
        Range(_WAITING, _WAITING_END, count_only=True),
        Range(_APART, _APART_END, count_only=True),
        Range(_PROGRESS),
    )
    waiting, apart, progress = _ranges(await store.txn(Txn((), (_BARRIER, *reads)), deadline_s))
    backlog = Backlog(0, None, 0.0)
    told = _told(progress.values)
    older = told is not None and bool(told.left or told.aside)
    if waiting.count > (_SORTED_MAX if older else sorted_max):
        drained_s = None if told is None or older else _age_s(told.accepted_at, now)
        backlog = Backlog(waiting.count, None, drained_s)
    elif waiting.count:
        oldest = await store.get(Range(_WAITING, _WAITING_END, limit=1, by_creation=True), deadline_s)
        for value in oldest.values:
            backlog = Backlog(waiting.count, _id(value.key), _accepted_age_s(value.value, now))
    return Entries(backlog, apart.count)


def _told(progress: Sequence[KeyValue]) -> _Progress | None:
    """How far drainers say that they came; None where they never did, or cannot be understood."""
    try:
        return msgspec.json.decode(progress[0].value, type=_Progress) if progress else None
    except msgspec.MsgspecError:
        return None


async def _apart(store: EtcdStore) -> tuple[SetApart, ...]:
    """Keys first and each entry by itself: one may have a mebibyte."""
    found = await store.get(Range(_APART, _APART_END, limit=_APART_LISTED_MAX, keys_only=True), _DEADLINE_S)
    reads = await asyncio.gather(*(store.get(Range(value.key), _DEADLINE_S) for value in found.values))
    return tuple(_set_apart(value) for read in reads for value in read.values)


async def _find(store: EtcdStore, order_id: UUID) -> tuple[KeyValue | None, KeyValue | None]:
    """The order's entry among those that wait, and among those that are set apart."""
    reads = (Range(_WAITING + _name(order_id)), Range(_APART + _name(order_id)))
    waiting, apart = _ranges(await store.txn(Txn((), (_BARRIER, *reads)), _DEADLINE_S))
    return next(iter(waiting.values), None), next(iter(apart.values), None)


def _ranges(answer: TxnAnswer) -> list[RangeResult]:
    return [result for result in answer.result.results if isinstance(result, RangeResult)]


def _set_apart(value: KeyValue) -> SetApart:
    try:
        told = msgspec.json.decode(value.value, type=_Apart)
    except msgspec.MsgspecError as error:
        return SetApart(_id(value.key), "", f"what was noted of it cannot be read ({error})")
    return SetApart(_id(value.key), told.since, told.reason)


def _original(apart: bytes) -> bytes:
    """The entry that was set apart; one that was no JSON was kept as base64 text."""
    try:
        entry = bytes(msgspec.json.decode(apart, type=_Apart).entry)
    except msgspec.MsgspecError as error:
        raise NoSuchEntryError(
            f"the entry cannot be put back: what was noted of it cannot be read ({error})"
        ) from error
    try:
        return base64.b64decode(msgspec.json.decode(entry, type=str), validate=True)
    except (msgspec.MsgspecError, binascii.Error):
        return entry


def _accepted_age_s(entry: bytes, now: datetime.datetime) -> float | None:
    """An entry that says nothing of the kind is not for this release to judge: a later one may drain it."""
    try:
        document = unpack(entry)
        return _age_s(msgspec.json.decode(document, type=_Entry).order.accepted_at, now)
    except (PackedBroken, msgspec.MsgspecError, RecursionError):
        return None


def _age_s(moment: datetime.datetime, now: datetime.datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _json(value: bytes) -> object:
    try:
        return json.loads(unpack(value))
    except (PackedBroken, ValueError, RecursionError):
        return {"not_json_base64": base64.b64encode(value).decode("ascii")}


def _name(order_id: UUID) -> bytes:
    return str(order_id).encode("ascii")


def _id(key: bytes) -> str:
    return key.rpartition(b"/")[2].decode("ascii", "replace")
