"""Checking a signed receipt with nothing but the public key: no database, no service."""

import base64
import binascii
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from standfest.domain.canonical import canonical_json
from standfest.domain.identity import order_number
from standfest.errors import StandfestError
from standfest.intake.receipts import Receipt, key_id

_PRIVATE = b"PRIVATE KEY-----"


class PublicKeyDocument(msgspec.Struct, frozen=True):
    """The answer of `GET /v1/receipts/key`."""

    algorithm: Literal["Ed25519"]
    key_id: str
    public_key: str
    """Base64, the 32 raw bytes (RFC 8032)."""
    pem: str
    """The same key as SubjectPublicKeyInfo in PEM form (RFC 8410)."""


class _Signed(msgspec.Struct, frozen=True):
    receipt: msgspec.Raw
    algorithm: str
    key_id: str
    signature: Annotated[str, msgspec.Meta(max_length=128)]


class ReceiptInvalid(StandfestError):
    """The document is not a receipt that the holder of the key signed."""


class PublicKeyUnusable(StandfestError):
    """What was given as a key is not an Ed25519 key."""

    exit_code = 2


def public_key_document(key: Ed25519PublicKey) -> PublicKeyDocument:
    """The key as it is handed out."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKeyDocument("Ed25519", key_id(key), base64.b64encode(raw).decode(), pem.decode())


def read_public_key(data: bytes) -> Ed25519PublicKey:
    """The public key in `data`: PEM (of the public or the private key), or the JSON of `GET /v1/receipts/key`.

    Raises:
        PublicKeyUnusable: it is none of these.
    """
    try:
        if data.lstrip().startswith(b"{"):
            data = msgspec.json.decode(data, type=PublicKeyDocument).pem.encode()
        key = load_pem_private_key(data, password=None) if _PRIVATE in data else load_pem_public_key(data)
    except (ValueError, TypeError) as error:  # msgspec's errors are ValueErrors, an encrypted key is a TypeError
        raise PublicKeyUnusable(
            f"expected an Ed25519 key in PEM form, or the JSON of /v1/receipts/key: {error}"
        ) from error
    if isinstance(key, Ed25519PrivateKey):
        return key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise PublicKeyUnusable("expected an Ed25519 key; this is a key of another kind")
    return key


def verify(document: bytes, key: Ed25519PublicKey) -> Receipt:
    """The receipt in a signed document as `GET /v1/orders/{id}/receipt` answers it.

    The signature is checked over the receipt as it stands there, so that one with fields of a later release holds.

    Raises:
        ReceiptInvalid: it was not signed with this key, or was changed since; the message says what is wrong.
    """
    try:
        signed = msgspec.json.decode(document, type=_Signed)
        covered = canonical_json(msgspec.json.decode(signed.receipt))
        signature = base64.b64decode(signed.signature, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise ReceiptInvalid(f"this is not a signed receipt: {error}") from error
    if signed.algorithm != "Ed25519":
        raise ReceiptInvalid(f"it is signed with {signed.algorithm[:32]!r}; expected Ed25519")
    if signed.key_id != key_id(key):
        raise ReceiptInvalid(f"it names key {signed.key_id[:32]!r}; this is key {key_id(key)!r}")
    try:
        key.verify(signature, covered)
    except InvalidSignature as error:
        raise ReceiptInvalid("the signature does not fit: the receipt was changed, or another key signed it") from error
    try:
        receipt = msgspec.json.decode(signed.receipt, type=Receipt)
    except msgspec.MsgspecError as error:
        raise ReceiptInvalid(f"what was signed is not a receipt that this release knows: {error}") from error
    if receipt.number != order_number(receipt.order_id):
        raise ReceiptInvalid(f"order number {receipt.number[:32]!r} does not belong to order {receipt.order_id}")
    return receipt
