"""How long ago a part of the duty was done is told by a clock that stands while another node has the duty."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from standfest.intake.audit import duty as duty_module
from standfest.intake.audit.duty import Done, Duty
from standfest.storage.connection import Connection


class _Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        """What it shows."""
        return self.now_s


async def test_terms_add_up_and_pauses_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed in two terms of 30 s is 60 s old, however long another node had the duty in between."""
    clock = _Time()
    duty = Duty(Mock())
    done = Done(duty)

    async def ask(_connection: Connection, question: str) -> bool:
        if "bigint" in question:  # whether the connection is there still, when a term is under way
            clock.now_s += 30.0
            ages.append(done.age_s)
            raise ConnectionError
        return True

    async def at_once(_seconds: float) -> None:
        return

    ages: list[float | None] = []
    monkeypatch.setattr(duty_module, "time", clock)
    monkeypatch.setattr(duty_module, "_ask", ask)
    monkeypatch.setattr(asyncio, "sleep", at_once)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await duty._serve(Mock())
        assert done.age_s is None
        clock.now_s += 5_000.0
    assert ages == [30.0, 60.0]
    done.now()
    with pytest.raises(ConnectionError):
        await duty._serve(Mock())
    assert ages[-1] == 30.0
