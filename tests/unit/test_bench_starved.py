"""What becomes of a benchmark under busy loops that took another share than they were to."""

from typing import Any

import pytest

from standfest.cli import bench
from standfest.errors import StandfestError
from tests.support.loops import loops_that_took

VOID = "the busy loops were to take 67% of the processor and took 61%"


@pytest.mark.parametrize(("error", "void"), [("", None), (VOID, VOID)])
def test_a_benchmark_under_loops_that_took_another_share_is_told_as_void(
    monkeypatch: pytest.MonkeyPatch, error: str, void: str | None
) -> None:
    """What it counted is not thrown away."""
    monkeypatch.setattr(bench, "taken", loops_that_took(0.61, error))
    measured: dict[str, Any] = {}
    with bench.starved_by(0.67, measured):
        pass
    assert (measured.get("void"), measured["taken"]) == (void, 0.61)


def test_an_error_of_a_benchmark_under_loops_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to be told."""
    monkeypatch.setattr(bench, "taken", loops_that_took(0.61, VOID))
    with pytest.raises(StandfestError, match="lost"), bench.starved_by(0.67, {}):
        raise StandfestError("lost")
