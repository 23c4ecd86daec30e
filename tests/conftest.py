"""Which tests run side by side under `pytest -n 2`, as scripts/test runs them."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

WHOLE_CLUSTERS = ("tests/drills/", "tests/acceptance/")


class TwoGroups(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """What starts whole clusters mostly waits for them, and leaves the processors to all other tests."""

    def _split_scope(self, nodeid: str) -> str:
        return "clusters" if nodeid.startswith(WHOLE_CLUSTERS) else "others"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TwoGroups:
    """Each group stays with one worker, in its own order."""
    return TwoGroups(config, log)
