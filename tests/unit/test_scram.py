"""PostgreSQL's password verifiers: the right password is known without asking the server to log in."""

import pytest

from standfest.cluster.database import verifies

PENCIL = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
"""The example of RFC 7677, section 3, as PostgreSQL stores it."""


@pytest.mark.parametrize(
    ("verifier", "password", "fits"),
    [(PENCIL, "pencil", True), (PENCIL, "pencils", False), ("", "pencil", False), ("md5abc", "pencil", False)],
)
def test_a_verifier_fits_its_password_alone(verifier: str, password: str, fits: bool) -> None:
    """A SCRAM verifier fits the password it was made of; none and an old kind fit nothing."""
    assert verifies(verifier, password) is fits
