"""Drills on the order plane's own processes, in a short form: each rule that its fault adds holds."""

import json

import pytest

from tests.drills.conftest import Demonstration
from tests.drills.test_drills import RUN_TIMEOUT_S, until_well

SHORT = ("api-dies-unanswered", "drainers-die", "crash-with-waiters", "two-nodes-lost")
"""The drills on the order plane that nothing else shows."""


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_of_the_order_plane_costs_no_order(demonstration: Demonstration, name: str) -> None:
    """The fault happens and is undone, what must hold under it holds, and no order is lost, doubled or altered."""
    until_well(demonstration)
    ended = demonstration.standfest(
        *("drill", "run", name, "--here", "--yes", "--json", "--seconds", "6", "--rate", "15", "--hold", "2"),
        timeout_s=RUN_TIMEOUT_S,
    )
    [told] = json.loads(ended.stdout)["results"]
    assert told["errors"] == [], ended.stderr
    assert told["ok"], told["checked"]["findings"]
    assert ended.returncode == 0
    assert told["proof"]
