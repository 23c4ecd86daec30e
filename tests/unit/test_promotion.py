"""When a standby may be promoted: a quorum follows it, and none of these has more WAL."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from standfest.cluster.promotion import NotPromotable, PatroniFile, Server, Sync, _Looks, ahead, decode_sync, lacking

HERE = "10.0.0.2:15432"
OLD = "10.0.0.1:15432"
THREE = Sync(frozenset({"n1", "n2", "n3"}), 1)
ALONE = Sync(frozenset({"n1", "n2"}), 0)
FIVE = Sync(frozenset({"n1", "n2", "n3", "n4", "n5"}), 3)


def standby(position: int = 100, streams_from: str = HERE) -> Server:
    """A standby with so much WAL."""
    return Server(True, streams_from, position)


PRIMARY = Server(False, "", 200)
MINE = standby(100, OLD)


@pytest.mark.parametrize(
    ("sync", "others", "reason"),
    [
        (THREE, {"n1": PRIMARY, "n3": standby(100)}, ""),
        (THREE, {"n1": PRIMARY, "n3": standby(99)}, ""),
        (THREE, {"n1": standby(100)}, ""),  # the old primary itself follows
        (THREE, {"n1": PRIMARY, "n3": standby(101)}, "n1 is a primary still; n3 has 1 bytes of WAL more"),
        (THREE, {"n1": PRIMARY, "n3": standby(100, OLD)}, f"n1 is a primary still; n3 streams from {OLD}"),
        (THREE, {"n1": PRIMARY, "n3": standby(100, "")}, "n1 is a primary still; n3 streams from nobody"),
        (THREE, {}, "n1 does not answer; n3 does not answer"),
        (ALONE, {"n1": PRIMARY}, ""),  # nobody else can have acknowledged
        (FIVE, {"n1": PRIMARY, "n3": standby(), "n4": standby()}, "n1 is a primary still; n5 does not answer"),
        (FIVE, {"n3": standby(), "n4": standby(), "n5": standby(50)}, ""),
        (Sync(frozenset(), 0), {}, ""),  # nobody was ever synchronous
        (Sync(frozenset({"n1", "n3"}), 0), {"n1": PRIMARY}, "n1 is a primary still; n3 does not answer"),
        (Sync(frozenset({"n1", "n3"}), 0), {"n1": PRIMARY, "n3": standby()}, ""),  # who is no member needs one more
    ],
)
def test_who_must_follow_before_a_promotion(sync: Sync, others: dict[str, Server], reason: str) -> None:
    """Promotion waits for as many members as the quorum names, each streaming from here with no more WAL than here."""
    assert lacking(sync, "n2", HERE, {"n2": MINE, **others}) == reason


def test_a_server_that_does_not_answer_is_not_promoted() -> None:
    """How much WAL this server has must be known."""
    assert lacking(THREE, "n2", HERE, {"n3": standby()}) == "this server does not answer"


def test_a_primary_lacks_nothing() -> None:
    """Patroni may call for a server that is promoted already."""
    assert lacking(THREE, "n2", HERE, {"n2": PRIMARY}) == ""


def test_only_standbys_are_ahead() -> None:
    """The old primary's own WAL, which nobody acknowledged, gives the leader's key to nobody."""
    assert not ahead(THREE, "n2", {"n1": PRIMARY, "n2": MINE, "n3": standby(100)})
    assert ahead(THREE, "n2", {"n1": PRIMARY, "n2": MINE, "n3": standby(101, OLD)})


@pytest.mark.parametrize(
    ("value", "sync"),
    [
        (b'{"leader": "n1", "quorum": 1, "sync_standby": "n2,n3"}', THREE),
        (b'{"leader": "n1", "quorum": "1", "sync_standby": "n3, n2"}', THREE),
        (b'{"leader": "n1", "quorum": null, "sync_standby": "n2"}', ALONE),
        (b'{"leader": "n1", "sync_standby": null}', Sync(frozenset({"n1"}), 0)),
        (b'{"leader": null, "sync_standby": null}', Sync(frozenset(), 0)),
    ],
)
def test_patronis_key_sync_is_read(value: bytes, sync: Sync) -> None:
    """It is read as Patroni writes it."""
    assert decode_sync(value) == sync


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"leader": 1}', b'{"leader": "n1", "quorum": "x"}'])
def test_a_key_that_cannot_be_read_allows_nothing(value: bytes) -> None:
    """Where it is not known who may have acknowledged, nobody is promoted."""
    with pytest.raises(NotPromotable, match="sync"):
        decode_sync(value)


def test_a_view_of_a_server_that_is_looked_at_no_more_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the looks at a server, what it said last is not taken for what it says now."""
    looks = _Looks(cast("PatroniFile", SimpleNamespace(conninfo=lambda _: "")), {})
    seen: list[dict[str, Server]] = []

    class Connection:
        def __enter__(self) -> Connection:
            return self

        def __exit__(self, *_: object) -> None: ...

        def execute(self, _: str) -> Any:
            seen.append(dict(looks.servers))
            if looks.servers:
                raise ValueError("no error of PostgreSQL")
            return SimpleNamespace(fetchone=lambda: (True, HERE, 100))

    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: Connection())
    with pytest.raises(ValueError, match="no error of PostgreSQL"):
        looks._look("n3", "10.0.0.3:15432")
    assert seen == [{}, {"n3": standby(100)}]
    assert looks.servers == {}
