"""The probe's connection strings."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from standfest.emergency.drills.probe import without


@pytest.mark.parametrize("ports", ["5432", "5432,5432,5432"], ids=["one port", "a port each"])
def test_without_one_server(ports: str) -> None:
    """The server that is gone is left out, with its port; everything else stays."""
    given = f"host=127.0.1.1,127.0.1.2,127.0.1.3 port={ports} user=u target_session_attrs=read-write"
    assert conninfo_to_dict(without(given, "127.0.1.2")) == {
        "host": "127.0.1.1,127.0.1.3",
        "port": "5432,5432",
        "user": "u",
        "target_session_attrs": "read-write",
    }
