"""Which ingest positions have a receipt on this node: one bit each, in blocks, until the block is sealed."""

from collections.abc import Iterable, Mapping

import msgspec

BLOCK = 256
"""Ingest positions in one block."""


class Delta(msgspec.Struct, frozen=True):
    """What a node tells the one that goes over all orders."""

    node: str
    run: str
    """Another one than before: the auditor was started anew, and versions begin again."""
    version: int
    blocks: dict[str, str]
    """Block -> hexadecimal bit mask, of the blocks that changed since the version that was asked for."""
    settled_until: float
    """All receipts that were given on the node before this moment were read, in seconds since 1970."""
    acknowledged: int


def block_of(position: int) -> int:
    """The block that an ingest position is in."""
    return position // BLOCK


def positions_of(block: int, mask: int) -> list[int]:
    """The ingest positions of the bits in a mask."""
    return [block * BLOCK + bit for bit in range(BLOCK) if mask >> bit & 1]


class Receipted:
    """Bits by block."""

    def __init__(self, kept: Mapping[str, str] = {}) -> None:
        self._masks = {int(block): int(mask, 16) for block, mask in kept.items()}
        self._changed = dict.fromkeys(self._masks, 1)
        self.version = 1
        """Grows with every change."""

    def add(self, positions: Iterable[int]) -> None:
        """Notes that these positions have a receipt."""
        for position in positions:
            block, bit = divmod(position, BLOCK)
            mask = self._masks.get(block, 0)
            if not mask >> bit & 1:
                self._masks[block] = mask | 1 << bit
                self.version += 1
                self._changed[block] = self.version

    def mask(self, block: int) -> int:
        """The bits of a block."""
        return self._masks.get(block, 0)

    def forget(self, blocks: Iterable[int]) -> None:
        """Lets go of blocks that are sealed."""
        for block in blocks:
            self._masks.pop(block, None)
            self._changed.pop(block, None)

    def known(self) -> list[int]:
        """Blocks with bits."""
        return list(self._masks)

    def since(self, version: int) -> dict[str, str]:
        """Bit masks of the blocks that changed after a version."""
        return {str(block): f"{self._masks[block]:x}" for block, at in self._changed.items() if at > version}

    def kept(self) -> dict[str, str]:
        """All bit masks, for the state on disk."""
        return {str(block): f"{mask:x}" for block, mask in self._masks.items()}
