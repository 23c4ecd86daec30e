"""The checker's decision as data: a history and a state in, the exact findings out."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from standfest.emergency.drills.checker.decide import decide, once_missing, percentile
from standfest.emergency.drills.checker.model import (
    Cancellation,
    FoundLine,
    FoundOrder,
    FoundStock,
    History,
    Outcome,
    SentLine,
    State,
    StockCount,
    Submission,
    Unseen,
    Verdict,
)

SENT = Submission(
    nonce="n1",
    key="k1",
    outcome=Outcome.ACKNOWLEDGED,
    lines=(SentLine("A", Decimal(3)), SentLine("B", Decimal("1.5"), Decimal("2.00"))),
    parties={"customer": {"reference": "C1", "name": "One"}, "ship_to": {"name": "One", "city": "Here"}},
    currency="EUR",
    payload_sha256="aa",
    sent_at=10.0,
    due_at=9.75,
    answered_at=10.5,
    attempts=2,
    order_id="o1",
    order_status="confirmed",
    number="N1",
    content_hash="cc",
    gross=Decimal("7.14"),
)
LINES = (
    FoundLine(1, "A", Decimal(3), Decimal("1.00"), Decimal("3.00"), reserved=Decimal(3)),
    FoundLine(2, "B", Decimal("1.5"), Decimal("2.00"), Decimal("3.00"), reserved=Decimal("1.5")),
)
ORDER = FoundOrder(
    order_id="o1",
    nonce="n1",
    status="confirmed",
    number="N1",
    currency="EUR",
    net=Decimal("6.00"),
    gross=Decimal("7.14"),
    lines=LINES,
    parties=SENT.parties,
    customer_reference="C1",
    tax=Decimal("1.14"),
    content_hash="cc",
    request_hash="aa",
    key="k1",
    placements=1,
)
DECLINED = replace(SENT, outcome=Outcome.DECLINED, order_status="declined")
DECLINED_ORDER = replace(ORDER, status="declined", lines=tuple(replace(line, reserved=Decimal(0)) for line in LINES))
UNKNOWN = replace(
    SENT, outcome=Outcome.UNKNOWN, order_id=None, number=None, content_hash=None, gross=None, answered_at=None
)
KINDS = (
    "missing",
    "doubled",
    "altered",
    "refused_present",
    "unsent",
    "stock_mismatches",
    "reads_missed",
    "unread",
)


def count(on_hand: str, reserved: str) -> StockCount:
    """A stock count."""
    return StockCount(Decimal(on_hand), Decimal(reserved))


def stock(on_hand: str, reserved: str, by_lines: str | None = None, by_others: str = "0") -> FoundStock:
    """Stock as found; unless said otherwise the order lines hold what is reserved."""
    return FoundStock(count(on_hand, reserved), Decimal(by_lines or reserved), Decimal(by_others))


def history(
    *submissions: Submission,
    cancellations: Sequence[Cancellation] = (),
    reads_missed: Sequence[str] = (),
    opening: dict[str, StockCount] | None = None,
) -> History:
    """A history of these submissions."""
    return History("demo", submissions, cancellations, reads_missed, 0, opening or {})


def state(*orders: FoundOrder, api: dict[str, FoundOrder | Unseen] | None = None, **stock: FoundStock) -> State:
    """A state with these orders; unless said otherwise the API shows them as the database does, and the stock too."""
    answered = {sku: found.count for sku, found in stock.items()}
    return State(orders, stock, {order.order_id: order for order in orders} if api is None else api, answered)


def wrong(verdict: Verdict) -> dict[str, list[tuple[str, str]]]:
    """All that is wrong, by kind, empty kinds left out."""
    found = {kind: getattr(verdict, kind) for kind in KINDS}
    return {kind: [(finding.subject, finding.what) for finding in found[kind]] for kind in KINDS if found[kind]}


def line(number: int, **changes: object) -> FoundOrder:
    """The order with one line changed."""
    lines = [replace(entry, **changes) if entry.position == number else entry for entry in LINES]  # type: ignore[arg-type]
    return replace(ORDER, lines=tuple(lines))


def test_nothing_wrong() -> None:
    """An order that is there once, as sent, with the stock it took, yields no finding and exact figures."""
    opening = {"A": count("10", "2"), "B": count("5", "0")}
    verdict = decide(history(SENT, opening=opening), state(ORDER, A=stock("10", "5"), B=stock("5", "1.5")))
    assert wrong(verdict) == {}
    assert verdict.ok
    assert (verdict.submitted, verdict.acknowledged, verdict.failed, verdict.unknown) == (1, 1, 0, 0)
    assert (verdict.acknowledged_ms_p99, verdict.acknowledged_ms_max) == (500.0, 500.0)
    assert (verdict.acknowledged_per_s, verdict.late_ms_max, verdict.attempts_max) == (2.0, 250.0, 2)


def test_empty() -> None:
    """A history without submissions and a database without orders yield nothing, not even times."""
    verdict = decide(history(), state())
    assert wrong(verdict) == {}
    assert verdict.acknowledged_ms_max is None


CASES: dict[str, tuple[History, State, dict[str, list[tuple[str, str]]]]] = {
    "missing in the database and at the API": (
        history(SENT),
        state(api={"o1": Unseen.ABSENT}),
        {
            "missing": [
                ("n1", "acknowledged as N1, not in the database"),
                ("n1", "acknowledged as N1, the API answers 404"),
            ]
        },
    ),
    "there in the database, 404 at the API": (
        history(SENT),
        state(ORDER, api={"o1": Unseen.ABSENT}),
        {"missing": [("n1", "acknowledged as N1, the API answers 404")]},
    ),
    "the API does not answer": (
        history(SENT),
        state(ORDER, api={}),
        {"unread": [("n1", "acknowledged as N1, the API gave no answer")]},
    ),
    "two orders with one nonce": (
        history(SENT),
        state(ORDER, replace(ORDER, order_id="o2", number="N2", key="k2")),
        {"doubled": [("n1", "2 orders carry its nonce")]},
    ),
    "two orders with one key": (
        history(SENT, replace(SENT, nonce="n2", key="k2", order_id="o2", number="N2")),
        state(ORDER, replace(ORDER, nonce="n2", order_id="o2", number="N2")),
        {"doubled": [("n1", "2 orders carry the key k1")]},
    ),
    "placed twice by its events": (
        history(SENT),
        state(replace(ORDER, placements=2), api={"o1": replace(ORDER, placements=None)}),
        {"doubled": [("n1", "2 events say that it was placed")]},
    ),
    "no event placed it": (
        history(SENT),
        state(replace(ORDER, placements=0), api={"o1": ORDER}),
        {"altered": [("n1", "database: no event says that it was placed")]},
    ),
    "another quantity in the database": (
        history(SENT),
        state(line(1, quantity=Decimal(4)), api={"o1": ORDER}),
        {
            "altered": [
                ("n1", "database: line 1: quantity was 3, is 4"),
                ("n1", "database: line 1: net is 3.00, its quantity and price make 4.00"),
            ]
        },
    ),
    "another SKU at the API": (
        history(SENT),
        state(ORDER, api={"o1": line(2, sku="X")}),
        {"altered": [("n1", "API: line 2: SKU was B, is X")]},
    ),
    "another agreed price": (
        history(SENT),
        state(line(2, unit_price=Decimal("4.00"), net=Decimal("6.00")), api={"o1": ORDER}),
        {
            "altered": [
                ("n1", "database: line 2: unit price was 2.00, is 4.00"),
                ("n1", "database: net is 6.00, its lines make 9.00"),
            ]
        },
    ),
    "a price of the catalogue changed afterwards": (
        history(SENT),
        state(line(1, unit_price=Decimal("9.00")), api={"o1": ORDER}),
        {"altered": [("n1", "database: line 1: net is 3.00, its quantity and price make 27.00")]},
    ),
    "a line is gone": (
        history(SENT),
        state(replace(ORDER, lines=LINES[:1]), api={"o1": ORDER}),
        {
            "altered": [
                ("n1", "database: 2 lines were sent, 1 are there"),
                ("n1", "database: net is 6.00, its lines make 3.00"),
            ]
        },
    ),
    "another name and another town at the API": (
        history(SENT),
        state(
            ORDER,
            api={
                "o1": replace(ORDER, parties={"customer": {"name": "Two"}, "ship_to": {"name": "One", "city": "There"}})
            },
        ),
        {
            "altered": [
                ("n1", "API: customer: name was One, is Two"),
                ("n1", "API: customer: reference was C1, is None"),
                ("n1", "API: ship_to: city was Here, is There"),
            ]
        },
    ),
    "parties are gone, and one is there that nobody named": (
        history(SENT),
        state(
            replace(ORDER, parties={"customer": SENT.parties["customer"], "bill_to": {"city": "X"}}), api={"o1": ORDER}
        ),
        {
            "altered": [
                ("n1", "database: bill_to: city was None, is X"),
                ("n1", "database: ship_to: city was Here, is None"),
                ("n1", "database: ship_to: name was One, is None"),
            ]
        },
    ),
    "taxes do not add up": (
        history(SENT),
        state(ORDER, api={"o1": replace(ORDER, tax=Decimal("1.13"))}),
        {"altered": [("n1", "API: gross is 7.14, net and tax make 7.13")]},
    ),
    "another customer, id, number, hashes and gross": (
        history(SENT),
        state(
            replace(
                ORDER,
                customer_reference=None,
                tax=None,
                order_id="o9",
                number="N9",
                content_hash="dd",
                request_hash="bb",
                gross=Decimal("7.15"),
            ),
            api={"o1": ORDER},
        ),
        {
            "altered": [
                ("n1", "gross is 7.15 in the database, 7.14 at the API"),
                ("n1", "database: request hash was aa, is bb"),
                ("n1", "database: order id was o1, is o9"),
                ("n1", "database: number was N1, is N9"),
                ("n1", "database: content hash was cc, is dd"),
                ("n1", "database: gross was 7.14, is 7.15"),
                ("n1", "database: it is found by the customer None, C1 was sent"),
            ]
        },
    ),
    "acknowledged, yet declined": (
        history(SENT),
        state(replace(ORDER, status="declined"), api={"o1": ORDER}),
        {
            "altered": [
                ("n1", "database: acknowledged, yet its state is declined"),
                ("n1", "database: declined, yet it holds stock"),
            ]
        },
    ),
    "declined and recorded": (history(DECLINED), state(DECLINED_ORDER), {}),
    "declined, not recorded": (
        history(DECLINED),
        state(api={"o1": Unseen.ABSENT}),
        {
            "missing": [
                ("n1", "declined as N1, not in the database"),
                ("n1", "declined as N1, the API answers 404"),
            ]
        },
    ),
    "declined, yet confirmed": (
        history(DECLINED),
        state(ORDER, api={"o1": DECLINED_ORDER}),
        {"altered": [("n1", "database: declined, yet its state is confirmed")]},
    ),
    "refused and not there": (history(replace(UNKNOWN, outcome=Outcome.REFUSED)), state(), {}),
    "refused, yet there": (
        history(replace(UNKNOWN, outcome=Outcome.REFUSED)),
        state(ORDER),
        {"refused_present": [("n1", "refused, yet order N1 is there")]},
    ),
    "given up unattempted, yet there": (
        history(replace(UNKNOWN, outcome=Outcome.FAILED)),
        state(ORDER),
        {"refused_present": [("n1", "failed, yet order N1 is there")]},
    ),
    "never sent, yet there": (
        history(replace(UNKNOWN, outcome=Outcome.SHED, lines=())),
        state(ORDER),
        {"refused_present": [("n1", "shed, yet order N1 is there")]},
    ),
    "no answer and not there": (history(UNKNOWN), state(), {}),
    "no answer and there once": (history(UNKNOWN), state(ORDER), {}),
    "no answer and there as declined": (history(UNKNOWN), state(DECLINED_ORDER), {}),
    "no answer and there twice": (
        history(UNKNOWN),
        state(ORDER, replace(ORDER, order_id="o2", number="N2", key="k2")),
        {"doubled": [("n1", "2 orders carry its nonce")]},
    ),
    "no answer and there with another content": (
        history(UNKNOWN),
        state(line(1, sku="X")),
        {"altered": [("n1", "database: line 1: SKU was A, is X")]},
    ),
    "an order that nobody sent": (
        history(SENT),
        state(ORDER, replace(ORDER, order_id="o2", nonce="n2", number="N2", key="k2")),
        {"unsent": [("n2", "order N2 is there, nobody sent it")]},
    ),
    "a read missed an acknowledged order": (
        history(SENT, reads_missed=["n1"]),
        state(ORDER),
        {"reads_missed": [("n1", "a read after its acknowledgement answered 404")]},
    ),
    "stock and order lines disagree": (
        history(SENT),
        state(ORDER, A=stock("10", "6", by_lines="3")),
        {"stock_mismatches": [("A", "6 are reserved, the order lines hold 3")]},
    ),
    "oversold": (
        history(SENT),
        state(ORDER, A=stock("2", "3")),
        {"stock_mismatches": [("A", "oversold: 3 are reserved of 2 on hand")]},
    ),
    "stock taken twice for one order": (
        history(SENT, opening={"A": count("10", "0")}),
        state(ORDER, A=stock("10", "6")),
        {"stock_mismatches": [("A", "6 left the stock, the orders sent explain 3")]},
    ),
    "goods left the shelf without an order": (
        history(SENT, opening={"A": count("10", "0")}),
        state(ORDER, A=stock("9", "3")),
        {"stock_mismatches": [("A", "4 left the stock, the orders sent explain 3")]},
    ),
    "other clients took stock too": (
        history(SENT, opening={"A": count("10", "1")}),
        state(ORDER, A=stock("10", "6", by_others="2")),
        {},
    ),
    "a declined order takes no stock": (
        history(DECLINED, opening={"A": count("2", "0")}),
        state(DECLINED_ORDER, A=stock("2", "0")),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_findings(name: str) -> None:
    """Each kind of defect yields exactly its findings; each lawful outcome yields none."""
    given, found, expected = CASES[name]
    verdict = decide(given, found)
    assert wrong(verdict) == expected
    assert verdict.ok == (not expected)


def test_a_history_with_gaps_is_never_good() -> None:
    """Where lines of the history are gone, no verdict is a good one, however right all the rest looks."""
    verdict = decide(replace(history(SENT), gaps=["its end is gone"]), state(ORDER))
    assert wrong(verdict) == {"unread": [("history", "its end is gone")]}
    assert not verdict.ok


def test_unknown_present_is_counted() -> None:
    """A submission without an answer that turns out to be there is counted, and is not an acknowledgement."""
    verdict = decide(history(UNKNOWN), state(ORDER))
    assert (verdict.unknown, verdict.unknown_present, verdict.acknowledged) == (1, 1, 0)


def test_backordered_quantity_takes_no_stock() -> None:
    """What is backordered is agreed, but does not leave the stock."""
    lines = (replace(LINES[0], reserved=Decimal(2), backordered=Decimal(1)), LINES[1])
    order = replace(ORDER, status="backordered", lines=lines)
    verdict = decide(history(SENT, opening={"A": count("2", "0")}), state(order, A=stock("2", "2")))
    assert wrong(verdict) == {}


API_STOCK: dict[str, tuple[dict[str, StockCount | Unseen], dict[str, list[tuple[str, str]]]]] = {
    "differs": (
        {"A": count("10", "4")},
        {"stock_mismatches": [("A", "the API says 4 of 10 are reserved, the database 3 of 10")]},
    ),
    "absent": ({"A": Unseen.ABSENT}, {"stock_mismatches": [("A", "the API answers 404 for its stock")]}),
    "unread": ({"A": Unseen.UNREAD}, {"unread": [("A", "the API gave no answer for its stock")]}),
    "never asked": ({}, {"unread": [("A", "the API gave no answer for its stock")]}),
}


@pytest.mark.parametrize("name", API_STOCK)
def test_api_stock(name: str) -> None:
    """The API's answer for a SKU must be there, and must be the database's."""
    answers, expected = API_STOCK[name]
    verdict = decide(history(SENT), replace(state(ORDER, A=stock("10", "3")), api_stock=answers))
    assert wrong(verdict) == expected
    assert not verdict.ok


def test_stock_that_is_gone() -> None:
    """A SKU whose stock was kept at the opening and has none now is a mismatch, whatever the API says of it."""
    found = replace(state(ORDER), api_stock={"A": count("10", "0")})
    verdict = decide(history(SENT, opening={"A": count("10", "0")}), found)
    assert wrong(verdict) == {"stock_mismatches": [("A", "its stock was kept at the opening, the database has none")]}


def cancelled(*quantities: str) -> FoundOrder:
    """The order with so much of each line cancelled."""
    lines = []
    for entry, text in zip(LINES, quantities, strict=True):
        quantity = Decimal(text)
        left = entry.quantity - quantity
        lines.append(replace(entry, cancelled=quantity, reserved=left, net=left * entry.unit_price))
    net = sum((entry.net for entry in lines), Decimal(0))
    status = "confirmed" if net else "cancelled"
    return replace(ORDER, status=status, lines=tuple(lines), net=net, gross=net, tax=Decimal(0))


WHOLE = Cancellation("n1", "o1", Outcome.ACKNOWLEDGED, None)
TWO_OF_LINE_1 = Cancellation("n1", "o1", Outcome.ACKNOWLEDGED, {1: Decimal(2)})

CANCELLATIONS: dict[str, tuple[list[Cancellation], FoundOrder, list[str]]] = {
    "whole": ([WHOLE], cancelled("3", "1.5"), []),
    "one line": ([TWO_OF_LINE_1], cancelled("2", "0"), []),
    "one line, then the whole": ([TWO_OF_LINE_1, WHOLE], cancelled("3", "1.5"), []),
    "unknown, done": ([replace(TWO_OF_LINE_1, outcome=Outcome.UNKNOWN)], cancelled("2", "0"), []),
    "unknown, not done": ([replace(TWO_OF_LINE_1, outcome=Outcome.UNKNOWN)], ORDER, []),
    "lost": ([TWO_OF_LINE_1], ORDER, ["line 1: 2 were to be cancelled, 0 are"]),
    "done twice": ([TWO_OF_LINE_1], cancelled("3", "0"), ["line 1: 2 were to be cancelled, 3 are"]),
    "unknown, done by half": (
        [TWO_OF_LINE_1, replace(WHOLE, outcome=Outcome.UNKNOWN)],
        cancelled("1", "0"),
        ["line 1: 2 to 3 were to be cancelled, 1 are"],
    ),
    "refused, yet done": (
        [replace(TWO_OF_LINE_1, outcome=Outcome.REFUSED)],
        cancelled("2", "0"),
        ["line 1: 0 were to be cancelled, 2 are"],
    ),
    "nobody asked": (
        [],
        cancelled("3", "1.5"),
        [
            "gross was 7.14, is 0.000",
            "acknowledged, yet its state is cancelled",
            "line 1: 0 were to be cancelled, 3 are",
            "line 2: 0 were to be cancelled, 1.5 are",
        ],
    ),
}


@pytest.mark.parametrize("name", CANCELLATIONS)
def test_cancellations(name: str) -> None:
    """What was cancelled is what was asked for and answered, no less and no more, and the stock came back."""
    asked, order, expected = CANCELLATIONS[name]
    held = str(order.lines[0].reserved)
    verdict = decide(
        history(SENT, cancellations=asked, opening={"A": count("10", "0")}),
        state(order, api={"o1": order}, A=stock("10", held)),
    )
    by_source = [("n1", f"{source}: {text}") for source in ("API", "database") for text in expected]
    assert wrong(verdict) == ({"altered": by_source} if expected else {})


def test_sums_after_a_cancellation() -> None:
    """Where a part was cancelled the first answer's gross is no measure: net and tax are, at the API and below it."""
    right = cancelled("2", "0")
    wrong_tax = replace(right, tax=Decimal("0.76"))
    given = history(SENT, cancellations=[TWO_OF_LINE_1])
    assert wrong(decide(given, state(right, api={"o1": wrong_tax}))) == {
        "altered": [("n1", "API: gross is 4.000, net and tax make 4.760")]
    }
    other_gross = replace(right, gross=Decimal("4.76"), tax=None)
    assert wrong(decide(given, state(other_gross, api={"o1": right}))) == {
        "altered": [("n1", "gross is 4.76 in the database, 4.000 at the API")]
    }


