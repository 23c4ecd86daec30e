"""Receipt files as the audit reads them: in pieces, while they grow, whatever is wrong in them."""

import fcntl
import hashlib
import os
import zlib
from pathlib import Path

import msgspec

from standfest.intake.receipt_lines import Entry

_PIECE_BYTES = 128 * 1024

_decode_entry = msgspec.json.Decoder(Entry).decode


class _Line(msgspec.Struct, frozen=True):
    crc32: int
    entry: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode


class Read(msgspec.Struct, frozen=True):
    """One line with a receipt."""

    start: int
    """Where in the file it begins, in bytes."""
    entry: Entry


class Piece(msgspec.Struct, frozen=True):
    """What stands between two places of a file."""

    lines: tuple[Read, ...]
    damaged: int
    """Whole lines that are no receipts."""
    end: int
    """Where to go on."""
    more: bool
    """There is more behind it already."""
    digest: bytes = b""
    """Over the digest before it and each line: what was read once must be the same when it is read again."""


def read_piece(path: Path, start: int, lines_max: int, digest: bytes = b"") -> Piece:
    """Whole lines from byte `start` on; what has no line feed at its end yet is left for the next time.

    `digest`: that of the lines before.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(_PIECE_BYTES)
    lines: list[Read] = []
    damaged, at = 0, 0
    while len(lines) + damaged < lines_max:
        end = data.find(b"\n", at)
        if end < 0:
            break
        digest = hashlib.blake2b(digest + data[at : end + 1], digest_size=16).digest()
        entry = _entry(data[at:end])
        if entry is None:
            damaged += 1
        else:
            lines.append(Read(start + at, entry))
        at = end + 1
    if at == 0 and len(data) == _PIECE_BYTES:  # no receipt is that long
        digest = hashlib.blake2b(digest + data, digest_size=16).digest()
        return Piece((), 1, start + len(data), more=True, digest=digest)
    more = b"\n" in data[at:] or len(data) == _PIECE_BYTES
    return Piece(tuple(lines), damaged, start + at, more, digest)


def _entry(line: bytes) -> Entry | None:
    try:
        outer = _decode_line(line)
        if zlib.crc32(outer.entry) != outer.crc32:
            return None
        return _decode_entry(outer.entry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_closed(path: Path) -> bool:
    """Whether no process writes the file any more: its writer holds a lock on it for as long as it does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
