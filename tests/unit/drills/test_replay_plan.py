"""The plan of a replay: what is sent and under which keys, and the account of every row."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.emergency.drills.replay.catalogue import plan_products, price_text
from standfest.emergency.drills.replay.plan import (
    GUEST_CANCELS,
    NOTHING_TO_CANCEL,
    Plan,
    PlannedCancellation,
    PlannedOrder,
    make_plan,
)
from standfest.emergency.drills.replay.report import Bucket, Fate, RowsUnaccounted, StepResult, account
from standfest.emergency.drills.replay.rows import Row, Unreadable

NOON = datetime.fromisoformat("2010-12-01 12:00:00")


def rows(*specs: tuple[str, str, int, str | None]) -> list[Row | Unreadable]:
    """Rows of (invoice, code, quantity, customer), one a minute, at a price of 2.50."""
    return [
        Row(
            n,
            invoice,
            sku,
            f"NAME {sku}",
            pieces,
            NOON + timedelta(minutes=n),
            Decimal("2.50"),
            customer,
            "EIRE",
        )
        for n, (invoice, sku, pieces, customer) in enumerate(specs, start=1)
    ]


def taken(plan: Plan) -> list[tuple[str, str, int, int]]:
    """(cancelling invoice, order, line, pieces) of every part."""
    return [
        (step.invoice, step.order, part.line, part.quantity)
        for step in plan.steps
        if isinstance(step, PlannedCancellation)
        for part in step.parts
    ]


NOT_DONE = (Bucket.REFUSED, Bucket.REJECTED, Bucket.FAILED, Bucket.CANCELLED_IN_PART)


def all_done(plan: Plan) -> dict[str, StepResult]:
    """The results of a replay in which everything went well."""
    return {step.key: StepResult(Fate.DONE) for step in plan.steps}


def test_an_order_is_one_invoice() -> None:
    """An invoice's rows are one order, a code named twice two lines, interleaved invoices put together."""
    plan = make_plan(rows(("1", "A", 1, "c"), ("2", "A", 5, None), ("1", "B", 2, "c"), ("1", "A", 3, "c")))
    first, second = plan.steps
    assert isinstance(first, PlannedOrder)
    assert [(line.row, line.sku, line.quantity) for line in first.lines] == [
        (1, "A", 1),
        (3, "B", 2),
        (4, "A", 3),
    ]
    assert first.key == "replay:1"
    assert first.body()["customer"] == {"reference": "c", "name": "Customer c"}
    assert first.body()["ship_to"]["country"] == "IE"
    assert first.body()["lines"][0] == {"sku": "A", "quantity": "1", "unit_price": "2.50"}
    assert isinstance(second, PlannedOrder)
    assert second.body()["customer"] == {"name": "Guest"}


def test_an_invoice_counts_from_its_earlier_time() -> None:
    """Steps follow the invoices' earliest times, and the file where these are equal."""
    late, early = rows(("2", "A", 1, "c"), ("1", "A", 1, "c"))
    assert isinstance(late, Row)
    assert isinstance(early, Row)
    plan = make_plan([late, Row(2, "1", "A", "", 1, NOON, Decimal(1), "c", "EIRE")])
    assert [step.invoice for step in plan.steps] == ["1", "2"]
    same = make_plan([late, Row(2, "1", "A", "", 1, late.at, Decimal(1), "c", "EIRE")])
    assert [step.invoice for step in same.steps] == ["2", "1"]


def test_the_most_recent_order_is_cancelled_first() -> None:
    """Pieces are taken from the customer's latest lines with the code, then from earlier ones."""
    plan = make_plan(
        rows(
            ("1", "A", 5, "c"),
            ("2", "A", 3, "c"),
            ("3", "A", 9, "d"),
            ("4", "B", 9, "c"),
            ("C5", "A", -4, "c"),
        )
    )
    assert taken(plan) == [("C5", "2", 0, 3), ("C5", "1", 0, 1)]
    assert [step.key for step in plan.steps[-2:]] == ["replay:C5:2", "replay:C5:1"]


def test_later_orders_are_not_cancelled() -> None:
    """A cancellation reaches earlier orders only."""
    plan = make_plan(rows(("C1", "A", -1, "c"), ("2", "A", 5, "c")))
    assert taken(plan) == []
    assert plan.refused == {1: NOTHING_TO_CANCEL}


