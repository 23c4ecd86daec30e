"""What an API process tells the doors of how many orders it wants."""

import pytest

from standfest.interfaces.api.capacity import capacity_line


@pytest.mark.parametrize(
    ("limit", "doors", "told"),
    [(768, 2, 64), (100, 2, 50), (101, 2, 51), (8, 2, 4), (8, 3, 3), (1, 4, 1), (0, 2, 1), (8, 0, 8)],
)
def test_each_door_is_told_its_share(limit: int, doors: int, told: int) -> None:
    """Doors share the limit, each gets one order at least, and none more than a door gives."""
    assert capacity_line(limit, doors) == b"maxconn:%d\n" % told
