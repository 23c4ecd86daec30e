"""Every order has a receipt: by whoever has the duty, block by block of ingest positions, until each block is sealed.

An order rightly has none where

- its client got no definite answer: the API process noted that;
- the process ended uncleanly about when the order was accepted, or said that it lost receipts then: the order is judged
  by its own chain, its receipt is written anew, and counted as lost.

Any other is a fault, once every node has read all receipts that it had given by then. A block is sealed when no
transaction can write into it any more and every order in it has a receipt.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

import msgspec
import psycopg
import structlog

from standfest.domain.identity import order_number
from standfest.intake.audit.blocks import (
    Horizon,
    Row,
    add_seal,
    block_of_subject,
    read_horizon,
    read_rows,
    seal_of,
    subject_of,
)
from standfest.intake.audit.complete import Complete
from standfest.intake.audit.decide import PROMISES
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.looks import DEADLINE_S, Looks
from standfest.intake.audit.model import Subject
from standfest.intake.audit.peers import Explanation, Peers, Question
from standfest.intake.audit.receipted import BLOCK, Receipted, block_of, positions_of
from standfest.intake.audit.seals import Seals
from standfest.intake.receipts import Receipt
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.telemetry.failures import facts_of

BLOCKS_MAX = 64
"""Blocks that are looked at in one round."""
OPEN_LOOK_S = 3.0
"""A block that orders may still come into is looked at after so long, again and again."""
STUCK_LOOK_S = 10.0
"""And one that cannot be sealed yet."""
SEALED_MAX = 16
"""Blocks that are sealed in one transaction."""
SETTLED_S = 10.0
"""An order is answered, or noted as unanswered, so long after it was accepted at the latest."""
EXPLAINED_MAX = 200
"""Orders without a receipt that are asked about in one round."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)
_log = structlog.get_logger(__name__)

Explain = Callable[[Sequence[Question]], Explanation]
Rewrite = Callable[[Sequence[Receipt]], Awaitable[None]]


class _Block(msgspec.Struct):
    due: float = 0.0
    """When it is looked at (monotonic)."""
    lacking: dict[int, Row] = {}
    complete: bool = False


