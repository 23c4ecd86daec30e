"""The last look before a standby is promoted: a quorum has left the old primary, and holds nothing that this one lacks.

Called by Patroni as `pre_promote`, after this node got the leader's key and before PostgreSQL is promoted. Patroni's
own vote asks the other standbys how far they are; but a standby that has answered goes on receiving from the old
primary, and acknowledging for it, until its own Patroni makes it follow the new leader. What it acknowledges in between
would be lost. So here the vote is taken again, of those who cannot acknowledge for the old primary any more.

Invariant kept here: PostgreSQL is promoted only when at least `quorum` of the members that Patroni's key `sync` names
stream from this server, which is not promoted yet, and none of these has more WAL than this server. Whoever streams
from here streams from nowhere else (a standby has one WAL receiver), and this server itself keeps all that it
acknowledged. So whatever the old primary acknowledges, before, meanwhile or later, rests on WAL that this server has.

Nothing here goes by a clock: it does not matter who is frozen, for how long, or whose lease has ended.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import msgspec
import psycopg

from standfest.clients.etcd import client_tls
from standfest.clients.etcd_kv import (
    Absent,
    Delete,
    EtcdError,
    EtcdStore,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    Unchanged,
)
from standfest.errors import StandfestError

WAIT_S = 600.0
"""How long a quorum may take to stream from here, before the key is given up and taken again. Without a quorum the
promoted server could confirm nothing anyway."""
PERMIT_S = 60.0
"""A permit counts for so long after `standfest recover` renewed it, which it does while it waits for the promotion."""
AHEAD_S = 3.0
"""How long a follower may have more WAL than this server, which may still be receiving it, until the key is given
up."""
POLL_S = 0.05
"""Between two looks at one server."""
ETCD_S = 2.0
"""For one question to Patroni's etcd."""
_SYNC = b"sync"
_CONNECT_S = 2
_PAUSE_S = 0.25  # after a look that failed

_LOOK = """
SELECT
    pg_is_in_recovery(),
    CASE WHEN receiver.status = 'streaming' THEN concat(receiver.sender_host, ':', receiver.sender_port) ELSE '' END,
    coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0', 0)::bigint
FROM (SELECT) AS here LEFT JOIN pg_stat_wal_receiver AS receiver ON true
"""


class NotPromotable(StandfestError):
    """This server must not be promoted now: the message says why."""


@dataclass(frozen=True)
class Server:
    """What one PostgreSQL server says of itself."""

    in_recovery: bool
    streams_from: str
    """`host:port` that it receives WAL from; empty where it receives none."""
    position: int
    """Up to where it has WAL, in bytes."""


@dataclass(frozen=True)
class Sync:
    """Who may have acknowledged for the old primary: Patroni's key `sync`."""

    members: frozenset[str]
    """The old primary and its synchronous standbys; empty where nobody was ever synchronous."""
    quorum: int
    """How many members beside itself a standby among them has to see, to see one that has every acknowledged commit."""


def lacking(sync: Sync, name: str, address: str, servers: Mapping[str, Server]) -> str:
    """What is lacking yet for a promotion; empty where nothing is.

    Args:
        sync: who may have acknowledged.
        name: of the member that is to be promoted.
        address: `host:port` of its server.
        servers: of all members that have answered, this one included.
    """
    mine = servers.get(name)
    if mine is None:
        return "this server does not answer"
    if not mine.in_recovery:
        return ""
    # Who is no member itself may have acknowledged nothing: it needs one voice more (as Patroni counts, ha.py).
    needed = sync.quorum + (name not in sync.members) if sync.members else 0
    left: list[str] = []
    reasons: list[str] = []
    for other in sorted(sync.members - {name}):
        reason = _holds_on(other, servers.get(other), address, mine)
        (reasons if reason else left).append(reason or other)
    return "" if len(left) >= needed else "; ".join(reasons)


def ahead(sync: Sync, name: str, servers: Mapping[str, Server]) -> bool:
    """Whether a standby has WAL that this server lacks."""
    mine = servers.get(name)
    others = (server for other, server in servers.items() if other != name and other in sync.members)
    return mine is not None and any(each.in_recovery and each.position > mine.position for each in others)


