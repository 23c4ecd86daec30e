"""`standfest client` against a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from standfest.catalogue.clients import ClientError
from standfest.catalogue.keys import hash_secret, parse_key
from standfest.cli import client as command
from standfest.cli.owner import ClientsUnreachable
from tests.integration.orders import query
from tests.support.postgres import TestDatabase

Run = Callable[..., Result]


@pytest.fixture
def run(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `standfest client ARGUMENTS` on the test's database."""
    monkeypatch.setattr(command, "owner_conninfo", lambda: database.dsn("standfest_owner"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(command.client, arguments)

    return run


def answer(result: Result) -> Any:
    """The JSON document on standard output of a command that ended well."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_key_is_printed_once_and_alone(database: TestDatabase, run: Run) -> None:
    """Standard output is the key and nothing else; the database holds its hash."""
    made = run("add", "Shop", "--scope", "orders:write", "--scope", "orders:read")
    assert made.exit_code == 0
    parsed = parse_key(made.stdout.strip())
    assert parsed is not None
    assert query(database, "SELECT id, secret_hash FROM client_key") == [(parsed[0], hash_secret(parsed[1]))]
    listed = run("key", "list", "Shop")
    assert parsed[0] in listed.stdout
    assert parsed[1] not in listed.stdout + listed.stderr


def test_every_command_answers_with_json(run: Run) -> None:
    """A client is made, given a second key, relieved of the first, and listed, all as JSON documents."""
    made = answer(run("add", "Shop", "--scope", "orders:write", "--json"))
    assert (made["name"], made["scopes"]) == ("Shop", ["orders:write"])
    assert made["key"].startswith(f"sf_{made['key_id']}_")
    second = answer(run("key", "add", "Shop", "--json"))
    revoked = answer(run("key", "revoke", made["key_id"], "--json"))
    keys = answer(run("key", "list", "Shop", "--json"))["keys"]
    assert [(key["key_id"], key["revoked_at"]) for key in keys] == [
        (made["key_id"], revoked["revoked_at"]),
        (second["key_id"], None),
    ]
    [listed] = answer(run("list", "--json"))["clients"]
    assert (listed["id"], listed["name"], listed["valid_keys"]) == (made["id"], "Shop", 1)


def test_what_cannot_be_done_is_said(run: Run) -> None:
    """A third key and an unknown scope are refused; the first is an error of ours, the second one of usage."""
    answer(run("add", "Shop", "--scope", "admin", "--json"))
    answer(run("key", "add", "Shop", "--json"))
    assert isinstance(run("key", "add", "Shop").exception, ClientError)
    assert run("add", "Other", "--scope", "orders:eat").exit_code == 2
    assert "Other" not in run("list").stdout


def test_a_database_that_is_away_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing answers, the error names the next command and no password."""
    monkeypatch.setattr(
        command, "owner_conninfo", lambda: "host=127.0.26.2 port=15432 user=x password=hidden connect_timeout=2"
    )
    result = CliRunner().invoke(command.client, ["list"])
    assert isinstance(result.exception, ClientsUnreachable)
    assert "standfest status" in str(result.exception)
    assert "hidden" not in str(result.exception)
