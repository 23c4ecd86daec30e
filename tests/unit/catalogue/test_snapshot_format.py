"""The catalogue as bytes: there and back, damaged, and of other releases."""

from __future__ import annotations

import hashlib
import io
import struct
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.catalogue.moment import Moment
from standfest.catalogue.snapshot_format import (
    FORMAT,
    FRAME_ENTRIES,
    Age,
    Contents,
    KeyRecord,
    Position,
    SnapshotNewer,
    SnapshotUnusable,
    decode,
    decode_age,
    encode,
    encode_age,
)
from standfest.domain.products import Product

MOMENT = Moment("run 1", 1_000.5, 1_800_000_000.25)
POSITION = Position("771", "127.0.1.1 15432 2026-01-01 00:00:00+00")
PRODUCT = Product(1, "apple", "Apfel", "Apple", "kg", 3, Decimal("2.5500"), "reduced", True, "tracked", 4)
KEY = KeyRecord("abc", bytes(range(32)), UUID(int=7), "Shop", ("orders:write", "orders:read"))
CONTENTS = Contents((PRODUCT,), (KEY,), POSITION, MOMENT)

_texts = st.text(max_size=40)
_numbers = st.integers(0, 2**63 - 1)
_seconds = st.floats(allow_nan=False, allow_infinity=False)
_products = st.builds(
    Product,
    id=_numbers,
    sku=_texts,
    name_de=_texts,
    name_en=_texts,
    unit=_texts,
    unit_decimals=st.integers(0, 3),
    net_price=st.decimals(0, 10**9, places=4),
    tax_class=st.sampled_from(["standard", "reduced", "zero"]),
    active=st.booleans(),
    stock_policy=st.sampled_from(["tracked", "untracked", "backorder"]),
    version=st.integers(1, 2**31 - 1),
)
_keys = st.builds(
    KeyRecord,
    id=_texts,
    secret_hash=st.binary(min_size=32, max_size=32),
    client_id=st.uuids(),
    client_name=_texts,
    scopes=st.lists(_texts, max_size=4).map(tuple),
)
_contents = st.builds(
    Contents,
    products=st.lists(_products, max_size=5).map(tuple),
    keys=st.lists(_keys, max_size=5).map(tuple),
    position=st.builds(Position, _texts, _texts),
    read_at=st.builds(Moment, _texts, _seconds, _seconds),
)


def as_bytes(contents: Contents = CONTENTS) -> bytes:
    """A whole snapshot."""
    return b"".join(encode(contents))


def file_of(*frames: Any) -> bytes:
    """A file with these frames and the right checksum, as some other release may write it."""
    bodies = [msgspec.msgpack.encode(frame) for frame in frames]
    data = b"standfest catalogue\n" + b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    data += struct.pack(">I", 0)
    return data + hashlib.sha256(data).digest()


def header(**more: Any) -> dict[str, Any]:
    """The first frame of a file with one product and one key."""
    built: dict[str, Any] = msgspec.to_builtins({"position": POSITION, "read_at": MOMENT})
    return {"format": FORMAT, "readable_by": FORMAT, "products": 1, "keys": 1, **built, **more}


def part(**more: Any) -> dict[str, Any]:
    """A frame with the product and the key."""
    product = {name: getattr(PRODUCT, name) for name in Product.__struct_fields__}
    key = {name: getattr(KEY, name) for name in KeyRecord.__struct_fields__}
    return {"products": [product | more], "keys": [key | more], **more}


@given(_contents)
def test_what_is_read_is_what_was_written(contents: Contents) -> None:
    """Every catalogue comes back as it was, prices to the last decimal, with the digest of its bytes."""
    encoded = encode(contents)
    data = b"".join(encoded)
    back, digest = decode(io.BytesIO(data))
    assert msgspec.structs.replace(back, products=tuple(back.products)) == contents
    assert [str(product.net_price) for product in back.products] == [str(each.net_price) for each in contents.products]
    assert digest == encoded.digest == hashlib.sha256(data[:-32]).digest()


