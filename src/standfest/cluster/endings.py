"""When the cluster's certificates end, as their files say."""

import contextlib
import datetime

from standfest.cluster.authority import ends_at
from standfest.cluster.observation import SeenCertificate
from standfest.cluster.secrets import CLIENT, Secrets, signing_authority
from standfest.cluster.topology import Topology


def seen_certificates(kept: Secrets, topology: Topology, now: datetime.datetime) -> tuple[SeenCertificate, ...]:
    """The authority's certificate and those that it issued; without files that are not there or cannot be read."""
    holders = {CLIENT: "those who connect to etcd"} | {node.name: f"node {node.name}" for node in topology.nodes}
    found = []
    with contextlib.suppress(OSError, ValueError):
        if (signer := signing_authority(kept)) is not None:
            end = ends_at(signer.certificate)
            found.append(SeenCertificate(str(kept.authority), "the cluster's authority", end, end - now))
    for holder, who in holders.items():
        with contextlib.suppress(OSError, ValueError):
            file = kept.certificate(holder)
            end = ends_at(file.read_bytes())
            found.append(SeenCertificate(str(file), who, end, end - now))
    return tuple(found)
