"""Client keys: `sf_<key id>_<secret>`. The id finds the key, the secret proves it, and only its hash is kept.

The secret is 32 random bytes, so a plain SHA-256 of it cannot be guessed back; a slow hash would only
make every request slow.
"""

import base64
import hashlib
import secrets
from uuid import UUID

import msgspec

SCOPES = (
    "orders:write",
    "orders:read",
    "orders:read-all",
    "orders:price",
    "catalogue:read",
    "catalogue:write",
    "stock:write",
    "changes:read",
    "admin",
)
"""What a client may be allowed. `admin` is everything."""

_PREFIX = "sf"
_ID_BYTES = 10
_SECRET_BYTES = 32
_KEY_LENGTH_MAX = 100


class Client(msgspec.Struct, frozen=True):
    """Who sends a request."""

    id: UUID
    """Immutable: part of the identity of every order."""
    name: str
    scopes: frozenset[str]


class NewKey(msgspec.Struct, frozen=True):
    """A key that was just made. `text` is shown once and then forgotten."""

    id: str
    text: str
    secret_hash: bytes

    def __repr__(self) -> str:
        return f"NewKey({self.id})"


def new_key() -> NewKey:
    """A fresh random key."""
    key_id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode("ascii").lower()
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return NewKey(key_id, f"{_PREFIX}_{key_id}_{secret}", hash_secret(secret))


def parse_key(text: str) -> tuple[str, str] | None:
    """Id and secret of a key as a client sends it, or None where it cannot be a key."""
    if len(text) > _KEY_LENGTH_MAX or not text.isascii():
        return None
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not key_id or not secret:
        return None
    return key_id, secret


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a key's secret, 32 bytes: what is kept of it."""
    return hashlib.sha256(secret.encode("ascii")).digest()
