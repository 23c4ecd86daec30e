"""Which tests run side by side under `pytest -n 2`, as scripts/test runs them, and how what they log is shown."""

import pytest
import structlog
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

WHOLE_CLUSTERS = ("tests/drills/", "tests/acceptance/")

# A traceback with all local variables takes a second to render, in which the event loop that is tested stands still.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


class TwoGroups(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """What starts whole clusters mostly waits for them, and leaves the processors to all other tests."""

    def _split_scope(self, nodeid: str) -> str:
        return "clusters" if nodeid.startswith(WHOLE_CLUSTERS) else "others"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TwoGroups:
    """Each group stays with one worker, in its own order."""
    return TwoGroups(config, log)
