"""Receipts: what was promised, in a form that can be checked without asking the database."""

import base64
import datetime
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from standfest.domain.canonical import canonical_json
from standfest.domain.identity import order_number
from standfest.domain.orders import Order
from standfest.errors import StandfestError

# `$` alone would let a line feed at the end pass.
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
"""SHA-256, lower case hexadecimal."""
Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z_-]{0,31}$(?!\n)")]
"""A word of a list that a later release may make longer: only its shape is checked."""


class Receipt(msgspec.Struct, frozen=True):
    """What the client was promised when its order was accepted or refused on record."""

    order_id: UUID
    number: str
    request_hash: Digest
    content_hash: Digest
    """Of what was agreed at acceptance."""
    accepted_at: datetime.datetime
    path: Word
    """How it came in: `direct` or `journal`."""
    promise: Word
    """What the answer said: `accepted`, `confirmed`, `backordered` or `declined`.

    A receipt that is made later, of the order as it stands in the database, says what became of it at first: of an
    order that was answered with `accepted` it says `confirmed` once it is drained, `backordered`, `declined`, or
    `conflict` where it was set aside because another order holds its key.
    """


class SignedReceipt(msgspec.Struct, frozen=True):
    """A receipt with an Ed25519 signature over its canonical JSON (RFC 8032, RFC 8785)."""

    receipt: Receipt
    algorithm: Literal["Ed25519"]
    key_id: str
    signature: str
    """Base64, 64 bytes."""


class SigningKeyUnusable(StandfestError):
    """The file of the receipt signing key is not an Ed25519 private key in PEM form."""


def receipt_of(order: Order, content_hash: bytes, promise: str) -> Receipt:
    """The receipt of an order.

    Args:
        order: as it stands now.
        content_hash: of what was agreed at acceptance: that of the order's first event.
        promise: what was promised then.
    """
    return Receipt(
        order_id=order.order_id,
        number=order_number(order.order_id),
        request_hash=order.request_hash.hex(),
        content_hash=content_hash.hex(),
        accepted_at=order.accepted_at,
        path=order.path,
        promise=promise,
    )


def signed_bytes(receipt: Receipt) -> bytes:
    """The bytes that a receipt's signature covers."""
    facts: dict[str, Any] = msgspec.to_builtins(receipt)
    return canonical_json(facts)


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key: the first 16 hexadecimal digits of SHA-256 over the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


class Signer:
    """Signs receipts with the cluster's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key()
        """What its signatures are checked with."""
        self.key_id = key_id(self.public_key)
        """See `key_id`."""

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """Reads a PKCS #8 PEM file.

        Raises:
            SigningKeyUnusable: the file is missing or holds something else.
        """
        try:
            key = load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise SigningKeyUnusable(f"{file}: {error}; `standfest up` makes a new one where none is") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyUnusable(f"{file}: expected an Ed25519 private key")
        return cls(key)

    def sign(self, receipt: Receipt) -> SignedReceipt:
        """The receipt with a signature that anybody with the public key can check."""
        signature = base64.b64encode(self._key.sign(signed_bytes(receipt))).decode()
        return SignedReceipt(receipt, "Ed25519", self.key_id, signature)

    def derived_key(self, purpose: str, length_bytes: int) -> bytes:
        """Another secret that all who have the cluster's key share (HKDF, RFC 5869): nothing is learned from the one
        of the other."""
        secret = self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return HKDF(SHA256(), length_bytes, salt=None, info=b"standfest " + purpose.encode()).derive(secret)
