"""How many orders a process holds at a time: as many as it answers in time. Pure.

An order's delay is the time from when the process takes it up until it is answered, so by Little's law the orders
under way are the rate times the delay. What is taken beyond that only makes all of them late. The limit falls in
proportion while every order of a whole second was later than wanted, and grows a little with each that is in time:
additive growth and multiplicative decrease, as TCP's congestion avoidance (RFC 5681) and the AIMD limit of Netflix's
concurrency-limits. It grows quickly while a good part of it is in use, and slowly otherwise. Once no order was late
for SETTLED_S it grows by a fifth a second, however few orders come: the doors give a process that wants few orders
few, and what one bad minute took away has to be there again before the next failover needs it. Late is what the
machine makes it: three times what a commit takes at present, so that those in the air and one full batch before an
order make it late by no means, and never less than DELAY_MIN_S.

Where the measure is wrong, the limit stays between its bounds: LIMIT_MIN orders go on whatever is measured, and no
more than `most` are held. LIMIT_MIN under way, or fewer, are late for another reason, and lower nothing.
"""

LIMIT_MIN = 16
DELAY_MIN_S, DELAY_MAX_S = 0.5, 2.0
"""Orders are wanted to be answered within so long, at least and at most."""
_DELAY_COMMITS = 3.0
_LATE_S = 1.0
"""All orders have to be late for so long before the limit falls: after an outage those are late that waited for its
end, and no others. Late orders further apart than this say nothing of the time between them."""
_FALL_MIN = 0.5
_GROW_AN_ORDER, _GROW_UNUSED = 0.1, 0.01
"""With each order in time, while the limit is in use and while it is not: at 100 orders/s ten, or one, a second."""
SETTLED_S = 10.0
_GROW_SETTLED = 0.2
"""Share of the limit, a second."""
_IN_USE = 0.4
"""Share of the limit from which on it is in use: one of two doors, or one client, cannot use more than half of it, or
three quarters."""


class ConcurrencyLimit:
    """The limit of one process; times of day are monotonic seconds."""

    def __init__(self, most: int) -> None:
        """`most`: orders that are held at once in any case."""
        self._most = most
        self._limit = float(most)
        self._late_since: float | None = None
        self._late_at = float("-inf")
        self._fell_at = float("-inf")
        self._in_time_at = float("-inf")

    @property
    def limit(self) -> int:
        """Orders that may be under way."""
        return int(self._limit)

    def answered(self, delay_s: float, under_way: int, commit_s: float, now: float) -> None:
        """An order was answered.

        Args:
            delay_s: it took so long.
            under_way: orders that were under way then, itself included.
            commit_s: what a commit takes at present, on an average.
            now: when.
        """
        wanted_s = wanted_delay_s(commit_s)
        if delay_s <= wanted_s:
            self._late_since = None
            grown = _GROW_AN_ORDER if under_way >= _IN_USE * self._limit else _GROW_UNUSED
            if now - self._late_at > SETTLED_S:
                grown = max(grown, _GROW_SETTLED * self._limit * min(now - self._in_time_at, 1.0))
            self._limit = min(self._limit + grown, self._most)
            self._in_time_at = now
            return
        if self._late_since is None or now - self._late_at > _LATE_S:
            self._late_since = now
        self._late_at = now
        # What follows from one fall is seen only once those are answered that were under way before it.
        if now - self._late_since >= _LATE_S and now - self._fell_at >= delay_s and under_way > LIMIT_MIN:
            self._fell_at = now
            held = min(self._limit, under_way)
            self._limit = max(held * max(wanted_s / delay_s, _FALL_MIN), LIMIT_MIN)


def wanted_delay_s(commit_s: float) -> float:
    """Within how long orders are wanted to be answered where a commit takes so long."""
    return min(max(_DELAY_COMMITS * commit_s, DELAY_MIN_S), DELAY_MAX_S)
