"""A queue in which owners take turns: who brings much waits behind its own, and not others behind it."""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """First come first served for each owner, and one of each owner in turn.

    Invariant: an owner is in it exactly as long as something of its is.
    """

    def __init__(self) -> None:
        self._owners: dict[Hashable, deque[Item]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        for items in self._owners.values():
            yield from items

    def append(self, owner: Hashable, item: Item) -> None:
        """Puts an item behind all others of its owner."""
        self._owners.setdefault(owner, deque()).append(item)
        self._length += 1

    def put_back(self, owner: Hashable, item: Item) -> None:
        """Puts an item that was taken before all others of its owner."""
        self._owners.setdefault(owner, deque()).appendleft(item)
        self._length += 1

    def take(self) -> Item:
        """The next item; its owner's turn comes again after all others'. IndexError where there is none."""
        if not self._owners:
            raise IndexError("nobody waits")
        owner = next(iter(self._owners))
        items = self._owners.pop(owner)
        item = items.popleft()
        if items:
            self._owners[owner] = items  # at the end
        self._length -= 1
        return item

    def clear(self) -> None:
        """Forgets all."""
        self._owners.clear()
        self._length = 0
