"""Patroni's REST interface. https://patroni.readthedocs.io/en/latest/rest_api.html"""

from dataclasses import dataclass

import msgspec

from standfest.clients.asking import Asker, UnreachableError


class Replica(msgspec.Struct, frozen=True):
    """One row of the primary's pg_stat_replication, as Patroni tells it."""

    application_name: str = ""
    state: str = ""
    sync_state: str = ""


class MemberState(msgspec.Struct, frozen=True):
    """What one Patroni says of its own PostgreSQL (GET /patroni)."""

    state: str
    role: str = ""
    pause: bool = False
    replication_state: str = ""
    """Of a replica: `streaming`, or how else it gets its WAL; empty where it does not."""
    replication: tuple[Replica, ...] = ()


class Member(msgspec.Struct, frozen=True):
    """One member as the cluster sees it (GET /cluster)."""

    name: str
    role: str
    state: str


class Cluster(msgspec.Struct, frozen=True):
    """The members, as Patroni's etcd knows them."""

    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Patroni:
    """The REST interface of one Patroni."""

    asker: Asker
    address: str
    """`host:port`."""
    password: str

    async def member(self) -> MemberState:
        """What it says of its own PostgreSQL."""
        return msgspec.convert(await self._get("/patroni"), MemberState)

    async def cluster(self) -> Cluster:
        """The whole cluster as this member sees it."""
        return msgspec.convert(await self._get("/cluster"), Cluster)

    async def configuration(self) -> dict[str, object]:
        """The dynamic configuration that all members share."""
        return msgspec.convert(await self._get("/config"), dict[str, object])

    async def configure(self, changes: dict[str, object]) -> None:
        """Merge `changes` into the dynamic configuration of all members."""
        url = f"http://{self.address}/config"
        answer = await self.asker.ask("PATCH", url, body=msgspec.json.encode(changes), login=("patroni", self.password))
        if answer.status != 200:
            raise UnreachableError(f"{url} refused the configuration: {answer.status} {answer.body[:200]!r}")

    async def switch_over(self, leader: str, candidate: str, timeout_s: float) -> None:
        """Hands the primary's role on; the answer comes when it is done. UnreachableError where it is not."""
        url = f"http://{self.address}/switchover"
        body = msgspec.json.encode({"leader": leader, "candidate": candidate})
        answer = await self.asker.ask("POST", url, body=body, login=("patroni", self.password), timeout_s=timeout_s)
        if answer.status != 200:
            raise UnreachableError(f"{url} refused the switchover: {answer.status} {answer.body[:200]!r}")

    async def reinitialize(self, *, from_primary: bool) -> None:
        """Give up its PostgreSQL's data and clone it anew, from the primary or from any standby that runs.

        Goes on after the answer. UnreachableError where it is not begun.
        """
        url = f"http://{self.address}/reinitialize"
        login = ("patroni", self.password)
        body = msgspec.json.encode({"from_leader": from_primary})
        answer = await self.asker.ask("POST", url, body=body, login=login, timeout_s=10.0)
        if answer.status != 200:
            raise UnreachableError(f"{url} refused to clone: {answer.status} {answer.body[:200]!r}")

    async def _get(self, path: str) -> object:
        """/patroni answers 503 with the same document while PostgreSQL is not running."""
        url = f"http://{self.address}{path}"
        answer = await self.asker.ask("GET", url)
        try:
            return msgspec.json.decode(answer.body)
        except msgspec.DecodeError as error:
            raise UnreachableError(f"{url} answered {answer.status} without a JSON document") from error
