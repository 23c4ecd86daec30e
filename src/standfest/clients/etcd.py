"""One etcd member over its JSON gateway, with a client certificate. https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import msgspec

from standfest.clients.asking import Asker, UnreachableError
from standfest.clients.tls import RenewedTls


class _Health(msgspec.Struct, frozen=True):
    health: str | bool


def client_tls(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS that trusts only the cluster's authority and shows a client's certificate, by the files of that moment."""
    return RenewedTls.reading(authority, certificate, key)


@dataclass(frozen=True)
class EtcdMember:
    """The gateway of one member."""

    asker: Asker
    address: str
    """`host:port` for clients."""
    tls: ssl.SSLContext

    async def healthy(self) -> bool:
        """Whether the member can commit: its own /health makes a proposal through the quorum."""
        answer = await self.asker.ask("GET", f"https://{self.address}/health", tls=self.tls)
        try:
            health = msgspec.json.decode(answer.body, type=_Health).health
        except msgspec.MsgspecError as error:
            raise UnreachableError(f"https://{self.address}/health answered {answer.status} with no health") from error
        return str(health).lower() == "true"
