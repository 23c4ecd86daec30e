"""The demonstration's own client and key: made once, kept in the cluster's home, renewed where it is refused."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psycopg

from standfest.catalogue.clients import ClientError, add_client, add_key, list_clients, list_keys, revoke_key
from standfest.cluster.home import write_private
from standfest.errors import StandfestError

CLIENT = "demo"
SCOPES = (
    "orders:write",
    "orders:read",
    "orders:price",
    "catalogue:read",
    "catalogue:write",
    "stock:write",
)
ACCEPTED_TIMEOUT_S = 15.0
"""API processes learn of a new key within about a second."""
ATTEMPT_TIMEOUT_S = 3.0
POLL_S = 0.2


class DemoKeyRefused(StandfestError):
    """The doors do not take the demonstration's key."""


async def demo_key(file: Path, conninfo: str, doors: Sequence[str]) -> str:
    """A key of the client CLIENT that every door takes; `conninfo` is of the role that owns the schema.

    Raises DemoKeyRefused where no door takes it in time, ClientError or psycopg.Error where none can be made.
    """
    kept = _kept(file)
    if kept is not None and await _accepted(kept, doors):
        return kept
    key = await asyncio.to_thread(_new_key, conninfo)
    write_private(file, key + "\n")
    deadline = time.monotonic() + ACCEPTED_TIMEOUT_S
    while not await _accepted(key, doors):
        if time.monotonic() > deadline:
            raise DemoKeyRefused(
                f"the doors did not take a new key within {ACCEPTED_TIMEOUT_S:.0f} s: see `standfest doctor`"
            )
        await asyncio.sleep(POLL_S)
    return key


def _kept(file: Path) -> str | None:
    return file.read_text(encoding="ascii").strip() if file.exists() else None


def _new_key(conninfo: str) -> str:
    """Another key of the client; its oldest one makes room where it has as many as it may have."""
    with psycopg.connect(conninfo, target_session_attrs="read-write", autocommit=True) as connection:
        if CLIENT not in [client.name for client in list_clients(connection)]:
            return add_client(connection, CLIENT, SCOPES)[1].text
        try:
            return add_key(connection, CLIENT).text
        except ClientError:
            valid = [key for key in list_keys(connection, CLIENT) if key.revoked_at is None]
            revoke_key(connection, valid[0].id)
            return add_key(connection, CLIENT).text


async def _accepted(key: str, doors: Sequence[str]) -> bool:
    """Whether every door lets the key read; a door that does not answer cannot refuse it."""
    timeout = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {key}"}
    statuses: list[int] = []
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=False) as session:
        for door in doors:
            try:
                async with session.get(f"{door}/v1/orders", params={"limit": "1"}) as response:
                    statuses.append(response.status)
            except (aiohttp.ClientError, TimeoutError):
                continue
    return bool(statuses) and all(status == 200 for status in statuses)
