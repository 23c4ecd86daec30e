"""What becomes of orders that are put into the journal together, where it cannot be read what it holds of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast
from uuid import uuid4

import msgspec
import pytest

from standfest.clients.etcd_kv import EtcdStore, EtcdUnavailable, KeyValue, Put, RangeResult, Txn, TxnAnswer, TxnResult
from standfest.domain.orders import Order
from standfest.intake.entries import EntryBroken, EntryTooNew
from standfest.intake.intake import Intake
from standfest.intake.journal import Accepted, Journal, JournalBroken
from standfest.storage.database import Database
from tests.unit.trade import line, order_of

TOO_NEW = b'{"format": 2, "readable_by": 2}'


def wanted(key: str) -> Order:
    """An order of its own id."""
    return msgspec.structs.replace(order_of("received", line(1, 1)), idempotency_key=key, order_id=uuid4())


def found(*values: bytes) -> RangeResult:
    """What a read of one key found."""
    return RangeResult(tuple(KeyValue(b"standfest/o/", value) for value in values), len(values), False)


class _Store:
    """An etcd that creates every order but one, of which it holds what it is told to, and then goes away."""

    def __init__(self, answers: int = 1) -> None:
        """`answers`: transactions that it answers."""
        self.odd: Order | None = None
        self.held: tuple[RangeResult, ...] = ()
        self._answers = answers

    async def txn(self, txn: Txn, _deadline_s: float) -> TxnAnswer:
        """Answers for each order of the transaction."""
        if not self._answers:
            raise EtcdUnavailable("no member lets us connect")
        self._answers -= 1
        orders = [each for each in txn.success if isinstance(each, Txn)]
        return TxnAnswer(1, TxnResult(True, (*map(self._one, orders), None)))

    def _one(self, txn: Txn) -> TxnResult:
        claim = txn.success[0]
        odd = self.odd and str(self.odd.order_id).encode()
        return TxnResult(False, self.held) if isinstance(claim, Put) and claim.value == odd else TxnResult(True, ())


def journal_on(store: _Store) -> Journal:
    """A journal that is never full."""
    return Journal(cast("EtcdStore", store), 2**30)


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        (lambda name: (found(name), found(TOO_NEW)), EntryTooNew),
        (lambda name: (found(name), found(b"no JSON")), EntryBroken),
        (lambda name: (found(name), found()), JournalBroken),
        (lambda _: (found(b"no id"), found()), JournalBroken),
        (lambda _: (found(b"\xff"), found()), JournalBroken),
        (lambda _: (found(), found()), JournalBroken),
    ],
)
async def test_what_cannot_be_read_of_one_order_is_its_own_answer(
    held: Callable[[bytes], tuple[RangeResult, ...]], kind: type[Exception]
) -> None:
    """The neighbours, which the same transaction created, are accepted."""
    store = _Store()
    orders = [wanted(key) for key in "abc"]
    store.odd, store.held = orders[1], held(str(orders[1].order_id).encode())
    first, odd, last = await journal_on(store).accept(orders, 1)
    assert [first, last] == [Accepted(orders[0], repeated=False), Accepted(orders[2], repeated=False)]
    assert isinstance(odd, kind)


async def test_an_order_that_was_created_is_accepted_whatever_its_company() -> None:
    """Where the journal goes away right after a transaction, the orders that this one created are not called refused
    for the one whose entry could not be read."""
    store = _Store(answers=2)
    first, created, odd = (wanted(key) for key in "abc")
    store.odd, store.held = odd, (found(str(odd.order_id).encode()), found(TOO_NEW))
    intake = Intake(cast("Database", None), journal_on(store), deadline_s=5, under_way_max=10)
    told = await asyncio.gather(*(intake.accept(order, 5) for order in (first, created, odd)), return_exceptions=True)
    assert told[:2] == [None, None]
    assert isinstance(told[2], EntryTooNew)
