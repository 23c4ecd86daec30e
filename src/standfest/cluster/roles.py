"""Which PostgreSQL is primary and which standbys protect it, drawn purely from what the Patronis say."""

from collections.abc import Mapping

from standfest.clients.patroni import Cluster, MemberState
from standfest.cluster.observation import Role

_PRIMARY_ROLES = ("primary", "master")
_LEADER = "leader"
_COUNTED_SYNC_STATES = ("quorum", "sync")
_COUNTED_ROLES = ("quorum_standby", "sync_standby")


def database_roles(members: Mapping[str, MemberState | None], view: Cluster | None) -> dict[str, Role]:
    """The role of each node's PostgreSQL, as far as somebody knows it.

    A Patroni that answers speaks for its own server. One that does not (None) is spoken for by `view`, what the others
    read in etcd: a PostgreSQL goes on without its Patroni, until another one takes over.
    """
    viewed = {member.name: member for member in view.members} if view is not None else {}
    roles: dict[str, Role] = {}
    for name, member in members.items():
        if member is not None:
            roles[name] = Role.PRIMARY if _is_primary(member) else Role.REPLICA
        elif name in viewed:
            roles[name] = Role.PRIMARY if viewed[name].role == _LEADER else Role.REPLICA
    protecting = _protecting(members, view)
    return {name: Role.STANDBY if name in protecting and role is Role.REPLICA else role for name, role in roles.items()}


def _is_primary(member: MemberState) -> bool:
    return member.role in _PRIMARY_ROLES and member.state == "running"


def _protecting(members: Mapping[str, MemberState | None], view: Cluster | None) -> set[str]:
    """Standbys that stream, that the primary counts, and that Patroni would promote."""
    if view is None:
        return set()
    promotable = {member.name for member in view.members if member.role in _COUNTED_ROLES}
    primaries = [member for member in members.values() if member is not None and _is_primary(member)]
    if len(primaries) == 1:
        streaming = {
            row.application_name
            for row in primaries[0].replication
            if row.state == "streaming" and row.sync_state in _COUNTED_SYNC_STATES
        }
    elif not primaries and any(members.get(each.name) is None for each in view.members if each.role == _LEADER):
        # The primary's Patroni does not answer: the standbys themselves say whether they stream.
        streaming = {member.name for member in view.members if member.state == "streaming"}
    else:
        streaming = set()
    return streaming & promotable
