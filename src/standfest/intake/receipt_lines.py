"""A line of a receipt file."""

import zlib
from collections.abc import Sequence

import msgspec

from standfest.intake.receipts import Receipt

_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True):
    """What a line holds."""

    at: float
    """When the receipt was given: seconds since 1970."""
    receipt: Receipt
    seq: int | None = None
    """Number of the line in its file, from 1; None in a line of the release before."""


def line_of(at: float, receipt: Receipt, seq: int | None = None) -> bytes:
    """A receipt as a line of a file."""
    entry = _encode(Entry(at, receipt, seq))
    return b'{"crc32":%d,"entry":%b}\n' % (zlib.crc32(entry), entry)


def lines_of(batch: Sequence[tuple[float, Receipt]], first: int) -> bytes:
    """Receipts as lines of a file, numbered from `first` on."""
    return b"".join(line_of(at, receipt, seq) for seq, (at, receipt) in enumerate(batch, first))
