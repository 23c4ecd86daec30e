"""Why an order was not taken, apart from what the database says."""

from uuid import UUID

from standfest.errors import StandfestError


class KeyReused(StandfestError):
    """The idempotency key was used before with another request."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(
            f"this Idempotency-Key belongs to order {order_id} with other content; use a new key for a new order"
        )
        self.order_id = order_id


class Overloaded(StandfestError):
    """As many orders as this process can hold are under way; nothing was attempted."""

    retry_after_s = 1


class JournalFull(Overloaded):
    """The journal has no room for more orders, and the database is away."""

    retry_after_s = 5


class IntakeUnavailable(StandfestError):
    """Neither the database nor the journal can be used; the order was not taken."""


class IntakeOutcomeUnknown(StandfestError):
    """The order was sent somewhere, and no durable yes came back."""
