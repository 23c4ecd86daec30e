"""Canonical JSON and the hashes over it.

Source: RFC 8785 (JSON Canonicalization Scheme); hashes are SHA-256.
"""

import hashlib
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """The one byte sequence that RFC 8785 gives a JSON value made of dict, list, str, int, float, bool, None."""
    return rfc8785.dumps(value)


def json_hash(value: Any) -> bytes:
    """SHA-256 over the canonical JSON of `value`, 32 bytes."""
    return hashlib.sha256(canonical_json(value)).digest()
