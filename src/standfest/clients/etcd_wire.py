"""What is asked of etcd's key-value store and what it answers, and both as JSON.

Names and shapes: https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ (rpc.proto). In JSON bytes are base64, 64-bit
integers are strings, and a field that is absent is zero, false or empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

OPERATIONS_MAX = 126
"""Nested transactions of two operations each that etcd takes in one with its default of 128 operations (3.4.23)."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write one key."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key, or all from `key` up to and without `end`."""

    key: bytes
    end: bytes | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Read one key, or all from `key` up to and without `end`; linearizable."""

    key: bytes
    end: bytes | None = None
    limit: int = 0
    """Most keys that are answered; 0 for all."""
    keys_only: bool = False
    count_only: bool = False
    by_creation: bool = False
    """Oldest creation first, instead of by key. etcd sorts all of the range before it applies `limit`."""


@dataclass(frozen=True, slots=True)
class Absent:
    """True where the key does not exist."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Unchanged:
    """True where the key was last written at this revision."""

    key: bytes
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Txn:
    """`success` where every comparison holds, else `failure`; all in one step.

    Comparisons of nested transactions see the state before the outermost one. A key may be written once in the whole
    transaction: two nested ones that may put the same key are rejected together (EtcdRejected). Keys that one
    transaction creates have the same creation revision, and no order among themselves. etcd 3.4.23 counts only the
    outermost transaction's own puts against its quota: one that has none is taken however full the store is, so one
    that is to be bounded needs a put of its own.
    """

    compare: tuple[Absent | Unchanged, ...]
    success: tuple[Put | Delete | Range | Txn, ...]
    failure: tuple[Put | Delete | Range | Txn, ...] = ()


class KeyValue(msgspec.Struct, frozen=True):
    """One key with its value."""

    key: bytes = b""
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0


@dataclass(frozen=True, slots=True)
class RangeResult:
    """What a Range found."""

    values: tuple[KeyValue, ...]
    count: int
    """Keys in the range, whatever the limit."""
    more: bool
    """Whether `limit` cut the range short."""


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Which branch was taken, and the result of each of its operations: keys deleted for a Delete, None for a Put."""

    succeeded: bool
    results: tuple[RangeResult | TxnResult | int | None, ...]


@dataclass(frozen=True, slots=True)
class TxnAnswer:
    """The answer to an outermost transaction; `revision` is the store's after it."""

    revision: int
    result: TxnResult


def encode_txn(txn: Txn) -> bytes:
    """The body of /v3/kv/txn."""
    return msgspec.json.encode(_txn(txn))


def encode_range(asked: Range) -> bytes:
    """The body of /v3/kv/range."""
    return msgspec.json.encode(_range(asked))


def decode_txn(body: bytes) -> TxnAnswer:
    """The answer of /v3/kv/txn; msgspec.MsgspecError where it is none."""
    answer = _TXN.decode(body)
    return TxnAnswer(answer.header.revision, answer.result())


def decode_range(body: bytes) -> RangeResult:
    """The answer of /v3/kv/range; msgspec.MsgspecError where it is none."""
    return _RANGE.decode(body).result()


def _txn(txn: Txn) -> dict[str, Any]:
    return {
        "compare": [_comparison(each) for each in txn.compare],
        "success": [_operation(each) for each in txn.success],
        "failure": [_operation(each) for each in txn.failure],
    }


def _comparison(comparison: Absent | Unchanged) -> dict[str, Any]:
    if isinstance(comparison, Absent):
        return {"key": comparison.key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    revision = str(comparison.mod_revision)
    return {"key": comparison.key, "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def _operation(operation: Put | Delete | Range | Txn) -> dict[str, Any]:
    match operation:
        case Put():
            return {"request_put": {"key": operation.key, "value": operation.value}}
        case Delete():
            return {"request_delete_range": {"key": operation.key, **_end(operation.end)}}
        case Range():
            return {"request_range": _range(operation)}
        case Txn():
            return {"request_txn": _txn(operation)}


def _range(asked: Range) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": asked.key, **_end(asked.end)}
    if asked.limit:
        fields["limit"] = str(asked.limit)
    if asked.keys_only:
        fields["keys_only"] = True
    if asked.count_only:
        fields["count_only"] = True
    if asked.by_creation:
        fields |= {"sort_order": "ASCEND", "sort_target": "CREATE"}
    return fields


def _end(end: bytes | None) -> dict[str, bytes]:
    return {} if end is None else {"range_end": end}


class _Header(msgspec.Struct, frozen=True):
    revision: int = 0


class _RangeResponse(msgspec.Struct, frozen=True):
    kvs: tuple[KeyValue, ...] = ()
    count: int = 0
    more: bool = False

    def result(self) -> RangeResult:
        return RangeResult(self.kvs, self.count, self.more)


class _DeleteResponse(msgspec.Struct, frozen=True):
    deleted: int = 0


class _Response(msgspec.Struct, frozen=True):
    response_range: _RangeResponse | None = None
    response_delete_range: _DeleteResponse | None = None
    response_txn: _TxnResponse | None = None

    def result(self) -> RangeResult | TxnResult | int | None:
        if self.response_txn is not None:
            return self.response_txn.result()
        if self.response_range is not None:
            return self.response_range.result()
        if self.response_delete_range is not None:
            return self.response_delete_range.deleted
        return None


class _TxnResponse(msgspec.Struct, frozen=True):
    header: _Header = _Header()
    succeeded: bool = False
    responses: tuple[_Response, ...] = ()

    def result(self) -> TxnResult:
        return TxnResult(self.succeeded, tuple(response.result() for response in self.responses))


# strict=False: 64-bit integers come as strings.
_TXN = msgspec.json.Decoder(_TxnResponse, strict=False)
_RANGE = msgspec.json.Decoder(_RangeResponse, strict=False)