def test_percentile() -> None:
    """A percentile is one of the values: the smallest that so many per cent do not exceed."""
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 99) == 99.0
    assert percentile(values[:1], 99) == 1.0
    assert percentile([], 99) is None


ACCEPTED = replace(SENT, order_status="accepted")


def test_what_was_missing_once_stays_missing() -> None:
    """A confirmed order that only the second look finds was away, and is a finding; the journal's may come later."""
    there, away = state(ORDER), state(api={"o1": ORDER})
    for sent, found in ((SENT, [("n1", "acknowledged as N1, not in the database at the first look")]), (ACCEPTED, [])):
        recorded = history(sent)
        verdict = once_missing(recorded, decide(recorded, away), decide(recorded, there))
        assert [(each.subject, each.what) for each in verdict.missing] == found


@pytest.mark.parametrize("status", ["confirmed", "backordered"])
def test_an_accepted_order_that_came_to_the_database(status: str) -> None:
    """What the journal promised (202) is right once it is there, confirmed or backordered, and it is counted."""
    verdict = decide(history(ACCEPTED), state(replace(ORDER, status=status)))
    assert wrong(verdict) == {}
    assert (verdict.acknowledged, verdict.accepted_by_journal, verdict.accepted_declined) == (1, 1, 0)


def test_an_accepted_order_declined_for_want_of_stock() -> None:
    """Stock is decided when an accepted order comes to the database: where it was short, declined is an end."""
    opening = {"A": count("2", "0"), "B": count("10", "0")}
    found = state(DECLINED_ORDER, A=stock("2", "0"), B=stock("10", "0"))
    verdict = decide(history(ACCEPTED, opening=opening), found)
    assert wrong(verdict) == {}
    assert (verdict.accepted_by_journal, verdict.accepted_declined) == (1, 1)


