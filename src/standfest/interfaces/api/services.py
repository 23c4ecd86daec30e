"""What the API needs from the rest of the order plane."""

from collections.abc import Mapping, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from standfest.domain.agreement import Merchant
from standfest.domain.orders import Order
from standfest.domain.products import Product
from standfest.intake.direct import Placement
from standfest.intake.receipts import Receipt, SignedReceipt
from standfest.storage.connection import Connection


class Client(Protocol):
    """Who sends a request."""

    @property
    def id(self) -> UUID:
        """Immutable: part of the identity of every order."""

    @property
    def name(self) -> str:
        """For logs and events."""

    @property
    def scopes(self) -> Set[str]:
        """What it may do."""


class Catalogue(Protocol):
    """Products and keys in memory."""

    @property
    def products(self) -> Mapping[str, Product]:
        """SKU -> product."""

    @property
    def age_s(self) -> float:
        """Seconds since it was last known to be what the database has."""

    def authenticate(self, bearer: str) -> Client | None:
        """Whose key this is."""

    async def refresh_now(self) -> bool:
        """Looks for changes, together with all who ask meanwhile; whether it is now as new as this call."""


class Intake(Protocol):
    """Where priced and valid orders go."""

    async def place(self, order: Order) -> Placement:
        """Places one order durably; raises KeyReused, Overloaded, DatabaseUnavailable, OutcomeUnknown."""


class Transactions(Protocol):
    """The database; both raise DatabaseUnavailable, `write` OutcomeUnknown too."""

    def read(self, deadline_s: float) -> AbstractAsyncContextManager[Connection]:
        """A read-only transaction with one snapshot on the primary."""

    def write(self, deadline_s: float) -> AbstractAsyncContextManager[Connection]:
        """A transaction that is on a named standby once the block has ended."""


class Signer(Protocol):
    """The cluster's key for receipts."""

    def sign(self, receipt: Receipt) -> SignedReceipt:
        """The receipt with a signature."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one API process."""

    in_flight_max: int = 512
    """So many requests at once; more are answered with 429."""
    read_deadline_s: float = 2.0
    """A read that takes longer is answered with 503."""
    write_deadline_s: float = 5.0
    """A change, orders apart, that takes longer is answered with 503 or 504."""
    catalogue_age_max_s: float = 300.0
    """With an older catalogue nobody is let in and nothing sold: keys may be revoked, prices changed by now."""
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
    database: Transactions
    signer: Signer
    limits: Limits = Limits()