def test_more_than_one_frame_of_products_comes_back_in_order() -> None:
    """A large catalogue is many frames, and nothing is lost between them."""
    products = tuple(msgspec.structs.replace(PRODUCT, id=number) for number in range(2 * FRAME_ENTRIES + 1))
    back, _ = decode(io.BytesIO(as_bytes(msgspec.structs.replace(CONTENTS, products=products))))
    assert tuple(back.products) == products


@given(st.data())
def test_no_damaged_byte_goes_unnoticed(data: st.DataObject) -> None:
    """Whatever byte is changed, cut off or added, the file is refused."""
    whole = as_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    for damaged in (whole[:place], whole[:place] + bytes([other]) + whole[place + 1 :], whole + bytes([other])):
        with pytest.raises((SnapshotUnusable, SnapshotNewer)):
            decode(io.BytesIO(damaged))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_and_nothing_else(data: bytes) -> None:
    """Bytes that nobody wrote raise the error that says so, also behind the right first line."""
    for damaged in (data, b"standfest catalogue\n" + data):
        with pytest.raises(SnapshotUnusable):
            decode(io.BytesIO(damaged))


def test_fields_of_a_later_release_are_ignored() -> None:
    """A later release that this one can still read may add fields anywhere, and frames of another kind."""
    data = file_of(header(format=FORMAT + 1, later="x"), part(later="x"), {"later": [1]})
    contents, _ = decode(io.BytesIO(data))
    assert (tuple(contents.products), tuple(contents.keys)) == ((PRODUCT,), (KEY,))


def test_what_needs_a_later_release_is_called_newer() -> None:
    """Where this release is told not to read on, it does not, whatever follows."""
    for data in (file_of({"format": 9, "readable_by": FORMAT + 1, "position": 3}), file_of(header(readable_by=9), 7)):
        with pytest.raises(SnapshotNewer, match="format"):
            decode(io.BytesIO(data))


def test_a_file_that_contradicts_itself_is_refused() -> None:
    """Other numbers than its head says, no place in time, or a frame that is none: refused though the checksum fits."""
    for data in (
        file_of(header(products=2), part()),
        file_of({"format": FORMAT, "readable_by": FORMAT}),
        file_of(header(), {"products": [{"sku": 1}]}),
        file_of(header(), 7),
        file_of(),
    ):
        with pytest.raises(SnapshotUnusable):
            decode(io.BytesIO(data))


def test_the_first_format_is_readable_for_ever() -> None:
    """A file as the first release with snapshots wrote it is read: a new field of a product needs a default."""
    product = {
        "id": 1, "sku": "apple", "name_de": "Apfel", "name_en": "Apple", "unit": "kg", "unit_decimals": 3,
        "net_price": "2.5500", "tax_class": "reduced", "active": True, "stock_policy": "tracked", "version": 4,
    }  # fmt: skip
    key = {
        "id": "abc", "secret_hash": bytes(range(32)), "client_id": "00000000-0000-0000-0000-000000000007",
        "client_name": "Shop", "scopes": ["orders:write", "orders:read"],
    }  # fmt: skip
    head = {
        "format": 1, "readable_by": 1, "products": 1, "keys": 1,
        "position": {"horizon": POSITION.horizon, "server": POSITION.server},
        "read_at": {"boot_id": "run 1", "boot_s": 1_000.5, "wall_s": 1_800_000_000.25},
    }  # fmt: skip
    contents, _ = decode(io.BytesIO(file_of(head, {"keys": [key]}, {"products": [product]})))
    assert msgspec.structs.replace(contents, products=tuple(contents.products)) == CONTENTS


def test_an_age_comes_back_and_a_damaged_one_does_not() -> None:
    """The small file beside a snapshot is as well guarded."""
    age = Age(bytes(range(32)), POSITION, MOMENT)
    data = b"".join(encode_age(age))
    assert decode_age(io.BytesIO(data)) == age
    for damaged in (data[:-1], data[:40] + b"?" + data[41:], b"", as_bytes()):
        with pytest.raises(SnapshotUnusable):
            decode_age(io.BytesIO(damaged))
