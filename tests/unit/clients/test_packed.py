"""JSON as the journal keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.clients.packed import UNPACKED_BYTES_MAX, PackedBroken, pack, unpack

KEPT = bytes.fromhex("783fc56d4680233937182601b50100eea811d1")
"""`{"format":1,"readable_by":1,"order":{"order_id":"1b"}}` as the first release with it packed it."""


@given(st.binary(max_size=5_000))
def test_what_is_unpacked_is_what_was_packed(document: bytes) -> None:
    """Every document comes back, whatever is in it."""
    assert unpack(pack(document)) == document


def test_what_an_earlier_release_packed_is_read() -> None:
    """The common text is part of the format: with another one nothing that is stored could be read."""
    assert unpack(KEPT) == b'{"format":1,"readable_by":1,"order":{"order_id":"1b"}}'


def test_a_plain_object_is_read_as_it_is() -> None:
    """An entry that a person put there, or that was set apart and is put back, is plain JSON."""
    assert unpack(b'{"format":1}') == b'{"format":1}'


@pytest.mark.parametrize(
    "data",
    [b"", b"null", pack(b'{"a":1}')[:-1], pack(b'{"a":1}') + b"\0", pack(b" " * (UNPACKED_BYTES_MAX + 1))],
    ids=["nothing", "no object", "cut", "followed by something", "too long"],
)
def test_what_was_not_packed_here_is_refused(data: bytes) -> None:
    """Nothing is read that is not whole, and no more is unpacked than an entry may have."""
    with pytest.raises(PackedBroken):
        unpack(data)