def _holds_on(other: str, server: Server | None, address: str, mine: Server) -> str:
    """Why a member does not count; empty where it does."""
    if server is None:
        return f"{other} does not answer"
    if not server.in_recovery:
        return f"{other} is a primary still"
    if server.streams_from != address:
        return f"{other} streams from {server.streams_from or 'nobody'}"
    if server.position > mine.position:
        return f"{other} has {server.position - mine.position} bytes of WAL more"
    return ""


class _Etcd(msgspec.Struct):
    hosts: list[str]
    cacert: str
    cert: str
    key: str


class _Login(msgspec.Struct):
    username: str
    password: str


class _Authentication(msgspec.Struct):
    superuser: _Login


class _Postgresql(msgspec.Struct):
    connect_address: str
    authentication: _Authentication


class PatroniFile(msgspec.Struct):
    """What is used of Patroni's configuration file."""

    scope: str
    namespace: str
    name: str
    etcd3: _Etcd
    postgresql: _Postgresql

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads it. NotPromotable where it cannot be used."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise NotPromotable(f"{file} cannot be used: {error}; `./standfest up` writes it anew") from error

    def conninfo(self, address: str) -> str:
        """A libpq connection string for the server at `host:port`."""
        host, _, port = address.rpartition(":")
        login = self.postgresql.authentication.superuser
        return psycopg.conninfo.make_conninfo(
            "",
            host=host,
            port=port,
            user=login.username,
            password=login.password,
            dbname="postgres",
            connect_timeout=_CONNECT_S,
            sslmode="disable",
            gssencmode="disable",
            application_name="standfest-promotion",
        )


class _SyncValue(msgspec.Struct):
    leader: str | None = None
    sync_standby: str | None = None
    quorum: int | str | None = None


class _MemberValue(msgspec.Struct):
    conn_url: str = ""


async def claim(store: EtcdStore, prefix: bytes, name: str) -> tuple[Sync, dict[str, str]]:
    """Who may have acknowledged, and the members' addresses (`host:port`), while this member holds the leader's key.

    The key `sync` is written again as it is. So an old primary's Patroni that wakes with an old view cannot change it
    any more, and with it who acknowledges: Patroni changes it only where it is as it was read.

    Raises:
        NotPromotable: another member holds the leader's key, or nobody does.
        EtcdError: etcd does not answer.
    """
    leader, sync, members = await _read(store, prefix)
    if leader is None or leader.value != name.encode():
        raise NotPromotable(f"the leader's key is {leader.value.decode() if leader else 'nobody'}'s, not {name}'s")
    # What may write goes through etcd's log: so also the absence of `sync` is true, and not of the past.
    seen = Absent(prefix + _SYNC) if sync is None else Unchanged(sync.key, sync.mod_revision)
    same = Delete(prefix + _SYNC) if sync is None else Put(sync.key, sync.value)
    answer = await store.txn(Txn((Unchanged(leader.key, leader.mod_revision), seen), (same,)), ETCD_S)
    if not answer.result.succeeded:
        raise EtcdError("the keys of Patroni's etcd changed meanwhile")
    return Sync(frozenset(), 0) if sync is None else decode_sync(sync.value), members


async def _read(store: EtcdStore, prefix: bytes) -> tuple[KeyValue | None, KeyValue | None, dict[str, str]]:
    reads = Range(prefix + b"leader"), Range(prefix + _SYNC), Range(prefix + b"members/", prefix + b"members0")
    results = (await store.txn(Txn((), reads), ETCD_S)).result.results
    found = [result.values if isinstance(result, RangeResult) else () for result in results]
    members = {each.key.rpartition(b"/")[2].decode(): _address(each.value) for each in found[2]}
    return next(iter(found[0]), None), next(iter(found[1]), None), members


def decode_sync(value: bytes) -> Sync:
    """Patroni's key `sync`. NotPromotable where it cannot be read: who may have acknowledged is not known then."""
    try:
        sync = msgspec.json.decode(value, type=_SyncValue)
        quorum = int(sync.quorum or 0)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotPromotable(f"Patroni's key `sync` cannot be read: {error}") from error
    if not sync.leader:
        return Sync(frozenset(), 0)
    standbys = {each.strip() for each in (sync.sync_standby or "").split(",")} - {""}
    return Sync(frozenset({sync.leader, *standbys}), quorum)


