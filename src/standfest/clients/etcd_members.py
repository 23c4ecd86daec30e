"""Who belongs to an etcd cluster: list, add and remove members over the JSON gateway of one of them.

https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ (service Cluster), https://etcd.io/docs/v3.4/learning/design-learner/
"""

from collections.abc import Mapping

import msgspec

from standfest.clients.asking import UnreachableError
from standfest.clients.etcd import EtcdMember


class Listed(msgspec.Struct, frozen=True, rename="camel"):
    """A member as the cluster lists it."""

    id: str = msgspec.field(name="ID")
    name: str = ""
    """Empty until the member has started for the first time."""
    peer_urls: tuple[str, ...] = msgspec.field(default=(), name="peerURLs")
    is_learner: bool = False
    """It copies, and does not count for the quorum."""


class _Members(msgspec.Struct, frozen=True):
    members: tuple[Listed, ...]


async def members(asked: EtcdMember) -> tuple[Listed, ...]:
    """All members, as `asked` knows them; UnreachableError where it does not say."""
    return await _change(asked, "list", {})


async def add_learner(asked: EtcdMember, peer_url: str) -> tuple[Listed, ...]:
    """Add a member that does not count for the quorum yet, so that it may fail to come; all members afterwards."""
    return await _change(asked, "add", {"peerURLs": [peer_url], "isLearner": True})


async def promote(asked: EtcdMember, member: Listed) -> None:
    """Let a learner count; UnreachableError while it has not caught up with the leader."""
    await _change(asked, "promote", {"ID": member.id})


async def remove(asked: EtcdMember, member: Listed) -> None:
    """Remove a member for ever; what is left on its disk must never be started again."""
    await _change(asked, "remove", {"ID": member.id})


async def _change(asked: EtcdMember, verb: str, wanted: Mapping[str, object]) -> tuple[Listed, ...]:
    url = f"https://{asked.address}/v3/cluster/member/{verb}"
    answer = await asked.asker.ask("POST", url, body=msgspec.json.encode(wanted), tls=asked.tls, timeout_s=10.0)
    if answer.status != 200:
        raise UnreachableError(f"{url} answered {answer.status}: {answer.body[:200].decode(errors='replace')}")
    try:
        return msgspec.json.decode(answer.body, type=_Members).members
    except msgspec.MsgspecError as error:
        raise UnreachableError(f"{url} answered without its members: {error}") from error
