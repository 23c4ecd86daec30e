"""Orders that are not valid: refused at little cost, and never where they were acknowledged once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import httpx
import pytest

from standfest.domain.orders import Order
from standfest.intake.entries import EntryBroken
from standfest.intake.journal import Journal
from tests.integration.test_api_orders import new_product, place
from tests.support.api import PRODUCT, RunningApi, running_api
from tests.support.postgres import TestDatabase
from tests.support.waiting import wait_until

INVALID = 200


@pytest.fixture
def api(database: TestDatabase) -> Iterator[RunningApi]:
    """An API on a database of this test."""
    with running_api(database) as running:
        yield running


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many orders each look into the journal was for; it looks all the same."""
    find, counts = Journal.find, []

    async def counted(journal: Journal, order_ids: Sequence[UUID], deadline_s: float) -> dict[UUID, Order]:
        counts.append(len(order_ids))
        return await find(journal, order_ids, deadline_s)

    monkeypatch.setattr(Journal, "find", counted)
    return counts


def deactivate(api: RunningApi, admin: httpx.Client, sku: str) -> None:
    """Takes a product from sale, and waits until the API knows it."""
    product = {**PRODUCT, "sku": sku, "active": False}
    assert admin.put("/v1/products", json={"products": [product]}).status_code == 200
    wait_until(lambda: not api.services.catalogue.products[sku].active, "the catalogue is read", 20)


def test_invalid_orders_share_their_looks_and_repeats_keep_their_answers(api: RunningApi, looks: list[int]) -> None:
    """Hundreds of orders of an inactive product at once, among them repeats of orders that were acknowledged while it
    was sold: these get their first answers, the others 422, and few looks are made for all of them."""
    with api.client() as admin, ThreadPoolExecutor(40) as pool:
        sku = new_product(admin, on_hand="100")
        first = {key: place(admin, sku, key=key) for key in (str(uuid4()) for _ in range(20))}
        deactivate(api, admin, sku)
        keys = [*first, *(str(uuid4()) for _ in range(INVALID))]
        answers = dict(zip(keys, pool.map(lambda key: place(admin, sku, key=key), keys), strict=True))
    assert {key: answers[key].json() for key in first} == {key: answer.json() for key, answer in first.items()}
    assert [answers[key].status_code for key in keys[len(first) :]] == [422] * INVALID
    assert sum(looks) == len(keys)
    assert len(looks) < len(keys) / 4


def test_an_entry_that_cannot_be_read_leaves_the_others_their_answers(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what the journal holds of one order cannot be read, that one is 503; others of the same look are not."""
    broken: set[UUID] = set()
    find = Journal.find

    async def partly(journal: Journal, order_ids: Sequence[UUID], deadline_s: float) -> dict[UUID, Order]:
        if broken.intersection(order_ids):
            raise EntryBroken("a journal entry cannot be read")
        return await find(journal, order_ids, deadline_s)

    monkeypatch.setattr(Journal, "find", partly)
    with api.client() as admin, ThreadPoolExecutor(20) as pool:
        sku, key = new_product(admin), str(uuid4())
        broken.add(UUID(place(admin, sku, key=key).json()["id"]))
        deactivate(api, admin, sku)
        keys = [key, *(str(uuid4()) for _ in range(19))]
        statuses = list(pool.map(lambda each: place(admin, sku, key=each).status_code, keys))
    assert statuses == [503] + [422] * 19


def test_an_order_without_events_leaves_the_others_their_answers(api: RunningApi, database: TestDatabase) -> None:
    """Where what the database holds of one order is broken, that one gets an answer that decides nothing; others of
    the same look get theirs."""
    with api.client() as admin, ThreadPoolExecutor(20) as pool:
        sku, key = new_product(admin), str(uuid4())
        order_id = place(admin, sku, key=key).json()["id"]
        with database.cluster.admin(database.name) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                "DELETE FROM order_event WHERE order_ref = (SELECT id FROM orders WHERE order_id = %s)", (order_id,)
            )
        deactivate(api, admin, sku)
        keys = [key, *(str(uuid4()) for _ in range(19))]
        statuses = list(pool.map(lambda each: place(admin, sku, key=each).status_code, keys))
    assert statuses == [500] + [422] * 19
