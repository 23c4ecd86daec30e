"""What looks at the transaction ids in use tell of the feed's lag."""

from __future__ import annotations

from standfest.sales import feed_lag
from standfest.sales.feed_lag import Served


def test_where_nothing_runs_all_is_served() -> None:
    """A look that meets no running transaction says that all before it is served."""
    served = Served(0)
    served.saw(1, 100, 100)
    assert served.up_to_s == 1


def test_what_a_running_transaction_holds_is_not_served() -> None:
    """While one transaction runs, nothing later than the last look before its id was given out is known as served."""
    served = Served(0)
    served.saw(1, 100, 100)
    for second in range(2, 60):
        served.saw(second, 100, 100 + second)
    assert served.up_to_s == 1
    served.saw(60, 130, 170)  # it ended, and one that is younger runs
    assert served.up_to_s == 30
    served.saw(61, 171, 171)
    assert served.up_to_s == 61


def test_many_that_overlap_hold_nothing_for_good() -> None:
    """Under load something always runs, and the lag is no more than a look or two."""
    served = Served(0)
    for second in range(1, 100):
        served.saw(second, 1000 * second - 5, 1000 * second)
        assert served.up_to_s >= second - 1


def test_a_new_primary_that_counts_from_lower_on_does_not_hold_it() -> None:
    """Ids that only the lost node had given out are waited for no longer."""
    served = Served(0)
    served.saw(1, 90, 500)
    served.saw(2, 100, 100)
    assert served.up_to_s == 2


def test_what_is_remembered_is_bounded() -> None:
    """However long something runs, the looks that are kept are so many, and the lag is never told too low."""
    served = Served(0)
    looks = 2 * feed_lag._SEEN_MAX
    for second in range(1, looks):
        served.saw(second, 1, second + 1)
    assert served.up_to_s <= 1
    assert len(served._seen) <= feed_lag._SEEN_MAX
