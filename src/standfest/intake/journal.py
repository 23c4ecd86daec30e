"""The journal: orders that are durable on two of three etcd members until the database has them.

Keys, all under `standfest/`:

    c/<client>/<SHA-256 of the idempotency key>   the claim: the order id that holds (client, key)
    o/<order id>                                  an order that waits to be drained
    x/<order id>                                  an order that could not be drained, with the reason
    progress                                      how far the drainers came

An order's two keys are created in one transaction and deleted in one. What is concluded from an absence is asked for
in a transaction that may write: this etcd can answer a mere read with the past (facts: 3.4.20 to 3.4.41 after a pause).

A request that was given up may still be carried out much later, and may then create an order again that was drained
and deleted meanwhile. That is harmless: draining it finds the order in the database and deletes it.
"""

import contextlib
import datetime
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import msgspec
import structlog

from standfest.clients.etcd_kv import (
    Absent,
    Delete,
    EtcdFull,
    EtcdOutcomeUnknown,
    EtcdRejected,
    EtcdStore,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    Unchanged,
)
from standfest.domain.orders import Order
from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.errors import StandfestError
from standfest.intake.demand import Demand, demand_of
from standfest.intake.entries import (
    EntryBroken,
    EntryTooNew,
    decode_entry,
    decode_quarantined,
    encode_entry,
    encode_quarantined,
)
from standfest.intake.errors import JournalFull, KeyReused

ORDERS_PER_TXN_MAX = 50
"""etcd allows 128 operations a transaction: 126 of these inside one, of which each has three (measured with 3.4.23)."""

LOOK_ENTRIES_MAX = 32
"""Entries that a look reads for what they want: few, as it is repeated."""
LOOK_BYTES_MAX = 256 * 1024
"""Of entries that a look reads: what is beyond counts as not read. Packed, some 5,000 lines: 10 ms of this process."""

_PREFIX = b"standfest/"
_ORDERS = _PREFIX + b"o/"
_ORDERS_END = _PREFIX + b"o0"  # "0" follows "/"
_QUARANTINE = _PREFIX + b"x/"
_QUARANTINE_END = _PREFIX + b"x0"
_PROGRESS = _PREFIX + b"progress"
_CLOCKS_APART_S = 0.5  # that much nodes' clocks may differ
_BARRIER = _PREFIX + b"barrier"
_COUNTED = Put(_PREFIX + b"counted", b"")
"""etcd 3.4 holds only a transaction's own puts against its quota, not those of the transactions inside it."""


_log = structlog.get_logger(__name__)


class JournalBroken(StandfestError):
    """The journal holds a claim that names no order, or one without its order: somebody changed it by hand."""


Unclear = EntryTooNew | EntryBroken | JournalBroken
"""Why it is not known what the journal holds of an order."""


class Accepted(msgspec.Struct, frozen=True):
    """An order that the journal holds."""

    order: Order
    """In state `accepted`, as it was when it came first."""
    repeated: bool


class Waiting(msgspec.Struct, frozen=True):
    """An entry that waits to be drained."""

    order_id: UUID
    create_revision: int
    mod_revision: int
    data: bytes


class Progress(msgspec.Struct, frozen=True):
    """How far the drainers came: what was accepted before `accepted_at` is drained, or cannot be by this release."""

    accepted_at: datetime.datetime
    revision: int | None = None
    """What was created at it, or before, is drained, or left aside; None where an older release wrote this."""
    aside: int = 0
    """So many entries were left aside, and wait still: whoever comes later overtakes them."""
    left: int = 0
    """So many of what was created before were left, and wait still, with what wants the same goods; 0 where for certain
    none does."""


class Listing(msgspec.Struct, frozen=True):
    """Entries that wait, the oldest first."""

    order_ids: list[UUID]
    revision: int
    """Of the store when they were listed."""
    progress: Progress | None = None
    """As it was said last."""


class Backlog(msgspec.Struct, frozen=True):
    """What waits to be drained."""

    count: int
    accepted_at: datetime.datetime | None
    """All that was accepted before is drained; None where that was never said."""
    revision: int = 0
    """Of the store when it was looked at."""
    drained_revision: int | None = None
    """All that was created until then is drained, or left aside; None where that was never said."""
    demand: Demand = Demand()
    """What the orders that wait want."""
    synthetic: int = 0
    """So many of those that wait are synthetic, as far as they were read: to overtake them wrongs nobody."""
    aside: int = 0
    """So many of those that wait were left aside: their turn does not come before theirs who come later."""

    def age_s(self, now: datetime.datetime) -> float:
        """At most so many seconds ago the oldest waiting order was accepted; 0 where nothing waits, infinite where
        that is not known: never said, or said by a clock that is ahead of ours.
        """
        if self.count == 0:
            return 0.0
        age_s = -1.0 if self.accepted_at is None else (now - self.accepted_at).total_seconds()
        return age_s if age_s >= -_CLOCKS_APART_S else float("inf")


