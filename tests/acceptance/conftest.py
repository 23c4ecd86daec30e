"""Fixtures of the acceptance tests: a whole cluster."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import LocalCluster, start_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """A whole cluster for the whole run; each test leaves it well."""
    with start_cluster() as running:
        yield running
