"""Which of several nodes that say they are the primary is taken."""

import pytest

from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.deadline import Deadline
from standfest.storage.primary import PrimaryFinder

# Which of two answers that came together is looked at first depends on where they are in memory.
TIMES = 50


class _Agrees(PrimaryFinder):
    """Every node says at once that it is the primary."""

    async def _until_primary(self, host: Host) -> Host:
        return host


@pytest.mark.parametrize("failed", [0, 1])
async def test_of_two_that_answer_together_the_one_that_failed_is_not_taken(failed: int) -> None:
    """A primary that was replaced and does not know it is left, also where its successor answers no sooner."""
    hosts = (Host("127.0.0.1", 1), Host("127.0.0.2", 2))
    for _ in range(TIMES):
        finder = _Agrees(DatabaseSettings(hosts, "none", "nobody", ""))
        finder.host = hosts[failed]
        finder.suspect(hosts[failed])
        assert await finder.primary(Deadline.after(5)) == hosts[1 - failed]