class Journal:
    """Orders in etcd. Every call ends within its deadline, and may be repeated."""

    def __init__(self, store: EtcdStore, size_max_bytes: int) -> None:
        """
        Args:
            store: the journal's own cluster.
            size_max_bytes: of a member's real file; beyond it nothing is accepted.
        """
        self._store = store
        self._size_max_bytes = size_max_bytes
        self._full = False
        self.accepted_at = float("-inf")
        """When it last took orders of this process, synthetic ones included; monotonic seconds."""

    @property
    def full(self) -> bool:
        """Whether nothing more is accepted."""
        return self._full

    def learn_size(self, size_bytes: int, alarm: bool) -> None:
        """Says how large the largest file of a member is, and whether a member has raised its alarm for space."""
        self._full = alarm or size_bytes >= self._size_max_bytes

    def size_is_unknown(self) -> None:
        """Says that no member has told its size for long: nothing is accepted until one does."""
        self._full = True

    async def accept(self, orders: Sequence[Order], deadline_s: float) -> list[Accepted | KeyReused | Unclear]:
        """Creates what is absent, in one transaction; answers in the order given, each order for itself.

        Args:
            orders: in state `accepted`, at most ORDERS_PER_TXN_MAX, no two with the same client and key.
            deadline_s: seconds from now.

        Raises:
            JournalFull: nothing was accepted; there is no room.
            EtcdUnavailable: nothing was accepted.
            EtcdOutcomeUnknown: each may have been accepted; also where etcd met its quota at this transaction.
        """
        if self.full:
            raise JournalFull(
                f"the journal's file has reached {self._size_max_bytes} bytes, or no member says how large it is; see "
                "`standfest journal`"
            )
        try:
            answer = await self._store.txn(Txn((), (*map(_create, orders), _COUNTED)), deadline_s)
        except EtcdFull as error:
            self._full = True
            raise EtcdOutcomeUnknown(f"the journal takes no more: {error}; see `standfest journal`") from error
        self.accepted_at = time.monotonic()
        return [_answer(order, result) for order, result in zip(orders, answer.result.results[:-1], strict=True)]

    async def find(self, order_ids: Sequence[UUID], deadline_s: float) -> dict[UUID, Order]:
        """Those of the orders that the journal holds; one that is not in the answer was not there, for certain.

        What a mere read shows is there. Only what it does not show is asked for through the log, which every member
        has to write down.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown: it cannot be found out now.
            EntryTooNew, EntryBroken: one is there and cannot be read.
        """
        found: dict[UUID, Order] = {}
        for start in range(0, len(order_ids), ORDERS_PER_TXN_MAX):
            part = order_ids[start : start + ORDERS_PER_TXN_MAX]
            end = time.monotonic() + deadline_s
            for value in await self._values((), _reads(part), deadline_s):
                found[_order_id(value.key)] = _order(value)
            rest = [order_id for order_id in part if order_id not in found]
            if not rest:
                continue
            # What may write goes through the log, and its reads are made at its place there. Nothing is ever deleted.
            for value in await self._values((Delete(_BARRIER),), _reads(rest), max(end - time.monotonic(), 0)):
                found[_order_id(value.key)] = _order(value)
        return found

    async def backlog(self, deadline_s: float, *, certain: bool = False, read_max: int = LOOK_ENTRIES_MAX) -> Backlog:
        """How much waits, how old it can be, and what of it is wanted. A hint that may be a moment behind.

        Args:
            deadline_s: seconds from now.
            certain: through the log: whoever was accepted before is in it, or has been drained.
            read_max: so many entries are read for what they want; 0: none.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown: it cannot be found out now.
        """
        first = (Delete(_BARRIER),) if certain else ()
        counted, told = Range(_ORDERS, _ORDERS_END, count_only=True), Range(_PROGRESS)
        entries = (Range(_ORDERS, _ORDERS_END, limit=read_max),) if read_max else ()
        try:
            answer = await self._store.txn(Txn((), (*first, counted, told, *entries)), deadline_s)
        except EtcdRejected:  # together they are too long for an answer
            answer = await self._store.txn(Txn((), (*first, counted, told)), deadline_s)
        results = [result for result in answer.result.results if isinstance(result, RangeResult)]
        if len(results) < 2:
            raise JournalBroken("the journal answered a question with something else")
        orders = list(_readable(_up_to(LOOK_BYTES_MAX, results[2].values))) if len(results) > 2 else []
        progress = _progress(results[1].values, answer.revision)
        return Backlog(
            results[0].count,
            progress.accepted_at if progress else None,
            answer.revision,
            progress.revision if progress else None,
            demand_of(orders, max(results[0].count - len(orders), 0)),
            sum(order.client_id == SYNTHETIC_CLIENT for order in orders),
            progress.aside if progress else 0,
        )

    async def quarantined(self, deadline_s: float) -> int:
        """How many orders are set apart."""
        return (await self._store.get(Range(_QUARANTINE, _QUARANTINE_END, count_only=True), deadline_s)).count

    async def count(self, deadline_s: float) -> int:
        """How many entries wait to be drained, cheaply."""
        return (await self._store.get(Range(_ORDERS, _ORDERS_END, count_only=True), deadline_s)).count

    async def waiting(self, limit: int, deadline_s: float) -> list[UUID]:
        """The oldest entries by creation, at most `limit`; see `listing`."""
        return (await self.listing(limit, deadline_s)).order_ids

    async def listing(self, limit: int, deadline_s: float) -> Listing:
        """The oldest entries by creation, at most `limit`. etcd reads all that wait, to sort them.

        A key that names no order is left out: it stays where it is, is counted, and holds up nobody.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown: it cannot be found out now.
        """
        wanted = Range(_ORDERS, _ORDERS_END, limit=limit, keys_only=True, by_creation=True)
        answer = await self._store.txn(Txn((), (wanted, Range(_PROGRESS))), deadline_s)
        names: list[UUID] = []
        for value in _values(answer.result.results[:1]):
            try:
                names.append(_order_id(value.key))
            except ValueError:
                _log.error("journal_key_names_no_order", key=value.key.decode("ascii", "replace"))
        return Listing(names, answer.revision, _progress(_values(answer.result.results[1:]), answer.revision))

    async def read(self, order_ids: Sequence[UUID], deadline_s: float) -> list[Waiting]:
        """These entries, without those that are gone, at most 128."""
        reads = tuple(Range(_ORDERS + _name(order_id)) for order_id in order_ids)
        return [
            Waiting(_order_id(value.key), value.create_revision, value.mod_revision, value.value)
            for value in await self._values((), reads, deadline_s)
        ]

    async def _values(self, first: Sequence[Delete], reads: Sequence[Range], deadline_s: float) -> list[KeyValue]:
        """What these reads find, in one transaction, or in more where together they are too long for an answer."""
        try:
            return _values((await self._store.txn(Txn((), (*first, *reads)), deadline_s)).result.results)
        except EtcdRejected:
            if len(reads) == 1:
                raise
            middle = len(reads) // 2
            halves = (reads[:middle], reads[middle:])
            return [value for half in halves for value in await self._values(first, half, deadline_s)]

    async def remove(
        self, drained: Iterable[tuple[Waiting, Order]], deadline_s: float, said: Progress | None = None
    ) -> None:
        """Deletes entries that the database has, each only where it is still the one that was drained.

        Those of them that are deleted are older than all that is left, save what was left aside or set apart.

        Args:
            drained: the entries, as they were read.
            deadline_s: seconds from now, for each transaction.
            said: the progress that was said before: it never goes back. What it says is left aside is none of these.
        """
        pairs = list(drained)
        progress = _later(
            said,
            Progress(max(order.accepted_at for _, order in pairs), max(entry.create_revision for entry, _ in pairs)),
        )
        for start in range(0, len(pairs), ORDERS_PER_TXN_MAX):
            part = pairs[start : start + ORDERS_PER_TXN_MAX]
            deletes = tuple(_remove(entry, order) for entry, order in part)
            put = Put(_PROGRESS, msgspec.json.encode(progress))
            try:
                await self._store.txn(Txn((), (*deletes, put)), deadline_s)
            except EtcdFull:  # then it takes nothing but deletions
                await self._store.txn(Txn((), deletes), deadline_s)

    async def say_progress(self, progress: Progress, deadline_s: float) -> None:
        """Says that of what was accepted and created until then only that waits which is left aside."""
        put = Put(_PROGRESS, msgspec.json.encode(progress))
        with contextlib.suppress(EtcdFull):  # then it takes nothing but deletions
            await self._store.txn(Txn((), (put,)), deadline_s)

    async def quarantine(self, entry: Waiting, reason: str, deadline_s: float) -> None:
        """Sets an entry apart: it holds up nobody, and is not lost. Its claim stays."""
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        name = _name(entry.order_id)
        apart = Put(_QUARANTINE + name, encode_quarantined(entry.data, reason, since))
        unchanged = Unchanged(_ORDERS + name, entry.mod_revision)
        await self._store.txn(Txn((unchanged,), (apart, Delete(_ORDERS + name))), deadline_s)


