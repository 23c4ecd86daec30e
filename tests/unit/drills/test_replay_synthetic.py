"""The made-up file has the format and the quirks of the real one."""

from collections import Counter

from standfest.emergency.drills.replay.plan import PlannedCancellation, PlannedOrder, make_plan
from standfest.emergency.drills.replay.rows import Row, read_rows
from standfest.emergency.drills.replay.synthetic import synthetic_lines


def test_it_is_the_same_for_a_seed() -> None:
    """The same seed gives the same file, another one another."""
    assert list(synthetic_lines(50, seed=1)) == list(synthetic_lines(50, seed=1))
    assert list(synthetic_lines(50, seed=1)) != list(synthetic_lines(50, seed=2))


def test_it_has_the_quirks() -> None:
    """Guests, doubled codes, two times an invoice, all kinds of refused rows and of cancellations."""
    rows = list(read_rows(synthetic_lines(2000, seed=1)))
    assert all(isinstance(row, Row) for row in rows)
    plan = make_plan(rows)
    orders = [step for step in plan.steps if isinstance(step, PlannedOrder)]
    assert any(order.customer is None for order in orders)
    assert any(len({line.sku for line in order.lines}) < len(order.lines) for order in orders)
    assert max(len(order.lines) for order in orders) > 100
    times = Counter((row.invoice, row.at) for row in rows if isinstance(row, Row))
    assert len(times) > len({invoice for invoice, _ in times})
    assert len(set(plan.refused.values())) == 5
    taken: Counter[int] = Counter()
    for step in plan.steps:
        if isinstance(step, PlannedCancellation):
            taken.update({part.row: part.quantity for part in step.parts})
    asked = {row: pieces for row, pieces in plan.asked.items() if row in taken}
    assert any(taken[row] == pieces for row, pieces in asked.items())
    assert any(taken[row] < pieces for row, pieces in asked.items())
