"""One cluster in one home, with clients for each of its parts."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from standfest.clients.asking import Asker
from standfest.clients.etcd import EtcdMember, client_tls
from standfest.clients.etcd_kv import EtcdStore
from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.clients.patroni import Patroni
from standfest.clients.supervisor import Supervisor
from standfest.cluster.access import journal_members
from standfest.cluster.home import Home, NodeHome
from standfest.cluster.secrets import SecretMissingError, Secrets
from standfest.cluster.topology import Node, Topology


@dataclass(frozen=True)
class Cluster:
    """What every operation on the cluster needs."""

    home: Home
    topology: Topology
    secrets: Secrets
    asker: Asker
    tls: ssl.SSLContext

    def node_home(self, node: Node) -> NodeHome:
        """The part of the home that belongs to `node`."""
        return self.home.node(node.name)

    def supervisor(self, node: Node) -> Supervisor:
        """The supervisord of `node`."""
        address = f"{node.address}:{self.topology.ports.supervisor}"
        return Supervisor(self.asker, address, self.secrets.password("supervisor"))

    def patroni(self, node: Node) -> Patroni:
        """The Patroni of `node`."""
        address = f"{node.address}:{self.topology.ports.patroni}"
        return Patroni(self.asker, address, self.secrets.password("patroni-rest"))

    @property
    def maintenance(self) -> EtcdMaintenance:
        """Members of either etcd, each asked by its address."""
        return EtcdMaintenance(self.asker.session, (), self.tls)

    def journal_store(self) -> EtcdStore:
        """The journal through any of its members."""
        return EtcdStore(self.asker.session, journal_members(self.topology), self.tls)

    def etcd(self, node: Node) -> EtcdMember:
        """The member of Patroni's etcd on `node`."""
        return EtcdMember(self.asker, f"{node.address}:{self.topology.ports.etcd_client}", self.tls)

    def journal(self, node: Node) -> EtcdMember:
        """The member of the journal's etcd on `node`."""
        return EtcdMember(self.asker, f"{node.address}:{self.topology.ports.journal_client}", self.tls)


@asynccontextmanager
async def connected(home: Home, topology: Topology, timeout_s: float = 2.0) -> AsyncIterator[Cluster]:
    """The cluster in `home`; nothing is contacted before it is asked for.

    SecretMissingError where the home lacks the certificates.
    """
    secrets = Secrets(home.secrets)
    try:
        tls = client_tls(secrets.authority, secrets.certificate("client"), secrets.key("client"))
    except OSError as error:
        raise SecretMissingError(
            f"the cluster's certificates in {secrets.directory} cannot be used ({error.strerror or error}); "
            "generate what is missing with: ./standfest up"
        ) from error
    # Each question is one connection: a kept one could hide that its server has gone meanwhile.
    connector = aiohttp.TCPConnector(force_close=True, limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Cluster(home, topology, secrets, Asker(session, timeout_s), tls)
