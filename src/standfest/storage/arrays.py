"""PostgreSQL arrays from Python lists, encoded a column at a time.

The set-based statements take a list a column. psycopg adapts each element by itself, which costs more processor
time than all the rest of a batch: docs/decisions/0001-postgresql-driver.md has the figures.

The statements cast their parameters (`%(net)s::numeric []`), so few array types are enough: whole numbers go as
bigint [], decimals and JSON as text []. A column has one type whatever its values are, so each statement is
prepared once.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self
from uuid import UUID

from psycopg.abc import AdaptContext, DumperKey
from psycopg.adapt import Buffer, Dumper, PyFormat
from psycopg.errors import DataError
from psycopg.pq import Format

# The binary form of an array is that of array_send() in PostgreSQL's arrayfuncs.c: dimensions, has nulls, element
# type; then, unless empty, length and lower bound; then each element's length and bytes, length -1 for a null.
_pack_head = struct.Struct("!iii").pack
_pack_dimension = struct.Struct("!ii").pack
_pack_length = struct.Struct("!i").pack
_pack_bigint = struct.Struct("!iq").pack
_NULL = _pack_length(-1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # timestamptz counts microseconds from here


class _Kind(NamedTuple):
    array_oid: int  # pg_type.dat
    element_oid: int
    encode: Callable[[Any], bytes]
    """Length and value."""


def _sized(value: bytes) -> bytes:
    return _pack_length(len(value)) + value


def _timestamp(moment: datetime) -> bytes:
    since = moment - _EPOCH
    return _pack_bigint(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


_TEXT = _Kind(1009, 25, lambda value: _sized(value.encode()))
_KINDS: dict[type, _Kind] = {
    str: _TEXT,
    Decimal: _Kind(1009, 25, lambda value: _sized(str(value).encode())),
    int: _Kind(1016, 20, lambda value: _pack_bigint(8, value)),
    bool: _Kind(1000, 16, {True: _sized(b"\1"), False: _sized(b"\0")}.__getitem__),
    bytes: _Kind(1001, 17, _sized),
    UUID: _Kind(2951, 2950, lambda value: _sized(value.bytes)),
    datetime: _Kind(1185, 1184, _timestamp),
    type(None): _TEXT,  # nothing but nulls: the statement's cast says what they are
}


class ArrayDumper(Dumper):
    """Adapts a flat list of one type of element, nulls among them or not. Register it for `list`.

    Raises psycopg's DataError for elements of another type than the first one, and for types it does not know.
    """

    format = Format.BINARY

    def __init__(self, cls: type, context: AdaptContext | None = None, kind: _Kind = _TEXT) -> None:
        super().__init__(cls, context)
        self.oid = kind.array_oid
        self._kind = kind

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:
        """One dumper for each type of element."""
        return self.cls, _element_type(obj)

    def upgrade(self, obj: list[Any], format: PyFormat) -> Self:
        """The dumper for this list's type of element."""
        return type(self)(self.cls, kind=_kind(obj))

    def dump(self, obj: list[Any]) -> Buffer:
        """The array in PostgreSQL's binary form."""
        return _array(obj, self._kind)


def encode(values: list[Any]) -> tuple[int, bytes]:
    """An array's type (OID) and its binary form, for a list as `ArrayDumper` takes it. Raises psycopg's DataError."""
    kind = _kind(values)
    return kind.array_oid, _array(values, kind)


def _array(values: list[Any], kind: _Kind) -> bytes:
    if not values:
        return _pack_head(0, 0, kind.element_oid)
    head = _pack_head(1, None in values, kind.element_oid) + _pack_dimension(len(values), 1)
    of = kind.encode
    try:
        return head + b"".join([_NULL if value is None else of(value) for value in values])
    except (AttributeError, KeyError, TypeError, UnicodeEncodeError, struct.error) as error:
        raise DataError(f"cannot send a list of mixed or unfit elements: {error}") from error


def _kind(values: list[Any]) -> _Kind:
    element = _element_type(values)
    kind = _KINDS.get(element)
    if kind is None:
        known = ", ".join(sorted(of.__name__ for of in _KINDS))
        raise DataError(f"cannot send a list of {element.__name__}: known are lists of {known}")
    return kind


def _element_type(values: list[Any]) -> type:
    for value in values:
        if value is not None:
            return type(value)
    return type(None)
