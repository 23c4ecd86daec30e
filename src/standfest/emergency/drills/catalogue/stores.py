"""Drills that break the two etcd clusters: the one in which Patroni agrees, and the journal."""

from standfest.clients.asking import UnreachableError
from standfest.emergency.drills import faults
from standfest.emergency.drills.catalogue.database import taken_over
from standfest.emergency.drills.catalogue.leaders import lead_elsewhere, member
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.faults import Target
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, HOLD_POLL_S, STATUS_POLL_S, Stage


async def etcd_leader_dies(stage: Stage) -> Proof:
    """The leader of Patroni's etcd is killed and held down: another one leads, and nobody is demoted."""
    before, _ = await stage.primary()
    leader = faults.leader(await stage.status(), "etcd")
    stage.begin("SIGKILL of the leader of Patroni's etcd", target=str(leader))
    faults.kill(leader)
    async with stage.held_service(f"{leader.node}/etcd"):
        new = await _another_leads(stage, "etcd", leader)
        await stage.hold(lambda: stage.stays_down(f"{leader.node}/etcd"))
    return {"killed": str(leader), "new_leader": new, **await _same_primary(stage, before)}


async def etcd_without_quorum(stage: Stage) -> Proof:
    """Two of the three members of Patroni's etcd are killed and held down: the primary goes on while all answer."""
    before, target = await stage.primary()
    nodes = [node.name for node in stage.cluster.topology.nodes]
    # The primary's node keeps its member, which can do nothing alone.
    lost = [node for node in nodes if node != target.node][:2]
    dead = [await stage.target(node, "etcd") for node in lost]
    stage.begin("SIGKILL of two members of Patroni's etcd", targets=[str(each) for each in dead])
    for each in dead:
        faults.kill(each)
    async with stage.held_service(*(f"{node}/etcd" for node in lost)):

        async def no_quorum() -> str:
            try:
                healthy = await member(stage.cluster, "etcd", target.node).healthy()
            except UnreachableError:
                return ""
            return "the member that is left can commit" if healthy else ""

        await stage.until("etcd to lose its quorum", no_quorum, CONDITION_TIMEOUT_S, every_s=HOLD_POLL_S)
        await stage.hold(no_quorum)
    return {"killed": [str(each) for each in dead], "held_s": stage.hold_s, **await _same_primary(stage, before)}


async def journal_leader_dies_in_failover(stage: Stage) -> Proof:
    """The primary's postmaster is killed, and the journal's leader right after it."""
    gone, target = await stage.primary()
    await lead_elsewhere("journal")(stage, target.node)
    leader = faults.leader(await stage.status(), "journal")
    stage.begin("SIGKILL of the primary's postmaster and of the journal's leader", targets=[str(target), str(leader)])
    faults.kill(target)
    faults.kill(leader)
    proof = await taken_over(stage, gone, target)
    return {"journal_leader_killed": str(leader), "new_leader": await _another_leads(stage, "journal", leader), **proof}


async def journal_member_paused(stage: Stage) -> Proof:
    """The member that leads the journal stands still: another one leads until it wakes, and after."""
    leader = faults.leader(await stage.status(), "journal")
    stage.begin("SIGSTOP of the journal's leader", target=str(leader))
    with faults.frozen(leader, stage.guard) as victims:
        new = await _another_leads(stage, "journal", leader)

        async def missing() -> str:
            return "" if faults.stands_still(victims) else f"{leader} moves"

        await stage.hold(missing)
    return {"frozen": str(leader), "new_leader": new, "held_s": stage.hold_s}


async def _another_leads(stage: Stage, service: str, gone: Target) -> str:
    """Waits until another process leads; its node."""
    found: list[Target] = []

    async def missing() -> str:
        leaders = faults.having_role(await stage.status(), service, "leader")
        found[:] = [each for each in leaders if each.process != gone.process]
        return "" if found else "nobody else leads"

    await stage.until(f"another leader of {service}", missing, CONDITION_TIMEOUT_S, every_s=STATUS_POLL_S)
    return found[0].node


async def _same_primary(stage: Stage, before: object) -> dict[str, object]:
    now, target = await stage.primary()
    stage.rules["no demotion"] = now == before
    return {"primary_after": target.node}


DRILLS = (
    Drill(
        (24,),
        "etcd-leader-dies",
        "The leader of Patroni's etcd is killed and held down.",
        etcd_leader_dies,
        hold_s=8,
    ),
    Drill(
        (25,),
        "etcd-without-quorum",
        "Two members of Patroni's etcd are killed and held down.",
        etcd_without_quorum,
        hold_s=15,
    ),
    Drill(
        (26,),
        "journal-leader-dies-in-failover",
        "The journal's leader is killed right after the primary's postmaster.",
        journal_leader_dies_in_failover,
        by_journal=True,
    ),
    Drill(
        (27,),
        "journal-member-paused",
        "The member that leads the journal stands still.",
        journal_member_paused,
        hold_s=10,
    ),
)
