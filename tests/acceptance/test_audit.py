"""The running proof on a whole cluster: what was acknowledged through the doors is compared with what is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from standfest.cli.schema import conninfo
from standfest.cluster.access import owner_access
from standfest.cluster.secrets import Secrets
from tests.support.cluster import LocalCluster
from tests.support.waiting import PATIENCE

FOUND_WITHIN_S = 30.0
"""Three times what the product promises of recent orders: a test does not measure speed."""
ORDERS = 12


@pytest.fixture
def shop(cluster: LocalCluster) -> Iterator[httpx.Client]:
    """A client of its own at one of the doors."""
    made = json.loads(cluster.succeed("client", "add", f"audit-{uuid4()}", "--scope", "admin", "--json"))
    door = cluster.topology.doors[0]
    headers = {"Authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=door.url, headers=headers, timeout=20) as client:
        yield client


def placed(shop: httpx.Client) -> list[str]:
    """The ids of some fresh orders."""
    sku = f"audit-{uuid4()}"
    product = {
        "sku": sku,
        "name": {"de": "Apfel", "en": "Apple"},
        "unit": "piece",
        "unit_decimals": 0,
        "net_price": "1.00",
        "tax_class": "standard",
        "active": True,
        "stock_policy": "untracked",
    }
    assert shop.put(f"/v1/products/{sku}", json=product).status_code == 201
    ship_to = {"name": "Ada", "street": "Weg 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
    line = {"sku": sku, "quantity": "2"}
    body = {"customer": {"name": "Ada"}, "ship_to": ship_to, "currency": "EUR", "lines": [line]}
    ids = []
    for _ in range(ORDERS):
        answer = shop.post("/v1/orders", json=body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.status_code in (201, 202), answer.text
        ids.append(answer.json()["id"])
    return ids


def audit(cluster: LocalCluster) -> dict[str, Any]:
    """What `standfest audit --json` says now."""
    document: dict[str, Any] = json.loads(cluster.run("audit", "--json").stdout)
    return document


def until(cluster: LocalCluster, holds: Any, timeout_s: float) -> dict[str, Any]:
    """The first answer of the audit that holds."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    while not holds(document := audit(cluster)):
        assert time.monotonic() < deadline, json.dumps(document, indent=1)
    return document


def counts(document: dict[str, Any]) -> tuple[int, int, int]:
    """Orders that are missing, doubled and altered."""
    return document["missing"], document["doubled"], document["altered"]


REMOVE = (
    "CREATE TABLE kept AS SELECT * FROM orders WHERE order_id = %(gone)s",
    "DELETE FROM orders WHERE order_id = %(gone)s",
)
CHANGE = (
    "UPDATE order_line SET quantity = 9 FROM orders"
    " WHERE orders.id = order_line.order_ref AND orders.order_id = %(changed)s",
)
DOUBLE = (
    "CREATE TABLE copy AS SELECT * FROM orders WHERE order_id = %(doubled)s",
    "UPDATE copy SET id = nextval('orders_id_seq'), order_id = gen_random_uuid(), idempotency_key = 'copy'",
    "INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT * FROM copy",
    "DROP TABLE copy",
)
MEND = (
    "INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT * FROM kept",
    "DROP TABLE kept",
    "UPDATE order_line SET quantity = 2 FROM orders"
    " WHERE orders.id = order_line.order_ref AND orders.order_id = %(changed)s",
    "DELETE FROM orders WHERE idempotency_key = 'copy'",
)


def tamper(cluster: LocalCluster, statements: tuple[str, ...], orders: dict[str, str]) -> None:
    """Changes rows behind the product's back."""
    with psycopg.connect(conninfo(owner_access(cluster.topology, Secrets(cluster.home / "secrets")))) as connection:
        for statement in statements:
            connection.execute(statement.encode(), orders)


def test_what_is_acknowledged_is_audited(cluster: LocalCluster, shop: httpx.Client) -> None:
    """Receipts of all nodes are found; a removed, a changed and a doubled order are found by the running
    audit and by a whole pass, and `status` says so; and once they are mended all is well again."""
    before = until(cluster, lambda document: document["ok"], 60)
    gone, changed, doubled, *_ = placed(shop)
    wanted = before["acknowledged"] + ORDERS
    document = until(cluster, lambda document: document["ok"] and document["found"] >= wanted, 30)
    assert document["orders_pass_age_s"] is not None
    named = {"gone": gone, "changed": changed, "doubled": doubled}
    tamper(cluster, (*REMOVE, *CHANGE, *DOUBLE), named)
    try:
        document = until(cluster, lambda document: min(counts(document)) > 0, FOUND_WITHIN_S)
        assert not document["ok"]
        found = {(finding["order_id"], finding["kind"]) for finding in document["findings"]}
        assert {(gone, "missing"), (changed, "altered")} <= found
        assert cluster.run("audit").returncode == 1
        told = [reason for reason in cluster.status()["verdict"]["reasons"] if "see ./standfest audit" in reason]
        assert any("1 orders missing" in reason for reason in told), told
        whole = cluster.run("audit", "--full", "--json")
        assert whole.returncode == 1, whole.stderr
        assert counts(json.loads(whole.stdout)) == (1, 1, 2)  # the copy has no events and lines of its own
    finally:
        tamper(cluster, MEND, named)
    until(cluster, lambda document: document["ok"], 30)
    assert cluster.run("audit", "--full").returncode == 0


def test_a_receipt_is_verified_with_the_key_in_the_home(cluster: LocalCluster, shop: httpx.Client) -> None:
    """`receipt verify` needs nothing but the signed receipt, in a pipe, on the machine that has the cluster."""
    order_id = placed(shop)[0]
    deadline = time.monotonic() + 60
    while (answer := shop.get(f"/v1/orders/{order_id}/receipt")).status_code != 200:
        assert time.monotonic() < deadline, answer.text
    file = cluster.home / "receipt.json"
    file.write_bytes(answer.content)
    assert cluster.succeed("receipt", "verify", str(file)).startswith(
        f"valid: order {answer.json()['receipt']['number']}"
    )
    file.write_bytes(answer.content.replace(b"confirmed", b"forgotten"))
    assert cluster.run("receipt", "verify", str(file)).returncode == 1
    file.unlink()
