"""Whatever somebody takes away or falsifies behind the product's back, the audit names it, and then all is well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.audited import AuditedShop, audited_shop, kinds_of
from tests.support.falsifications import WAYS, Way, falsified
from tests.support.postgres import PostgresCluster

ORDERS = 600


@pytest.fixture(scope="module")
def shop(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditedShop]:
    """A shop with sealed blocks of orders, all well."""
    database = postgres.create_database()
    with audited_shop(database, tmp_path_factory.mktemp("shop") / "receipts", ORDERS) as running:
        running.until(lambda report: report.seals >= 2, "two blocks sealed", 90)
        running.until_well()
        yield running
    database.drop()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_what_is_falsified_is_found(shop: AuditedShop, way: Way) -> None:
    """Each way to take away or falsify is named as what it is; once it is undone all is well again."""
    with falsified(shop, way):
        shop.until(lambda report: bool(kinds_of(report) & way.kinds), f"{way.name}: one of {sorted(way.kinds)}", 60)
        assert not shop.report().well
    shop.until_well()
