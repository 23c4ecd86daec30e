"""Why a command on an order is not carried out, apart from what the order itself and the database say."""

from standfest.errors import StandfestError


class OrderNotFound(StandfestError):
    """There is no such order, or it is not one that this client may see."""


class CommandKeyReused(StandfestError):
    """The idempotency key was used before with another command."""


class CursorInvalid(StandfestError):
    """The cursor is none that this system gave out."""


class CursorExpired(StandfestError):
    """The cursor's position is not one in the data as they are now: who follows has to start again."""


class VersionsBroken(StandfestError):
    """Rows of locked orders were not as they were read; the transaction was rolled back. Report this."""
