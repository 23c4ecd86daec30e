"""What the API needs from the rest of the order plane."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from prometheus_client.registry import Collector

from standfest.catalogue.snapshot import Catalogue
from standfest.domain.agreement import Merchant
from standfest.intake.intake import Intake
from standfest.intake.receipt_statement import Statement
from standfest.intake.receipts import Receipt, Signer
from standfest.interfaces.api.dependencies import Dependency
from standfest.storage.database import Database


@dataclass(frozen=True)
class Limits:
    """Bounds of one API process."""

    in_flight_max: int = 1024
    """So many requests at once; more are answered with 429."""
    read_deadline_s: float = 2.0
    """A read that takes longer is answered with 503."""
    write_deadline_s: float = 5.0
    """A change, orders apart, that takes longer is answered with 503 or 504. It counts from when a door took it."""
    order_age_max_s: float = 8.0
    """An order that a door took longer ago is sent nowhere any more. Above what a door keeps it waiting (1 s) or leaves
    it with a process that has died (6.5 s), and below the 10 s after which a door gives up."""
    standstill_max_s: float = 1.0
    """An event loop that does not turn for longer stood still: a change that may have come before is refused."""
    catalogue_age_max_s: float = 300.0
    """With an older catalogue nobody is let in and nothing sold: keys may be revoked, prices changed by now.
    Configured as catalogue.age_max_s; this is for who has no snapshot to start from."""
    loop_lag_max_s: float = 1.0
    """The process is not ready while its event loop is later than this."""


@dataclass(frozen=True)
class Services:
    """All that the API's handlers use."""

    node: str
    """Name of the node that this process runs on."""
    merchant: Merchant
    catalogue: Catalogue
    intake: Intake
    database: Database
    signer: Signer
    limits: Limits = Limits()
    journal_state: Callable[[], Dependency] | None = None
    """How the journal is, as last seen: answers at once and asks nobody. None: there is no journal."""
    cut_off: Callable[[], bool] = lambda: False
    """Whether neither the database nor the journal has answered for a while, so that nothing can be done here."""
    keep_receipt: Callable[[Receipt], None] = lambda _: None
    """Takes each receipt that is given out; never waits."""
    note_unanswered: Callable[[UUID], None] = lambda _: None
    """Takes each order that may be stored although its client got no definite answer; never waits."""
    receipts_statement: Callable[[], Statement | None] = lambda: None
    """What this process says of the receipts that it gave; None where it keeps none."""
    collectors: tuple[Collector, ...] = ()
    """Figures of other parts that /metrics shows: anything with `collect`, such as a Counter without a registry."""
