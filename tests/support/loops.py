"""Busy loops that take nothing, in place of `standfest.emergency.loops.taken`."""

import contextlib
from collections.abc import Iterator
from typing import Any

from standfest.emergency.loops import LoopsFailed, Taken


def loops_that_took(share: float, error: str) -> Any:
    """Loops that say in the end that they took this share, and fail with an error where one is given."""

    @contextlib.contextmanager
    def taken(wanted: float, seconds_max: float) -> Iterator[Taken]:
        yield Taken(wanted, [0], share)
        if error:
            raise LoopsFailed(error)

    return taken
