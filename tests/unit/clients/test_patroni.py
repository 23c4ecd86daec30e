"""What Patroni is asked for over its REST interface."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from standfest.clients.asking import Answer, Asker
from standfest.clients.patroni import Patroni


class _Asker:
    """Notes what is asked, and answers that it is done."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object]] = []

    async def ask(self, method: str, url: str, *, body: bytes, **_: Any) -> Answer:
        """Whatever is asked."""
        self.asked.append((method, url, msgspec.json.decode(body)))
        return Answer(200, b"")


@pytest.mark.parametrize("from_primary", [False, True])
def test_a_clone_comes_from_where_it_is_told_to(from_primary: bool) -> None:
    """Patroni calls the primary the leader, and clones from it only where it is told to."""
    asker = _Asker()
    asyncio.run(Patroni(cast("Asker", asker), "n1:8008", "secret").reinitialize(from_primary=from_primary))
    assert asker.asked == [("POST", "http://n1:8008/reinitialize", {"from_leader": from_primary})]
