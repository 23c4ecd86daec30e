"""The picture of throughput against offered load: what its points are, and where the generator fell short."""

import ast
from pathlib import Path

import pytest

from tests.acceptance.offered import BENCH, COPIED, draw, points, short
from tests.tables.table import ROOT

THERE = {
    "standfest.scaling.bench.child": {"BenchFailed"},
    "standfest.scaling.bench.figures": {"Result"},
    "standfest.scaling.bench.overload": {"CONNECTIONS", "REFUSED"},
    "standfest.scaling.bench.requests": {"orders", "reads"},
    "standfest.scaling.bench.rounds": {"Plan", "Rounds"},
    "standfest.scaling.bench.target": {"Target", "send"},
}
"""What the earlier commit has."""


def rates(wanted: float, arrived: float, sent: float) -> dict[str, dict[str, float]]:
    """What the benchmark tells of one load, three times the most."""
    told = {
        "wanted, orders/s": wanted,
        "arrived, orders/s": arrived,
        "sent, orders/s": sent,
        "accepted, orders/s": 190.0,
        "accepted, p99 ms": 440.0,
        "not 201, 202 or 429": 1.0,
    }
    return {"most, orders/s": {"median": 200.0}} | {f"3 x: {name}": {"median": value} for name, value in told.items()}


def test_a_point_is_what_was_sent() -> None:
    """Beside it is told what was wanted, and what arrived at the generator."""
    assert points(rates(600.0, 590.0, 400.0)) == [
        {"wanted": 600.0, "arrived": 590.0, "sent": 400.0, "accepted": 190.0, "p99_ms": 440.0, "otherwise": 1.0}
    ]


@pytest.mark.parametrize(("sent", "is_short"), [(600.0, False), (570.0, False), (400.0, True)])
def test_points_that_the_generator_did_not_reach_are_told_and_hollow(sent: float, is_short: bool) -> None:
    """Where less than 0.95 of the wanted was sent."""
    series = {"whole": {"now": points(rates(600.0, 590.0, sent))}}
    told = list(short(series))
    expected = "whole machine, now: 400 orders/s were sent of the wanted 600 (67%; 590 arrived)"
    assert told == ([expected] if is_short else [])
    assert ("hollow" in draw(series)) is is_short


@pytest.mark.parametrize("name", COPIED)
def test_the_benchmark_takes_nothing_that_the_earlier_commit_lacks(name: str) -> None:
    """It is copied into that with the modules that it came with, and has to run there."""
    copied = {".".join((*BENCH.relative_to("src").parts, Path(each).stem)) for each in COPIED}
    for node in ast.walk(ast.parse((ROOT / BENCH / name).read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("standfest")
            and node.module not in copied
        ):
            assert {each.name for each in node.names} <= THERE.get(str(node.module), set()), node.module
