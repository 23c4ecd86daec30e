"""`standfest serve api`: the process as supervision starts, freezes, kills and stops it."""

from __future__ import annotations

import signal
import time
from decimal import Decimal
from pathlib import Path

import httpx
import psycopg

from standfest.catalogue.clients import add_client
from standfest.catalogue.keeping import AGE_INTERVAL_S
from standfest.catalogue.snapshot_format import decode
from tests.integration.test_api_orders import new_product, place
from tests.support.api import shared_journal
from tests.support.postgres import PostgresCluster, TestDatabase
from tests.support.served import ServedApi, served_api
from tests.support.waiting import wait_until


def new_key(database: TestDatabase) -> str:
    """A fresh key that may do everything."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        return add_client(connection, "Shop", ["admin"])[1].text


def until_kept(api: ServedApi, sku: str) -> None:
    """Waits until the product is in the catalogue on disk; on a slow disk that takes half a minute."""

    def kept() -> bool:
        try:
            with api.snapshot.open("rb") as stream:
                contents, _ = decode(stream)
        except FileNotFoundError:
            return False
        return any(product.sku == sku for product in contents.products)

    wait_until(kept, f"{sku} in {api.snapshot}", 2 * AGE_INTERVAL_S)


def test_a_served_process_gets_ready_and_ends_on_sigterm(database: TestDatabase, tmp_path: Path) -> None:
    """It is ready once it has read the catalogue; on SIGTERM it is unready, serves on, and ends with 0."""
    with served_api(database, shared_journal(), tmp_path) as api:
        api.wait_until_ready()
        began = time.monotonic()
        api.signal(signal.SIGTERM)
        wait_until(lambda: api.readiness() == 503, "unready", 5)
        assert api.wait() == 0
        assert time.monotonic() - began > 1
        assert any(entry["event"] == "draining" for entry in api.log())


def test_a_process_that_starts_without_a_database_takes_orders(
    disposable_postgres: PostgresCluster, tmp_path: Path
) -> None:
    """From the catalogue on disk it gets ready, lets known keys in and accepts orders; what is not known there, a key
    or a product, is 503 and not refused; and with a catalogue that is too old nothing."""
    database = disposable_postgres.create_database()
    key = new_key(database)
    with served_api(database, shared_journal(), tmp_path) as api, api.client(key) as client:
        api.wait_until_ready()
        sku = new_product(client)
        until_kept(api, sku)
        api.kill()
        disposable_postgres.kill_primary()

        api.start()
        api.wait_until_ready()
        placed = place(client, sku)
        assert (placed.status_code, placed.json()["status"]) == (202, "accepted"), placed.text
        read = client.get(placed.headers["Location"])
        assert (read.status_code, read.json()["status"]) == (200, "accepted"), read.text
        health = api.health()
        assert (health["status"], health["ready"]) == ("degraded", True)
        assert health["dependencies"]["database"]["state"] in ("unavailable", "unknown")
        assert health["dependencies"]["catalogue"]["age_s"] > 0
        assert "standfest_catalogue_snapshot_bytes" in httpx.get(f"{api.url}/metrics").text

        _assert_unknown_is_unavailable(api, client)

        api.kill()
        api.configure(age_max_s=0.5)
        api.start()
        wait_until(lambda: api.readiness() == 503, "answering, and not ready", 20)
        refused = place(client, sku)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "used for at most" in refused.json()["detail"]
        assert api.health()["dependencies"]["catalogue"]["state"] == "unavailable"


def _assert_unknown_is_unavailable(api: ServedApi, client: httpx.Client) -> None:
    for answer in (
        place(client, "not known here"),
        httpx.get(f"{api.url}/v1/orders", headers={"Authorization": "Bearer sf_abc_def"}),
    ):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
        assert answer.json()["type"].endswith("/unavailable")


def test_a_damaged_catalogue_on_disk_stops_nobody(database: TestDatabase, tmp_path: Path) -> None:
    """The process sets it aside, says so, reads the database, and keeps the catalogue anew."""
    key = new_key(database)
    with served_api(database, shared_journal(), tmp_path) as api, api.client(key) as client:
        api.wait_until_ready()
        sku = new_product(client)
        until_kept(api, sku)
        api.kill()
        api.snapshot.write_bytes(api.snapshot.read_bytes()[:-1])
        api.start()
        api.wait_until_ready()
        assert place(client, sku).status_code in (201, 202)
        until_kept(api, sku)
        assert api.snapshot.with_name("api.snapshot.broken").exists()
        assert any(entry["event"] == "catalogue_snapshot_unusable" for entry in api.log())


def test_a_process_that_was_frozen_is_back_as_if_nothing_had_been(database: TestDatabase, tmp_path: Path) -> None:
    """On waking it is ready again, its catalogue is read anew, what changed meanwhile is known, and it takes orders."""
    key = new_key(database)
    with served_api(database, shared_journal(), tmp_path) as api, api.client(key) as client:
        api.wait_until_ready()
        sku = new_product(client)
        assert place(client, sku).status_code in (201, 202)
        with api.frozen():
            time.sleep(3)  # longer than a session may idle in a transaction, and than the loop may be late
            with psycopg.connect(database.dsn("standfest_owner")) as connection:
                connection.execute(
                    "UPDATE product SET net_price = 9, version = version + 1, transaction_id = pg_current_xact_id()"
                )
        wait_until(lambda: api.readiness() == 200, "ready again", 10)
        wait_until(lambda: api.health()["dependencies"]["catalogue"]["age_s"] < 2, "a fresh catalogue", 10)
        placed = place(client, sku)
        assert placed.status_code in (201, 202), placed.text  # on a busy machine the journal is quicker
        assert Decimal(placed.json()["lines"][0]["unit_price"]) == 9
