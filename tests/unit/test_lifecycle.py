"""The table of an order's life, and that what decides on orders keeps to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from uuid import UUID

import pytest

from standfest.domain.backorders import supply
from standfest.domain.cancellation import CancelRequest, Conflict, LineWish, cancel
from standfest.domain.lifecycle import COMMANDS, STATES, TRANSITIONS, Command, State, may
from standfest.domain.orders import Order
from standfest.domain.stock import allocate, set_aside
from tests.unit.trade import line, order_of

# Written down a second time, on purpose: the table is what the trade relies on, a change to it must be seen.
EXPECTED = """
             confirm                backorder    decline   set_aside  cancel     cancel_lines
received     confirmed              backordered  declined  -          -          -
accepted     confirmed              backordered  declined  conflict   -          -
confirmed    -                      -            -         -          cancelled  confirmed/cancelled
backordered  backordered/confirmed  -            -         -          cancelled  backordered/confirmed/cancelled
declined     -                      -            -         -          -          -
cancelled    -                      -            -         -          -          -
conflict     -                      -            -         -          cancelled  -
"""

ORDERS: dict[State, list[Order]] = {
    "received": [order_of("received", line(1, 4, policy)) for policy in ("tracked", "backorder", "untracked")],
    "accepted": [order_of("accepted", line(1, 4, policy)) for policy in ("tracked", "backorder", "untracked")],
    "conflict": [order_of("conflict", line(1, 4))],
    "confirmed": [
        order_of("confirmed", line(1, 4, reserved=4)),
        order_of("confirmed", line(1, 1, reserved=1)),
        order_of("confirmed", line(1, 1, "untracked"), line(2, 2, reserved=1, cancelled=1)),
    ],
    "backordered": [
        order_of("backordered", line(1, 4, "backorder", reserved=1, backordered=3)),
        order_of("backordered", line(1, 1, "backorder", backordered=1), line(2, 1, reserved=1)),
        order_of("backordered", line(1, 1, "backorder", backordered=1)),
    ],
    "declined": [order_of("declined", line(1, 4))],
    "cancelled": [order_of("cancelled", line(1, 4, cancelled=4))],
}
"""Orders of every kind that a state has."""


def placed(order: Order) -> Iterable[State]:
    """Ends of placing an order, with any stock there may be."""
    for available in range(5):
        yield allocate([order], {1: available})[0].order.status


def put_aside(order: Order) -> Iterable[State]:
    """The end of an order whose key another one holds."""
    yield set_aside(order, UUID(int=9)).order.status


def supplied(order: Order) -> Iterable[State]:
    """Ends of goods coming in, as many as there may be."""
    for available in range(1, 5):
        for result in supply([order], {1: available}):
            yield result.order.status


def cancelled(order: Order) -> Iterable[State]:
    """The end of cancelling the whole order."""
    yield cancel(order, CancelRequest()).order.status


def cancelled_lines(order: Order) -> Iterable[State]:
    """Ends of cancelling any part of the first line."""
    for quantity in range(1, max(order.lines[0].open, 1) + 1):
        yield cancel(order, CancelRequest(lines=(LineWish(1, str(quantity)),))).order.status


DECIDERS: dict[tuple[State, Command], Callable[[Order], Iterable[State]]] = {
    ("received", "confirm"): placed,
    ("received", "backorder"): placed,
    ("received", "decline"): placed,
    ("accepted", "confirm"): placed,
    ("accepted", "backorder"): placed,
    ("accepted", "decline"): placed,
    ("accepted", "set_aside"): put_aside,
    ("backordered", "confirm"): supplied,
    **{(state, "cancel"): cancelled for state in STATES},
    **{(state, "cancel_lines"): cancelled_lines for state in STATES},
}
"""What carries a command out. Pairs that are not in here have no code that could."""


def expected() -> dict[tuple[State, Command], frozenset[State]]:
    """The table above, as the domain writes it."""
    head, *rows = EXPECTED.strip().splitlines()
    commands = head.split()
    table = {}
    for row in rows:
        state, *cells = row.split()
        for command, cell in zip(commands, cells, strict=True):
            if cell != "-":
                table[state, command] = frozenset(cell.split("/"))
    return table  # type: ignore[return-value]  # plain text: the comparison is the check


def test_the_table_is_what_was_agreed() -> None:
    """Every state and command, and nothing else, leads where the trade expects it."""
    assert expected() == TRANSITIONS
    assert set(itertools.product(STATES, COMMANDS)) >= TRANSITIONS.keys()


@pytest.mark.parametrize(("state", "command"), list(itertools.product(STATES, COMMANDS)))
def test_every_command_in_every_state_ends_as_the_table_says(state: State, command: Command) -> None:
    """A possible command reaches the ends of its row and no other; an impossible one is refused or has no code."""
    decide = DECIDERS.get((state, command))
    if not may(state, command):
        if decide is not None:
            for order in ORDERS[state]:
                with pytest.raises(Conflict):
                    list(decide(order))
        return
    assert decide is not None
    ends = {end for order in ORDERS[state] for end in decide(order)}
    row = TRANSITIONS[state, command]
    if decide is placed:  # one call decides between three commands
        row = frozenset().union(
            *(TRANSITIONS[key] for key in TRANSITIONS if DECIDERS[key] is placed and key[0] == state)
        )
    assert ends == row


def test_no_order_comes_back_to_life() -> None:
    """What was declined or cancelled stays so, and no command leads back to an order that was only received."""
    assert not any(may(state, command) for state in ("declined", "cancelled") for command in COMMANDS)
    assert not {"received", "accepted"} & frozenset().union(*TRANSITIONS.values())
