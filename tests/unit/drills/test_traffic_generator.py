"""Made-up traffic: reproducible, with the traits of real orders."""

import statistics
from decimal import Decimal
from itertools import islice
from random import Random

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from standfest.emergency.drills.traffic.arrivals import poisson
from standfest.emergency.drills.traffic.generator import OrderGenerator, Traits, make_products

PRODUCTS = make_products(300, seed=1)


def test_the_same_run_is_made_again() -> None:
    """Seed, run and number alone decide an order, whatever was made before it."""
    first = OrderGenerator(PRODUCTS, seed=7, run="r1")
    again = OrderGenerator(make_products(300, seed=1), seed=7, run="r1")
    forwards = [first.order(number) for number in range(50)]
    backwards = [again.order(number) for number in reversed(range(50))]
    assert forwards == backwards[::-1]


def test_runs_share_no_key_and_no_nonce() -> None:
    """Two runs with one seed have no key and no nonce in common."""
    runs = [OrderGenerator(PRODUCTS, seed=7, run=run) for run in ("r1", "r2")]
    orders = [run.order(number) for run in runs for number in range(200)]
    assert len({order.key for order in orders}) == len({order.nonce for order in orders}) == 400


@given(st.integers(0, 10**6), st.integers())
def test_payload_is_canonical(number: int, seed: int) -> None:
    """The bytes sent are the RFC 8785 form of the body, so that their hash is the product's request hash."""
    order = OrderGenerator(PRODUCTS, seed=seed, run="r", traits=Traits(lines_max=20)).order(number)
    assert order.payload == rfc8785.dumps(order.body)


def test_orders_have_the_traits() -> None:
    """Long tail of lines, guests, doubled products and popular ones, near the shares of the real file."""
    generator = OrderGenerator(make_products(3000, seed=1), seed=3, run="traits")
    orders = [generator.order(number) for number in range(3000)]
    lines = [len(order.body["lines"]) for order in orders]
    assert 13 <= statistics.median(lines) <= 17
    assert 22 <= statistics.mean(lines) <= 28
    assert max(lines) > 150
    guests = sum("reference" not in order.body["customer"] for order in orders)
    assert 0.07 <= guests / len(orders) <= 0.11
    doubled = sum(len({line["sku"] for line in order.body["lines"]}) < len(order.body["lines"]) for order in orders)
    assert doubled / len(orders) > 0.1


def test_prices_only_where_wanted() -> None:
    """Lines carry a unit price only with `priced_share`, and then the product's own, as a string."""
    plain = OrderGenerator(PRODUCTS, seed=1, run="r").order(1)
    assert all("unit_price" not in line for line in plain.body["lines"])
    priced = OrderGenerator(PRODUCTS, seed=1, run="r", traits=Traits(priced_share=1.0)).order(1)
    prices = {product.sku: str(product.net_price) for product in PRODUCTS}
    assert all(line["unit_price"] == prices[line["sku"]] for line in priced.body["lines"])
    assert priced.content()["lines"] == [
        [line["sku"], line["quantity"], line["unit_price"]] for line in priced.body["lines"]
    ]


def test_products() -> None:
    """Products have distinct SKUs, positive prices of two decimals, and all three stock policies."""
    assert len({product.sku for product in PRODUCTS}) == 300
    assert all(product.net_price >= Decimal("0.01") for product in PRODUCTS)
    assert {product.stock_policy for product in PRODUCTS} == {"tracked", "untracked", "backorder"}
    assert {product.on_hand for product in make_products(100, seed=1, scarce_share=1.0)} == {
        100,
        0,
        1_000_000,
    }


def test_poisson_arrivals() -> None:
    """Poisson arrivals are seeded, ascending, and as many as the rate says."""
    offsets = list(islice(poisson(50.0, Random(1)), 5000))
    assert offsets == list(islice(poisson(50.0, Random(1)), 5000))
    assert offsets == sorted(offsets)
    assert offsets[-1] == pytest.approx(100.0, rel=0.05)


def test_no_products() -> None:
    """Orders without any product to order are a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one product"):
        OrderGenerator([], seed=1, run="r")
