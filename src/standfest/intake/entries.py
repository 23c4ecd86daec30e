"""What the journal keeps of an order: packed JSON in a format with a version, which releases N and N+1 read alike.

A release ignores members that it does not know. Where it would do wrong by that, the release that writes them raises
`readable_by`: an older one then leaves the entry alone, and a newer one drains it.
"""

import msgspec

from standfest.clients.packed import UNPACKED_BYTES_MAX, PackedBroken, pack, unpack
from standfest.domain.orders import Order
from standfest.errors import StandfestError

FORMAT = 1
ENTRY_BYTES_MAX = UNPACKED_BYTES_MAX
"""An order whose JSON is larger than this is refused at the door, on both paths alike."""


_SURELY_SMALL_LINES = 100
"""With every text as long as it may be, and every character of it four bytes, so many lines take half of that."""


class EntryTooNew(StandfestError):
    """The entry was written by a later release and is left for it."""


class EntryBroken(StandfestError):
    """The entry cannot be read as an order."""


class _Head(msgspec.Struct, frozen=True):
    format: int
    readable_by: int


class _Entry(_Head, frozen=True):
    order: Order


class _Quarantined(msgspec.Struct, frozen=True):
    reason: str
    since: str
    """RFC 3339."""
    entry: msgspec.Raw


_head = msgspec.json.Decoder(_Head)
_entry = msgspec.json.Decoder(_Entry)
_quarantined = msgspec.json.Decoder(_Quarantined)


def fits(order: Order) -> bool:
    """Whether the order is small enough to be kept on either path."""
    return len(order.lines) <= _SURELY_SMALL_LINES or entry_bytes(order) <= ENTRY_BYTES_MAX


def entry_bytes(order: Order) -> int:
    """How large the order's entry is before it is packed."""
    return len(_json(order))


def encode_entry(order: Order) -> bytes:
    """The entry of an order in state `accepted`."""
    return pack(_json(order))


def decode_entry(data: bytes) -> Order:
    """The order of an entry.

    Raises:
        EntryTooNew: another release reads it.
        EntryBroken: nobody can.
    """
    try:
        document = unpack(data)
        if _head.decode(document).readable_by > FORMAT:
            raise EntryTooNew(f"this release reads journal entries up to format {FORMAT}")
        order = _entry.decode(document).order
    except (PackedBroken, msgspec.MsgspecError, RecursionError) as error:
        raise EntryBroken(f"a journal entry cannot be read: {error}") from error
    if order.accepted_at.tzinfo is None or not order.idempotency_key.isascii():
        raise EntryBroken("a journal entry's moment has no time zone, or its key is not ASCII")
    return order


def encode_quarantined(entry: bytes, reason: str, since: str) -> bytes:
    """An entry set apart, unpacked, with the reason why and the moment (RFC 3339) since when."""
    try:
        raw = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(unpack(entry))))
    except (PackedBroken, msgspec.MsgspecError, RecursionError):
        raw = msgspec.Raw(msgspec.json.encode(entry))  # not even JSON: kept byte for byte, as base64
    return msgspec.json.encode(_Quarantined(reason, since, raw))


def decode_quarantined(data: bytes) -> Order:
    """The order of an entry set apart.

    Raises:
        EntryTooNew, EntryBroken: as `decode_entry`.
    """
    try:
        return decode_entry(bytes(_quarantined.decode(data).entry))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise EntryBroken(f"a quarantined journal entry cannot be read: {error}") from error


def _json(order: Order) -> bytes:
    return msgspec.json.encode(_Entry(format=FORMAT, readable_by=FORMAT, order=order))
