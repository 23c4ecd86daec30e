"""What an audit heard of lost receipts explains their orders later too, also once it was started anew."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import aiohttp
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.peers import Peers, Question
from standfest.intake.audit.receipted import Delta
from standfest.intake.audit.state import PeerState, State, read_state, write_state
from standfest.intake.audit.windows import Window, Windows
from standfest.intake.audit.writers import Writers
from standfest.intake.receipt_statement import Statement
from standfest.interfaces.status_pages import status_pages
from standfest.storage.database import Database
from tests.integration.test_audit_unreceipted import placed
from tests.support.audit import running_auditor, until
from tests.support.postgres import TestDatabase

ADDRESS = "127.0.25.11"


@contextlib.asynccontextmanager
async def answering(path: str, value: Callable[[], object]) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A process that answers to one question, and who asks it."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    documents = {} if path.startswith("/v1/") else {path: value}
    queries = {path: lambda _: value()} if path.startswith("/v1/") else {}
    async with (
        status_pages(CollectorRegistry(), ADDRESS, port, documents, queries),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
    ):
        yield session, f"{ADDRESS}:{port}"


async def test_orders_of_a_time_that_was_kept_get_their_receipts_anew(
    database: TestDatabase, pool: Database, tmp_path: Path
) -> None:
    """An audit that was started anew accuses no order of a time in which a process had said that it lost receipts."""
    now = time.time()
    write_state(tmp_path, State(windows=[Window(now - 60, now + 60)]))
    await placed(pool, database, 3)
    async with running_auditor(tmp_path, pool.beside(2)) as auditor:
        report = await until(auditor, lambda report: report.receipts_rewritten == 3, "written anew", 60)
        assert report.fault_counts == {}
    assert read_state(tmp_path).windows == [Window(now - 60, now + 60)]


async def test_that_a_process_lost_receipts_is_kept_as_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that loses receipts all the time leaves one window, from before the oldest that waited."""
    lost = iter(range(0, 1_000, 5))
    oldest_at = time.time() - 100

    def statement() -> Statement:
        return Statement("api", "api-1", 0, 0, 1, next(lost), "full", oldest_at, [], 0, [])

    monkeypatch.setattr("standfest.intake.audit.writers.ASK_S", 0.0)
    windows = Windows()
    async with answering("/metrics/receipts", statement) as (session, address):
        writers = Writers(session, [address], Faults(), windows)
        for _ in range(70):
            await writers.ask()
    assert len(windows.kept()) == 1
    assert windows.covers(oldest_at - 5)
    assert windows.covers(time.time())


async def test_that_a_node_forgot_receipts_is_kept_over_a_restart() -> None:
    """Orders of the moment at which another node's disk was lost are explained by an audit that was started anew."""
    at = time.time() - 1_000
    known = PeerState(acknowledged=10, heard_at=at)
    delta = Delta(node="n2", run="r", version=1, blocks={}, settled_until=0.0, acknowledged=3)
    asked = [Question(UUID(int=1), at), Question(UUID(int=2), at + 500)]
    async with answering("/v1/audit/receipted", lambda: delta) as (session, address):
        peers = Peers(session, [address], Faults(), {address: known})
        await peers.ask()
        kept = peers.states()
    kept = msgspec.json.decode(msgspec.json.encode(kept), type=dict[str, PeerState])
    explanation: dict[str, list[UUID]] = {"held": [], "unanswered": [], "unclean": []}
    async with answering("/v1/audit/explain", lambda: explanation) as (session, address):
        [state] = kept.values()
        anew = Peers(session, [address], Faults(), {address: state})
        explanations = await anew.explain(asked)
    assert explanations is not None
    assert [order_id for each in explanations for order_id in each.unclean] == [UUID(int=1)]


def test_a_state_of_the_release_before_is_read(tmp_path: Path) -> None:
    """It has no windows, and nothing of what it has is lost."""
    state = b'{"format":2,"removed_lines":7,"left":["api-1-0001.jsonl"],"peers":{"n2":{"acknowledged":3}},"boot":"b"}'
    (tmp_path / "audit.json").write_bytes(state)
    read = read_state(tmp_path)
    assert (read.removed_lines, read.windows, read.peers) == (7, [], {"n2": PeerState(acknowledged=3)})
