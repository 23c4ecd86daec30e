"""What an API process tells the doors of how many orders it wants."""

import pytest

from standfest.interfaces.api.capacity import OF_A_DOOR_MAX, capacity_line


@pytest.mark.parametrize(
    ("limit", "doors", "told"),
    [
        (768, 2, b"maxconn:64 100%\n"),
        (100, 2, b"maxconn:50 79%\n"),
        (101, 2, b"maxconn:51 80%\n"),
        (8, 2, b"maxconn:4 7%\n"),
        (8, 3, b"maxconn:3 5%\n"),
        (1, 4, b"maxconn:1 2%\n"),
        (0, 2, b"maxconn:1 2%\n"),
        (8, 0, b"maxconn:8 13%\n"),
    ],
)
def test_each_door_is_told_its_share(limit: int, doors: int, told: bytes) -> None:
    """Doors share the limit, each gets one order at least, and none more than a door gives."""
    assert capacity_line(limit, doors) == told


def test_the_weight_is_the_share() -> None:
    """HAProxy takes the percentage of the configured weight, and the whole number below: that is the share again, and
    never 0, at which the process would get nothing."""
    for share in range(1, OF_A_DOOR_MAX + 1):
        told = capacity_line(share, 1).split()
        assert told[0] == b"maxconn:%d" % share
        assert OF_A_DOOR_MAX * int(told[1].removesuffix(b"%")) // 100 == share