def test_pieces_are_cancelled_once() -> None:
    """What one cancellation took is not there for the next."""
    plan = make_plan(rows(("1", "A", 5, "c"), ("C2", "A", -4, "c"), ("C3", "A", -4, "c"), ("C4", "A", -1, "c")))
    assert taken(plan) == [("C2", "1", 0, 4), ("C3", "1", 0, 1)]
    assert plan.refused == {4: NOTHING_TO_CANCEL}
    report = account(plan, all_done(plan))
    assert report.buckets == {
        Bucket.PLACED: 1,
        Bucket.CANCELLED: 1,
        Bucket.CANCELLED_IN_PART: 1,
        Bucket.REFUSED: 1,
    }
    assert report.pieces_not_cancelled == 4


def test_a_guest_cannot_cancel() -> None:
    """A cancellation without a customer is refused, even where a guest ordered that code."""
    plan = make_plan(rows(("1", "A", 5, None), ("C2", "A", -4, None)))
    assert plan.refused == {2: GUEST_CANCELS}


def test_bad_rows_leave_the_rest_of_the_order() -> None:
    """A row without a price is refused by itself; its order is placed without it."""
    good, bad = rows(("1", "A", 5, "c"), ("1", "B", 1, "c"))
    assert isinstance(bad, Row)
    plan = make_plan([good, Row(2, "1", "B", "", 1, bad.at, Decimal(0), "c", "EIRE"), Unreadable(3, "odd")])
    assert plan.refused == {2: "the price is zero", 3: "odd"}
    (order,) = plan.steps
    assert isinstance(order, PlannedOrder)
    assert [line.row for line in order.lines] == [1]
    assert [product.sku for product in plan.products] == ["A"]


def test_catalogue() -> None:
    """The commonest description names a product, the lower median prices it, all its pieces are in stock."""
    charged = [
        ("HEART", "2.55", 6),
        ("", "2.10", 1),
        ("HEART", "2.95", 2),
        ("damages", "99", 1),
        ("HEART", "2.5", 3),
    ]
    products = plan_products(
        Row(n, "1", "A", name, pieces, NOON, Decimal(price), "c", "EIRE")
        for n, (name, price, pieces) in enumerate(charged)
    )
    (product,) = products
    assert product.as_product()["name"] == {"de": "HEART", "en": "HEART"}
    assert product.as_product()["net_price"] == "2.55"
    assert product.as_stock() == {"sku": "A", "on_hand": "13"}


def test_a_charge_has_no_stock() -> None:
    """Charges are untracked; a code without any description is called by itself."""
    (product,) = plan_products([Row(1, "1", "POST", "", 1, NOON, Decimal(18), None, "EIRE")])
    assert product.as_product()["stock_policy"] == "untracked"
    assert product.as_product()["name"]["en"] == "POST"
    assert not product.tracked


@pytest.mark.parametrize(
    ("price", "text"),
    [("18", "18.00"), ("2.5", "2.50"), ("0.001", "0.001"), ("1.2300", "1.23"), ("1E+2", "100.00")],
)
def test_price_text(price: str, text: str) -> None:
    """Prices are plain decimals of two or more places."""
    assert price_text(Decimal(price)) == text


def test_account_of_refusals_and_failures() -> None:
    """A refused order takes its rows and its cancellations along; one in doubt makes both failed."""
    plan = make_plan(
        rows(
            ("1", "A", 5, "c"),
            ("1", "B", 5, "c"),
            ("2", "A", 1, "c"),
            ("3", "D", 2, "c"),
            ("C4", "B", -2, "c"),
            ("C5", "A", -3, "c"),
            ("C6", "D", -2, "c"),
        )
    )
    results = all_done(plan)
    results["replay:1"] = StepResult(Fate.REFUSED, "409 out-of-stock")
    results["replay:C4:1"] = StepResult(Fate.REFUSED, "no order")
    results["replay:C5:1"] = StepResult(Fate.REFUSED, "no order")
    results["replay:C6:3"] = StepResult(Fate.FAILED, "504")
    report = account(plan, results)
    assert report.buckets == {
        Bucket.PLACED: 2,
        Bucket.REFUSED: 3,
        Bucket.CANCELLED_IN_PART: 1,
        Bucket.FAILED: 1,
    }
    assert report.reasons[Bucket.REFUSED] == {"409 out-of-stock": 2, "no order": 1}
    assert report.reasons[Bucket.CANCELLED_IN_PART] == {"no order": 1}
    assert report.orders == {"sent": 3, "placed": 2, "declined": 1}
    assert report.cancellations == {"sent": 4, "done": 1, "refused": 2, "failed": 1}
    assert report.pieces_not_cancelled == 2 + 2 + 2
    assert not report.ok


