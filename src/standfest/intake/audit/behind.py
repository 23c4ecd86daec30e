"""What the audit could not look at for too long is never "well". Pure.

The bounds leave room for a failover of 30 s, for the start of a cluster, and for a busy machine, on which the audit
comes last.
"""

import msgspec

from standfest.intake.audit.faults import Fault

LAG_MAX_S = 60.0
"""The oldest receipt that is not settled."""
WAITING_MAX_S = 300.0
"""The oldest receipt whose order waits in the journal, or is set apart there: by then the journal is drained."""
UNAUDITED_BYTES_MAX = 64 * 1024 * 1024
"""Receipts that were not read yet: more than 100,000."""
RECEIPTS_PASS_AGE_MAX_S = 2 * 3_600.0
"""A pass over 256 MiB of receipts takes some minutes."""
ORDERS_PASS_AGE_MAX_S = 24 * 3_600.0
"""A pass over ten million orders takes some hours."""
BOOKS_PASS_AGE_MAX_S = 1_800.0
"""A look at stock and feed takes up to a minute, and rests 100 times as long, but not longer than a third of this."""
CENSUS_AGE_MAX_S = 300.0
"""A round of the census, which seals blocks as well; it rests for half a minute after a large one."""
UNRECEIPTED_AGE_MAX_S = 300.0
"""An order whose receipt was not seen, and of which it is not known yet whether it should have one."""
WATCH_AGE_MAX_S = 300.0
"""A look at some of the newest orders takes up to 3 s, and rests 80 times as long."""
SEALED_PASS_AGE_MAX_S = 24 * 3_600.0
"""A pass over the blocks of ten million orders takes some hours."""
SEALS_AGE_MAX_S = 300.0
"""This node's copy of the seals, which are all read every 10 s."""
NOBODY_MAX_S = 60.0
"""No node looks at the database's orders."""
ORDERS_UNAUDITED_MAX = 100_000
"""New orders that were not looked at yet."""
STATE_AGE_MAX_S = 60.0
"""The audit's own state could not be written."""


class Sight(msgspec.Struct, frozen=True):
    """How far an audit sees."""

    lag_s: float
    waiting_s: float
    """Age of the oldest receipt whose order is in the journal still."""
    unaudited_bytes: int
    receipts_pass_age_s: float
    orders_pass_age_s: float | None
    """None where another node has the duty."""
    books_age_s: float | None
    """Since the last look at stock and feed; the time of other nodes' duty left out, and None while another has it."""
    census_age_s: float | None
    """The same for the last round of the census."""
    unreceipted_age_s: float | None
    """How long the oldest order without a receipt waits for it; None as above, and where there is none."""
    watch_age_s: float | None
    """As above, since the last look at the newest orders."""
    sealed_pass_age_s: float | None
    """Since this node's last pass over the sealed blocks ended; None where another node has the duty."""
    seals_age_s: float
    """Since all seals were last read, on every node, and are on its disk."""
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
        ("orders in the journal", sight.waiting_s, WAITING_MAX_S, "the oldest one was accepted {:.0f} s ago"),
        ("receipts on disk", sight.unaudited_bytes, UNAUDITED_BYTES_MAX, "{:.0f} bytes of receipts are not read"),
        ("receipts pass", sight.receipts_pass_age_s, RECEIPTS_PASS_AGE_MAX_S, "the last full pass ended {:.0f} s ago"),
        ("orders pass", sight.orders_pass_age_s, ORDERS_PASS_AGE_MAX_S, "the last full pass ended {:.0f} s ago"),
        ("stock and feed", sight.books_age_s, BOOKS_PASS_AGE_MAX_S, "they were last looked at {:.0f} s ago"),
        ("receipts of orders", sight.census_age_s, CENSUS_AGE_MAX_S, "they were last counted {:.0f} s ago"),
        (
            "orders without a receipt",
            sight.unreceipted_age_s,
            UNRECEIPTED_AGE_MAX_S,
            "the oldest one waits for {:.0f} s",
        ),
        ("newest orders", sight.watch_age_s, WATCH_AGE_MAX_S, "they were last watched {:.0f} s ago"),
        ("sealed blocks", sight.sealed_pass_age_s, SEALED_PASS_AGE_MAX_S, "the last full pass ended {:.0f} s ago"),
        ("seals", sight.seals_age_s, SEALS_AGE_MAX_S, "they were last copied {:.0f} s ago"),
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
