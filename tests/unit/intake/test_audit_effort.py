"""How long the audit rests: the longer, the less of the machine there is for it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.intake.audit import effort
from standfest.intake.audit.effort import WAITED_MAX, Effort, effort_s

SECONDS = st.floats(0, 1e6)


@given(computed_s=SECONDS, waited_s=SECONDS)
def test_waiting_counts_up_to_a_bound(computed_s: float, waited_s: float) -> None:
    """An effort is at least what was computed, grows with the waiting, and is never more than the bound allows."""
    found = effort_s(computed_s, waited_s)
    assert computed_s <= found <= (1 + WAITED_MAX) * computed_s or computed_s == found == 0
    assert found <= effort_s(computed_s, waited_s + 1)


def test_a_kernel_that_does_not_count_leaves_the_processor_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where the kernel tells no waiting, or nothing that can be read, what was computed counts alone."""
    for content in (None, b"", b"rubbish", b"1 x 3"):
        path = tmp_path_factory.mktemp("proc") / "schedstat"
        if content is not None:
            path.write_bytes(content)
        monkeypatch.setattr(effort, "_SCHEDSTAT", path)
        made = Effort()
        until = time.process_time() + 0.01
        while time.process_time() < until:
            pass
        assert 0.01 <= made.seconds <= 0.01 + time.process_time() - until + 0.01
