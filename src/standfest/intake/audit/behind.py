"""What the audit could not look at for too long is never "well". Pure.

The bounds leave room for a failover of 30 s, for the start of a cluster, and for a busy machine, on which the audit
comes last.
"""

import msgspec

from standfest.intake.audit.faults import Fault

LAG_MAX_S = 60.0
"""The oldest receipt that is not settled."""
UNAUDITED_BYTES_MAX = 64 * 1024 * 1024
"""Receipts that were not read yet: more than 100,000."""
RECEIPTS_PASS_AGE_MAX_S = 2 * 3_600.0
"""A pass over 256 MiB of receipts takes some minutes."""
ORDERS_PASS_AGE_MAX_S = 24 * 3_600.0
"""A pass over ten million orders takes some hours."""
BOOKS_PASS_AGE_MAX_S = 1_800.0
"""A look at stock and feed takes up to a minute, and rests 40 times as long."""
NOBODY_MAX_S = 60.0
"""No node looks at the database's orders."""
ORDERS_UNAUDITED_MAX = 100_000
"""New orders that were not looked at yet."""
STATE_AGE_MAX_S = 60.0
"""The audit's own state could not be written."""


class Sight(msgspec.Struct, frozen=True):
    """How far an audit sees."""

    lag_s: float
    unaudited_bytes: int
    receipts_pass_age_s: float
    orders_pass_age_s: float | None
    """None where another node has the duty."""
    books_pass_age_s: float | None
    """None where another node has the duty."""
    nobody_s: float
    """Seconds since it was last known that a node has the duty."""
    orders_unaudited: int
    silent: tuple[str, ...]
    """Runs of API processes that live and say nothing of their receipts."""
    state_age_s: float
    """Seconds since the audit's state was last written."""


def behind(sight: Sight, now: float) -> list[Fault]:
    """What was not looked at for too long, as it is at `now` (seconds since 1970)."""
    bounds: list[tuple[str, float | None, float, str]] = [
        ("receipts", sight.lag_s, LAG_MAX_S, "the oldest receipt that is not settled is {:.0f} s old"),
        ("receipts on disk", sight.unaudited_bytes, UNAUDITED_BYTES_MAX, "{:.0f} bytes of receipts are not read"),
        ("receipts pass", sight.receipts_pass_age_s, RECEIPTS_PASS_AGE_MAX_S, "the last full pass ended {:.0f} s ago"),
        ("orders pass", sight.orders_pass_age_s, ORDERS_PASS_AGE_MAX_S, "the last full pass ended {:.0f} s ago"),
        ("stock and feed", sight.books_pass_age_s, BOOKS_PASS_AGE_MAX_S, "they were last looked at {:.0f} s ago"),
        ("orders", sight.nobody_s, NOBODY_MAX_S, "for {:.0f} s no node is known to look at them"),
        ("new orders", sight.orders_unaudited, ORDERS_UNAUDITED_MAX, "{:.0f} were not looked at yet"),
        ("state", sight.state_age_s, STATE_AGE_MAX_S, "for {:.0f} s it could not be written"),
    ]
    late = [
        Fault("behind", subject, words.format(value), now)
        for subject, value, limit, words in bounds
        if value is not None and value > limit
    ]
    return late + [Fault("behind", run, "it lives and does not say what receipts it gave", now) for run in sight.silent]
