"""Which door a client takes, decided purely: in turn, resting ones last, and a rested one by a single probe."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

REST_DOUBLINGS_MAX = 16


@dataclass(slots=True)
class _Door:
    url: str
    failures: int = 0
    """In a row; what breaks together is one."""
    failed_at: float = float("-inf")
    rests_until: float = 0.0
    answered_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Choice:
    """A door for one attempt."""

    url: str
    probing: bool
    """It had failed and rested: this attempt alone finds out whether it is well again."""


class Doors:
    """The doors as one client has seen them. Times are of the monotonic clock, in seconds."""

    def __init__(self, urls: Sequence[str], rest_s: float, rest_max_s: float) -> None:
        if not urls:
            raise ValueError("a client needs at least one door, such as http://127.0.0.1:8080")
        self._doors = [_Door(url.rstrip("/")) for url in urls]
        self._by_url = {door.url: door for door in self._doors}
        self._rest_s = rest_s
        self._rest_max_s = rest_max_s
        self._turn = 0

    def __len__(self) -> int:
        return len(self._doors)

    def choose(self, now: float, last: str = "", under_way: Collection[str] = ()) -> Choice:
        """The next door: none that is silent to an attempt `under_way`, then one that does not rest, then another one.

        However soon a silent door's rest ends, a second attempt would only be silent there too. One that answers others
        meanwhile is well: behind it the second attempt may come to somebody else.
        """
        count = len(self._doors)
        self._turn = (self._turn + 1) % count
        best, least = self._doors[self._turn - 1], (True, float("inf"), True)
        for offset in range(count):
            door = self._doors[(self._turn - 1 + offset) % count]
            rests_s, busy = max(door.rests_until - now, 0.0), door.url in under_way
            reluctance = (busy and rests_s > 0, rests_s, busy or door.url == last)
            if reluctance < least:
                best, least = door, reluctance
        probing = best.failures > 0 and best.rests_until <= now
        if probing:
            # Whoever comes next finds it resting until this attempt has brought an answer.
            self._rest(best, now)
        return Choice(best.url, probing)

    def failed(self, url: str, since: float, now: float) -> None:
        """Notes that an attempt begun at `since` did not connect to this door or broke on it: the door rests."""
        door = self._by_url[url]
        if since <= door.failed_at:
            return  # one of many that the same failure met
        door.failures += 1
        door.failed_at = now
        self._rest(door, now)

    def silent(self, url: str, since: float, now: float) -> None:
        """Notes that an attempt begun at `since` has had no answer: the door rests if nobody has had one from it.

        One that answers others meanwhile is well; what is slow is behind it.
        """
        if self._by_url[url].answered_at < since:
            self.failed(url, since, now)

    def worked(self, url: str, now: float) -> None:
        """Notes that this door answered: it rests no longer."""
        door = self._by_url[url]
        door.answered_at = now
        door.failures = 0
        door.rests_until = 0.0

    def _rest(self, door: _Door, now: float) -> None:
        doublings = min(max(door.failures - 1, 0), REST_DOUBLINGS_MAX)
        door.rests_until = now + min(self._rest_s * 2**doublings, self._rest_max_s)
