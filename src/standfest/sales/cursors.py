"""Cursors: positions in a list or feed, sealed so that they tell nothing, and nobody makes one.

A position means something in one history of the data alone (`storage/generation.py`), so a cursor can be opened in the
history that it was given out in, and in no other.
"""

import base64
import binascii
import re
import struct
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from standfest.sales.errors import CursorExpired, CursorInvalid

KEY_BYTES = 64
"""AES-256-SIV (RFC 5297): the same position gives the same cursor, and no number is used twice by mistake."""

Of = Literal["changes", "orders", "products"]
_FORMATS = {"changes": struct.Struct(">QQ"), "orders": struct.Struct(">Q"), "products": struct.Struct(">Q")}
_TAG_BYTES = 16
_LENGTH_MAX = 64
_UNSEALED = re.compile(rb"[0-9]{1,20}(-[0-9]{1,20})*")  # as cursors were until they were sealed

START_AGAIN = (
    "this cursor cannot be continued: it was given out before the data were restored or upgraded, or not here. Start"
    " without one: read what you need as it is now, then follow from the beginning"
)


class Sealed(NamedTuple):
    """A cursor that has the form of one; whether it can be opened is seen in the database's history."""

    of: Of
    data: bytes


class Cursors:
    """Seals and opens cursors with one key, which all API processes share."""

    def __init__(self, key: bytes) -> None:
        """`key`: KEY_BYTES secret bytes."""
        self._cipher = AESSIV(key)

    def seal(self, of: Of, generation: str, *numbers: int) -> str:
        """The cursor of a position, each of whose numbers is from 0 to 2^64 - 1."""
        data = self._cipher.encrypt(_FORMATS[of].pack(*numbers), [of.encode(), generation.encode()])
        return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")

    def open(self, generation: str, cursor: Sealed) -> tuple[int, ...]:
        """The position, as many numbers as this list's positions have.

        Raises:
            CursorExpired: it is of another history, or was not given out here.
        """
        try:
            data = self._cipher.decrypt(cursor.data, [cursor.of.encode(), generation.encode()])
        except InvalidTag:
            raise CursorExpired(START_AGAIN) from None
        return tuple(_FORMATS[cursor.of].unpack(data))


def parse_cursor(of: Of, cursor: str) -> Sealed:
    """Takes a cursor by its form.

    Raises:
        CursorExpired: it is one that a release before this one gave out.
        CursorInvalid: it is none of this list.
    """
    try:
        if len(cursor) > _LENGTH_MAX:
            raise ValueError("too long")
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise CursorInvalid("this cursor was not given out here; start without one") from None
    if _UNSEALED.fullmatch(data):
        raise CursorExpired(START_AGAIN)
    if len(data) != _FORMATS[of].size + _TAG_BYTES:
        raise CursorInvalid("this cursor belongs to another list; start without one")
    return Sealed(of, data)
