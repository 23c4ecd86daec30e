"""Client keys as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.catalogue.keys import hash_secret, new_key, parse_key


def test_a_new_key_is_read_back() -> None:
    """Id and secret come out of the text again, and the hash is that of the secret."""
    for _ in range(50):
        key = new_key()
        parsed = parse_key(key.text)
        assert parsed is not None
        assert parsed[0] == key.id
        assert hash_secret(parsed[1]) == key.secret_hash
        assert len(parsed[1]) == 43  # 32 bytes in base64


def test_keys_are_never_alike() -> None:
    """Ids and secrets are random."""
    made = [new_key() for _ in range(100)]
    assert len({key.id for key in made}) == len({key.secret_hash for key in made}) == 100


@pytest.mark.parametrize("text", ["", "sf", "sf_", "sf_a", "sf_a_", "sf__b", "xx_a_b", "sf_a_ß", "sf_a_" + "b" * 100])
def test_what_is_no_key_is_none(text: str) -> None:
    """Text of another form is told apart without looking anything up."""
    assert parse_key(text) is None


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Whatever a client sends, nothing is raised."""
    parsed = parse_key(text)
    assert parsed is None or hash_secret(parsed[1])
