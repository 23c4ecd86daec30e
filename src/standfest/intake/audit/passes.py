"""Full passes: all kept receipts and all stored orders again and again, a batch at a time, at a bounded cost.

Whoever drives a pass calls `step` and decides how long to pause. Nothing is accused here: what seems wrong becomes
a suspect.
"""

import asyncio
import time
from pathlib import Path

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import Piece, read_piece
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.suspects import Suspects
from standfest.intake.receipt_log import receipt_files
from standfest.telemetry.failures import facts_of

BATCH = 200

_AGAIN = " as read again"


class Pass:
    """What both kinds of pass remember of themselves."""

    def __init__(self, passed_at: float | None = None) -> None:
        self.passed_at = passed_at
        """When the last full pass ended, in seconds since 1970; None: there was none yet."""
        self.began_at = time.time()
        self._idle_since = float("-inf")
        self.looked_at = 0
        """Receipts or orders in the pass that is under way."""

    @property
    def age_s(self) -> float:
        """Time since the last full pass ended; while there was none, since this process began to look."""
        return max(0.0, time.time() - (self.began_at if self.passed_at is None else self.passed_at))

    def rests(self, rest_s: float) -> bool:
        """Whether the last full pass ended less than `rest_s` seconds ago."""
        return time.monotonic() - self._idle_since < rest_s

    def _ended(self) -> None:
        self.passed_at = time.time()
        self._idle_since = time.monotonic()
        self.looked_at = 0


class ReceiptsPass(Pass):
    """Goes over all receipt files of a directory."""

    def __init__(
        self,
        directory: Path,
        looks: Looks,
        suspects: Suspects,
        follower: Follower,
        faults: Faults,
        passed_at: float | None = None,
    ) -> None:
        super().__init__(passed_at)
        self._follower = follower
        self._faults = faults
        self._digest, self._wanted = b"", (0, b"")
        self._damaged = 0
        self._unreadable: dict[str, str] = {}
        self._directory = directory
        self._looks = looks
        self._suspects = suspects
        self._waiting: list[Path] | None = None
        self._offset = 0
        self._clean = True
        self.audited: list[Path] = []
        """Files in which every order was found in the database; whoever takes them out may remove them."""

    async def step(self) -> bool:
        """One batch. False where nothing could be looked at: the database is away."""
        if not await self._looks.database_there():
            return False
        if self._waiting is None:
            self._waiting = await asyncio.to_thread(receipt_files, self._directory)
            self._begin_file()
        if self._waiting and not await self._step_in(self._waiting[0]):
            return False
        if not self._waiting:
            self._waiting = None
            self._faults.replace("receipts_unreadable", self._unreadable, lambda subject: subject.endswith(_AGAIN))
            self._unreadable = {}
            self._suspects.pass_ended()
            self._ended()
        return True

    async def _step_in(self, path: Path) -> bool:
        """One batch of a file. False where it could not be looked at."""
        try:
            piece = await asyncio.to_thread(self._read, path)
        except FileNotFoundError:  # the audit removed it meanwhile, or the follower says so
            self._next_file()
            return True
        except OSError as error:  # the follower does not open a file that it has read to its end
            self._unreadable[f"{path.name}{_AGAIN}"] = detail = str(facts_of(error)["error"])
            self._faults.note("receipts_unreadable", f"{path.name}{_AGAIN}", detail)
            self._next_file()
            return True
        if not await self._look(piece):
            return False
        self._compare(path.name, piece)
        self.looked_at += len(piece.lines)
        if not piece.more:
            if self._clean:
                self.audited.append(path)
            self._next_file()
        return True

    def _read(self, path: Path) -> Piece:
        """The next piece; it ends where the follower's reading ended when this file was begun."""
        piece = read_piece(path, self._offset, BATCH, self._digest)
        upto = self._wanted[0]
        if not self._offset < upto < piece.end:
            return piece
        lines = sum(read.start < upto for read in piece.lines)
        return read_piece(path, self._offset, max(1, lines + piece.damaged), self._digest) if lines else piece

    def _compare(self, name: str, piece: Piece) -> None:
        """Notes whether the file is what it was when it was read first."""
        self._clean = self._clean and not piece.damaged
        self._offset, self._digest = piece.end, piece.digest
        self._damaged += piece.damaged
        upto, digest = self._wanted
        subject = f"{name}{_AGAIN}"
        if upto and self._offset == upto:
            if self._digest != digest:
                self._faults.note("receipts_damaged", subject, "lines that were read before are others by now")
            else:
                self._faults.clear("receipts_damaged", subject)

    async def _look(self, piece: Piece) -> bool:
        receipts = [read.entry.receipt for read in piece.lines]
        glances = await self._looks.glance_at_receipts(receipts) if receipts else []
        if "unknown" in glances or "unseen" in glances:
            return False
        for receipt, glance in zip(receipts, glances, strict=True):
            if glance == "suspect":
                self._suspects.add(receipt.order_id, receipt)
            self._clean = self._clean and glance == "found"
        return True

    def _next_file(self) -> None:
        if self._waiting:
            self._waiting.pop(0)
        self._begin_file()

    def _begin_file(self) -> None:
        self._offset, self._clean, self._digest, self._damaged = 0, True, b"", 0
        self._wanted = self._follower.reached(self._waiting[0].name) if self._waiting else (0, b"")


class OrdersPass(Pass):
    """Goes over all orders in the database, by ingest position."""

    def __init__(self, looks: Looks, suspects: Suspects, passed_at: float | None = None) -> None:
        super().__init__(passed_at)
        self._looks = looks
        self._suspects = suspects
        self._after = 0
        self._batch = BATCH

    async def step(self) -> bool:
        """One batch. False where nothing could be looked at: the database is away."""
        looked = await self.look(self._after)
        if looked is None:
            return False
        self._after, ended = looked
        if ended:
            self._after = 0
            self._ended()
        return True

    async def look(self, after: int, upto: int = 2**62) -> tuple[int, bool] | None:
        """Looks at the batch of orders behind an ingest position.

        Returns:
            How far it came, and whether that was the last batch; None where it could not look.
        """
        batch = self._batch
        seen = await self._looks.glance_at_orders(after, upto, batch)
        if seen is None:
            self._batch = max(1, batch // 2)  # very large orders may be too many for the time that a look has
            return None
        self._batch = min(BATCH, 2 * batch)
        wrong, positions = seen
        for order_id in wrong:
            self._suspects.add(order_id)
        self.looked_at += len(positions)
        return (positions[-1] if positions else after), len(positions) < batch
