"""Mends one node's own copies: a member of an etcd whose data is gone or damaged, a standby that is too far behind.

The node's restarter starts it where it sees a reason to look (symptoms.py); it looks itself, decides (mending.py), acts
once, and ends. Only one node in the cluster acts at a time. What it does or waits for is in a file that status shows.
"""

import argparse
import asyncio
import contextlib
import datetime
import json
import logging
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path

import msgspec

from standfest.clients import etcd_members
from standfest.clients.asking import UnreachableError
from standfest.clients.etcd_turn import take_turn
from standfest.clients.patroni import MemberState
from standfest.clients.supervisor import ProgramState, SupervisorFaultError
from standfest.cluster.evidence import damage, too_far_behind
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.holds import is_held
from standfest.cluster.home import Home, NodeHome
from standfest.cluster.inventory import Kind
from standfest.cluster.membership import STORES, Store
from standfest.cluster.mending import (
    CLONING,
    NOTHING,
    Decision,
    Do,
    Listed,
    MemberFacts,
    StandbyFacts,
    decide_member,
    decide_standby,
)
from standfest.cluster.notes import Note, remove_note, write_note
from standfest.cluster.roles import database_roles
from standfest.cluster.stores import join, serves
from standfest.cluster.supervision import programs, stop_program
from standfest.cluster.topology import Node
from standfest.cluster.topology_file import read_topology
from standfest.cluster.waiting import NotReadyError, Silent, until
from standfest.errors import StandfestError

_TURN_KEY = "/standfest-mending/turn"
_TURN_S = 300
"""Longer than all that is done in one turn; whoever is killed in it keeps the others from theirs so long."""

_STATUS_S = 2.0
_JOIN_STEP_S = 60.0
_CLONE_BEGINS_S = 45.0

_AGAIN_AFTER_S = 600.0
"""Between two times that one copy is given up: where that did not help, doing it faster will not."""

_ENDS = (ProgramState.FATAL, ProgramState.BACKOFF, ProgramState.EXITED)

_logger = logging.getLogger("standfest.mender")


async def mend(cluster: Cluster, node: Node) -> None:
    """Look at each of the node's copies, and mend what must be and may be."""
    for store in STORES:
        await _tried(_mend_member(cluster, node, store), f"{node.name}/{store.kind.value}")
    await _tried(_mend_standby(cluster, node), f"{node.name}/{Kind.POSTGRES.value}")


async def _tried(mending: Awaitable[None], name: str) -> None:
    """What goes wrong with one copy says nothing of the others, and is tried again."""
    try:
        await mending
    except (StandfestError, msgspec.ValidationError, OSError) as error:
        _logger.error("%s was not mended, which is tried again: %s", name, error)


async def _mend_member(cluster: Cluster, node: Node, store: Store) -> None:
    home, program = cluster.node_home(node), store.kind.value
    if not _needs(cluster, node, program, decide_member(await _member_facts(cluster, node, store))):
        return
    # Supervision of this node is changed: not while a command does that, and no command meanwhile.
    with cluster.home.locked():
        async with _turn(cluster, node) as granted:
            decision = decide_member(await _member_facts(cluster, node, store))
            if not granted or not _needs(cluster, node, program, decision):
                return
            asked = await _serving(cluster, node, store)
            _say(cluster, node, program, "it takes its place among the others again", decision.why)
            if decision.do is Do.JOIN:
                if decision.gives_up:
                    _begin(cluster, node, program)
                await stop_program(cluster, node, program)
                _put_aside(store.data(home))
            rendered = store.config(home).read_text(encoding="utf-8")
            await join(cluster, node, store, asked, rendered, _JOIN_STEP_S, Silent())
    remove_note(home, program)
    _logger.warning("%s/%s has its place among the others again", node.name, program)


