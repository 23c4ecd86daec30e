"""Clients of the command line's own: made once, their keys kept in the cluster's home, renewed where refused."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psycopg

from standfest.catalogue.clients import (
    VALID_KEYS_MAX,
    KeySummary,
    add_client,
    add_key,
    list_clients,
    list_keys,
    revoke_key,
)
from standfest.cli.owner import owner_connection
from standfest.cluster.home import write_private
from standfest.errors import StandfestError

BENCH = "standfest-bench"
DEMO = "standfest-demo"
DRILL = "standfest-drill"
REPLAY = "standfest-replay"
"""Our own clients. Their names are ours: `standfest-` leaves `demo` and the like to whoever runs the cluster."""

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
ASKED_A_DOOR = 6
"""A door spreads requests over the API processes: so many reach each of them."""
POLL_S = 0.2


class OwnKeyUnusable(StandfestError):
    """A key of the command line's own could not be made, or the doors do not take it."""


def key_file(secrets: Path, client: str) -> Path:
    """Where the key of one of our own clients is kept, mode 0600."""
    return secrets / f"{client}-client-key"


async def own_key(secrets: Path, client: str, conninfo: str, doors: Sequence[str]) -> str:
    """A key with SCOPES of the client called `client` that the doors take.

    `secrets` is the home's directory for credentials; `conninfo` is of the role that owns the schema. Raises
    OwnKeyUnusable, or ClientsUnreachable where the database gives no answer.
    """
    file = key_file(secrets, client)
    kept = _kept(file)
    if kept is not None and await _accepted(kept, doors):
        return kept
    key = await asyncio.to_thread(_new_key, client, conninfo)
    write_private(file, key + "\n")
    deadline = time.monotonic() + ACCEPTED_TIMEOUT_S
    while not await _accepted(key, doors):
        if time.monotonic() > deadline:
            raise OwnKeyUnusable(
                f"the doors did not take a new key within {ACCEPTED_TIMEOUT_S:.0f} s: see `standfest doctor`"
            )
        await asyncio.sleep(POLL_S)
    return key


def _kept(file: Path) -> str | None:
    return file.read_text(encoding="ascii").strip() if file.exists() else None


def _new_key(client: str, conninfo: str) -> str:
    """Another key of the client; its oldest one makes room where it has as many as it may have."""
    try:
        with owner_connection(conninfo) as connection:
            if client not in [known.name for known in list_clients(connection)]:
                return add_client(connection, client, SCOPES)[1].text
            for key in in_the_way(list_keys(connection, client)):
                revoke_key(connection, key.id)
            return add_key(connection, client).text
    except psycopg.Error as error:
        reason = error.diag.message_primary or type(error).__name__
        raise OwnKeyUnusable(f"no key for client '{client}' ({reason}): see `standfest status`") from error


def in_the_way(keys: Sequence[KeySummary]) -> Sequence[KeySummary]:
    """Of a client's keys, the oldest first, those that must end before it can have another one."""
    valid = [key for key in keys if key.revoked_at is None]
    return valid[: max(0, len(valid) - VALID_KEYS_MAX + 1)]


async def _accepted(key: str, doors: Sequence[str]) -> bool:
    """Whether nobody who answers refuses the key, and somebody answers."""
    timeout = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=False) as session:
        asked = [_status(session, door) for door in doors for _ in range(ASKED_A_DOOR)]
        statuses = await asyncio.gather(*asked)
    return 200 in statuses and 401 not in statuses and 403 not in statuses


async def _status(session: aiohttp.ClientSession, door: str) -> int | None:
    """The status of a small read; None where no answer came, which refuses nothing."""
    try:
        async with session.get(f"{door}/v1/orders", params={"limit": "1"}) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return None
