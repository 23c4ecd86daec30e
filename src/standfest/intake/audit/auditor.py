"""One node's auditor: what it does all the time, and how much of the machine it takes for it."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import aiohttp
import structlog

from standfest.intake.audit import pace
from standfest.intake.audit.behind import Sight, behind
from standfest.intake.audit.books import Books
from standfest.intake.audit.census import Census
from standfest.intake.audit.duty import Done, Duty
from standfest.intake.audit.effort import Effort
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import is_closed
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.model import JournalReader
from standfest.intake.audit.new_orders import NewOrders
from standfest.intake.audit.passes import OrdersPass, ReceiptsPass
from standfest.intake.audit.peers import Explanation, Peers, Question, questions_in
from standfest.intake.audit.receipted import Delta, Receipted, block_of
from standfest.intake.audit.report import FINDINGS_SHOWN, Report, shown
from standfest.intake.audit.runs import Runs
from standfest.intake.audit.seal_copy import SealCopy
from standfest.intake.audit.seals import Seals
from standfest.intake.audit.state import State, read_state, write_state
from standfest.intake.audit.suspects import Suspects
from standfest.intake.audit.watch import Watch
from standfest.intake.audit.windows import Windows
from standfest.intake.audit.writers import Writers
from standfest.intake.receipt_log import ReceiptLog, directory_bytes, receipt_log
from standfest.intake.receipt_runs import boot_id
from standfest.intake.receipts import Receipt
from standfest.storage.database import Database
from standfest.telemetry.failures import facts_of

CONNECTIONS_MAX = 2
"""Of the pool that an auditor is given; the duty's lock has one more."""
KEPT_BYTES_MAX = 256 * 1024 * 1024
"""Receipt files that are full and audited are removed, oldest first, while there is more."""
LOST_IN_S, LOST_MAX = 3_600.0, 250
"""So many receipts may be lost within so long before it is a fault: a process that is killed under load loses a few
dozen, a machine that loses power some hundred."""

_log = structlog.get_logger(__name__)


