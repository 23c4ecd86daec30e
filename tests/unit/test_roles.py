"""Roles as data: what the Patronis say in, the roles out."""

import pytest

from standfest.clients.patroni import Cluster, Member, MemberState, Replica
from standfest.cluster.observation import Role
from standfest.cluster.roles import database_roles


def streaming(*names: str, sync_state: str = "quorum") -> tuple[Replica, ...]:
    """The primary's replication rows."""
    return tuple(Replica(name, "streaming", sync_state) for name in names)


PRIMARY = MemberState("running", "primary", replication=streaming("n2", "n3"))
STANDBY = MemberState("running", "replica")
VIEW = Cluster(
    (
        Member("n1", "leader", "running"),
        Member("n2", "quorum_standby", "streaming"),
        Member("n3", "quorum_standby", "streaming"),
    )
)
ALONE = Cluster((Member("n1", "leader", "running"), *(Member(name, "replica", "streaming") for name in ("n2", "n3"))))
WELL = {"n1": Role.PRIMARY, "n2": Role.STANDBY, "n3": Role.STANDBY}

CASES = {
    "all answer": (PRIMARY, STANDBY, STANDBY, VIEW, WELL),
    "the primary does not stream to n3": (
        MemberState("running", "primary", replication=streaming("n2")),
        STANDBY,
        STANDBY,
        VIEW,
        {**WELL, "n3": Role.REPLICA},
    ),
    "the primary streams, and waits for nobody": (
        MemberState("running", "primary", replication=streaming("n2", "n3", sync_state="async")),
        STANDBY,
        STANDBY,
        VIEW,
        {"n1": Role.PRIMARY, "n2": Role.REPLICA, "n3": Role.REPLICA},
    ),
    "Patroni would promote nobody": (
        PRIMARY,
        STANDBY,
        STANDBY,
        ALONE,
        {"n1": Role.PRIMARY, "n2": Role.REPLICA, "n3": Role.REPLICA},
    ),
    "the primary starts": (
        MemberState("starting", "primary"),
        STANDBY,
        STANDBY,
        VIEW,
        {"n1": Role.REPLICA, "n2": Role.REPLICA, "n3": Role.REPLICA},
    ),
    "the primary's Patroni is silent": (None, STANDBY, STANDBY, VIEW, WELL),
    "a standby's Patroni is silent": (PRIMARY, None, STANDBY, VIEW, WELL),
    "nobody knows the cluster": (PRIMARY, STANDBY, None, None, {"n1": Role.PRIMARY, "n2": Role.REPLICA}),
    "two say that they are primary": (
        PRIMARY,
        PRIMARY,
        STANDBY,
        VIEW,
        {"n1": Role.PRIMARY, "n2": Role.PRIMARY, "n3": Role.REPLICA},
    ),
    "all are silent": (None, None, None, None, {}),
}


@pytest.mark.parametrize(("n1", "n2", "n3", "view", "roles"), CASES.values(), ids=CASES.keys())
def test_roles(
    n1: MemberState | None, n2: MemberState | None, n3: MemberState | None, view: Cluster | None, roles: dict[str, Role]
) -> None:
    """A standby protects orders only where the primary, or without it the standby, and Patroni's quorum say so."""
    assert database_roles({"n1": n1, "n2": n2, "n3": n3}, view) == roles
