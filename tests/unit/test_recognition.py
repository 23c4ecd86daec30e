"""Recognising a node's processes: the parts are found, and nothing else ever is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from standfest.cluster.caretaker import mender_arguments
from standfest.cluster.commands import (
    POSTGRES_HELPER,
    member_start,
    program_arguments,
    program_start,
    promotion_arguments,
    recognise,
    restarter_arguments,
    rewind_arguments,
    supervisord_arguments,
)
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind, programs_of
from standfest.cluster.topology import LOCAL

HOME = NodeHome(Path("/state/nodes/n1"))
OTHER = NodeHome(Path("/elsewhere/nodes/n1"))


PROGRAMS = {Kind.ETCD: "/usr/bin/etcd", Kind.JOURNAL: "/usr/bin/etcd", Kind.DOOR: "/usr/sbin/haproxy"}


def test_what_is_started_is_recognised() -> None:
    """Each program's command line, as it is started, is recognised as that program on its node and on no other."""
    for service in programs_of(LOCAL, LOCAL.nodes[0]):
        program = PROGRAMS.get(service.kind, "/v/python")
        command = [program, *program_arguments(HOME, service)]
        assert recognise(command, HOME) == service.name
        assert recognise(command, OTHER) is None
        for started in (
            program_start(Path("/log"), Path(program), command[1:]),
            member_start(Path("/log"), Path("/mark"), Path("/data"), Path(program), command[1:]),
        ):
            assert recognise([str(word) for word in started], HOME) == service.name


@pytest.mark.parametrize(
    "command",
    [
        ["/pg/bin/pg_basebackup", "--pgdata=/state/nodes/n1/postgres", "-X", "stream"],
        ["/pg/bin/pg_rewind", "-D", "/state/nodes/n1/postgres", "--source-server", "dbname=postgres"],
        ["/v/python", *rewind_arguments(Path("/pg/bin")), "-D", "/state/nodes/n1/postgres", "--source-server", "x=y"],
        ["/v/python", *promotion_arguments(HOME)],
        ["/pg/bin/initdb", "-D", "/state/nodes/n1/postgres"],
        ["/pg/bin/postgres", "--single", "-D", "/state/nodes/n1/postgres", "template1"],
    ],
)
def test_what_patroni_runs_for_a_while_is_recognised(command: Sequence[str]) -> None:
    """The programs that make or mend a data directory are known, so that a held node keeps none of them."""
    assert recognise(command, HOME) == POSTGRES_HELPER
    assert recognise(command, OTHER) is None


def test_supervision_is_recognised() -> None:
    """supervisord, its restarter, and what that one runs for a while are recognised."""
    assert recognise(["python", *supervisord_arguments(HOME)], HOME) == "supervisor"
    assert recognise(["python", *mender_arguments(HOME)], HOME) == "mender"
    assert recognise(["python", *mender_arguments(HOME)], OTHER) is None
    assert (
        recognise(["python", *restarter_arguments(HOME), "--url", "http://x", "--password-file", "/s"], HOME)
        == "restarter"
    )


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (["/pg/bin/postgres", "-D", "/state/nodes/n1/postgres", "--port=1"], "postgres"),
        (["haproxy", "-sf", "12", "-x", "sockpair@3", "-W", "-f", "/state/nodes/n1/config/door.cfg"], "door"),
    ],
)
def test_processes_that_change_their_command_line_are_recognised(command: Sequence[str], program: str) -> None:
    """The postmaster, which Patroni gives more options, and a reloaded HAProxy are recognised."""
    assert recognise(command, HOME) == program


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["vi", "/state/nodes/n1/config/patroni.json"],
        ["/usr/bin/etcd", "--config-file", "/state/nodes/n1/config/patroni.json"],
        ["/usr/bin/etcd", "--config-file", "/state/nodes/n11/config/journal.json"],
        ["less", "-W", "-f", "/state/nodes/n1/config/door.cfg"],
        ["tail", "-F", "/state/nodes/n1/logs/etcd.log"],
        ["grep", "-D", "read", "/state/nodes/n1/postgres"],
        ["/pg/bin/postgres", "-D", "/state/nodes/n11/postgres"],
        ["postgres: standfest: checkpointer "],
        ["python", "-m", "standfest", "up"],
        ["bash"],
        ["pg_basebackup", "-D", "/state/nodes/n1/postgres-copy"],
    ],
)
def test_nothing_else_is_recognised(command: Sequence[str]) -> None:
    """An editor, a pager or a shell on the node's files is never taken for one of its parts."""
    assert recognise(command, HOME) is None
