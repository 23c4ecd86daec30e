"""What the journal keeps of an order."""

from __future__ import annotations

import base64

import msgspec
import pytest

from standfest.clients.packed import pack
from standfest.intake.entries import EntryBroken, decode_entry, encode_entry, encode_quarantined
from tests.unit.trade import line, order_of

ORDER = order_of("accepted", line(1, 2), line(2, 3))


def test_a_damaged_entry_is_no_other_order() -> None:
    """Whichever bit of an entry changes, it is the same order or none."""
    entry = encode_entry(ORDER)
    order = decode_entry(entry)
    for bit in range(8 * len(entry)):
        damaged = bytearray(entry)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert decode_entry(bytes(damaged)) == order
        except EntryBroken:
            continue


@pytest.mark.parametrize("entry", [b"\xff", pack(b"["), pack(b'{"a":' * 100_000)], ids=["no JSON", "cut", "deep"])
def test_what_is_no_entry_is_kept_byte_for_byte_when_it_is_set_apart(entry: bytes) -> None:
    """An entry that nobody can read ends no drainer, and can be looked at later."""
    with pytest.raises(EntryBroken):
        decode_entry(entry)
    apart = msgspec.json.decode(encode_quarantined(entry, "it cannot be read", "2026-01-01T00:00:00Z"))
    assert base64.b64decode(apart["entry"]) == entry