def _progress(values: Sequence[KeyValue], revision: int) -> Progress | None:
    """The progress among these values, where it was ever said of this store, which is at a revision now."""
    try:
        progress = msgspec.json.decode(values[0].value, type=Progress) if values else None
    except msgspec.MsgspecError as error:  # drainers say it anew
        _log.error("progress_not_read", error=str(error))
        return None
    return None if progress is not None and (progress.revision or 0) > revision else progress


def _later(said: Progress | None, now: Progress) -> Progress:
    """Progress that goes back nowhere."""
    if said is None or said.revision is None or now.revision is None:
        return now
    return msgspec.structs.replace(
        said, accepted_at=max(said.accepted_at, now.accepted_at), revision=max(said.revision, now.revision)
    )


def _create(order: Order) -> Txn:
    claim, name = _claim(order), _name(order.order_id)
    return Txn(
        (Absent(claim),),
        (Put(claim, name), Put(_ORDERS + name, encode_entry(order))),
        (Range(claim), Range(_ORDERS + name), Range(_QUARANTINE + name)),
    )


def _remove(entry: Waiting, order: Order) -> Txn:
    name = _ORDERS + _name(entry.order_id)
    return Txn((Unchanged(name, entry.mod_revision),), (Delete(name), Delete(_claim(order))))