async def _member_facts(cluster: Cluster, node: Node, store: Store) -> MemberFacts:
    home, program = cluster.node_home(node), store.kind.value
    others = _others(cluster, node)
    own, *serving = await asyncio.gather(*(serves(cluster, each, store) for each in (node, *others)))
    told = await _programs(cluster, node)
    ends = told.get(program) in _ENDS
    return MemberFacts(
        held=is_held(home, program),
        has_data=store.has_data(home),
        serves=own,
        ends=ends,
        damage=damage(home.logs / f"{program}.log") if ends else "",
        listed=await _listed(cluster, node, store, [each for each, well in zip(others, serving, strict=True) if well]),
        others_missing=tuple(each.name for each, well in zip(others, serving, strict=True) if not well),
    )


async def _serving(cluster: Cluster, node: Node, store: Store) -> Node:
    """Another node whose member can commit; UnreachableError where there is none."""
    for each in _others(cluster, node):
        if await serves(cluster, each, store):
            return each
    raise UnreachableError(f"no other member of {store.what} can commit")


async def _listed(cluster: Cluster, node: Node, store: Store, asked: Sequence[Node]) -> Listed:
    """What the first of `asked` that answers says of the node's member."""
    url = json.loads(store.config(cluster.node_home(node)).read_text(encoding="utf-8"))["initial-advertise-peer-urls"]
    for each in asked:
        try:
            members = await etcd_members.members(store.member(cluster, each))
        except UnreachableError:
            continue
        found = next((member for member in members if url in member.peer_urls), None)
        own = (await cluster.maintenance.member_status(store.member(cluster, node).address, _STATUS_S)).member_id
        if found is None or own not in (0, int(found.id)):
            return Listed.NO
        if not found.name:
            return Listed.NEVER_STARTED
        return Listed.LEARNER if found.is_learner else Listed.YES
    return Listed.UNKNOWN


async def _programs(cluster: Cluster, node: Node) -> dict[str, ProgramState]:
    try:
        return {each.name: each.state for each in await programs(cluster, node) or ()}
    except SupervisorFaultError:
        return {}


def _put_aside(data: Path) -> None:
    """The data is given up, and the last such is kept: a person may want to know what was the matter with it."""
    aside = data.with_name(f"{data.name}.given-up")
    if data.exists():
        shutil.rmtree(aside, ignore_errors=True)
        data.rename(aside)
    data.mkdir(mode=0o700, parents=True)


async def _mend_standby(cluster: Cluster, node: Node) -> None:
    program = Kind.POSTGRES.value
    facts, own = await _standby_facts(cluster, node)
    if own is not None and own.state == CLONING:
        return  # the note says so until it is done
    if not _needs(cluster, node, program, decide_standby(facts)):
        return
    async with _turn(cluster, node) as granted:
        facts, _ = await _standby_facts(cluster, node)
        decision = decide_standby(facts)
        if not granted or not _needs(cluster, node, program, decision):
            return
        _begin(cluster, node, program)
        _say(cluster, node, program, "it is cloned anew", decision.why)
        await cluster.patroni(node).reinitialize(from_primary=decision.from_primary)

        async def missing() -> str:
            _, seen = await _standby_facts(cluster, node)
            return "" if seen is not None and seen.state == CLONING else "its Patroni does not say that it clones"

        with contextlib.suppress(NotReadyError):  # so small that it was done in between two looks
            await until("the clone to begin", missing, _CLONE_BEGINS_S, Silent())


