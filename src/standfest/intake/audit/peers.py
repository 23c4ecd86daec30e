"""The other nodes' auditors: which ingest positions have a receipt there, and why orders may have none."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

import aiohttp
import msgspec
import structlog

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.receipted import Delta
from standfest.intake.audit.state import PeerState
from standfest.intake.audit.windows import Window, Windows

FRESH_S = 5.0
"""What a node said counts for so long."""
FORGOTTEN_S = 3_600.0
"""That a node knows of fewer receipts than before is a fault for so long: a lost disk does not come back."""
LOST_BEFORE_S, LOST_AFTER_S = 20.0, 10.0
"""Orders accepted so long before a node was last heard, or so long afterwards, may have lost their receipts with it."""
ORDERS_MAX = 50
"""Orders in one question."""

Answer = TypeVar("Answer")
_log = structlog.get_logger(__name__)


class Question(msgspec.Struct, frozen=True):
    """An order without a receipt."""

    order_id: UUID
    accepted_at: float
    """Seconds since 1970."""


class Explanation(msgspec.Struct, frozen=True):
    """What a node knows of orders without a receipt."""

    held: list[UUID]
    """There is a receipt, which waits to be looked at again."""
    unanswered: list[UUID]
    """The client got no definite answer."""
    unclean: list[UUID]
    """Accepted when a process ended uncleanly, or lost receipts."""


def questions_in(text: str) -> list[Question]:
    """Questions as `encoded` wrote them; what is none is left out."""
    questions: list[Question] = []
    for part in text.split(",")[:ORDERS_MAX]:
        order_id, _, accepted_at = part.partition(":")
        try:
            questions.append(Question(UUID(order_id), float(accepted_at)))
        except ValueError:
            continue
    return questions


def encoded(questions: Iterable[Question]) -> str:
    """Questions as text for a URL."""
    return ",".join(f"{each.order_id.hex}:{each.accepted_at:.6f}" for each in questions)


class _Peer:
    def __init__(self, state: PeerState) -> None:
        self.acknowledged = state.acknowledged
        self.heard_wall = state.heard_at
        self.forgot_at: float | None = None
        self.node = ""
        self.run = ""
        self.version = 0
        self.windows = Windows(state.windows)
        self.masks = {int(block): int(mask, 16) for block, mask in state.blocks.items()}
        self.settled_until = 0.0
        self.heard_at = float("-inf")


class Peers:
    """Asks the auditors of the other nodes."""

    def __init__(
        self,
        session: aiohttp.ClientSession | None,
        addresses: Sequence[str],
        faults: Faults,
        kept: Mapping[str, PeerState] = {},
    ) -> None:
        """
        Args:
            session: None where `addresses` is empty.
            addresses: of the other auditors.
            faults: where it goes that a node has forgotten receipts.
            kept: what each auditor had said, by address.
        """
        self._session = session
        self._faults = faults
        self._peers = {address: _Peer(kept.get(address, PeerState())) for address in addresses}

    def states(self) -> dict[str, PeerState]:
        """What each of them last said."""
        return {
            address: PeerState(
                peer.acknowledged,
                peer.heard_wall,
                {str(block): f"{mask:x}" for block, mask in peer.masks.items()},
                peer.windows.kept(),
            )
            for address, peer in self._peers.items()
        }

    @property
    def settled_until(self) -> float:
        """Up to which moment all other nodes have read their receipts; 0 where one of them was not heard of."""
        now = time.monotonic()
        return min(
            (each.settled_until if now - each.heard_at < FRESH_S else 0.0 for each in self._peers.values()),
            default=float("inf"),
        )

    def mask(self, block: int) -> int:
        """Positions of a block that have a receipt on another node."""
        mask = 0
        for peer in self._peers.values():
            mask |= peer.masks.get(block, 0)
        return mask

    def blocks(self) -> set[int]:
        """Blocks in which any position has a receipt on another node."""
        return {block for peer in self._peers.values() for block in peer.masks}

    def forget(self, blocks: Iterable[int]) -> None:
        """Lets go of blocks that are sealed."""
        for block in blocks:
            for peer in self._peers.values():
                peer.masks.pop(block, None)

    async def ask(self) -> bool:
        """Asks all of them what is new; whether all answered."""
        return all(await asyncio.gather(*(self._ask(address, peer) for address, peer in self._peers.items())))

    async def explain(self, questions: Sequence[Question]) -> list[Explanation] | None:
        """What each of them knows of these orders; None where one did not answer."""
        explanations: list[Explanation] = []
        for start in range(0, len(questions), ORDERS_MAX):
            query = encoded(questions[start : start + ORDERS_MAX])
            answers = await asyncio.gather(
                *(self._get(address, f"explain?orders={query}", Explanation) for address in self._peers)
            )
            for answer in answers:
                if answer is None:
                    return None
                explanations.append(answer)
        lost = [
            each.order_id
            for each in questions
            if any(peer.windows.covers(each.accepted_at) for peer in self._peers.values())
        ]
        return [*explanations, Explanation([], [], lost)]

    async def _ask(self, address: str, peer: _Peer) -> bool:
        delta = await self._get(address, f"receipted?since={peer.version}&run={peer.run}", Delta)
        if delta is None:
            return False
        for block, mask in delta.blocks.items():
            peer.masks[int(block)] = peer.masks.get(int(block), 0) | int(mask, 16)
        self._note_forgotten(peer, delta)
        peer.node, peer.run, peer.version = delta.node, delta.run, delta.version
        peer.settled_until, peer.heard_at = delta.settled_until, time.monotonic()
        peer.heard_wall = time.time()
        return True

    def _note_forgotten(self, peer: _Peer, delta: Delta) -> None:
        """Notes that a node knows of fewer receipts than before: its disk is another one, or somebody emptied it."""
        subject, now = f"audit of {delta.node}", time.time()
        if delta.acknowledged < peer.acknowledged:
            if peer.forgot_at is None:
                peer.forgot_at = now
                peer.windows.add(Window(peer.heard_wall - LOST_BEFORE_S, peer.heard_wall + LOST_AFTER_S))
            if now - peer.forgot_at < FORGOTTEN_S:
                detail = (
                    f"it had read {peer.acknowledged} receipts when it was last asked, and {delta.acknowledged} now"
                )
                self._faults.note("receipts_missing", subject, detail)
                return
        peer.forgot_at, peer.acknowledged = None, delta.acknowledged
        self._faults.clear("receipts_missing", subject)

    async def _get(self, address: str, path: str, kind: type[Answer]) -> Answer | None:
        if self._session is None:
            return None
        try:
            async with self._session.get(f"http://{address}/v1/audit/{path}") as answer:
                if answer.status != 200:
                    return None
                return msgspec.json.decode(await answer.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError, ValueError) as error:
            _log.debug("audit_peer_silent", address=address, error=type(error).__name__)
            return None