def _answer(order: Order, result: object) -> Accepted | KeyReused | Unclear:
    """One order's answer. That it cannot be read says nothing of its neighbours, who are created by now."""
    try:
        return _accepted(order, _inner(result))
    except (EntryTooNew, EntryBroken, JournalBroken) as error:
        return error


def _accepted(order: Order, result: TxnResult) -> Accepted | KeyReused:
    if result.succeeded:
        return Accepted(order, repeated=False)
    try:
        claim, *entries = _values(result.results)
        holder = UUID(claim.value.decode("ascii"))
    except ValueError as error:
        raise JournalBroken(
            f"the journal's claim for order {order.order_id} names no order: {error}; see `standfest journal`"
        ) from error
    if holder != order.order_id:
        return KeyReused(holder)
    if not entries:
        raise JournalBroken(f"the journal has a claim for order {holder} and no order; see `standfest journal`")
    return Accepted(_order(entries[0]), repeated=True)


def _order(entry: KeyValue) -> Order:
    """The order of an entry, whether it waits or is set apart."""
    decode = decode_entry if entry.key.startswith(_ORDERS) else decode_quarantined
    return decode(entry.value)


def _readable(values: Iterable[KeyValue]) -> Iterator[Order]:
    for value in values:
        with contextlib.suppress(EntryTooNew, EntryBroken):  # drainers say so
            yield decode_entry(value.value)


def _up_to(bytes_max: int, values: Iterable[KeyValue]) -> Iterator[KeyValue]:
    """The first of the values that are no longer than this together."""
    for value in values:
        bytes_max -= len(value.value)
        if bytes_max < 0:
            return
        yield value


def _inner(result: object) -> TxnResult:
    if not isinstance(result, TxnResult):
        raise JournalBroken("the journal answered a transaction with something else")
    return result


def _values(results: Iterable[object]) -> list[KeyValue]:
    return [value for result in results if isinstance(result, RangeResult) for value in result.values]


def _claim(order: Order) -> bytes:
    key = hashlib.sha256(order.idempotency_key.encode("ascii")).hexdigest()
    return _PREFIX + f"c/{order.client_id}/{key}".encode("ascii")


def _reads(order_ids: Iterable[UUID]) -> list[Range]:
    return [Range(prefix + _name(order_id)) for order_id in order_ids for prefix in (_ORDERS, _QUARANTINE)]


def _name(order_id: UUID) -> bytes:
    return str(order_id).encode("ascii")


def _order_id(key: bytes) -> UUID:
    return UUID(key.rpartition(b"/")[2].decode("ascii"))
