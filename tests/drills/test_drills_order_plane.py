"""Drills on the order plane's own processes, in a short form: each rule that its fault adds holds."""

import json

import pytest

from tests.drills.conftest import Demonstration
from tests.drills.test_drills import RUN_TIMEOUT_S, until_well

SHORT = (
    "api-dies-unanswered",
    "descriptors-exhausted",
    "door-freezes",
    "door-reloads",
    "drainers-die",
    "two-drainers",
    "waiters-cancelled",
    "waiters-terminated",
    "crash-with-waiters",
    "two-nodes-lost",
)
"""The drills on the order plane without those that only say how quickly something goes, or take a minute."""

ABOUT_SPEED = frozenset({"out of rotation within 1 s", "nobody had to repeat anything"})
"""Rules that a busy machine may miss."""


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_of_the_order_plane_costs_no_order(demonstration: Demonstration, name: str) -> None:
    """The fault happens and is undone, what must hold under it holds, and no order is lost, doubled or altered."""
    until_well(demonstration)
    ended = demonstration.standfest(
        *("drill", "run", name, "--here", "--json", "--seconds", "6", "--rate", "15", "--hold", "2"),
        timeout_s=RUN_TIMEOUT_S,
    )
    [told] = json.loads(ended.stdout)["results"]
    assert told["errors"] == [], ended.stderr
    assert told["ok"], told["checked"]["findings"]
    assert ended.returncode == 0
    assert all(held for rule, held in told["also"].items() if rule not in ABOUT_SPEED), told["also"]
    assert told["proof"]
