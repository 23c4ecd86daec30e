"""Chained events."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.events import OrderEvent, broken_at, next_event

MOMENT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OTHER: dict[str, Any] = {
    "type": "order.cancelled",
    "actor": "somebody else",
    "at": MOMENT + datetime.timedelta(microseconds=1),
    "reason": "another one",
    "data": {"lines": []},
    "content_hash": bytes(32),
    "chain_hash": bytes(32),
}


def history(length: int) -> tuple[OrderEvent, ...]:
    """Events of one order, each after the one before."""
    events: list[OrderEvent] = []
    for version in range(1, length + 1):
        previous = events[-1].chain_hash if events else b""
        events.append(
            next_event(
                previous,
                version=version,
                type="order.lines_cancelled",
                actor="client:1",
                at=MOMENT,
                content_hash=bytes([version] * 32),
            )
        )
    return tuple(events)


@given(st.integers(1, 5))
def test_an_untouched_history_holds(length: int) -> None:
    """Every event follows from those before it."""
    assert broken_at(history(length)) is None


@given(st.integers(1, 5), st.data())
def test_any_edited_field_shows(length: int, data: st.DataObject) -> None:
    """Whatever is changed in whichever event, the chain breaks there."""
    events = list(history(length))
    index = data.draw(st.integers(0, length - 1))
    field = data.draw(st.sampled_from(sorted(OTHER)))
    events[index] = msgspec.structs.replace(events[index], **{field: OTHER[field]})
    assert broken_at(tuple(events)) == index + 1


@given(st.integers(2, 5), st.data())
def test_a_removed_event_shows(length: int, data: st.DataObject) -> None:
    """A history with an event missing before its end is broken where the gap is."""
    events = list(history(length))
    index = data.draw(st.integers(0, length - 2))
    removed = events.pop(index)
    assert broken_at(tuple(events)) == removed.version + 1


def test_the_zone_of_a_time_does_not_matter() -> None:
    """The same moment written in another zone is the same event, so a driver may return it as it likes."""
    [event] = history(1)
    elsewhere = MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=5)))
    assert broken_at((msgspec.structs.replace(event, at=elsewhere),)) is None
