"""One request to one member of etcd through its JSON gateway, and which member is asked next."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from standfest.clients.etcd_errors import Refusal, read_refusal

ANSWER_BYTES_MAX = 16 * 1024 * 1024
CONNECT_S = 1.0
CONNECT_SHARE = 0.9
"""Part of an attempt's time, where it is short, in which it has to be connected: what ends there was never sent."""
LEFT_ALONE_MAX = 16
"""Attempts that nobody waits for any more and that may still end by themselves."""
LEFT_ALONE_S = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A good answer, and the time it took."""

    body: bytes
    took_s: float


@dataclass(frozen=True, slots=True)
class NotSent:
    """The member could not be connected to in time."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The request was sent, perhaps in part, and no whole answer came."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The member answered with an error."""

    kind: Refusal
    reason: str


Outcome = Answered | NotSent | Unanswered | Refused
"""What came of one attempt."""


class Gateway:
    """Sends requests to members over HTTPS with a client certificate: no proxy, no redirects, no answer without end."""

    def __init__(self, session: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        self._session = session
        self._tls = tls
        self._left_alone: set[asyncio.Task[Outcome]] = set()

    async def attempt(self, address: str, path: str, body: bytes, total_s: float) -> Outcome:
        """POST `body` once; never raises for what the member or the way to it does."""
        timeout = aiohttp.ClientTimeout(total=total_s, connect=min(CONNECT_S, CONNECT_SHARE * total_s))
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            async with self._session.post(
                f"https://{address}{path}",
                data=body,
                ssl=self._tls,
                timeout=timeout,
                allow_redirects=False,
                headers=_HEADERS,
                skip_auto_headers=_LEFT_OUT,
            ) as response:
                answer = await _whole_body(response)
        except aiohttp.ClientConnectorError as error:
            return NotSent(f"{address}: {error.os_error.strerror or error.os_error}")
        except aiohttp.ConnectionTimeoutError:
            return NotSent(f"{address} did not let us connect within {timeout.connect:.2f} s")
        except TimeoutError:
            return Unanswered(f"{address} did not answer within {total_s:.2f} s")
        except (aiohttp.ClientError, OSError) as error:
            return Unanswered(f"{address}: {type(error).__name__} {error}")
        if answer is None:
            # It would be as long from any member: who asked has to ask for less.
            return Refused(Refusal.INVALID, f"{address} answered more than {ANSWER_BYTES_MAX} bytes")
        if response.status == 200:
            return Answered(answer, clock() - begun)
        kind, message = read_refusal(response.status, answer)
        return Refused(kind, f"{address}: {message}")

    def leave_alone(self, attempt: asyncio.Task[Outcome]) -> None:
        """Give an attempt that nobody waits for any more a moment to end by itself.

        To cancel it closes its connection: where all is slow because there is too much to do, a new handshake for
        each request would keep it so.
        """
        if attempt.done() or len(self._left_alone) >= LEFT_ALONE_MAX:
            attempt.cancel()
            return
        self._left_alone.add(attempt)
        attempt.add_done_callback(self._left_alone.discard)
        attempt.get_loop().call_later(LEFT_ALONE_S, attempt.cancel)


_HEADERS = {"Content-Type": "application/json"}
_LEFT_OUT = ("Accept",)
"""By this header etcd 3.4 knows its own gateway, and then logs a warning a request: that the name in its certificate
does not count (`AuthInfoFromTLS`). Without authentication by users no name ever counts."""


async def _whole_body(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None where it is longer than it may be."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            return None
    return bytes(body)


REST_S = 2.0
"""How long a member that failed is left for the others."""
PATIENCE_MAX_S = 1.5
_SMOOTHED, _DEVIATION, _DEVIATIONS = 1 / 8, 1 / 4, 4
"""As for TCP's retransmissions, RFC 6298 section 2."""


class Members:
    """Which member is next, and how long its answer is waited for before another one is asked as well.

    Next is the first that does not rest. One that failed rests, and is then tried by one request.
    """

    def __init__(self, addresses: Sequence[str], patience_s: float) -> None:
        """`patience_s` is the shortest: where answers are slow, it grows with them up to PATIENCE_MAX_S."""
        if not addresses:
            raise ValueError("a store needs the address of at least one etcd member, such as 127.0.1.1:12389")
        self._rests_until = dict.fromkeys(addresses, 0.0)
        self._patience_min_s = patience_s
        self._smoothed_s: float | None = None
        self._deviation_s = 0.0

    @property
    def patience_s(self) -> float:
        """After so long without an answer another member is asked."""
        usual_s = (self._smoothed_s or 0.0) + _DEVIATIONS * self._deviation_s
        return max(self._patience_min_s, min(usual_s, PATIENCE_MAX_S))

    def choose(self, now: float) -> str:
        """The next member's address. Where all rest, the one whose rest ends first. `now` in monotonic seconds."""
        rests = self._rests_until
        chosen = min(rests, key=lambda address: max(rests[address] - now, 0.0))
        if rests[chosen]:
            # Back on trial: until it answers, whoever comes next goes elsewhere.
            rests[chosen] = now + REST_S
        return chosen

    def failed(self, address: str, now: float) -> None:
        """Notes that this member did not answer, or could not take part: it rests."""
        self._rests_until[address] = now + REST_S

    def worked(self, address: str, took_s: float) -> None:
        """Notes that this member answered: it rests no longer."""
        self._rests_until[address] = 0.0
        if self._smoothed_s is None:
            self._smoothed_s, self._deviation_s = took_s, took_s / 2
            return
        self._deviation_s += _DEVIATION * (abs(took_s - self._smoothed_s) - self._deviation_s)
        self._smoothed_s += _SMOOTHED * (took_s - self._smoothed_s)
