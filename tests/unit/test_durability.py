"""Which settings make a commit wait for a named standby."""

import pytest

from standfest.storage.durability import names_a_standby


@pytest.mark.parametrize(
    "setting", ["ANY 1 (n2,n3)", 'ANY 1 ("n2","n3")', "FIRST 2 (a, b)", "n2", "2 (a, b)", '"odd * name"']
)
def test_named(setting: str) -> None:
    """A setting that lists names counts."""
    assert names_a_standby(setting)


@pytest.mark.parametrize(
    "setting", ["", "  ", "*", '"*"', "ANY 1 (*)", 'ANY 1 (n2, "*")', "ANY 1 ()", "FIRST 1 (*, n2)"]
)
def test_not_named(setting: str) -> None:
    """Nothing listed, or any standby at all, does not count."""
    assert not names_a_standby(setting)
