"""Which keys of the command line's own clients make room for a new one."""

import datetime

import pytest

from standfest.catalogue.clients import KeySummary
from standfest.cli.own_client import DEMO, REPLAY, in_the_way

EARLY, LATE = (datetime.datetime(2026, 1, day, tzinfo=datetime.UTC) for day in (1, 2))


def key(name: str, *, revoked: bool = False) -> KeySummary:
    """A key, valid or not."""
    return KeySummary(name, EARLY, LATE if revoked else None)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([key("a", revoked=True)], []),
        ([key("a")], []),
        ([key("a"), key("b")], ["a"]),
        ([key("a", revoked=True), key("b"), key("c")], ["b"]),
        ([key("a", revoked=True), key("b"), key("c", revoked=True)], []),
    ],
)
def test_only_the_oldest_valid_key_makes_room(keys: list[KeySummary], expected: list[str]) -> None:
    """A key ends only where the client has as many valid ones as it may have, and then the oldest of them."""
    assert [each.id for each in in_the_way(keys)] == expected


def test_our_names_are_nobody_elses() -> None:
    """A client that is called by a plain word, such as `demo`, is an operator's and never touched."""
    assert all(name.startswith("standfest-") for name in (DEMO, REPLAY))
