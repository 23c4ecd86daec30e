"""One HTTP question with a deadline, and one error for every way in which no usable answer comes."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from standfest.errors import StandfestError

_ANSWER_BYTES_MAX = 8 * 1024 * 1024


class UnreachableError(StandfestError):
    """A part did not answer, not in time, or not what it should."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Asker:
    """Asks parts over HTTP. Every question ends within `timeout_s`, connecting included."""

    session: aiohttp.ClientSession
    timeout_s: float = 2.0

    async def ask(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One request; UnreachableError where no complete answer came. Statuses are for the caller to judge."""
        limit = aiohttp.ClientTimeout(total=timeout_s or self.timeout_s)
        sent = dict(headers or {})
        if login:
            sent["Authorization"] = aiohttp.encode_basic_auth(*login)
        try:
            async with self.session.request(
                method,
                url,
                data=body,
                headers=sent,
                ssl=tls or True,
                timeout=limit,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, await _whole_body(response, url))
        except TimeoutError as error:
            raise UnreachableError(f"{url} did not answer within {limit.total:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise UnreachableError(f"{url} does not answer: {error.os_error.strerror or error.os_error}") from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise UnreachableError(f"{url} does not answer: {error}") from error


async def _whole_body(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _ANSWER_BYTES_MAX:
            raise UnreachableError(f"{url} answered more than {_ANSWER_BYTES_MAX} bytes")
    return bytes(body)
