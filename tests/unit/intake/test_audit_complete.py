"""Up to where nobody can write any more is said only where every transaction that may has ended."""

from __future__ import annotations

from standfest.intake.audit.blocks import Horizon
from standfest.intake.audit.complete import Complete


def look(newest: int, oldest_running: int, beyond_ended: int) -> Horizon:
    """What a look shows."""
    return Horizon(newest, 0, oldest_running, beyond_ended)


def test_a_transaction_with_the_highest_id_still_counts() -> None:
    """Transactions 499 and 500 drew 256 and 255, and 499 has ended: `xmin` and `xmax` are both 500, and 500 runs."""
    complete = Complete()
    complete.saw(look(256, 500, 500))
    assert complete.upto == -1
    complete.saw(look(256, 500, 502))  # 501 was the proof
    assert complete.upto == -1
    complete.saw(look(256, 503, 504))  # 500 has ended
    assert complete.upto == 256


def test_positions_are_complete_at_the_next_look_where_nothing_runs() -> None:
    """On a quiet database a look is complete with the next one, and what came in meanwhile is not."""
    complete = Complete()
    complete.saw(look(300, 600, 600))
    complete.saw(look(310, 601, 601))
    assert complete.upto == 300


def test_a_transaction_that_stands_still_holds_all_that_came_after_it() -> None:
    """While 500 runs nothing is complete however much comes in; then all is that was seen before the last look."""
    complete = Complete()
    for number in range(50):
        complete.saw(look(1_000 + number, 500, 501 + 10 * number))
    assert complete.upto == -1
    complete.saw(look(1_100, 2_000, 2_000))
    assert complete.upto == 1_049


def test_another_history_begins_anew() -> None:
    """Where ids go back, as from a backup, positions may be drawn again: what was complete is not known to be."""
    complete = Complete()
    complete.saw(look(300, 600, 600))
    complete.saw(look(310, 601, 601))
    complete.saw(look(200, 400, 400))
    assert complete.upto == -1
    complete.saw(look(200, 401, 401))
    assert complete.upto == 200


def test_the_duty_of_another_node_begins_anew() -> None:
    """Looks of before do not count with those that come after a pause."""
    complete = Complete()
    complete.saw(look(300, 600, 600))
    complete.forget()
    complete.saw(look(310, 700, 700))
    assert complete.upto == -1
