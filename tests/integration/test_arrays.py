"""Lists as parameters: what the column-wise encoding sends is what PostgreSQL reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfest.storage.arrays import ArrayDumper
from tests.support.postgres import PostgresCluster

Session = psycopg.Connection[tuple[Any, ...]]
FAR = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - hypothesis wants bounds without a zone

ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "text": st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9),
    "boolean": st.booleans(),
    "bytea": st.binary(),
    "uuid": st.uuids(),
    "timestamptz": st.datetimes(max_value=FAR, timezones=st.just(UTC)),
}


@pytest.fixture(scope="module")
def connection(postgres: PostgresCluster) -> Iterator[Session]:
    """A connection with the dumper registered."""
    with psycopg.connect(postgres.dsn("standfest_app"), autocommit=True) as connection:
        connection.adapters.register_dumper(list, ArrayDumper)
        connection.execute("SET timezone = 'UTC'")
        yield connection


@pytest.mark.parametrize("array", ELEMENTS)
def test_lists_come_back_as_they_were(connection: Session, array: str) -> None:
    """A list of any supported type, empty or with nulls, is the same after a trip through the server."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.none() | ELEMENTS[array], max_size=20))
    def there_and_back(values: list[object]) -> None:
        row = connection.execute(f"SELECT %s::{array} []".encode(), (values,)).fetchone()
        assert row == (values,)

    there_and_back()


def test_json_goes_as_text(connection: Session) -> None:
    """JSON documents are sent as text and cast by the statement."""
    row = connection.execute("SELECT (%s::jsonb [])[1] ->> 'a'", (['{"a": "ä"}', None],)).fetchone()
    assert row == ("ä",)


def test_other_time_zones_are_the_same_moment(connection: Session) -> None:
    """A moment in another zone than UTC arrives as the same moment."""
    moment = datetime(2026, 7, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    assert connection.execute("SELECT %s::timestamptz []", ([moment],)).fetchone() == ([moment],)


def test_a_column_has_one_type_whatever_is_in_it(connection: Session) -> None:
    """Small and large numbers are sent with the same type, so the statement is prepared once."""
    for values in ([1], [70_000], [2**40], []):
        connection.execute("SELECT %s::bigint []", (values,), prepare=True)
    rows = connection.execute(
        "SELECT parameter_types::text FROM pg_prepared_statements WHERE statement LIKE '%::bigint []'"
    ).fetchall()
    assert ("{bigint[]}",) in rows
    assert len(rows) <= 2  # the other one is that of the list with nothing in it


@pytest.mark.parametrize(
    "values",
    [
        [1, "one"],
        ["one", 1],
        [True, "yes"],
        [2**63],
        [UUID(int=1), "a"],
        [datetime(2026, 1, 1)],  # noqa: DTZ001 - this is the fault
        ["\ud800"],
        [{}],
        [[1]],
    ],
    ids=repr,
)
def test_unfit_lists_are_refused_before_anything_is_sent(connection: Session, values: list[Any]) -> None:
    """Mixed, nested, too large, unknown or naive elements are a DataError, and the connection is still good."""
    with pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s::text []", (values,))
    assert connection.execute("SELECT 1").fetchone() == (1,)
