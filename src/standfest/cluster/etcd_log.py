"""The log of an etcd member that has lost its cluster for good: count as committed all that it holds.

A member learns that an entry is committed a moment after its leader has acknowledged it, and etcd's --force-new-cluster
drops what the member does not know as committed: acknowledged entries that it holds would be gone. Where no other
member is left that could disagree, everything in its log may count, and a log says so in one more record.

Format: etcd 3.4, wal/doc.go, wal/walpb/record.proto, raft/raftpb/raft.proto. A file is a row of frames: eight bytes
little-endian (length in the lower 56 bits, padding to eight bytes in the top byte), a Record, zeros. Record: 1 type,
2 CRC-32C over the data of all records so far, 3 data.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from standfest.errors import StandfestError

_ENTRY, _STATE, _CHECKSUM = 2, 3, 4
"""Types of records (wal.go). The first record of each file is a checksum, the last one of the file before."""

_CASTAGNOLI = 0x82F63B78
_FRAME_BYTES_MAX = 64 * 1024 * 1024


class LogUnreadableError(StandfestError):
    """A member's log is not what etcd 3.4 writes, or ends in the middle of a record."""


@dataclass(frozen=True)
class LogEnd:
    """Where a member's log ends."""

    file: Path
    offset: int
    """Where the next record goes, in bytes."""
    checksum: int
    term: int
    vote: int
    committed: int
    """Index of the last entry that the member knows to be committed."""
    last: int
    """Index of the last entry that it holds."""


def commit_all(member: Path) -> int:
    """Let a member that does not run count all entries in its log as committed; how many more those are.

    `member` is its data directory. The next start of etcd must be with --force-new-cluster.

    Raises:
        LogUnreadableError: nothing was changed.
    """
    end = read_end(member)
    if end.last <= end.committed:
        return 0
    state = b"".join(_field(number, value) for number, value in ((1, end.term), (2, end.vote), (3, end.last)))
    record = _field(1, _STATE) + _field(2, checksum(end.checksum, state)) + _varint(3 << 3 | 2) + _varint(len(state))
    with end.file.open("r+b") as file:
        file.seek(end.offset)
        file.write(_framed(record + state))
        file.flush()
        os.fsync(file.fileno())
    return end.last - end.committed


def read_end(member: Path) -> LogEnd:
    """Where the log in a member's data directory ends; LogUnreadableError where that cannot be told for certain."""
    files = sorted((member / "member" / "wal").glob("*.wal"))
    if not files:
        raise LogUnreadableError(f"{member} holds no etcd member: expected files member/wal/*.wal")
    state, last, offset, sums = {1: 0, 2: 0, 3: 0}, 0, 0, [0, 0]
    data = b""
    for file in files:
        for behind, record in _records(file):
            offset, fields = behind, _fields(record, file)
            kind, data = _number(fields, 1), _bytes(fields, 3)
            sums = [sums[1], _number(fields, 2)]
            if kind == _ENTRY:
                last = _number(_fields(data, file), 3)
            elif kind == _STATE:
                state |= {number: _number(_fields(data, file), number) for number in state}
            elif kind == _CHECKSUM:
                sums, data = [sums[1], sums[1]], b""
    if checksum(sums[0], data) != sums[1]:
        raise LogUnreadableError(
            f"the last record of {files[-1]} is torn; start the member once by itself, which mends that, and repeat"
        )
    return LogEnd(files[-1], offset, sums[1], state[1], state[2], state[3], last)


def checksum(before: int, data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4), continued from `before`."""
    value = before ^ 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def _records(file: Path) -> Iterator[tuple[int, bytes]]:
    """Each record with the offset behind it. A file is made longer in advance: zeros follow the last record."""
    with file.open("rb") as opened:
        while len(head := opened.read(8)) == 8 and any(head):
            length, padding = int.from_bytes(head[:7], "little"), head[7] & 7 if head[7] & 0x80 else 0
            record = opened.read(min(length + padding, _FRAME_BYTES_MAX))
            if len(record) != length + padding:
                raise LogUnreadableError(f"{file} ends in a record; start the member once by itself, and repeat")
            yield opened.tell(), record[:length]


def _fields(message: bytes, file: Path) -> dict[int, int | bytes]:
    """A protobuf message of numbers and bytes, by field number."""
    fields: dict[int, int | bytes] = {}
    position = 0
    try:
        while position < len(message):
            tag, position = _read_varint(message, position)
            value, position = _read_varint(message, position)
            if tag & 7 == 0:
                fields[tag >> 3] = value
            elif tag & 7 == 2:
                fields[tag >> 3] = message[position : position + value]
                position += value
            else:
                raise LogUnreadableError(f"{file} is not a log of etcd 3.4: field of type {tag & 7}")
    except IndexError as error:
        raise LogUnreadableError(f"{file} is not a log of etcd 3.4: a message ends too early") from error
    return fields


def _number(fields: dict[int, int | bytes], number: int) -> int:
    value = fields.get(number, 0)
    return value if isinstance(value, int) else 0


def _bytes(fields: dict[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    return value if isinstance(value, bytes) else b""


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _framed(record: bytes) -> bytes:
    padding = -len(record) % 8
    top = (0x80 | padding) if padding else 0
    return (len(record) | top << 56).to_bytes(8, "little") + record + bytes(padding)