@pytest.mark.parametrize(
    ("results", "ok", "bucket"),
    [
        ({}, True, {Bucket.PLACED: 2, Bucket.CANCELLED: 1}),
        (
            {"replay:1": Fate.REFUSED, "replay:C3:1": Fate.REFUSED},
            True,
            {Bucket.PLACED: 1, Bucket.REFUSED: 1, Bucket.CANCELLED_IN_PART: 1},
        ),
        (
            {"replay:1": Fate.REJECTED, "replay:C3:1": Fate.REJECTED},
            False,
            {Bucket.PLACED: 1, Bucket.REJECTED: 2},
        ),
        ({"replay:C3:1": Fate.REJECTED}, False, {Bucket.PLACED: 2, Bucket.REJECTED: 1}),
        (
            {"replay:C3:1": Fate.REJECTED, "replay:C3:2": Fate.FAILED},
            False,
            {Bucket.PLACED: 2, Bucket.FAILED: 1},
        ),
    ],
)
def test_only_a_shortage_may_be_refused(results: dict[str, Fate], ok: bool, bucket: dict[Bucket, int]) -> None:
    """What the API refuses for another reason than a shortage is counted by itself, and the replay is not good."""
    plan = make_plan(rows(("1", "A", 2, "c"), ("2", "A", 2, "c"), ("C3", "A", -4, "c")))
    report = account(plan, all_done(plan) | {key: StepResult(fate, "why") for key, fate in results.items()})
    assert report.ok is ok
    assert report.buckets == bucket
    assert all(report.reasons[each]["why"] == count for each, count in bucket.items() if each in NOT_DONE)


def test_a_row_too_many_or_too_few_is_an_error() -> None:
    """An account that does not add up is refused."""
    plan = make_plan(rows(("1", "A", 1, "c"), ("2", "A", 1, "c")))
    fewer = Plan(3, plan.products, plan.steps, plan.refused, plan.asked)
    with pytest.raises(RowsUnaccounted, match="2 entries for 3 rows"):
        account(fewer, all_done(plan))
    twice = Plan(2, plan.products, plan.steps, {1: "odd"}, plan.asked)
    with pytest.raises(RowsUnaccounted, match="row 1 is placed and also refused"):
        account(twice, all_done(plan))


file_rows = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "4", "C5", "C6", "A7", "?"]),
        st.sampled_from(["A", "B", "POST", ""]),
        st.integers(-6, 6),
        st.sampled_from(["c", "d", None]),
    ),
    max_size=40,
)


@given(file_rows, st.data())
def test_every_row_is_in_one_bucket(specs: list[tuple[str, str, int, str | None]], data: st.DataObject) -> None:
    """Whatever the file holds and whatever the cluster answers, the buckets add up to the rows."""
    plan = make_plan(rows(*specs))
    results = {step.key: StepResult(data.draw(st.sampled_from(Fate)), "why") for step in plan.steps}
    assert len(results) == len(plan.steps)
    report = account(plan, results)
    assert sum(report.buckets.values()) == report.rows == len(specs)


@given(file_rows)
def test_no_piece_is_cancelled_twice_or_from_a_stranger(
    specs: list[tuple[str, str, int, str | None]],
) -> None:
    """Cancellations take no more than a line has, from the same customer and code, after its order."""
    plan = make_plan(rows(*specs))
    orders: dict[str, PlannedOrder] = {}
    per_line: Counter[tuple[str, int]] = Counter()
    per_row: Counter[int] = Counter()
    for step in plan.steps:
        if isinstance(step, PlannedOrder):
            orders[step.invoice] = step
            continue
        for part in step.parts:
            line = orders[step.order].lines[part.line]
            _, sku, _, customer = specs[part.row - 1]
            assert (line.sku, orders[step.order].customer) == (sku, customer)
            assert part.quantity > 0
            per_line[step.order, part.line] += part.quantity
            per_row[part.row] += part.quantity
    assert all(pieces <= orders[order].lines[line].quantity for (order, line), pieces in per_line.items())
    assert all(pieces <= plan.asked[row] for row, pieces in per_row.items())


@given(file_rows)
def test_the_plan_is_the_files_alone(specs: list[tuple[str, str, int, str | None]]) -> None:
    """The same file gives the same plan: the same keys and the same bodies."""
    assert make_plan(rows(*specs)) == make_plan(rows(*specs))
