"""How often the auditor does what, and how long it rests after it: the audit comes last."""

from standfest.intake.audit.behind import BOOKS_PASS_AGE_MAX_S

ROUND_S = 1.0
"""New receipts and new orders are looked for so often."""
PASS_PAUSES = 40.0
"""A full pass rests so many times its effort: with what the database does for it, 5 % of one core."""
WATCH_PAUSES = 80.0
"""A look at the newest orders rests so many times as long as the database worked for it, its proof left out: that is
1.25 % of one core at most."""
BOOKS_PAUSES = 100.0
"""The same for stock and feed: 1 % of one core while a look takes up to 6 s."""
BOOKS_REST_MAX_S = BOOKS_PASS_AGE_MAX_S / 3
"""A look at them rests so long at most: one that fails in between leaves time for the next before they are behind."""
PASS_REST_S = 2.0
"""Two full passes are so far apart at least."""
NEW_ORDERS_PAUSES = 8.0
"""After some new orders, of which there may be many: a ninth of one core, and what the database does for it."""
SETTLED_S = 3.0
"""New orders are looked at so long after they were seen: transactions that began before have ended by then."""
NEW_ORDERS_FROM = 1_000
"""Whoever takes the duty over looks at so many of the newest orders first."""
SEALS_S = 10.0
"""Seals of other nodes are taken over so often."""
PEERS_S = 4.0
"""Audits without the duty ask each other so often."""
WATCH_REST_S = 3.0
"""Two passes over the newest orders are so far apart at least."""
BOOKS_REST_S = 3.0
"""Two looks at stock and feed are so far apart at least."""
STATE_S = 5.0
"""The state is written so often."""
AWAY_S = 2.0
"""Full passes rest so long where the database is away."""
PASS_PAUSE_MIN_S = 0.1
"""Two steps of a full pass are so far apart at least."""
PASS_PAUSE_MAX_S = 1.5
"""Two steps of a full pass over receipts and orders are so far apart at most: where there are few, damage is found
within 10 s on a busy machine as well."""


def books_rest_s(took_s: float) -> float:
    """How long to rest after a look at stock and feed that took so long."""
    return min(max(BOOKS_PAUSES * took_s, BOOKS_REST_S), BOOKS_REST_MAX_S)


def pass_pause_s(effort_s: float) -> float:
    """How long to rest after a step of the full passes over receipts and orders that was such an effort."""
    return min(max(PASS_PAUSES * effort_s, PASS_PAUSE_MIN_S), PASS_PAUSE_MAX_S)
