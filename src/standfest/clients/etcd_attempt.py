"""One request to one member of etcd through its JSON gateway, and which member is asked next."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from standfest.clients.etcd_errors import Refusal, read_refusal

ANSWER_BYTES_MAX = 16 * 1024 * 1024
CONNECT_SHARE = 0.9
"""Part of an attempt's time in which it has to be connected: what ends before this was certainly never sent."""
REST_S = 2.0
"""How long a member that failed is left for the others."""


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


Outcome = bytes | NotSent | Unanswered | Refused
"""What came of one attempt; bytes are the body of a good answer."""


@dataclass(frozen=True)
class Gateway:
    """Sends requests to members over HTTPS with a client certificate: no proxy, no redirects, no answer without end."""

    session: aiohttp.ClientSession
    tls: ssl.SSLContext

    async def attempt(self, address: str, path: str, body: bytes, connect_s: float, total_s: float) -> Outcome:
        """POST `body` once; never raises for what the member or the way to it does."""
        url = f"https://{address}{path}"
        timeout = aiohttp.ClientTimeout(total=total_s, connect=min(connect_s, CONNECT_SHARE * total_s))
        try:
            async with self.session.post(
                url, data=body, ssl=self.tls, timeout=timeout, allow_redirects=False, headers=_HEADERS
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
            return Unanswered(f"{address} answered more than {ANSWER_BYTES_MAX} bytes")
        if response.status == 200:
            return answer
        kind, message = read_refusal(response.status, answer)
        return Refused(kind, f"{address}: {message}")


_HEADERS = {"Content-Type": "application/json"}


async def _whole_body(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None where it is longer than it may be."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            return None
    return bytes(body)


class Preference:
    """Which member is next: the first that does not rest. One that failed rests, and is then tried by one request."""

    def __init__(self, members: Sequence[str], rest_s: float = REST_S) -> None:
        if not members:
            raise ValueError("a store needs the address of at least one etcd member, such as 127.0.1.1:12389")
        self._rests_until = dict.fromkeys(members, 0.0)
        self._rest_s = rest_s

    def choose(self, now: float) -> str:
        """The next member's address. Where all rest, the one whose rest ends first. `now` in monotonic seconds."""
        rests = self._rests_until
        chosen = min(rests, key=lambda address: max(rests[address] - now, 0.0))
        if rests[chosen]:
            # Back on trial: until it answers, whoever comes next goes elsewhere.
            rests[chosen] = now + self._rest_s
        return chosen

    def failed(self, address: str, now: float) -> None:
        """Notes that this member did not answer, or could not take part: it rests."""
        self._rests_until[address] = now + self._rest_s

    def worked(self, address: str) -> None:
        """Notes that this member answered: it rests no longer."""
        self._rests_until[address] = 0.0
