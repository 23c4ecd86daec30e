"""Cancelling an order, whole or by lines: what is left of it and which stock comes back.

Invariants kept here: a line's reserved + backordered + cancelled never exceeds its quantity, and
what an order gives back it had reserved.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from standfest.domain.events import EventType
from standfest.domain.faults import Fault, Invalid
from standfest.domain.lifecycle import Command, State, may
from standfest.domain.orders import Line, Order, content_hash, line_net, totals
from standfest.domain.quantity import from_steps, to_steps
from standfest.domain.request import MAX_LINES, DecimalString, LongText
from standfest.errors import StandfestError


class Conflict(StandfestError):
    """The order's state does not allow the command; nothing was changed."""

    def __init__(self, status: State, command: Command) -> None:
        doing = "cancelled" if command == "cancel" else "cancelled in part"
        super().__init__(f"an order in state {status} cannot be {doing}; read the order to see what became of it")
        self.status = status
        self.command = command


class LineWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of which line shall be cancelled."""

    position: Annotated[int, Meta(ge=1, le=MAX_LINES)]
    quantity: DecimalString


class CancelRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/orders/{id}/cancel`; without lines the whole order is meant."""

    reason: LongText | None = None
    lines: Annotated[tuple[LineWish, ...], Meta(min_length=1, max_length=MAX_LINES)] | None = None


class Cancellation(msgspec.Struct, frozen=True):
    """The decision: the order afterwards, and what has to be done for it."""

    order: Order
    event_type: EventType
    data: dict[str, Any]
    """The event's details: how much of which line."""
    returned: Mapping[int, int]
    """Product id -> reserved steps that are free again."""


def cancel(order: Order, request: CancelRequest) -> Cancellation:
    """Cancels what `request` asks for.

    Raises:
        Conflict: the order is in a state that cannot be cancelled.
        Invalid: a line that is not there, named twice, or has less open than shall be cancelled.
    """
    command: Command = "cancel" if request.lines is None else "cancel_lines"
    if not may(order.status, command):
        raise Conflict(order.status, command)
    if request.lines is None:
        wanted = {line.position: line.open for line in order.lines if line.open}
    else:
        wanted = _wanted(order.lines, request.lines)
    lines = tuple(_less(line, wanted.get(line.position, 0)) for line in order.lines)
    returned: Counter[int] = Counter()
    for before, after in zip(order.lines, lines, strict=True):
        if before.reserved > after.reserved:
            returned[before.product_id] += before.reserved - after.reserved
    sums = totals(lines)
    status = _status(lines)
    cancelled = msgspec.structs.replace(
        order,
        status=status,
        version=order.version + 1,
        lines=lines,
        totals=sums,
        content_hash=content_hash(order.currency, order.agreed, lines, sums),
    )
    details = [_detail(line, wanted[line.position]) for line in order.lines if line.position in wanted]
    event_type: EventType = "order.cancelled" if status == "cancelled" else "order.lines_cancelled"
    return Cancellation(cancelled, event_type, {"lines": details}, returned)


def _wanted(lines: Iterable[Line], wishes: Iterable[LineWish]) -> dict[int, int]:
    """Position -> steps to cancel."""
    by_position = {line.position: line for line in lines}
    wanted: dict[int, int] = {}
    faults: list[Fault] = []
    for index, wish in enumerate(wishes):
        pointer = f"/lines/{index}"
        line = by_position.get(wish.position)
        if line is None:
            faults.append(Fault(f"{pointer}/position", "unknown-position", f"the order has no line {wish.position}"))
        elif wish.position in wanted:
            detail = f"line {wish.position} is named twice; add the quantities up"
            faults.append(Fault(f"{pointer}/position", "duplicate-position", detail))
        else:
            try:
                wanted[wish.position] = _steps(line, wish.quantity, f"{pointer}/quantity")
            except Invalid as invalid:
                faults.extend(invalid.faults)
    if faults:
        raise Invalid(tuple(faults))
    return wanted


def _steps(line: Line, quantity: str, pointer: str) -> int:
    steps = to_steps(quantity, line.unit_decimals, pointer)
    if steps == 0:
        raise Invalid((Fault(pointer, "zero-quantity", "the quantity must be more than 0"),))
    if steps > line.open:
        left = from_steps(line.open, line.unit_decimals)
        raise Invalid((Fault(pointer, "more-than-open", f"only {left} of line {line.position} are open"),))
    return steps


def _less(line: Line, steps: int) -> Line:
    """The line with `steps` cancelled; what is still waited for goes first, so that least stock moves."""
    if steps == 0:
        return line
    waited_for = min(steps, line.backordered)
    open_after = line.open - steps
    return msgspec.structs.replace(
        line,
        net=line_net(open_after, line.unit_decimals, line.unit_price),
        backordered=line.backordered - waited_for,
        reserved=max(0, line.reserved - (steps - waited_for)),
        cancelled=line.cancelled + steps,
    )


def _status(lines: Iterable[Line]) -> State:
    status: State = "cancelled"
    for line in lines:
        if line.backordered:
            return "backordered"
        if line.open:
            status = "confirmed"
    return status


def _detail(line: Line, steps: int) -> dict[str, Any]:
    return {
        "position": line.position,
        "sku": line.sku,
        "quantity": from_steps(steps, line.unit_decimals),
    }
