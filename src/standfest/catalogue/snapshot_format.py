"""The catalogue as bytes.

A line that names the kind of file; frames, each a MessagePack value after its length (4 bytes, big-endian); a
length of 0; the SHA-256 of all before. The first frame says who can read the rest: `format` is the writer's own,
`readable_by` the oldest one that understands it. Readers ignore fields that they do not know.

Frames are small, so that a thread that encodes or decodes a large catalogue gives the interpreter away often.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, TypeVar
from uuid import UUID

import msgspec

from standfest.catalogue.moment import Moment
from standfest.domain.products import Product
from standfest.errors import StandfestError

FORMAT = 1
FRAME_ENTRIES = 200
FRAME_BYTES_MAX = 16 * 1024 * 1024
_MAGIC = b"standfest catalogue\n"
_LENGTH = struct.Struct(">I")
_DIGEST_BYTES = 32

_Frame = TypeVar("_Frame")
_Entry = TypeVar("_Entry")


class SnapshotUnusable(StandfestError):
    """A snapshot is damaged, or was never one."""


class SnapshotNewer(StandfestError):
    """A snapshot is well, and of a release that this one cannot read."""


class Position(msgspec.Struct, frozen=True):
    """Up to where a server's changes are in the catalogue."""

    horizon: str
    server: str


class KeyRecord(msgspec.Struct, frozen=True):
    """A key that lets a client in. Only the hash of its secret is known."""

    id: str
    secret_hash: bytes
    client_id: UUID
    client_name: str
    scopes: tuple[str, ...]


class Contents(msgspec.Struct, frozen=True):
    """All that intake needs to know of products and clients, as it was at `read_at`."""

    products: Sequence[Product]
    keys: Sequence[KeyRecord]
    position: Position
    read_at: Moment


class Age(msgspec.Struct, frozen=True):
    """That a snapshot was still what the database had at a later moment."""

    snapshot: bytes
    """The digest of the snapshot that this is about."""
    position: Position
    read_at: Moment


class _Promise(msgspec.Struct, frozen=True):
    format: int
    readable_by: int


class _Header(_Promise, frozen=True):
    products: int = 0
    keys: int = 0
    position: Position | None = None
    read_at: Moment | None = None


class _Part(msgspec.Struct, frozen=True, omit_defaults=True):
    products: tuple[Product, ...] = ()
    keys: tuple[KeyRecord, ...] = ()


class Encoded:
    """A snapshot's bytes, piece by piece; once all were taken, `digest` is their SHA-256."""

    def __init__(self, frames: Iterable[Any]) -> None:
        self._frames = frames
        self.digest = b""

    def __iter__(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for piece in self._pieces():
            digest.update(piece)
            yield piece
        self.digest = digest.digest()
        yield self.digest

    def _pieces(self) -> Iterator[bytes]:
        yield _MAGIC
        for frame in self._frames:
            body = msgspec.msgpack.encode(frame)
            yield _LENGTH.pack(len(body)) + body
        yield _LENGTH.pack(0)


def encode(contents: Contents) -> Encoded:
    """A catalogue as bytes."""
    return Encoded(_frames(contents))


def encode_age(age: Age) -> Encoded:
    """An age as bytes, laid out as a snapshot is."""
    return Encoded([_Header(FORMAT, FORMAT), age])


def decode(stream: BinaryIO) -> tuple[Contents, bytes]:
    """What `encode` made, and its digest. Nothing of it may be used where this raises.

    Raises:
        SnapshotUnusable: it is damaged or incomplete.
        SnapshotNewer: it needs a newer release.
    """
    reader = _Reader(stream)
    header = reader.header()
    if header.position is None or header.read_at is None:
        raise SnapshotUnusable("it does not say when and where it was read")
    products: list[Product] = []
    keys: tuple[KeyRecord, ...] = ()
    while (part := reader.frame(_Part)) is not None:
        products += part.products
        keys += part.keys
    digest = reader.end()
    if (len(products), len(keys)) != (header.products, header.keys):
        raise SnapshotUnusable(f"it has {len(products)} products and {len(keys)} keys and not what its head says")
    return Contents(products, keys, header.position, header.read_at), digest


def decode_age(stream: BinaryIO) -> Age:
    """What `encode_age` made.

    Raises:
        SnapshotUnusable: it is damaged or incomplete.
        SnapshotNewer: it needs a newer release.
    """
    reader = _Reader(stream)
    reader.header()
    age = reader.frame(Age)
    if age is None or reader.frame(Age) is not None:
        raise SnapshotUnusable("it does not hold one age")
    reader.end()
    return age


class _Reader:
    """Reads frames, and remembers what it read for the checksum at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def header(self) -> _Header:
        if self._take(len(_MAGIC)) != _MAGIC:
            raise SnapshotUnusable("it is not a catalogue snapshot")
        body = self._frame()
        promise = _decoded(body, _Promise)  # by itself: the rest may be unreadable here
        if promise.readable_by > FORMAT:
            raise SnapshotNewer(f"it has format {promise.format}, and this release reads up to {FORMAT}")
        return _decoded(body, _Header)

    def frame(self, kind: type[_Frame]) -> _Frame | None:
        """The next frame, or None after the last one."""
        body = self._frame()
        return _decoded(body, kind) if body else None

    def end(self) -> bytes:
        """Compares the checksum; nothing may follow it."""
        expected = self._digest.digest()
        if self._stream.read(_DIGEST_BYTES + 1) != expected:
            raise SnapshotUnusable("its checksum is wrong")
        return expected

    def _frame(self) -> bytes:
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        if length > FRAME_BYTES_MAX:
            raise SnapshotUnusable(f"a part of it says it has {length} bytes; {FRAME_BYTES_MAX} are the most")
        return self._take(length)

    def _take(self, size: int) -> bytes:
        taken = self._stream.read(size)
        if len(taken) != size:
            raise SnapshotUnusable("it ends too early")
        self._digest.update(taken)
        return taken


def _decoded(body: bytes, kind: type[_Frame]) -> _Frame:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SnapshotUnusable(f"a part of it cannot be read: {error}") from error


def _frames(contents: Contents) -> Iterator[_Header | _Part]:
    yield _Header(FORMAT, FORMAT, len(contents.products), len(contents.keys), contents.position, contents.read_at)
    for keys in _batches(contents.keys):
        yield _Part(keys=keys)
    for products in _batches(contents.products):
        yield _Part(products=products)


def _batches(entries: Iterable[_Entry]) -> Iterator[tuple[_Entry, ...]]:
    remaining = iter(entries)
    while batch := tuple(islice(remaining, FRAME_ENTRIES)):
        yield batch