async def _standby_facts(cluster: Cluster, node: Node) -> tuple[StandbyFacts, MemberState | None]:
    """What is known of the node's server, and what its own Patroni says of it."""
    nodes = cluster.topology.nodes
    answers = await asyncio.gather(*(_member(cluster, each) for each in nodes))
    members = {each.name: answer for each, answer in zip(nodes, answers, strict=True)}
    try:
        view = await cluster.patroni(node).cluster()
    except (UnreachableError, msgspec.ValidationError):
        view = None
    roles = database_roles(members, view)
    # What only etcd still says of a server whose Patroni does not answer is not enough to give a copy up.
    states = {name: member.state for name, member in members.items() if member is not None}
    own, home = members[node.name], cluster.node_home(node)
    streams = own is None or own.replication_state == "streaming"
    facts = StandbyFacts(
        node=node.name,
        held=is_held(home, Kind.PATRONI.value),
        role=roles.get(node.name),
        too_far_behind=(
            ""
            if streams
            else too_far_behind(home.logs, datetime.datetime.now(datetime.UTC), _begun_at(home, Kind.POSTGRES.value))
        ),
        others={each.name: (roles.get(each.name), states.get(each.name, "")) for each in nodes if each != node},
        streaming=frozenset(
            name for name, member in members.items() if member is not None and member.replication_state == "streaming"
        ),
        paused=own is not None and own.pause,
    )
    return facts, own


async def _member(cluster: Cluster, node: Node) -> MemberState | None:
    try:
        return await cluster.patroni(node).member()
    except (UnreachableError, msgspec.ValidationError):
        return None


def _others(cluster: Cluster, node: Node) -> list[Node]:
    return [each for each in cluster.topology.nodes if each != node]


@contextlib.asynccontextmanager
async def _turn(cluster: Cluster, node: Node) -> AsyncIterator[bool]:
    """Whether it is this node's turn to give something up, which is so at one node at a time."""
    turn = None
    for each in (*_others(cluster, node), node):
        with contextlib.suppress(UnreachableError, msgspec.MsgspecError):
            turn = await take_turn(cluster.etcd(each), _TURN_KEY, node.name, _TURN_S)
            break
    if turn is None:
        _logger.info("another node is being mended, or Patroni's etcd does not answer: this one waits for its turn")
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(UnreachableError):  # it ends with its lease then
            await turn.end()


def _needs(cluster: Cluster, node: Node, program: str, decision: Decision) -> bool:
    """Whether something is to be done now; says what is waited for otherwise."""
    if decision == NOTHING:
        remove_note(cluster.node_home(node), program)
        return False
    if decision.do is Do.WAIT:
        _say(cluster, node, program, f"it waits for {decision.waits_for}", decision.why)
        return False
    if decision.gives_up and (left_s := _rest_s(cluster, node, program)) > 0:
        _say(cluster, node, program, "it waits, as that was done lately and did not help", decision.why)
        _logger.info("%s/%s is mended again in %.0f s at the earliest", node.name, program, left_s)
        return False
    return True


def _say(cluster: Cluster, node: Node, program: str, doing: str, why: str) -> None:
    since = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    write_note(cluster.node_home(node), program, Note(doing, why, since))
    _logger.warning("%s/%s: %s, because %s", node.name, program, doing, why)


def _begin(cluster: Cluster, node: Node, program: str) -> None:
    _mark(cluster.node_home(node), program).touch(mode=0o600)


def _mark(home: NodeHome, program: str) -> Path:
    return home.run / f"mended-{program}"


def _begun_at(home: NodeHome, program: str) -> datetime.datetime | None:
    """When the program's data was given up last; None where it never was."""
    try:
        return datetime.datetime.fromtimestamp(_mark(home, program).stat().st_mtime, datetime.UTC)
    except OSError:
        return None


def _rest_s(cluster: Cluster, node: Node, program: str) -> float:
    """Seconds until the program's data may be given up again; a clock that was set back does not make it for ever."""
    last = _begun_at(cluster.node_home(node), program)
    passed_s = (datetime.datetime.now(datetime.UTC) - last).total_seconds() if last is not None else -1.0
    return 0.0 if passed_s < 0 else max(0.0, _AGAIN_AFTER_S - passed_s)


async def _run(home: Home, name: str) -> None:
    topology = read_topology(home.topology)
    async with connected(home, topology) as cluster:
        await mend(cluster, topology.node(name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Look once, act at most once for each copy, and end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--node", required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_run(Home(options.home), options.node))
    except StandfestError as error:
        _logger.error("nothing was looked at: %s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
