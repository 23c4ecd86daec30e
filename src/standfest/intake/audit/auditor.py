"""One node's auditor: what it does all the time, and how much of the machine it takes for it."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from standfest.intake.audit.duty import Duty
from standfest.intake.audit.files import is_closed
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.model import JournalReader
from standfest.intake.audit.passes import OrdersPass, ReceiptsPass
from standfest.intake.audit.report import FINDINGS_SHOWN, Report, shown
from standfest.intake.audit.state import State, read_state, write_state
from standfest.intake.audit.suspects import Suspects
from standfest.intake.receipt_log import directory_bytes
from standfest.storage.database import Database
from standfest.telemetry.failures import facts_of

CONNECTIONS_MAX = 2
"""Of the pool that an auditor is given; the duty's lock has one more."""
ROUND_S = 1.0
"""New receipts and new orders are looked for so often."""
PASS_PAUSES = 40.0
"""A full pass rests so many times as long as it computed: with what the database does for it, 5 % of one core."""
PASS_REST_S = 2.0
"""Two full passes are so far apart at least."""
NEW_ORDERS_PAUSES = 8.0
"""The same for new orders, of which there may be many: 25 % of one core at most."""
SETTLED_S = 3.0
"""New orders are looked at so long after they were seen: transactions that began before have ended by then."""
NEW_ORDERS_FROM = 1_000
"""Whoever takes the duty over looks at so many of the newest orders first."""
KEPT_BYTES_MAX = 256 * 1024 * 1024
"""Receipt files that are full and audited are removed, oldest first, while there is more."""
_STATE_S = 5.0
_AWAY_S = 2.0
_PASS_PAUSE_MIN_S = 0.1

_log = structlog.get_logger(__name__)


class Auditor:
    """Compares what this node acknowledged with what is stored, and, when it has the duty, all stored orders."""

    def __init__(self, node: str, directory: Path, database: Database, journal: JournalReader) -> None:
        """
        Args:
            node: whose receipts.
            directory: of this node's receipts; the audit's own state lies in it as well.
            database: a small pool, for the audit alone.
            journal: where orders wait that are not in the database yet.
        """
        state = read_state(directory)
        looks = Looks(database, journal)
        self._node = node
        self._directory = directory
        self._database = database
        self._duty_database = database.beside(1)
        self._duty = Duty(self._duty_database)
        self._looks = looks
        self._findings = Findings(state.findings)
        self._suspects = Suspects(looks, self._findings)
        self._follower = Follower(directory, looks, self._findings, state.files, state.removed_lines)
        self._receipts = ReceiptsPass(directory, looks, self._suspects, state.receipts_passed_at)
        self._orders = OrdersPass(looks, self._suspects, state.orders_passed_at)
        self._orders_unaudited = 0
        self._kept_bytes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Audits until `stop` is set."""
        work: tuple[Callable[[], Awaitable[None]], ...] = (
            self._follow,
            self._look_again,
            self._pass_over_all,
            self._look_at_new_orders,
            self._keep_state,
            self._duty.run,
        )
        tasks = [asyncio.ensure_future(part()) for part in work]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # none of them ends but by a fault
        finally:
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.wait({stopping, *tasks})
            await self._duty_database.close()
            await self._save()

    def report(self) -> Report:
        """How things stand."""
        follower, counts = self._follower, self._findings.counts()
        return Report(
            node=self._node,
            acknowledged=follower.acknowledged,
            found=max(0, follower.acknowledged - follower.unknown - self._findings.acknowledged()),
            waiting=follower.waiting,
            **counts,
            unknown=follower.unknown + self._suspects.count,
            damaged=follower.damaged,
            lag_s=round(follower.lag_s, 3),
            receipts_unaudited_bytes=follower.unaudited_bytes,
            receipts_kept_bytes=self._kept_bytes,
            receipts_pass_age_s=round(self._receipts.age_s, 3),
            orders_pass_age_s=round(self._orders.age_s, 3) if self._duty.held else None,
            orders_unaudited=self._orders_unaudited,
            findings=[shown(finding) for finding in self._findings.all()[:FINDINGS_SHOWN]],
        )

    async def _follow(self) -> None:
        while True:
            if not await self._follower.read():
                await asyncio.sleep(ROUND_S)

    async def _look_again(self) -> None:
        while True:
            await self._follower.look_again()
            await self._suspects.look()
            await asyncio.sleep(ROUND_S / 2)

    async def _pass_over_all(self) -> None:
        while True:
            began = time.process_time()  # of a busy machine's time it had but a part
            receipts, orders = not self._receipts.rests(PASS_REST_S), not self._orders.rests(PASS_REST_S)
            looked = await self._receipts.step() if receipts else True
            await self._remove_audited()
            if orders and self._duty.held:
                looked = await self._orders.step() and looked
            worked_s = time.process_time() - began
            await asyncio.sleep(max(PASS_PAUSES * worked_s, _PASS_PAUSE_MIN_S) if looked else _AWAY_S)

    async def _look_at_new_orders(self) -> None:
        marks: deque[tuple[float, int]] = deque()
        after: int | None = None
        while True:
            await asyncio.sleep(ROUND_S)
            newest = await self._looks.last_position() if self._duty.held else None
            if newest is None:
                marks.clear()
                after, self._orders_unaudited = None, 0
                continue
            now = time.monotonic()
            marks.append((now, newest))
            upto = 0
            while marks and marks[0][0] <= now - SETTLED_S:
                upto = marks.popleft()[1]
            if upto:
                after = max(0, upto - NEW_ORDERS_FROM) if after is None else after
                after = await self._look_at_orders(after, upto)

    async def _look_at_orders(self, after: int, upto: int) -> int:
        """Looks at the orders between two ingest positions; how far it came."""
        while after < upto and self._duty.held:
            self._orders_unaudited = upto - after
            began = time.process_time()
            looked = await self._orders.look(after, upto)
            if looked is None:
                return after
            after, ended = looked
            if ended:
                after = upto
            await asyncio.sleep(NEW_ORDERS_PAUSES * (time.process_time() - began))
        self._orders_unaudited = 0
        return after

    async def _remove_audited(self) -> None:
        audited, self._receipts.audited = self._receipts.audited, []
        if not audited:
            return
        self._kept_bytes = await asyncio.to_thread(directory_bytes, self._directory)
        for path in audited:
            if self._kept_bytes <= KEPT_BYTES_MAX:
                return
            with contextlib.suppress(FileNotFoundError):  # its writer takes a file away that it could not write to
                if self._follower.is_settled(path) and await asyncio.to_thread(is_closed, path):
                    self._follower.leave(path.name)
                    await self._save()  # first: a file that is remembered and gone would look as if somebody took it
                    self._kept_bytes -= await asyncio.to_thread(_remove, path)

    async def _keep_state(self) -> None:
        while True:
            await asyncio.sleep(_STATE_S)
            await self._save()

    async def _save(self) -> None:
        state = State(
            files=self._follower.states(),
            removed_lines=self._follower.left_lines,
            findings=self._findings.all(),
            receipts_passed_at=self._receipts.passed_at,
            orders_passed_at=self._orders.passed_at,
        )
        try:
            await asyncio.to_thread(write_state, self._directory, state)
        except OSError as error:
            _log.error("audit_state_not_kept", **facts_of(error))


def _remove(path: Path) -> int:
    """Removes an audited file; its size."""
    size = path.stat().st_size
    path.unlink()
    _log.info("audit_receipts_done", file=path.name, bytes=size)
    return size