def test_an_accepted_order_declined_without_need() -> None:
    """A promise may not be taken back where there was enough for everybody."""
    opening = {"A": count("3", "0"), "B": count("10", "0")}
    found = state(DECLINED_ORDER, A=stock("3", "0"), B=stock("10", "0"))
    told = wrong(decide(history(ACCEPTED, opening=opening), found))
    assert told == {"altered": [("n1", "accepted, then declined, although there was enough of all that it asked for")]}


def test_a_refusal_for_want_of_stock_needs_one() -> None:
    """An order that was declined at once is wrong as well where there was enough for everybody, and right where not."""
    enough, short = ({"A": count(pieces, "0"), "B": count("10", "0")} for pieces in ("3", "2"))
    right = state(DECLINED_ORDER, A=stock("2", "0"), B=stock("10", "0"))
    assert wrong(decide(history(DECLINED, opening=short), right)) == {}
    found = state(DECLINED_ORDER, A=stock("3", "0"), B=stock("10", "0"))
    told = wrong(decide(history(DECLINED, opening=enough), found))
    assert told == {"altered": [("n1", "declined, although there was enough of all that it asked for")]}


def test_what_is_sold_beyond_its_stock_is_never_short() -> None:
    """Too few pieces of a product that is backordered are no reason to decline."""
    opening = {"A": count("2", "0"), "B": count("10", "0")}
    recorded = replace(history(DECLINED, opening=opening), backorder=frozenset({"A"}))
    told = wrong(decide(recorded, state(DECLINED_ORDER, A=stock("2", "0"), B=stock("10", "0"))))
    assert told == {"altered": [("n1", "declined, although there was enough of all that it asked for")]}


@pytest.mark.parametrize("status", ["accepted", "conflict", "cancelled"])
def test_where_an_accepted_order_may_not_end(status: str) -> None:
    """An order that still waits, that conflicts with nobody's other one, or that nobody cancelled is not right."""
    told = wrong(decide(history(ACCEPTED), state(replace(ORDER, status=status))))
    assert {kind: len(found) for kind, found in told.items()} == {"altered": 2}  # in the database, and at the API
    assert f"its state is {status}" in told["altered"][0][1]


def test_a_confirmed_order_may_not_end_declined() -> None:
    """What the database confirmed had its stock: only the journal's promise leaves that open."""
    assert "altered" in wrong(decide(history(SENT), state(DECLINED_ORDER)))
