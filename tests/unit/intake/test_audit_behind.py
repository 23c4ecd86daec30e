"""What the audit could not look at for too long is a fault, and what an ordinary failover or start costs is none."""

from __future__ import annotations

import msgspec
import pytest

from standfest.intake.audit.behind import Sight, behind

FAILOVER = Sight(
    lag_s=45.0,
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
