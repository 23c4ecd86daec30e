"""What happened to an order: events, chained so that an edited row shows."""

import datetime
import hashlib
from typing import Any, Literal

import msgspec

from standfest.domain.canonical import plain_json

EventType = Literal[
    "order.confirmed",
    "order.backordered",
    "order.declined",
    "order.conflict",
    "order.agreed_again",
    "order.lines_cancelled",
    "order.cancelled",
]
"""conflict: accepted under a key that another order holds. agreed_again: accepted twice, at different prices."""


class OrderEvent(msgspec.Struct, frozen=True):
    """One change of an order: who, when, why, and what was agreed afterwards."""

    version: int
    """The order's version after it."""
    type: EventType
    actor: str
    """`client:<id>`, or the part of the system that did it."""
    at: datetime.datetime
    """UTC."""
    reason: str | None
    data: dict[str, Any] | None
    """Details as JSON values; no floats."""
    content_hash: bytes
    """Of what is agreed after it."""
    chain_hash: bytes
    """Over the chain hash before it and all of the above."""


def next_event(
    previous_chain_hash: bytes,
    *,
    version: int,
    type: EventType,
    actor: str,
    at: datetime.datetime,
    content_hash: bytes,
    reason: str | None = None,
    data: dict[str, Any] | None = None,
) -> OrderEvent:
    """The event that follows the one with `previous_chain_hash` (empty for an order's first)."""
    facts = {
        "version": version,
        "type": type,
        "actor": actor,
        "at": at.astimezone(datetime.UTC).isoformat(timespec="microseconds"),
        "reason": reason,
        "data": data,
        "content_hash": content_hash.hex(),
    }
    chain_hash = hashlib.sha256(previous_chain_hash + plain_json(facts)).digest()
    return OrderEvent(version, type, actor, at, reason, data, content_hash, chain_hash)


def broken_at(events: tuple[OrderEvent, ...]) -> int | None:
    """The version of the first event whose chain hash does not follow from the ones before, or None."""
    previous = b""
    for expected, event in enumerate(events, start=1):
        again = next_event(
            previous,
            version=event.version,
            type=event.type,
            actor=event.actor,
            at=event.at,
            content_hash=event.content_hash,
            reason=event.reason,
            data=event.data,
        )
        if event.version != expected or again.chain_hash != event.chain_hash:
            return event.version
        previous = event.chain_hash
    return None
