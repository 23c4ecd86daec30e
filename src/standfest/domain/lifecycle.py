"""The life of an order as one table: which command is possible in which state, and where it leads."""

from typing import Literal

State = Literal["received", "accepted", "confirmed", "backordered", "declined", "cancelled", "conflict"]
"""received: priced and valid, not yet decided on. accepted: durable in the journal, not yet in the database, which
never stores either. conflict: accepted by the journal under a key that another order holds; a person decides on it."""
Command = Literal["confirm", "backorder", "decline", "set_aside", "cancel", "cancel_lines"]

STATES: tuple[State, ...] = (
    "received",
    "accepted",
    "confirmed",
    "backordered",
    "declined",
    "cancelled",
    "conflict",
)
COMMANDS: tuple[Command, ...] = ("confirm", "backorder", "decline", "set_aside", "cancel", "cancel_lines")

TRANSITIONS: dict[tuple[State, Command], frozenset[State]] = {
    ("received", "confirm"): frozenset({"confirmed"}),
    ("received", "backorder"): frozenset({"backordered"}),
    ("received", "decline"): frozenset({"declined"}),
    ("accepted", "confirm"): frozenset({"confirmed"}),
    ("accepted", "backorder"): frozenset({"backordered"}),
    ("accepted", "decline"): frozenset({"declined"}),
    ("accepted", "set_aside"): frozenset({"conflict"}),
    ("conflict", "cancel"): frozenset({"cancelled"}),
    ("confirmed", "cancel"): frozenset({"cancelled"}),
    ("confirmed", "cancel_lines"): frozenset({"confirmed", "cancelled"}),
    ("backordered", "confirm"): frozenset({"backordered", "confirmed"}),
    ("backordered", "cancel"): frozenset({"cancelled"}),
    ("backordered", "cancel_lines"): frozenset({"backordered", "confirmed", "cancelled"}),
}
"""What is not in here is refused. A command that can fulfil an order in part has more than one end."""


def may(state: State, command: Command) -> bool:
    """Whether `command` is possible for an order in `state`."""
    return (state, command) in TRANSITIONS
