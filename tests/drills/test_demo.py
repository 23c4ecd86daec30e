"""The demonstration on a real cluster, and the checker on what is left of it after tampering by hand."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from standfest.emergency.drills.history import read_history
from tests.drills.conftest import Demonstration

FOUND_KINDS = (
    "missing",
    "doubled",
    "altered",
    "refused_present",
    "unsent",
    "stock_mismatches",
    "reads_missed",
    "unread",
)

COPY_ORDER = """
INSERT INTO orders (order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
                    customer_reference, external_reference, currency, net, gross, agreed)
SELECT gen_random_uuid(), client_id, 'by hand', request_hash, content_hash, status, path, accepted_at,
       customer_reference, external_reference, currency, net, gross, agreed
FROM orders WHERE order_id = %(id)s
"""
COPY_LINES = """
INSERT INTO order_line (order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity,
                        unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved, backordered)
SELECT (SELECT id FROM orders WHERE idempotency_key = 'by hand'), position, product_id, sku, name_de, name_en, unit,
       unit_decimals, quantity, unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved, backordered
FROM order_line WHERE order_ref = (SELECT id FROM orders WHERE order_id = %(id)s)
"""


def wrong(verdict: dict[str, Any]) -> dict[str, int]:
    """How many orders or SKUs are wrong, by kind; kinds without any are left out."""
    return {kind: verdict[kind] for kind in FOUND_KINDS if verdict[kind]}


def acknowledged_order(demonstration: Demonstration) -> str:
    """The id of an order that was confirmed and not touched afterwards."""
    entries = list(read_history(demonstration.home / demonstration.result["history"]))
    cancelled = {entry["nonce"] for entry in entries if entry.get("kind") == "cancel"}
    return next(
        str(entry["order_id"])
        for entry in entries
        if entry["op"] == "ok" and entry["nonce"] not in cancelled and entry["order_status"] == "confirmed"
    )


@contextlib.contextmanager
def by_hand(demonstration: Demonstration, do: list[str], undo: list[str]) -> Iterator[str]:
    """Changes the database behind the product's back for as long as the block runs; yields the order's id."""
    given = {"id": acknowledged_order(demonstration)}
    _execute(demonstration, do, given)
    try:
        yield given["id"]
    finally:
        _execute(demonstration, undo, given)


def _execute(demonstration: Demonstration, statements: list[str], given: dict[str, str]) -> None:
    with psycopg.connect(demonstration.conninfo) as connection:
        for statement in statements:
            connection.execute(statement.encode(), given)


def test_nothing_is_lost_when_the_primary_is_killed(demonstration: Demonstration) -> None:
    """Orders flow on over the loss of the primary: none acknowledged is missing, doubled or altered, none fails."""
    verdict = demonstration.result["checked"]
    assert demonstration.exit_code == 0, demonstration.messages
    assert wrong(verdict) == {}
    assert verdict["acknowledged"] > 50
    assert verdict["acknowledged"] + verdict["declined"] == verdict["submitted"]
    assert verdict["failed"] == verdict["unknown"] == verdict["shed"] == 0


def test_the_fault_happened(demonstration: Demonstration) -> None:
    """The verdict is worth something: another server on a later timeline took the writes, the journal meanwhile."""
    failover = demonstration.result["proof"]
    assert failover["timeline_after"] > failover["timeline_before"]
    assert not failover["killed"].startswith(f"{failover['new_primary']}/")
    assert demonstration.result["accepted_by_journal"] > 0


def test_the_cluster_stays_up(demonstration: Demonstration) -> None:
    """After the demonstration the cluster takes orders, for whoever wants to try more."""
    status = json.loads(demonstration.standfest("status", "--json").stdout)
    assert status["verdict"]["up"] is True


def test_no_service_has_an_input(demonstration: Demonstration) -> None:
    """A backend whose postmaster was killed while it waited for a standby reads its input: that must end at once."""
    status = json.loads(demonstration.standfest("status", "--json").stdout)
    inputs = {
        f"{node['name']}/{service['name']}": str(Path(f"/proc/{service['pid']}/fd/0").readlink())
        for node in status["nodes"]
        for service in node["services"]
        if service["pid"] is not None
    }
    assert set(inputs.values()) == {"/dev/null"}, inputs


def test_the_checker_by_itself_agrees(demonstration: Demonstration) -> None:
    """Run apart from the demonstration, on the same history, the checker comes to the same verdict."""
    exit_code, verdict = demonstration.check()
    assert (exit_code, verdict) == (0, demonstration.result["checked"])


def test_an_order_deleted_by_hand_is_missing(demonstration: Demonstration) -> None:
    """One acknowledged order deleted from the database turns the verdict red."""
    do = [
        "CREATE TABLE taken AS SELECT * FROM orders WHERE order_id = %(id)s",
        "DELETE FROM orders WHERE order_id = %(id)s",
    ]
    undo = ["INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT * FROM taken", "DROP TABLE taken"]
    with by_hand(demonstration, do, undo):
        exit_code, verdict = demonstration.check()
    assert exit_code == 1
    assert wrong(verdict)["missing"] == 1


def test_a_line_edited_by_hand_is_altered(demonstration: Demonstration) -> None:
    """One piece more on one line, and the verdict is red."""
    edit = (
        "UPDATE order_line SET quantity = quantity {} 1 "
        "WHERE position = 1 AND order_ref = (SELECT id FROM orders WHERE order_id = %(id)s)"
    )
    with by_hand(demonstration, [edit.format("+")], [edit.format("-")]):
        exit_code, verdict = demonstration.check()
    assert exit_code == 1
    assert wrong(verdict) == {"altered": 1}


def test_a_customer_renamed_by_hand_is_altered(demonstration: Demonstration) -> None:
    """Another name of the customer, in the one place where it is kept, and the verdict is red."""
    do = [
        "CREATE TABLE taken AS SELECT order_id, agreed FROM orders WHERE order_id = %(id)s",
        "UPDATE orders SET agreed = jsonb_set(agreed, '{customer,name}', '\"Other\"') WHERE order_id = %(id)s",
    ]
    undo = [
        "UPDATE orders SET agreed = taken.agreed FROM taken WHERE taken.order_id = orders.order_id",
        "DROP TABLE taken",
    ]
    with by_hand(demonstration, do, undo):
        exit_code, verdict = demonstration.check()
    assert exit_code == 1
    assert wrong(verdict) == {"altered": 1}


def test_an_order_copied_by_hand_is_doubled(demonstration: Demonstration) -> None:
    """A second order with the same nonce under an id and a key of its own is seen, and so is its stock."""
    undo = [
        "DELETE FROM order_line WHERE order_ref = (SELECT id FROM orders WHERE idempotency_key = 'by hand')",
        "DELETE FROM orders WHERE idempotency_key = 'by hand'",
    ]
    with by_hand(demonstration, [COPY_ORDER, COPY_LINES], undo):
        exit_code, verdict = demonstration.check()
    assert exit_code == 1
    assert wrong(verdict)["doubled"] == 1
    assert wrong(verdict)["stock_mismatches"] >= 1


def test_stock_taken_by_hand_does_not_add_up(demonstration: Demonstration) -> None:
    """A piece that is reserved for no order turns the verdict red."""
    edit = (
        "UPDATE stock SET reserved = reserved {} 1 WHERE product_id ="
        " (SELECT min(product_id) FROM order_line WHERE stock_policy = 'tracked')"
    )
    with by_hand(demonstration, [edit.format("+")], [edit.format("-")]):
        exit_code, verdict = demonstration.check()
    assert exit_code == 1
    assert wrong(verdict) == {"stock_mismatches": 1}
