"""PostgreSQL arrays for psycopg, encoded column by column instead of value by value."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Array type and element type; both are fixed for built-in types (pg_type.dat).
_OIDS = {"int": (1016, 20), "text": (1009, 25), "bytea": (1001, 17), "uuid": (2951, 2950), "time": (1185, 1184),
         "number": (1009, 25), "json": (1009, 25)}  # fmt: skip


def _fixed(values: Sequence[Any], code: str, size: int) -> bytes:
    flat = [part for value in values for part in (size, value)]
    return struct.pack("!" + f"i{code}" * len(values), *flat)


def _variable(values: Sequence[bytes]) -> bytes:
    pack = struct.Struct("!i").pack
    return b"".join([part for value in values for part in (pack(len(value)), value)])


_ENCODE: dict[str, Callable[[Sequence[Any]], bytes]] = {
    "int": lambda values: _fixed(values, "q", 8),
    "text": lambda values: _variable([value.encode() for value in values]),
    "bytea": _variable,
    "uuid": lambda values: _fixed([value.bytes for value in values], "16s", 16),
    "time": lambda values: _fixed([round((v - _EPOCH).total_seconds() * 1_000_000) for v in values], "q", 8),
    "number": lambda values: _variable([str(value).encode() for value in values]),
    "json": lambda values: _variable([value.encode() for value in values]),
}



class Packed:
    """One column of a set-based statement."""

    __slots__ = ("kind", "values")

    def __init__(self, kind: str, values: Sequence[Any]) -> None:
        self.kind = kind
        self.values = values


def _dumper(kind: str) -> type[Dumper]:
    array_oid, element_oid = _OIDS[kind]
    encode = _ENCODE[kind]

    class PackedDumper(Dumper):
        format = Format.BINARY
        oid = array_oid

        def dump(self, obj: Packed) -> Buffer:
            header = struct.pack("!iiiii", 1, 0, element_oid, len(obj.values), 1)
            return header + encode(obj.values)

    return PackedDumper


KINDS: dict[str, type[Packed]] = {kind: type(f"Packed_{kind}", (Packed,), {}) for kind in _OIDS}
DUMPERS = {KINDS[kind]: _dumper(kind) for kind in _OIDS}


def pack(kinds: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[Packed]:
    """Columns as parameters."""
    return [KINDS[kind](kind, column) for kind, column in zip(kinds, columns, strict=True)]