class Auditor:
    """Compares what this node acknowledged with what is stored, and, when it has the duty, all stored orders."""

    def __init__(
        self,
        node: str,
        directory: Path,
        database: Database,
        journal: JournalReader,
        *,
        session: aiohttp.ClientSession | None = None,
        writers: Sequence[str] = (),
        peers: Sequence[str] = (),
    ) -> None:
        """
        Args:
            node: whose receipts.
            directory: of this node's receipts; the audit's own state lies in it as well.
            database: a small pool, for the audit alone.
            journal: where orders wait that are not in the database yet.
            session: with a time-out, for asking others; None where there are none to ask.
            writers: addresses of this node's API processes.
            peers: addresses of the other nodes' audits.
        """
        state = read_state(directory)
        receipted = Receipted(state.receipted)
        looks = Looks(database, journal, self._note_receipted)
        faults = Faults(state.faults)
        self._node = node
        self._run = uuid4().hex
        self._directory = directory
        self._database = database
        self._duty_database, self._books_database = database.beside(1), database.beside(1)
        self._duty = Duty(self._duty_database)
        self._looks = looks
        self._receipted = receipted
        self._faults = faults
        self._findings = Findings(state.findings)
        self._suspects = Suspects(looks, self._findings)
        booted = bool(state.boot) and state.boot != boot_id()
        self._follower = Follower(
            directory, looks, self._findings, faults, state.files, state.removed_lines, state.left, booted=booted
        )
        self._receipts = ReceiptsPass(
            directory, looks, self._suspects, self._follower, faults, state.receipts_passed_at
        )
        self._orders = OrdersPass(looks, self._suspects, state.orders_passed_at)
        self._new_orders = NewOrders(looks, self._orders, self._duty)
        self._watch = Watch(database, looks, self._suspects)
        self._windows = Windows(state.windows)
        self._runs = Runs(directory, self._follower, faults, state.runs, self._windows)
        self._writers = Writers(session if writers else None, writers, faults, self._windows)
        self._peers = Peers(session if peers else None, peers, faults, state.peers)
        copy = SealCopy(directory, faults, state.seals, booted=booted)
        self._seals = Seals(copy, database, looks, faults, state.sealed_passed_at)
        self._books = Books(directory, self._books_database, faults)
        self._census = Census(
            node, database, looks, receipted, self._peers, self._seals, faults, self._explain, self._rewrite
        )
        self._counted, self._watched, self._booked = Done(self._duty), Done(self._duty), Done(self._duty)
        self._stack = contextlib.AsyncExitStack()
        self._log: ReceiptLog | None = None
        self._lost_at = deque(state.lost_at, maxlen=10 * LOST_MAX)
        self._receipts_lost = state.receipts_lost
        self._settled_until = 0.0
        self._saved_at = time.monotonic()
        self._kept_bytes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Audits until `stop` is set."""
        work: tuple[Callable[[], Awaitable[None]], ...] = (
            self._follow,
            self._look_again,
            self._pass_over_all,
            self._new_orders.run,
            self._count_orders,
            self._watch_newest,
            self._copy_seals,
            self._compare_sealed,
            self._look_at_books,
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
            await self._stack.aclose()
            for pool in (self._duty_database, self._books_database):
                await pool.close()
            await self._save()

    def report(self) -> Report:
        """How things stand."""
        follower, counts = self._follower, self._findings.counts()
        late = behind(self._sight(), time.time())
        fault_counts = self._faults.counts()
        if late:
            fault_counts["behind"] = len(late)
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
            orders_unaudited=self._new_orders.unaudited,
            findings=[shown(finding) for finding in self._findings.all()[:FINDINGS_SHOWN]],
            receipts_given=self._writers.given,
            receipts_rewritten=self._receipts_lost,
            receipts_disturbed=self._writers.disturbances,
            orders_unreceipted=self._census.lacking if self._duty.held else 0,
            seals=self._seals.count,
            books_pass_age_s=round(self._books.age_s, 3) if self._duty.held else None,
            faults=[*self._faults.all(), *late][:FINDINGS_SHOWN],
            fault_counts=fault_counts,
        )

    def delta(self, query: Mapping[str, str]) -> Delta:
        """Which ingest positions have a receipt here, as far as that changed `since` a version of this `run`."""
        since = int(query.get("since", "0")) if query.get("run") == self._run and query["since"].isdigit() else 0
        return Delta(
            node=self._node,
            run=self._run,
            version=self._receipted.version,
            blocks=self._receipted.since(since),
            settled_until=self._settled_until,
            acknowledged=self._follower.acknowledged,
        )

    def explanation(self, query: Mapping[str, str]) -> Explanation:
        """What is known here of orders that have no receipt elsewhere."""
        return self._explain(questions_in(query.get("orders", "")))

    def _note_receipted(self, positions: Iterable[int]) -> None:
        self._receipted.add(position for position in positions if not self._seals.has(block_of(position)))

    def _explain(self, questions: Sequence[Question]) -> Explanation:
        held = self._follower.held(question.order_id for question in questions)
        why = {each.order_id: self._runs.explains(each.order_id, each.accepted_at) for each in questions}
        lost = {each.order_id for each in questions if self._windows.covers(each.accepted_at)}
        return Explanation(
            held=list(held),
            unanswered=[order_id for order_id, reason in why.items() if reason == "unanswered"],
            unclean=[order_id for order_id, reason in why.items() if reason == "unclean" or order_id in lost],
        )

    async def _rewrite(self, receipts: Sequence[Receipt]) -> None:
        """Writes lost receipts anew, beside those of the API processes."""
        if not receipts:
            return
        if self._log is None:
            self._log = await self._stack.enter_async_context(receipt_log(self._directory, "audit"))
        for receipt in receipts:
            _log.warning("audit_receipt_lost", order_id=str(receipt.order_id), number=receipt.number)
            self._log.append(receipt)
        self._receipts_lost += len(receipts)
        self._lost_at.extend([time.time()] * len(receipts))

    def _sight(self) -> Sight:
        duty, follower = self._duty.held, self._follower
        return Sight(
            lag_s=follower.lag_s,
            waiting_s=follower.waiting_s,
            unaudited_bytes=follower.unaudited_bytes,
            receipts_pass_age_s=self._receipts.age_s,
            orders_pass_age_s=self._orders.age_s if duty else None,
            books_age_s=self._booked.age_s,
            census_age_s=self._counted.age_s,
            unreceipted_age_s=self._unreceipted_age_s(),
            watch_age_s=self._watched.age_s,
            sealed_pass_age_s=self._seals.compared_age_s if duty else None,
            seals_age_s=self._seals.copied_age_s,
            nobody_s=time.monotonic() - self._duty.known_at,
            orders_unaudited=self._new_orders.unaudited,
            silent=tuple(self._writers.silent(self._runs.alive())),
            state_age_s=time.monotonic() - self._saved_at,
        )

    def _unreceipted_age_s(self) -> float | None:
        """Age of the oldest order of which nothing is known yet, at most the time that this process had for it."""
        oldest_at = self._census.oldest_lacking_at
        if oldest_at is None or not self._duty.held:
            return None
        return min(time.time() - oldest_at, self._duty.held_s)

    async def _follow(self) -> None:
        while True:
            alive = self._runs.alive()
            asked_at = await self._writers.ask()
            until = min(asked_at, self._writers.read_until(alive))
            more = await self._follower.read()
            if self._follower.complete and asked_at:
                self._settled_until = max(self._settled_until, until)
                self._runs.look()
                self._runs.compare()
                self._writers.compare(self._follower, self._runs.alive())
                self._judge_lost()
            if not more:
                await asyncio.sleep(pace.ROUND_S)

    def _judge_lost(self) -> None:
        now = time.time()
        lost = sum(now - at < LOST_IN_S for at in self._lost_at)
        if lost > LOST_MAX:
            self._faults.note(
                "receipts_lost", "within an hour", f"{lost} receipts, and more than {LOST_MAX} are not usual"
            )
        else:
            self._faults.clear("receipts_lost", "within an hour")

    async def _count_orders(self) -> None:
        while True:
            await asyncio.sleep(pace.ROUND_S)
            if not self._duty.held:
                self._census.forget()
                if self._duty.elsewhere:
                    self._census.leave()
                    self._books.leave()
                await self._peers.ask()  # whoever has the duty next knows what a lost node had
                await asyncio.sleep(pace.PEERS_S)
                continue
            effort = Effort()
            if await self._census.round(self._settled_until):
                self._counted.now()
            await asyncio.sleep(pace.NEW_ORDERS_PAUSES * effort.seconds)

    async def _watch_newest(self) -> None:
        while True:
            last, took_s = None, 0.0
            if self._duty.held and await self._looks.database_there():
                last, took_s = await self._watch.step(), self._watch.took_s
            if last is not None:
                self._watched.now()
            rest_s = pace.WATCH_REST_S if last or last is None else 0.0
            await asyncio.sleep(max(pace.WATCH_PAUSES * took_s, rest_s))

    async def _copy_seals(self) -> None:
        while True:
            if await self._seals.copy():
                sealed = [block for block in self._receipted.known() if self._seals.has(block)]
                self._receipted.forget(sealed)
                self._peers.forget([block for block in self._peers.blocks() if self._seals.has(block)])
                await asyncio.sleep(pace.SEALS_S if self._seals.passed else pace.ROUND_S)

    async def _compare_sealed(self) -> None:
        while True:
            began = time.monotonic()  # the database does most of it
            last = await (self._seals.compare() if self._duty.held else self._seals.look_again())
            rest_s = pace.PASS_REST_S if last or last is None else pace.PASS_PAUSE_MIN_S
            await asyncio.sleep(max(pace.PASS_PAUSES * (time.monotonic() - began), rest_s))

    async def _look_at_books(self) -> None:
        while True:
            began = time.monotonic()
            if self._duty.held and await self._looks.database_there():
                if await self._books.look():
                    self._booked.now()
                await asyncio.to_thread(self._books.write)
            await asyncio.sleep(pace.books_rest_s(time.monotonic() - began))

    async def _look_again(self) -> None:
        while True:
            await self._follower.look_again()
            await self._suspects.look()
            await asyncio.sleep(pace.ROUND_S / 2)

    async def _pass_over_all(self) -> None:
        while True:
            effort = Effort()
            receipts, orders = not self._receipts.rests(pace.PASS_REST_S), not self._orders.rests(pace.PASS_REST_S)
            looked = await self._receipts.step() if receipts else True
            await self._remove_audited()
            if orders and self._duty.held:
                looked = await self._orders.step() and looked
            await asyncio.sleep(pace.pass_pause_s(effort.seconds) if looked else pace.AWAY_S)

    async def _remove_audited(self) -> None:
        audited, self._receipts.audited = self._receipts.audited, []
        if not audited:
            return
        self._kept_bytes = await asyncio.to_thread(directory_bytes, self._directory)
        for path in audited:
            if self._kept_bytes <= KEPT_BYTES_MAX:
                return
            with contextlib.suppress(OSError):  # its writer takes a file away that it could not write to
                if self._follower.is_settled(path) and await asyncio.to_thread(is_closed, path):
                    self._follower.leave(path.name)
                    await self._save()  # first: a file that is remembered and gone would look as if somebody took it
                    self._kept_bytes -= await asyncio.to_thread(_remove, path)

    async def _keep_state(self) -> None:
        while True:
            await asyncio.sleep(pace.STATE_S)
            await self._save()

    async def _save(self) -> None:
        state = State(
            files=self._follower.states(),
            removed_lines=self._follower.left_lines,
            findings=self._findings.all(),
            receipts_passed_at=self._receipts.passed_at,
            orders_passed_at=self._orders.passed_at,
            sealed_passed_at=self._seals.compared_at,
            left=self._follower.left,
            runs=self._runs.sizes(),
            faults=self._faults.all(),
            receipted=self._receipted.kept(),
            lost_at=list(self._lost_at)[-LOST_MAX - 1 :],
            receipts_lost=self._receipts_lost,
            peers=self._peers.states(),
            seals=self._seals.written,
            boot=boot_id(),
            windows=self._windows.kept(),
        )
        try:
            await asyncio.to_thread(write_state, self._directory, state)
        except OSError as error:
            _log.error("audit_state_not_kept", **facts_of(error))
        else:
            self._saved_at = time.monotonic()


def _remove(path: Path) -> int:
    """Removes an audited file; its size."""
    size = path.stat().st_size
    path.unlink()
    _log.info("audit_receipts_done", file=path.name, bytes=size)
    return size
