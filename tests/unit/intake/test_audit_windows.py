"""Times in which receipts may have been lost become one where they overlap, and their number stays bounded."""

from __future__ import annotations

from standfest.intake.audit.windows import WINDOWS_MAX, Window, Windows


def test_windows_that_overlap_become_one() -> None:
    """A process that loses receipts for an hour leaves one window, however often it says so."""
    windows = Windows()
    for second in range(3_600):
        windows.add(Window(second - 10.0, second + 10.0))
    assert windows.kept() == [Window(-10.0, 3_609.0)]


def test_a_window_joins_all_that_it_overlaps_and_no_other() -> None:
    """Windows come in any order, and stay sorted by time."""
    windows = Windows([Window(50, 60), Window(10, 20), Window(30, 40)])
    windows.add(Window(15, 30))
    assert windows.kept() == [Window(10, 40), Window(50, 60)]


def test_a_moment_is_covered_up_to_both_ends() -> None:
    """Nothing between two windows is covered, nor before or after all of them."""
    windows = Windows([Window(10, 20), Window(30, 40)])
    assert [at for at in (9, 10, 20, 21, 29, 30, 40, 41) if windows.covers(at)] == [10, 20, 30, 40]
    assert not Windows().covers(0)


def test_of_very_many_windows_the_newest_are_kept() -> None:
    """What is kept on disk stays small, whatever processes say."""
    windows = Windows(Window(at, at + 1) for at in range(0, 2 * WINDOWS_MAX + 20, 2))
    assert len(windows.kept()) == WINDOWS_MAX
    assert windows.covers(2 * WINDOWS_MAX + 18)
    assert not windows.covers(0)
