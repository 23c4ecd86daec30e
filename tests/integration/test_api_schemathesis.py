"""The OpenAPI document is true: schemathesis finds nothing on the real API with a real database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import PRODUCT, RunningApi, running_api
from tests.support.postgres import PostgresCluster

CONFIG = Path(__file__).with_name("schemathesis.toml")
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def api(postgres: PostgresCluster) -> Iterator[RunningApi]:
    """An API on a database of this module, with a product in stock."""
    database = postgres.create_database()
    with running_api(database) as running:
        with running.client() as admin:
            # "0" is the text that schemathesis likes best: where it is a product, orders get further.
            products = [PRODUCT, {**PRODUCT, "sku": "0"}]
            assert admin.put("/v1/products", json={"products": products}).status_code == 200
            assert admin.put("/v1/stock/apple", json={"on_hand": "1000"}).status_code == 200
        yield running
    database.drop()


def test_schemathesis_finds_nothing(api: RunningApi, tmp_path: Path) -> None:
    """Every documented operation, questioned with fitting and unfitting requests, answers as documented."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "--no-color",
        "run", f"{api.url}/v1/openapi.json", "--seed", "1",
    ]  # fmt: skip
    environment = {**os.environ, "STANDFEST_URL": api.url, "STANDFEST_KEY": api.key()}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, timeout=TIMEOUT_S, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
