"""Cursors: positions in a list or feed, opaque to who holds them."""

import base64
import binascii
import re

from standfest.sales.errors import CursorInvalid

_LENGTH_MAX = 64
_NUMBERS = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})*")


def encode_cursor(*numbers: int) -> str:
    """Packs a position."""
    text = "-".join(str(number) for number in numbers)
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def decode_cursor(cursor: str, *limits: int) -> tuple[int, ...]:
    """Unpacks a position of as many numbers as there are `limits`, each below its limit.

    Raises:
        CursorInvalid: it is no such position.
    """
    try:
        if len(cursor) > _LENGTH_MAX:
            raise ValueError("too long")
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if _NUMBERS.fullmatch(text) is None:
            raise ValueError("not numbers")
    except (ValueError, binascii.Error):
        raise CursorInvalid("this cursor was not given out here; start without one") from None
    numbers = tuple(int(part) for part in text.split("-"))
    if len(numbers) != len(limits) or any(number >= limit for number, limit in zip(numbers, limits, strict=True)):
        raise CursorInvalid("this cursor belongs to another list; start without one")
    return numbers