def _address(member: bytes) -> str:
    """`host:port` of a member's server, from `postgres://host:port/database`; empty where it tells none."""
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(member, type=_MemberValue).conn_url.partition("://")[2].partition("/")[0]
    return ""


class _Looks:
    """Looks at each server again and again, each in a thread of its own: one that hangs holds up nobody."""

    def __init__(self, file: PatroniFile, addresses: Mapping[str, str]) -> None:
        self._file = file
        self.servers: dict[str, Server] = {}
        for name, address in addresses.items():
            threading.Thread(target=self._look, args=(name, address), daemon=True).start()

    def _look(self, name: str, address: str) -> None:
        while True:
            try:
                with (
                    contextlib.suppress(psycopg.Error),
                    psycopg.connect(self._file.conninfo(address), autocommit=True) as connection,
                ):
                    while True:
                        row = connection.execute(_LOOK).fetchone()
                        if row is not None:
                            self.servers[name] = Server(*row)
                        time.sleep(POLL_S)
            finally:  # whatever ended it, what was seen last counts no more
                self.servers.pop(name, None)  # "does not answer" is said where that matters
            time.sleep(_PAUSE_S)


@contextlib.asynccontextmanager
async def _etcd(file: PatroniFile) -> AsyncIterator[EtcdStore]:
    section = file.etcd3
    try:
        tls = client_tls(Path(section.cacert), Path(section.cert), Path(section.key))
    except OSError as error:
        raise NotPromotable(f"the certificates for Patroni's etcd cannot be used: {error}") from error
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield EtcdStore(session, section.hosts, tls)


async def _claimed(file: PatroniFile, until: float) -> tuple[Sync, dict[str, str]]:
    prefix = f"{file.namespace.rstrip('/')}/{file.scope}/".encode()
    async with _etcd(file) as store:
        while True:
            try:
                return await claim(store, prefix, file.name)
            except EtcdError as error:
                if time.monotonic() > until:
                    raise NotPromotable(f"who may have acknowledged is not known: {error}") from error
                await asyncio.sleep(POLL_S)


def wait_until_safe(file: PatroniFile) -> None:
    """Returns once this server may be promoted. NotPromotable where that does not come to pass."""
    until = time.monotonic() + WAIT_S
    sync, addresses = asyncio.run(_claimed(file, until))
    address = file.postgresql.connect_address
    looks = _Looks(file, {**{each: addresses[each] for each in sync.members & addresses.keys()}, file.name: address})
    told = ""
    ahead_since: float | None = None
    while reason := lacking(sync, file.name, address, servers := dict(looks.servers)):
        now = time.monotonic()
        if told != reason and file.name in servers:
            told = reason
            _tell(f"{file.name} waits to be promoted: {reason}")
        ahead_since = (ahead_since or now) if ahead(sync, file.name, servers) else None
        if ahead_since is not None and now - ahead_since > AHEAD_S:
            raise NotPromotable(f"{file.name} gives the leader's key up for who has more: {reason}")
        if now > until:
            raise NotPromotable(f"{file.name} is not promoted: {reason} (waited {WAIT_S:.0f} s)")
        time.sleep(POLL_S)
    _tell(f"{file.name} may be promoted: a quorum has left the old primary")


def main(arguments: Sequence[str]) -> int:
    """`PATRONI-FILE PERMIT`: 0 where PostgreSQL may be promoted now.

    Where the file PERMIT is there a person has decided that no other member comes back (`standfest recover`): it is
    taken away, and counts once, while it is new. An old one was left behind: by now others may vote."""
    file, permit = map(Path, arguments)
    with contextlib.suppress(FileNotFoundError):
        age_s = time.time() - permit.stat().st_mtime
        permit.unlink()
        if abs(age_s) <= PERMIT_S:
            _tell("promoted alone, as `standfest recover` said")
            return 0
        _tell(f"a permit to be promoted alone was left behind {age_s:.0f} s ago, and does not count")
    try:
        wait_until_safe(PatroniFile.read(file))
    except StandfestError as error:
        _tell(str(error))
        return 1
    return 0


def _tell(what: str) -> None:
    sys.stderr.write(f"standfest: {what}\n")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # a thread may hang on a server that stands still
