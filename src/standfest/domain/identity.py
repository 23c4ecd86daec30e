"""Who an order is: the same request has the same id on every node, on either path, however often it comes."""

import hashlib
from uuid import UUID

from stdnum.iso7064 import mod_37_36

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Base 32 without the look-alikes I, L, O and U (Crockford's alphabet)."""

_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)
_GROUP = 4
_DIGITS = 12  # 60 bits
_VERSION = 8  # RFC 9562: a custom, here name-based with SHA-256 (its appendix B.2)


def order_id(client_id: UUID, idempotency_key: str, request_hash: bytes) -> UUID:
    """The order's id: a name-based UUID (RFC 9562, version 8) over client, key and request hash.

    Each part is preceded by its length, so that no two different triples give the same name.
    """
    name = b"".join(
        len(part).to_bytes(4, "big") + part for part in (client_id.bytes, idempotency_key.encode("ascii"), request_hash)
    )
    digest = int.from_bytes(hashlib.sha256(name).digest()[:16], "big")
    digest &= ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=digest | (_VERSION << 76) | (0x2 << 62))


def order_number(identifier: UUID) -> str:
    """The order number people read out: the id's first 60 free bits and a check character, `XXXX-XXXX-XXXX-X`."""
    high = identifier.int >> 64
    bits = (high >> 16 << 12) | (high & 0xFFF)
    digits = "".join([_PAIRS[bits >> shift & 1023] for shift in (50, 40, 30, 20, 10, 0)])
    check = mod_37_36.calc_check_digit(digits, ALPHABET)
    return f"{digits[:_GROUP]}-{digits[_GROUP:-_GROUP]}-{digits[-_GROUP:]}-{check}"


def order_id_range(number: str) -> tuple[UUID, UUID] | None:
    """The lowest and highest id that has this order number, or None where `number` is not an order number.

    Accepts lower case, missing or additional hyphens and spaces; the check character must match.
    """
    compact = "".join(number.split()).replace("-", "").upper()
    if len(compact) != _DIGITS + 1 or any(digit not in ALPHABET for digit in compact):
        return None
    if not mod_37_36.is_valid(compact, ALPHABET):
        return None
    bits = 0
    for digit in compact[:_DIGITS]:
        bits = bits << 5 | ALPHABET.index(digit)
    high = (bits >> 12 << 16) | _VERSION << 12 | (bits & 0xFFF)
    lowest = high << 64 | 0x2 << 62
    return UUID(int=lowest), UUID(int=lowest | (1 << 62) - 1)
