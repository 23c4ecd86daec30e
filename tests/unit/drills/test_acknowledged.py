"""What a history says of a span of time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.history import HistoryWriter
from standfest.emergency.drills.stage import Stage


@pytest.fixture
def span(tmp_path: Path) -> Span:
    """From 10 to 20, in a history with orders before, in and after it."""
    with HistoryWriter(tmp_path / "h") as history:

        def order(
            key: str, began: float, ended: float, op: Any = "ok", kind: str = "place", status: int | None = 201
        ) -> None:
            history.write("invoke", t=began, key=key, kind=kind)
            history.write(op, t=ended, key=key, kind=kind, status=status, attempts=1)

        order("before", 9.0, 11.0)
        order("slow", 12.0, 14.0)
        order("quick", 13.0, 13.5)
        order("cancel", 13.0, 13.1, kind="cancel")
        order("declined", 14.0, 14.1, op="fail", status=409)
        order("late", 19.0, 23.0)
        order("after", 21.0, 21.1)
    stage = cast("Stage", SimpleNamespace(history=SimpleNamespace(path=tmp_path / "h")))
    made = Span(stage)
    made.began_at, made.ended_at = 10.0, 20.0
    return made


def test_the_percentile_is_of_orders_that_began_in_the_span(span: Span) -> None:
    """An order counts where it was first submitted in the span, however late its acknowledgement came."""
    assert span.p99_ms() == pytest.approx(4000.0)


def test_orders_pile_up_where_fewer_end_than_begin(span: Span) -> None:
    """Five submissions began in the span and five ended; in its first part two of three were still under way."""
    assert not span.piles_up()
    span.ended_at = 13.3
    assert span.piles_up()


def test_answers_otherwise_are_those_with_another_status_and_those_that_never_came(tmp_path: Path, span: Span) -> None:
    """What ended outside of the span does not count."""
    assert span.answered_otherwise((201, 409)) == {}
    assert span.answered_otherwise((201,)) == {"409": 1}
    with HistoryWriter(tmp_path / "h") as history:
        history.write("invoke", t=15.0, key="silent", kind="place")
        history.write("unknown", t=19.0, key="silent", kind="place", status=None, attempts=3)
    assert span.answered_otherwise((201, 409)) == {"none": 1}