class Census:
    """Goes over the blocks that are not sealed."""

    def __init__(
        self,
        node: str,
        database: Database,
        looks: Looks,
        receipted: Receipted,
        peers: Peers,
        seals: Seals,
        faults: Faults,
        explain: Explain,
        rewrite: Rewrite,
    ) -> None:
        """
        Args:
            node: this one.
            database: a small pool.
            looks: for thorough looks.
            receipted: positions that have a receipt here.
            peers: the other nodes.
            seals: this node's copy of the seals.
            faults: where what is wrong goes.
            explain: what this node knows of orders without a receipt.
            rewrite: writes receipts anew, and counts them.
        """
        self._node = node
        self._database = database
        self._looks = looks
        self._receipted = receipted
        self._peers = peers
        self._seals = seals
        self._faults = faults
        self._explain = explain
        self._rewrite = rewrite
        self._blocks: dict[int, _Block] = {}
        self._gone: set[int] = set()
        self._complete = Complete()
        self.lacking = 0
        """Orders without a receipt of which it cannot be said yet whether they should have one."""
        self.oldest_lacking_at: float | None = None
        """When the oldest of them that is not accused was accepted, in seconds since 1970."""

    def forget(self) -> None:
        """Begins anew: the duty was another node's meanwhile."""
        self._blocks.clear()
        self._complete.forget()
        self.lacking, self.oldest_lacking_at = 0, None

    def leave(self) -> None:
        """Lets go of what was found: another node has the duty. What is wrong in a sealed block is looked at again."""
        self._faults.leave("unreceipted")
        self._faults.leave("sealed", self._is_open)

    async def round(self, settled_until: float) -> bool:
        """Looks at some blocks, and seals what can be; whether it could look.

        `settled_until`: up to when this node has read its receipts, in seconds since 1970.
        """
        if not self._seals.passed or not await self._looks.database_there():
            return False
        await self._peers.ask()
        try:
            async with self._database.read(DEADLINE_S) as connection:
                horizon = await read_horizon(connection)
            self._complete.saw(horizon)
            due = self._due(horizon)
            masks = {block: self._mask(block) for block in due}
            async with self._database.read(DEADLINE_S) as connection:
                rows = await read_rows(connection, due)
            gone = {block: self._look_at(block, rows[block], masks[block], horizon) for block in due}
            await self._confirm_gone(due, {block: positions for block, positions in gone.items() if positions})
            await self._explain_lacking(min(settled_until, self._peers.settled_until) - SETTLED_S)
            await self._seal({block: rows[block] for block in due if self._is_ready(block)}, horizon.baseline)
        except _COULD_NOT as error:
            _log.info("audit_census_put_off", **facts_of(error))
            return False
        self._sum_up()
        return True

    def _due(self, horizon: Horizon) -> list[int]:
        """The blocks to look at now, those that were not looked at for longest first."""
        newest, now = block_of(horizon.newest), time.monotonic()
        for block in [each for each in self._blocks if self._seals.has(each)]:
            del self._blocks[block]
        self._faults.replace("unreceipted", {}, self._is_sealed)  # whoever sealed them saw all receipts
        for block in range(self._seals.first_open(), newest + 1):
            if len(self._blocks) >= 100 * BLOCKS_MAX:
                break
            if block not in self._blocks and not self._seals.has(block):
                self._blocks[block] = _Block(0.0 if self._is_complete(block) else now + OPEN_LOOK_S)
        due = [block for block, state in self._blocks.items() if state.due <= now]
        return sorted(sorted(due, key=lambda block: self._blocks[block].due)[:BLOCKS_MAX])

    def _look_at(self, block: int, rows: Sequence[Row], mask: int, horizon: Horizon) -> list[int]:
        """Notes which orders of a block have no receipt; the positions with a receipt and without an order."""
        state = self._blocks[block]
        state.complete = self._is_complete(block)
        state.due = time.monotonic() + (STUCK_LOOK_S if state.complete else OPEN_LOOK_S)
        there = {row.position: row for row in rows}
        state.lacking = {
            position: row
            for position, row in there.items()
            if position > horizon.baseline and not mask >> (position - block * BLOCK) & 1
        }
        if state.complete and state.lacking:
            state.due = time.monotonic() + 1.0  # their receipts are on their way, as a rule
        well = {subject_of(block * BLOCK + offset) for offset in range(BLOCK)}
        well -= {subject_of(position) for position in state.lacking}
        self._faults.replace("unreceipted", {}, lambda subject: subject in well)
        return [position for position in positions_of(block, mask) if position not in there]

    async def _confirm_gone(self, due: Sequence[int], gone: dict[int, list[int]]) -> None:
        """Says of positions that have a receipt and no order what is so for certain."""
        found: dict[str, str] = {}
        found_positions: list[int] = []
        if gone:
            async with self._database.write(DEADLINE_S) as connection:
                rows = await read_rows(connection, list(gone))
            for block, positions in gone.items():
                there = {row.position for row in rows[block]}
                for position in positions:
                    if position not in there:
                        found[subject_of(position)] = "the order that was acknowledged is gone"
                        found_positions.append(position)
        looked_at = set(due)
        self._faults.replace("sealed", found, lambda subject: block_of_subject(subject) in looked_at)
        self._gone -= looked_at
        self._gone |= {block_of(position) for position in found_positions}

    async def _explain_lacking(self, before: float) -> None:
        """Asks all nodes about orders that should have a receipt by now."""
        rows = [
            row
            for state in self._blocks.values()
            for row in state.lacking.values()
            if row.accepted_at.timestamp() < before
        ][:EXPLAINED_MAX]
        if not rows:
            return
        questions = [Question(row.order_id, row.accepted_at.timestamp()) for row in rows]
        explanations = await self._peers.explain(questions)
        if explanations is None:
            return
        explanations.append(self._explain(questions))
        if not await self._peers.ask():
            return
        rows = self._still_lacking(rows)  # a receipt that waited when it was asked about may have been looked at since
        held = {order_id for each in explanations for order_id in each.held}
        unanswered = {order_id for each in explanations for order_id in each.unanswered}
        unclean = {order_id for each in explanations for order_id in each.unclean}
        rows = [row for row in rows if row.order_id not in held]
        self._settle([row for row in rows if row.order_id in unanswered])
        await self._write_anew([row for row in rows if row.order_id in unclean - unanswered])
        await self._accuse([row for row in rows if row.order_id not in unanswered | unclean])

    def _settle(self, rows: Sequence[Row]) -> None:
        self._receipted.add(row.position for row in rows)
        for row in rows:
            self._blocks[block_of(row.position)].lacking.pop(row.position, None)

    async def _write_anew(self, rows: Sequence[Row]) -> None:
        """Writes the receipts of orders that are well by their own chain."""
        if not rows:
            return
        examined = await self._looks.examine([Subject(row.order_id) for row in rows])
        well = [row for row in rows if row.order_id in examined and not examined[row.order_id].flaws]
        well = self._still_lacking(well)
        receipts = [receipt for row in well if (receipt := _receipt(row)) is not None]
        await self._rewrite(receipts)
        self._settle([row for row in well if _receipt(row) is not None])

    async def _accuse(self, rows: Sequence[Row]) -> None:
        """Says of orders without a receipt what is so for certain: the database was asked where it can commit."""
        if not rows:
            return
        there = await self._certain(rows)
        for row in self._still_lacking(rows):
            if row.order_id in there:
                name = f"order {order_number(row.order_id)} ({row.order_id}), accepted at {row.accepted_at.isoformat()}"
                why = "has no receipt on any node, and no process ended uncleanly then"
                self._faults.note("unreceipted", subject_of(row.position), f"{name}, {why}")

    async def _certain(self, rows: Sequence[Row]) -> set[UUID]:
        """The orders in the blocks of these, as only the primary can say."""
        async with self._database.write(DEADLINE_S) as connection:
            there = await read_rows(connection, list({block_of(row.position) for row in rows}))
        return {row.order_id for each in there.values() for row in each}

    def _still_lacking(self, rows: Sequence[Row]) -> list[Row]:
        """Those of these orders of which no node has said by now that it has a receipt; lets go of the others."""
        lacking: list[Row] = []
        for row in rows:
            block, bit = divmod(row.position, BLOCK)
            if self._seals.has(block) or self._mask(block) >> bit & 1:
                self._blocks[block].lacking.pop(row.position, None)
            else:
                lacking.append(row)
        return lacking

    def _mask(self, block: int) -> int:
        """One bit for each ingest position of a block of which a node has said by now that it has a receipt."""
        return self._receipted.mask(block) | self._peers.mask(block)

    def _is_sealed(self, subject: str) -> bool:
        block = block_of_subject(subject)
        return block is not None and self._seals.has(block)

    def _is_open(self, subject: str) -> bool:
        block = block_of_subject(subject)
        return block is not None and not self._seals.has(block)

    def _is_complete(self, block: int) -> bool:
        """Whether nobody can write into a block any more."""
        return block * BLOCK + BLOCK - 1 <= self._complete.upto

    def _is_ready(self, block: int) -> bool:
        state = self._blocks[block]
        return state.complete and not state.lacking and block not in self._gone

    async def _seal(self, rows: Mapping[int, Sequence[Row]], baseline: int) -> None:
        """Seals blocks in which every order has a receipt, with what was read of them.

        The read was proven and their transactions had ended: whoever is primary by now has the same there.
        """
        whole = [block for block in rows if self._is_whole(block, rows[block], baseline)]
        for start in range(0, len(whole), SEALED_MAX):
            seals = [seal_of(block, rows[block]) for block in whole[start : start + SEALED_MAX]]
            async with self._database.write(DEADLINE_S) as connection:
                for seal in seals:
                    await add_seal(connection, seal, self._node)
            await self._seals.add({seal.block: seal.digest for seal in seals})
            for seal in seals:
                del self._blocks[seal.block]

    def _is_whole(self, block: int, rows: Sequence[Row], baseline: int) -> bool:
        """Whether a block's orders and its receipts are the same positions still."""
        mask = self._mask(block)
        there = {row.position for row in rows}
        return set(positions_of(block, mask)) <= there and all(
            mask >> (position - block * BLOCK) & 1 for position in there if position > baseline
        )

    def _sum_up(self) -> None:
        lacking = [row for state in self._blocks.values() for row in state.lacking.values()]
        waiting = [row for row in lacking if self._faults.found_at("unreceipted", subject_of(row.position)) is None]
        self.lacking = len(lacking)
        self.oldest_lacking_at = min((row.accepted_at.timestamp() for row in waiting), default=None)


def _receipt(row: Row) -> Receipt | None:
    """The receipt that an order's client was given, as its first event has it."""
    promise = PROMISES.get(row.first_type or "")
    if promise is None or row.first_content_hash is None:
        return None
    return Receipt(
        order_id=row.order_id,
        number=order_number(row.order_id),
        request_hash=row.request_hash.hex(),
        content_hash=row.first_content_hash.hex(),
        accepted_at=row.accepted_at,
        path=row.path,
        promise=promise,
    )
