"""How a thing that the order plane needs is: what /v1/health lists."""

from typing import Literal

import msgspec


class Dependency(msgspec.Struct, frozen=True, omit_defaults=True):
    """A thing that the order plane needs."""

    name: str
    state: Literal["ok", "stale", "unavailable", "unknown"]
    age_s: float | None = None
    """Seconds since it was last known to be well."""
    age_max_s: float | None = None
    """The age from which on nothing is done with it: requests that need a key are answered with 503."""
    detail: str | None = None
    """One of a few fixed sentences: anybody may read this. The log has the cause."""
