"""Clients and their keys, kept by the role that owns the schema: the order plane can only read them."""

import datetime
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg

from standfest.catalogue.keys import SCOPES, NewKey, new_key
from standfest.errors import StandfestError
from standfest.storage.statements import statement

VALID_KEYS_MAX = 2
"""One in use and one to change over to."""
_NAME_LENGTH_MAX = 100


class ClientError(StandfestError):
    """A client or key cannot be made, found or changed as asked."""


class ClientSummary(msgspec.Struct, frozen=True):
    """A client as a list shows it."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime.datetime
    valid_keys: int


class KeySummary(msgspec.Struct, frozen=True):
    """A key as a list shows it."""

    id: str
    created_at: datetime.datetime
    revoked_at: datetime.datetime | None


def add_client(connection: psycopg.Connection[Any], name: str, scopes: Iterable[str]) -> tuple[UUID, NewKey]:
    """Makes a client with its first key, in one transaction.

    Raises:
        ClientError: the name is taken or unusable, or a scope is unknown.
    """
    if not 1 <= len(name) <= _NAME_LENGTH_MAX or not name.isprintable() or name != name.strip():
        raise ClientError(f"a client's name has 1 to {_NAME_LENGTH_MAX} printable characters and no space at its ends")
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown:
        raise ClientError(f"unknown scope {', '.join(unknown)}: choose from {', '.join(SCOPES)}")
    if not wanted:
        raise ClientError(f"a client has at least one scope: choose from {', '.join(SCOPES)}")
    client_id = uuid4()
    values = {"id": client_id, "name": name, "scopes": wanted}
    with connection.transaction():
        if connection.execute(statement("clients/insert_client"), values).fetchone() is None:
            raise ClientError(
                f"there is a client '{name}' already: `standfest client key add '{name}'` gives it another key"
            )
        key = _insert_key(connection, client_id)
    return client_id, key


def add_key(connection: psycopg.Connection[Any], name: str) -> NewKey:
    """Gives a client another key; the one it has stays valid, so that it can change over.

    Raises:
        ClientError: there is no such client, or it has two valid keys.
    """
    with connection.transaction():
        row = connection.execute(statement("clients/lock_client"), {"name": name}).fetchone()
        if row is None:
            raise _no_client(name)
        keys = connection.execute(statement("clients/valid_key_ids"), {"client_id": row[0]}).fetchall()
        if len(keys) >= VALID_KEYS_MAX:
            ids = " and ".join(key_id for (key_id,) in keys)
            raise ClientError(
                f"client '{name}' has {len(keys)} valid keys, {ids}: revoke one first, with "
                "`standfest client key revoke KEY_ID`"
            )
        return _insert_key(connection, row[0])


def revoke_key(connection: psycopg.Connection[Any], key_id: str) -> datetime.datetime:
    """Ends a key; the order plane refuses it within about a second. Says since when it is revoked.

    Raises:
        ClientError: there is no such key.
    """
    row = connection.execute(statement("clients/revoke_key"), {"id": key_id}).fetchone()
    if row is None:
        raise ClientError(f"there is no key '{key_id}': `standfest client key list NAME` shows a client's keys")
    revoked_at: datetime.datetime = row[0]
    return revoked_at


def list_clients(connection: psycopg.Connection[Any]) -> list[ClientSummary]:
    """All clients, by name."""
    rows = connection.execute(statement("clients/list_clients"))
    return [
        ClientSummary(id_, name, tuple(scopes), created_at, valid_keys)
        for id_, name, scopes, created_at, valid_keys in rows
    ]


def list_keys(connection: psycopg.Connection[Any], name: str) -> list[KeySummary]:
    """A client's keys, the oldest first. Every client has at least one.

    Raises:
        ClientError: there is no such client.
    """
    keys = [KeySummary(*row) for row in connection.execute(statement("clients/list_keys"), {"name": name})]
    if not keys:
        raise _no_client(name)
    return keys


def _insert_key(connection: psycopg.Connection[Any], client_id: UUID) -> NewKey:
    key = new_key()
    connection.execute(
        statement("clients/insert_key"),
        {"id": key.id, "client_id": client_id, "secret_hash": key.secret_hash},
    )
    return key


def _no_client(name: str) -> ClientError:
    return ClientError(f"there is no client '{name}': `standfest client list` shows all")
