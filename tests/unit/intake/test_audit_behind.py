"""What the audit could not look at for too long is a fault, and what an ordinary failover or start costs is none."""

from __future__ import annotations

import msgspec
import pytest

from standfest.intake.audit.behind import BOOKS_PASS_AGE_MAX_S, Sight, behind
from standfest.intake.audit.books import DEADLINE_S
from standfest.intake.audit.pace import PASS_PAUSE_MAX_S, books_rest_s, pass_pause_s

FAILOVER = Sight(
    lag_s=45.0,
    waiting_s=200.0,
    unaudited_bytes=40_000_000,
    receipts_pass_age_s=3_000.0,
    orders_pass_age_s=40_000.0,
    books_age_s=300.0,
    census_age_s=60.0,
    unreceipted_age_s=60.0,
    watch_age_s=250.0,
    sealed_pass_age_s=40_000.0,
    seals_age_s=60.0,
    nobody_s=45.0,
    orders_unaudited=20_000,
    silent=(),
    state_age_s=30.0,
)
"""A busy cluster whose database was away for three quarters of a minute."""


def test_a_failover_on_a_busy_cluster_is_no_fault() -> None:
    """Nothing is behind while the audit is late for a while, nor where another node has the duty."""
    assert behind(FAILOVER, 0.0) == []
    of_the_duty = ("orders_pass", "books", "census", "unreceipted", "watch", "sealed_pass")
    elsewhere = msgspec.structs.replace(FAILOVER, **{f"{part}_age_s": None for part in of_the_duty})
    assert behind(elsewhere, 0.0) == []


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("lag_s", 61.0),
        ("waiting_s", 301.0),
        ("unaudited_bytes", 70_000_000),
        ("receipts_pass_age_s", 7_300.0),
        ("orders_pass_age_s", 90_000.0),
        ("books_age_s", 1_900.0),
        ("census_age_s", 301.0),
        ("unreceipted_age_s", 301.0),
        ("watch_age_s", 301.0),
        ("sealed_pass_age_s", 90_000.0),
        ("seals_age_s", 301.0),
        ("nobody_s", 61.0),
        ("orders_unaudited", 100_001),
        ("silent", ("api-1",)),
        ("state_age_s", 61.0),
    ],
)
def test_what_was_not_looked_at_for_too_long_is_a_fault(figure: str, value: object) -> None:
    """Each figure beyond its bound is one fault, with the figure in its words."""
    [fault] = behind(msgspec.structs.replace(FAILOVER, **{figure: value}), 7.0)
    assert (fault.kind, fault.found_at) == ("behind", 7.0)
    assert fault.detail


@pytest.mark.parametrize("took_s", [0.01, 1.0, 6.0, 18.0, DEADLINE_S])
def test_looks_at_stock_and_feed_are_as_frequent_as_their_bound_demands(took_s: float) -> None:
    """However long a look takes, and where the next one fails as slowly as it may, the one after it comes in time."""
    fails_s = DEADLINE_S + books_rest_s(DEADLINE_S)
    assert books_rest_s(took_s) + fails_s + took_s < BOOKS_PASS_AGE_MAX_S
    assert books_rest_s(took_s) >= min(100 * took_s, 600)


@pytest.mark.parametrize("effort_s", [0.0, 0.001, 0.05, 1.0, 60.0])
def test_a_step_of_a_full_pass_rests_for_a_bounded_time(effort_s: float) -> None:
    """However large an effort a step is, the next one comes in time to find damage to recent orders within 10 s."""
    assert 0 < pass_pause_s(effort_s) <= PASS_PAUSE_MAX_S
    assert pass_pause_s(effort_s) >= min(40 * effort_s, PASS_PAUSE_MAX_S)
