"""How a good partner system repeats a request, decided purely: outcomes, pauses, and when the next attempt begins.

The meanings of the answers are those of the API: 429 and the product's own 503 say that nothing was sent
anywhere, 504 says that it may have been, and a broken connection says nothing at all. Which door an attempt takes:
`standfest.clients.doors`. How many repeats there may be: `standfest.clients.retry_budget`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

from standfest.clients.retry_budget import RetryBudget

NOT_ATTEMPTED_PROBLEMS = frozenset({"unavailable", "overloaded"})
"""Problems by which the product itself says that it tried nothing; a 503 without one is a proxy's."""

BACKOFF_DOUBLINGS_MAX = 16
BUDGET_USED_UP = (
    "the client's retry budget was used up and repeats had to wait: look at `standfest status`, send fewer orders at a"
    " time, and send this one again with the same key"
)
AT_ONCE_MAX = 2
"""One attempt, and one on the other door that does not wait for it."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often one request is tried. All times in seconds on the monotonic clock."""

    connect_s: float = 1.0
    """A door that does not connect within this is left for the other one."""
    attempt_s: float = 5.0
    """An attempt without a whole answer after this is given up; what it did is then unknown."""
    hedge_s: float = 0.75
    """An attempt without an answer after this is not waited for alone: the same request goes to another door. A
    frozen door still connects (its kernel does), so silence is all there is to see."""
    probe_hedge_s: float = 0.2
    """The same where the door had failed and is being tried again."""
    attempt_min_s: float = 0.05
    """With less time left no attempt begins: it would end in doubt, and for nothing."""
    deadline_s: float = 60.0
    """No attempt begins or goes on after this, counted from the first submission."""
    backoff_first_s: float = 0.05
    backoff_max_s: float = 2.0
    retry_after_max_s: float = 5.0
    """A Retry-After that asks for more is cut to this."""
    door_rest_s: float = 2.0
    """How long a door that failed is not the first choice; doubled with each failure in a row, to the next bound."""
    door_rest_max_s: float = 8.0
    attempts_max: int = 1000

    def postponed_s(self, random: Random) -> float:
        """The pause before an attempt for which the retry budget had no token is looked at again."""
        return random.uniform(0.1, 0.5) * self.backoff_max_s

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
    broken: int = 0
    """Attempts whose connection was not made, or ended before a whole answer; none that another one overtook."""
    postponed: int = 0
    """How often a repeat had to wait because the client's retry budget was used up."""

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

    @property
    def advice(self) -> str:
        """What to do where the retry budget held repeats back and the deadline passed; empty where it did not."""
        return BUDGET_USED_UP if self.postponed else ""


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
    return kind(tried.attempts, tried.ambiguous, tried.elapsed_s, tried.last, tried.broken, tried.postponed)


class Course:
    """The attempts of one request as they begin and end: says when the next one may begin, and when to stop.

    Times are of the monotonic clock. The caller keeps the promise that `begin` follows on `may_begin`, and only then.
    """

    def __init__(self, policy: RetryPolicy, began: float, random: Random, hedged: bool, budget: RetryBudget) -> None:
        """
        Args:
            policy: how long and how often it is tried.
            began: when it was first submitted.
            random: of the jitter.
            hedged: a second attempt may begin while the first one is silent (only with a key, or to read).
            budget: what all requests of one client may repeat.
        """
        self.attempts = 0
        self.ambiguous = 0
        self.broken = 0
        self.postponed = 0
        self.under_way = 0
        self.last: Answer | None = None
        self.next_at = began
        """No attempt begins before this; infinite while only the end of one under way can change that."""
        self._began = began
        self._policy = policy
        self._latest = began + policy.deadline_s - policy.attempt_min_s
        self._random = random
        self._hedged = hedged
        self._budget = budget
        self._on_credit = False
        self._failures = 0
        self._verdict: Verdict | None = None

    def over(self, now: float) -> bool:
        """Whether nothing that is still to come matters: acknowledged, or nothing under way and nothing to begin."""
        if self._verdict is Verdict.DONE:
            return True
        return self.under_way == 0 and not self._more(now)

    def may_begin(self, now: float) -> bool:
        """Whether an attempt is due and, beyond the first, there is a token for it, which it takes. Where there is none
        the attempt is postponed."""
        if not (self._more(now) and self.under_way < AT_ONCE_MAX and self.next_at <= now):
            return False
        if self.attempts == 0:
            self._budget.requested(now)
            return True
        hedge = self.under_way > 0
        if not self._budget.take(now, hedge):
            self.postponed += 1
            self.next_at = now + self._policy.postponed_s(self._random)
            return False
        self._on_credit = not hedge
        return True

    def wake_s(self, now: float) -> float | None:
        """Seconds until an attempt is due if none that is under way ends before; None: not before one ends."""
        if not self._more(now) or self.under_way >= AT_ONCE_MAX:
            return None
        return max(0.0, self.next_at - now)

    def _more(self, now: float) -> bool:
        if self._verdict is not None or self.attempts >= self._policy.attempts_max:
            return False
        return max(now, self.next_at) <= self._latest

    def begin(self, now: float, probing: bool = False) -> float:
        """Notes that an attempt begins and gives the seconds it has. `probing`: its door had failed before."""
        self.attempts += 1
        self.under_way += 1
        hedge_s = self._policy.probe_hedge_s if probing else self._policy.hedge_s
        self.next_at = now + hedge_s if self._hedged else math.inf
        return min(self._policy.attempt_s, self._began + self._policy.deadline_s - now)

    def broke(self, now: float, sent: bool) -> None:
        """Notes the end of an attempt without an answer; `sent`: the other side may have got it."""
        self.under_way -= 1
        self.broken += 1
        self.ambiguous += sent
        self._repeat(now, None, at_once=self._failures == 0)

    def answered(self, now: float, answer: Answer) -> Verdict:
        """Notes the end of an attempt with an answer, and gives what that says."""
        self.under_way -= 1
        verdict = answer.verdict()
        self.ambiguous += verdict is Verdict.AMBIGUOUS
        if self._verdict is Verdict.DONE:
            return verdict
        if verdict in (Verdict.DONE, Verdict.REFUSED):
            self.last, self._verdict = answer, verdict
            if self._on_credit:
                self._on_credit = False
                self._budget.give_back(now)
        elif self._verdict is None:
            self.last = answer
            self._repeat(now, answer.retry_after_s, at_once=False)
        return verdict

    def tried(self, now: float) -> Tried:
        """What it came to: attempts that are under way still are abandoned, and brought nothing definite."""
        ambiguous = self.ambiguous + self.under_way
        return Tried(self.attempts, ambiguous, now - self._began, self.last, self.broken, self.postponed)

    def _repeat(self, now: float, retry_after_s: float | None, at_once: bool) -> None:
        self._failures += 1
        self.next_at = now if at_once else now + self._policy.pause_s(self._failures, retry_after_s, self._random)
