"""What the benchmarks are made of: a load whose orders are counted in the database as well, and the reference."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.load import Load, Sent
from standfest.scaling.bench.reference import Reference
from standfest.scaling.bench.target import PRODUCTS, WARM_UP_S, Address, Target, send

REFERENCE_CLIENTS = (8, 16, 32)
"""The reference is the best that pgbench reaches with one of these."""
COUNTED_TIMEOUT_S = 60.0
"""How long orders that the journal accepted may take to be in the database."""
UNCLEAR = (502, 504)
"""Statuses of orders that may have been placed."""
_POLL_S = 0.2


@dataclass(frozen=True)
class Plan:
    """How a benchmark is carried out."""

    run: str
    """Tells this run's orders from all others."""
    seconds: float
    """How long each load lasts, in each round."""
    clients: int
    """Connections of the load."""
    rounds: int
    tell: Callable[[str], None]
    """Is told what is being done."""


@dataclass
class Rounds:
    """One benchmark under way."""

    target: Target
    plan: Plan
    loads: int = 0
    rates: dict[str, list[float]] = field(default_factory=dict)
    """What was found, a value a round."""

    def note(self, name: str, value: float) -> float:
        """Keeps a value of this round."""
        self.rates.setdefault(name, []).append(round(value, 3))
        return value

    def ratios(self, above: str, below: str) -> list[float]:
        """One noted value by another, round by round."""
        return [up / down for up, down in zip(self.rates[above], self.rates[below], strict=True)]

    def load(
        self,
        addresses: Sequence[Address],
        *,
        connections: int | None = None,
        rate_per_s: float | None = None,
        lines: int = 3,
        products: int = PRODUCTS,
        paths: Sequence[str] = (),
    ) -> Load:
        """A load of this benchmark: where nothing else is said, as the plan has it."""
        self.loads += 1
        return Load(
            addresses=list(addresses),
            key=self.target.key,
            run=self._name(),
            connections=connections or self.plan.clients,
            seconds=self.plan.seconds,
            warm_up_s=WARM_UP_S,
            rate_per_s=rate_per_s,
            products=products,
            lines=lines,
            paths=list(paths),
        )

    async def place(self, load: Load, *, refused: Sequence[int] = ()) -> Sent:
        """Sends orders, and counts them in the database. `refused`: statuses that are no failure of the benchmark.

        Raises BenchFailed where the database has another number than was acknowledged.
        """
        sent = await send(load)
        if unexpected := {status for status in sent.statuses if status > 299 and status not in refused}:
            first = "; ".join(f"{status}: {sent.refusals.get(status)}" for status in sorted(unexpected))
            raise BenchFailed(f"orders were answered unexpectedly ({sent.statuses}): {first}")
        least = sent.acknowledged + sent.statuses.get(409, 0)  # what is declined is recorded
        deadline = time.monotonic() + COUNTED_TIMEOUT_S
        while (stored := await self.target.orders_of(load.run)) < least:
            await asyncio.sleep(_POLL_S)
            if time.monotonic() > deadline:
                break
        if not least <= stored <= least + sent.unclear + sum(sent.statuses.get(status, 0) for status in UNCLEAR):
            raise BenchFailed(f"{least} orders were acknowledged and {stored} are in the database: report this")
        return sent

    async def reference(self, clients: int) -> Reference:
        """What pgbench reaches with so many clients."""
        self.loads += 1
        return await self.target.writing.run(self._name(), clients, max(int(self.plan.seconds), 1))

    async def best_clients(self) -> int:
        """The number of clients with which pgbench writes most."""
        self.plan.tell("pgbench: looking for its best number of clients")
        reached = {clients: (await self.reference(clients)).orders_per_s for clients in REFERENCE_CLIENTS}
        return max(reached, key=lambda clients: reached[clients])

    def _name(self) -> str:
        return f"{self.plan.run}-{self.loads:03d}"
