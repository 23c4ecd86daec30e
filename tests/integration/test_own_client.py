"""The command line's own clients and their keys, on a real PostgreSQL."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from aiohttp import web

from standfest.catalogue.clients import add_client, list_keys
from standfest.cli import owner
from standfest.cli.own_client import DEMO, SCOPES, key_file, own_key
from standfest.cli.owner import ClientsUnreachable
from tests.support.fake_api import FakeApi, problem, serving
from tests.support.postgres import PostgresCluster, TestDatabase


def new_key(conninfo: str, secrets: Path) -> str:
    """A key that is made as the kept one, if any, is refused at first."""
    refused = {key_file(secrets, DEMO).read_text().strip()} if key_file(secrets, DEMO).exists() else set()

    async def answer(request: web.Request, _: int) -> web.StreamResponse:
        key = request.headers["Authorization"].removeprefix("Bearer ")
        return problem(401, "unauthenticated") if key in refused else web.json_response({"orders": []})

    async def ask() -> str:
        async with serving(FakeApi(answer)) as urls:
            return await own_key(secrets, DEMO, conninfo, urls)

    return asyncio.run(ask())


def test_a_refused_key_is_renewed(database: TestDatabase, tmp_path: Path) -> None:
    """However often its key is refused the client gets another one, and only its own oldest key ends for it."""
    conninfo = database.dsn("standfest_owner")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        add_client(connection, "demo", SCOPES)
    made = [new_key(conninfo, tmp_path) for _ in range(3)]
    assert len(set(made)) == 3
    assert key_file(tmp_path, DEMO).read_text().strip() == made[-1]
    with psycopg.connect(conninfo) as connection:
        assert [key.revoked_at is None for key in list_keys(connection, DEMO)] == [False, True, True]
        assert [key.revoked_at is None for key in list_keys(connection, "demo")] == [True]


def test_a_commit_without_a_standby_is_given_up(
    disposable_postgres: PostgresCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a new key never reaches a standby the wait ends, in one line, and no key is kept."""
    monkeypatch.setattr(owner, "_DEADLINE_S", 1.0)
    disposable_postgres.standby.stop()
    with pytest.raises(ClientsUnreachable, match=r"^no answer from the database; see `standfest status`[^\n]*$"):
        new_key(disposable_postgres.dsn("standfest_owner"), tmp_path)
    assert not key_file(tmp_path, DEMO).exists()
