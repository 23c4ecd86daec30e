"""How often one client may repeat, counted over all its requests, decided purely.

A slow cluster gets slower where every request is sent twice. A client has tokens, and each attempt but a request's
first takes one. Where there is none the attempt is postponed, never refused: the request's own deadline ends it.

Requests bring a share, time brings a floor, and what is not used runs out, with the figures of Finagle's `RetryBudget`
(20 %, 10 a second, 10 s). A repeat that brings the answer gives its token back, as in the AWS SDKs' standard mode
(botocore `retries/quota.py`). Second attempts beside a silent one count, as in gRPC (proposal A6), and stop first.
"""

import math

SHARE = 0.2
"""Tokens that a request's first attempt brings."""
FLOOR_PER_S = 10.0
"""Tokens that a second brings: while nothing is answered, repeats go on and find out when that ends."""
LIFE_S = 10.0
"""Seconds; the time constant with which unused tokens run out."""
RESERVE = FLOOR_PER_S * LIFE_S
"""Tokens of a new client, and of one that sends little; with 200 requests a second there are 500."""
HEDGE_MIN = RESERVE / 2
"""Tokens that a second attempt beside a silent one leaves: they are for what breaks or is refused."""


class RetryBudget:
    """The tokens of one client. Times are of the monotonic clock, in seconds, and never go back."""

    def __init__(self, now: float) -> None:
        self._tokens = RESERVE
        self._as_of = now

    def tokens(self, now: float) -> float:
        """Tokens that there are now."""
        self._tokens = RESERVE + (self._tokens - RESERVE) * math.exp((self._as_of - now) / LIFE_S)
        self._as_of = now
        return self._tokens

    def requested(self, now: float) -> None:
        """Notes a request's first attempt."""
        self._tokens = self.tokens(now) + SHARE

    def take(self, now: float, hedge: bool) -> bool:
        """Takes a token for a repeat and says whether there was one. `hedge`: another attempt is still under way."""
        if self.tokens(now) < 1.0 + HEDGE_MIN * hedge:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self, now: float) -> None:
        """Notes that a repeat brought the answer."""
        self._tokens = self.tokens(now) + 1.0
