"""One demonstration on a cluster of its own, whose traces all tests here look at."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from standfest.cli.own_client import DEMO, key_file
from standfest.cli.schema import conninfo
from standfest.cluster.access import owner_access
from standfest.cluster.home import write_private
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Door, Node, Topology
from standfest.cluster.topology_file import render_topology

TOPOLOGY = Topology(
    name="drill",
    nodes=tuple(Node(name=f"n{number}", address=f"127.0.24.10{number}") for number in (1, 2, 3)),
    doors=(
        Door(name="door-1", node="n1", address="127.0.24.108", port=8080),
        Door(name="door-2", node="n2", address="127.0.24.109", port=8080),
    ),
)
DEMO_TIMEOUT_S = 480.0
DOWN_TIMEOUT_S = 180.0
CHECK_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Demonstration:
    """A demonstration that has been carried out, with its cluster still up."""

    home: Path
    exit_code: int
    result: dict[str, Any]
    messages: str

    @property
    def conninfo(self) -> str:
        """How the owner of the schema connects."""
        return conninfo(owner_access(TOPOLOGY, Secrets(self.home / "secrets")))

    def standfest(
        self, *arguments: str, timeout_s: float = 30.0, typed: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command on its cluster, with what is typed into it."""
        return _standfest(self.home, arguments, timeout_s, typed)

    def check(self) -> tuple[int, dict[str, Any]]:
        """The checker's exit code and verdict, run by itself as anybody would run it."""
        database = self.home / "conninfo"
        write_private(database, self.conninfo)
        doors = [door.url for door in TOPOLOGY.doors]
        command = [
            *(sys.executable, "-m", "standfest.emergency.drills.checker", self.result["history"], "--json"),
            *("--database-conninfo-file", str(database)),
            *("--key-file", str(key_file(self.home / "secrets", DEMO))),
            *(part for door in doors for part in ("--api", door)),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_TIMEOUT_S, check=False)
        assert ended.stdout, ended.stderr
        return ended.returncode, json.loads(ended.stdout)


@pytest.fixture(scope="package")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    """The short form of the demonstration; its cluster is up until the last test of this folder has ended."""
    home = tmp_path_factory.mktemp("drill", numbered=True)
    write_private(home / "topology.toml", render_topology(TOPOLOGY))
    try:
        ended = _standfest(home, ["demo", "--seconds", "9", "--rate", "15", "--json"], DEMO_TIMEOUT_S)
        assert ended.stdout, ended.stderr
        yield Demonstration(home, ended.returncode, json.loads(ended.stdout), ended.stderr)
    finally:
        down = _standfest(home, ["down"], DOWN_TIMEOUT_S)
    assert down.returncode == 0, down.stderr


def _standfest(
    home: Path, arguments: Sequence[str], timeout_s: float, typed: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "standfest", *arguments],
        env={**os.environ, "STANDFEST_HOME": str(home)},
        capture_output=True,
        text=True,
        input=typed,
        timeout=timeout_s,
        check=False,
    )
