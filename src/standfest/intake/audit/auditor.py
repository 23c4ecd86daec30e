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

from standfest.intake.audit.behind import Sight, behind
from standfest.intake.audit.books import Books
from standfest.intake.audit.census import Census
from standfest.intake.audit.duty import Duty
from standfest.intake.audit.effort import Effort
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import is_closed
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.model import JournalReader
from standfest.intake.audit.passes import OrdersPass, ReceiptsPass
from standfest.intake.audit.peers import Explanation, Peers, Question, questions_in
from standfest.intake.audit.receipted import Delta, Receipted, block_of
from standfest.intake.audit.report import FINDINGS_SHOWN, Report, shown
from standfest.intake.audit.runs import Runs
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
ROUND_S = 1.0
"""New receipts and new orders are looked for so often."""
PASS_PAUSES = 40.0
"""A full pass rests so many times its effort: with what the database does for it, 5 % of one core."""
WATCH_PAUSES = 80.0
"""A look at the newest orders rests so many times as long as it took: the database computes for it on 1.25 % of one
core at most."""
BOOKS_PAUSES = 100.0
"""The same for stock and feed."""
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
LOST_IN_S, LOST_MAX = 3_600.0, 250
"""So many receipts may be lost within so long before it is a fault: a process that is killed under load loses a few
dozen, a machine that loses power some hundred."""
SEALS_S = 10.0
"""Seals of other nodes are taken over so often."""
PEERS_S = 4.0
"""Audits without the duty ask each other so often."""
WATCH_REST_S = 3.0
"""Two passes over the newest orders are so far apart at least."""
BOOKS_REST_S = 3.0
"""Two looks at stock and feed are so far apart at least."""
_STATE_S = 5.0
_AWAY_S = 2.0
_PASS_PAUSE_MIN_S = 0.1

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
        self._watch = Watch(database, looks, self._suspects)
        windows = Windows(state.windows)
        self._runs = Runs(directory, self._follower, faults, state.runs, windows)
        self._writers = Writers(session if writers else None, writers, faults, windows)
        self._peers = Peers(session if peers else None, peers, faults, state.peers)
        self._seals = Seals(directory, database, looks, faults, state.seals)
        self._books = Books(directory, self._books_database, faults)
        self._census = Census(
            node, database, looks, receipted, self._peers, self._seals, faults, self._explain, self._rewrite
        )
        self._stack = contextlib.AsyncExitStack()
        self._log: ReceiptLog | None = None
        self._lost_at = deque(state.lost_at, maxlen=10 * LOST_MAX)
        self._receipts_lost = state.receipts_lost
        self._settled_until = 0.0
        self._saved_at = time.monotonic()
        self._orders_unaudited = 0
        self._kept_bytes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Audits until `stop` is set."""
        work: tuple[Callable[[], Awaitable[None]], ...] = (
            self._follow,
            self._look_again,
            self._pass_over_all,
            self._look_at_new_orders,
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
            orders_unaudited=self._orders_unaudited,
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
        lost = {
            each.order_id
            for each in questions
            if any(window.since <= each.accepted_at <= window.until for window in self._writers.windows)
        }
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
            unaudited_bytes=follower.unaudited_bytes,
            receipts_pass_age_s=self._receipts.age_s,
            orders_pass_age_s=self._orders.age_s if duty else None,
            books_pass_age_s=self._books.age_s if duty else None,
            nobody_s=time.monotonic() - self._duty.known_at,
            orders_unaudited=self._orders_unaudited,
            silent=tuple(self._writers.silent(self._runs.alive())),
            state_age_s=time.monotonic() - self._saved_at,
        )

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
                await asyncio.sleep(ROUND_S)

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
            await asyncio.sleep(ROUND_S)
            if not self._duty.held:
                self._census.forget()
                await self._peers.ask()  # whoever has the duty next knows what a lost node had
                await asyncio.sleep(PEERS_S)
                continue
            effort = Effort()
            await self._census.round(self._settled_until)
            await asyncio.sleep(NEW_ORDERS_PAUSES * effort.seconds)

    async def _watch_newest(self) -> None:
        while True:
            began = time.monotonic()
            last = await self._watch.step() if self._duty.held and await self._looks.database_there() else None
            rest_s = WATCH_REST_S if last or last is None else 0.0
            await asyncio.sleep(max(WATCH_PAUSES * (time.monotonic() - began), rest_s))

    async def _copy_seals(self) -> None:
        while True:
            if await self._seals.copy():
                sealed = [block for block in self._receipted.known() if self._seals.has(block)]
                self._receipted.forget(sealed)
                self._peers.forget([block for block in self._peers.blocks() if self._seals.has(block)])
                await asyncio.sleep(SEALS_S if self._seals.passed else ROUND_S)

    async def _compare_sealed(self) -> None:
        while True:
            began = time.monotonic()  # the database does most of it
            last = await self._seals.compare() if self._duty.held else True
            rest_s = PASS_REST_S if last or last is None else _PASS_PAUSE_MIN_S
            await asyncio.sleep(max(PASS_PAUSES * (time.monotonic() - began), rest_s))

    async def _look_at_books(self) -> None:
        while True:
            began = time.monotonic()
            if self._duty.held and await self._looks.database_there():
                await self._books.look()
                await asyncio.to_thread(self._books.write)
            await asyncio.sleep(max(BOOKS_PAUSES * (time.monotonic() - began), BOOKS_REST_S))

    async def _look_again(self) -> None:
        while True:
            await self._follower.look_again()
            await self._suspects.look()
            await asyncio.sleep(ROUND_S / 2)

    async def _pass_over_all(self) -> None:
        while True:
            effort = Effort()
            receipts, orders = not self._receipts.rests(PASS_REST_S), not self._orders.rests(PASS_REST_S)
            looked = await self._receipts.step() if receipts else True
            await self._remove_audited()
            if orders and self._duty.held:
                looked = await self._orders.step() and looked
            await asyncio.sleep(max(PASS_PAUSES * effort.seconds, _PASS_PAUSE_MIN_S) if looked else _AWAY_S)

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
            effort = Effort()
            looked = await self._orders.look(after, upto)
            if looked is None:
                return after
            after, ended = looked
            if ended:
                after = upto
            await asyncio.sleep(NEW_ORDERS_PAUSES * effort.seconds)
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
            with contextlib.suppress(OSError):  # its writer takes a file away that it could not write to
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
            left=self._follower.left,
            runs=self._runs.sizes(),
            faults=self._faults.all(),
            receipted=self._receipted.kept(),
            lost_at=list(self._lost_at)[-LOST_MAX - 1 :],
            receipts_lost=self._receipts_lost,
            peers=self._peers.states(),
            seals=self._seals.count,
            boot=boot_id(),
            windows=self._writers.windows.kept(),
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
