"""How a good partner system repeats a request, decided purely: outcomes, pauses, and which door is next.

The meanings of the answers are those of the API: 429 and the product's own 503 say that nothing was sent
anywhere, 504 says that it may have been, and a broken connection says nothing at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

NOT_ATTEMPTED_PROBLEMS = frozenset({"unavailable", "overloaded"})
"""Problems by which the product itself says that it tried nothing; a 503 without one is a proxy's."""

BACKOFF_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often one request is tried. All times in seconds on the monotonic clock."""

    connect_s: float = 1.0
    """A door that does not connect within this is left for the other one."""
    attempt_s: float = 5.0
    """An attempt without a whole answer after this is given up; what it did is then unknown."""
    attempt_min_s: float = 0.05
    """With less time left no attempt begins: it would end in doubt, and for nothing."""
    deadline_s: float = 60.0
    """No attempt begins or goes on after this, counted from the first submission."""
    backoff_first_s: float = 0.05
    backoff_max_s: float = 2.0
    retry_after_max_s: float = 5.0
    """A Retry-After that asks for more is cut to this."""
    door_rest_s: float = 2.0
    """How long a door that failed is not the first choice."""
    attempts_max: int = 1000

    def pause_s(self, failures: int, retry_after_s: float | None, random: Random) -> float:
        """The pause before the next attempt, after so many failed ones, jittered so that clients part.

        A Retry-After is a lower bound; jitter comes on top of it.
        """
        doublings = min(failures - 1, BACKOFF_DOUBLINGS_MAX)
        jitter_s = random.uniform(0.0, min(self.backoff_max_s, self.backoff_first_s * 2**doublings))
        if retry_after_s is None:
            return jitter_s
        return min(max(retry_after_s, 0.0), self.retry_after_max_s) + jitter_s


class Verdict(Enum):
    """What one answer says about the request it answers."""

    DONE = "done"
    REFUSED = "refused"
    NOT_ATTEMPTED = "not attempted"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: `body` is None where it is no JSON object, `problem` the slug of the problem type."""

    status: int
    body: Mapping[str, Any] | None
    problem: str | None = None
    retry_after_s: float | None = None

    def verdict(self) -> Verdict:
        """The meaning of this answer, taken by itself."""
        if self.status < 300:
            # A 2xx whose body cannot be read was cut short on the way: the repeat brings it whole.
            return Verdict.DONE if self.body is not None else Verdict.AMBIGUOUS
        if self.status == 429 or (self.status == 503 and self.problem in NOT_ATTEMPTED_PROBLEMS):
            return Verdict.NOT_ATTEMPTED
        if self.status == 408:
            return Verdict.NOT_ATTEMPTED  # the door had not even received the whole request
        if self.status >= 500:
            return Verdict.AMBIGUOUS
        return Verdict.REFUSED

    def is_recorded(self) -> bool:
        """Whether this refusal is kept as a declined order, so that every repeat gets the same one."""
        return self.status == 409 and self.body is not None and "order_id" in self.body


@dataclass(frozen=True, slots=True)
class Tried:
    """What is common to every outcome."""

    attempts: int
    ambiguous: int
    """Attempts that were sent, or may have been, and brought no definite answer."""
    elapsed_s: float
    """From the first submission to the outcome, repeats and pauses included; monotonic clock."""
    last: Answer | None
    """The last answer that came, None where there was none."""

    @property
    def body(self) -> Mapping[str, Any]:
        """The last answer's body; empty where there is none."""
        return {} if self.last is None or self.last.body is None else self.last.body

    @property
    def status(self) -> int | None:
        """The HTTP status of the last answer."""
        return None if self.last is None else self.last.status

    @property
    def problem(self) -> str | None:
        """The slug of the last answer's problem type."""
        return None if self.last is None else self.last.problem


class Acknowledged(Tried):
    """A definite yes (2xx)."""


class Refused(Tried):
    """A definite no: nothing exists by this request, save the declined order where a 409 names one."""


class NotAttempted(Tried):
    """The deadline passed and no attempt was taken up: doors unreachable, 429 or 503 to the end."""


class Unknown(Tried):
    """The deadline passed, or a refusal came after an unanswered attempt: it may have happened, once."""


Outcome = Acknowledged | Refused | NotAttempted | Unknown


def conclude(tried: Tried) -> Outcome:
    """The outcome after the last attempt: a refusal does not undo what an unanswered one may have done."""
    verdict = None if tried.last is None else tried.last.verdict()
    kind: type[Outcome]
    if verdict is Verdict.DONE:
        kind = Acknowledged
    elif tried.last is not None and tried.last.is_recorded():
        kind = Refused
    elif tried.ambiguous:
        kind = Unknown
    elif verdict is Verdict.REFUSED:
        kind = Refused
    else:
        kind = NotAttempted
    return kind(tried.attempts, tried.ambiguous, tried.elapsed_s, tried.last)


class Doors:
    """Which door is next: in turn, but one that failed lately only where no other is left."""

    def __init__(self, urls: Sequence[str], rest_s: float) -> None:
        if not urls:
            raise ValueError("a client needs at least one door, such as http://127.0.0.1:8080")
        self._urls = [url.rstrip("/") for url in urls]
        self._rests_until = [0.0] * len(urls)
        self._rest_s = rest_s
        self._turn = 0

    def choose(self, now: float, not_this: str | None = None) -> str:
        """The next door's URL; the door `not_this` and resting ones come last. `now` in monotonic seconds."""
        order = range(self._turn, self._turn + len(self._urls))
        self._turn = (self._turn + 1) % len(self._urls)
        candidates = [index % len(self._urls) for index in order]

        def reluctance(index: int) -> tuple[float, bool]:
            return max(self._rests_until[index] - now, 0.0), self._urls[index] == not_this

        return self._urls[min(candidates, key=reluctance)]

    def failed(self, url: str, now: float) -> None:
        """Notes that this door did not connect or broke a connection: it rests."""
        self._rests_until[self._urls.index(url)] = now + self._rest_s

    def worked(self, url: str) -> None:
        """Notes that this door answered: it rests no longer."""
        self._rests_until[self._urls.index(url)] = 0.0
