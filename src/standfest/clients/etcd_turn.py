"""Whose turn it is to do what only one may do at a time: a key under a lease, which ends with the lease.

etcd's leases are no fence: one who was frozen may go on when the turn is another's. So this is for work that is right
whoever does it, and only must not be done in several places at once. https://etcd.io/docs/v3.4/dev-guide/interacting_v3/
"""

import base64
from dataclasses import dataclass

import msgspec

from standfest.clients.asking import UnreachableError
from standfest.clients.etcd import EtcdMember

_TIMEOUT_S = 5.0


class _Granted(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")


class _Done(msgspec.Struct, frozen=True):
    succeeded: bool = False


@dataclass(frozen=True)
class Turn:
    """Somebody's turn, until it is ended or its lease is over."""

    asked: EtcdMember
    lease: str

    async def end(self) -> None:
        """Give it back; UnreachableError where that is not known: then it ends with its lease."""
        await _post(self.asked, "/v3/lease/revoke", {"ID": self.lease})


async def take_turn(asked: EtcdMember, key: str, holder: str, ttl_s: int) -> Turn | None:
    """A turn of at most `ttl_s` seconds; None where it is somebody else's.

    UnreachableError where the cluster does not say: then nobody's turn it is, or that of a lease which ends by itself.
    """
    lease = msgspec.json.decode(await _post(asked, "/v3/lease/grant", {"TTL": str(ttl_s)}), type=_Granted).id
    turn = Turn(asked, lease)
    wanted = {
        "compare": [{"key": _encoded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
        "success": [{"request_put": {"key": _encoded(key), "value": _encoded(holder), "lease": lease}}],
    }
    if msgspec.json.decode(await _post(asked, "/v3/kv/txn", wanted), type=_Done).succeeded:
        return turn
    await turn.end()
    return None


async def _post(asked: EtcdMember, path: str, body: object) -> bytes:
    url = f"https://{asked.address}{path}"
    answer = await asked.asker.ask("POST", url, body=msgspec.json.encode(body), tls=asked.tls, timeout_s=_TIMEOUT_S)
    if answer.status != 200:
        raise UnreachableError(f"{url} answered {answer.status}: {answer.body[:200].decode(errors='replace')}")
    return answer.body


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
