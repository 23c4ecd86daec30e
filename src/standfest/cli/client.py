"""`standfest client`: who may use the API, and with which keys."""

import datetime

import click
from rich.console import Console
from rich.table import Table

from standfest.catalogue import clients
from standfest.catalogue.keys import SCOPES, NewKey
from standfest.cli.home import existing_home
from standfest.cli.output import as_json, print_json
from standfest.cli.owner import owner_connection
from standfest.cli.schema import conninfo
from standfest.cluster.access import owner_access
from standfest.cluster.secrets import Secrets


@click.group()
def client() -> None:
    """Clients of the API and their keys: two may be valid at a time, so that a client can change over."""


@client.command(epilog="\b\nExample:\n  standfest client add webshop --scope orders:write --scope orders:read")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What the client may do; give it several times.",
)
@as_json
def add(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a client with its first key. The key is shown once and not kept."""
    with owner_connection(owner_conninfo()) as connection:
        client_id, new_key = clients.add_client(connection, name, scopes)
    if as_json:
        print_json({"id": str(client_id), "name": name, "scopes": sorted(set(scopes))} | _key_document(new_key))
    else:
        click.echo(f"client {name} ({client_id}): {', '.join(sorted(set(scopes)))}", err=True)
        _print_key(new_key)


@client.command("list", epilog="Example: standfest client list --json")
@as_json
def list_(as_json: bool) -> None:
    """Show all clients."""
    with owner_connection(owner_conninfo()) as connection:
        found = clients.list_clients(connection)
    if as_json:
        documents = [
            {
                "id": str(each.id),
                "name": each.name,
                "scopes": list(each.scopes),
                "created_at": each.created_at.isoformat(),
                "valid_keys": each.valid_keys,
            }
            for each in found
        ]
        print_json({"clients": documents})
    else:
        rows = [[each.name, str(each.valid_keys), str(each.id), ", ".join(each.scopes)] for each in found]
        _print_table(["client", "valid keys", "id", "scopes"], rows)


@client.group()
def key() -> None:
    """Keys of a client."""


@key.command("add", epilog="Example: standfest client key add webshop")
@click.argument("name")
@as_json
def add_key(name: str, as_json: bool) -> None:
    """Give the client NAME a second key; the first stays valid until it is revoked. The key is shown once."""
    with owner_connection(owner_conninfo()) as connection:
        new_key = clients.add_key(connection, name)
    if as_json:
        print_json({"name": name} | _key_document(new_key))
    else:
        _print_key(new_key)


@key.command("list", epilog="Example: standfest client key list webshop")
@click.argument("name")
@as_json
def list_keys(name: str, as_json: bool) -> None:
    """Show the keys of the client NAME; what is secret about them cannot be shown."""
    with owner_connection(owner_conninfo()) as connection:
        found = clients.list_keys(connection, name)
    if as_json:
        documents = [
            {
                "key_id": each.id,
                "created_at": each.created_at.isoformat(),
                "revoked_at": each.revoked_at.isoformat() if each.revoked_at else None,
            }
            for each in found
        ]
        print_json({"name": name, "keys": documents})
    else:
        rows = [
            [each.id, _minute(each.created_at), _minute(each.revoked_at) if each.revoked_at else "valid"]
            for each in found
        ]
        _print_table(["key", "made", "revoked"], rows)


@key.command(epilog="Example: standfest client key revoke v4x7l2kq3nm5a2bc")
@click.argument("key_id")
@as_json
def revoke(key_id: str, as_json: bool) -> None:
    """End the key KEY_ID (the part between the underscores) for good; within about a second it lets nobody in."""
    with owner_connection(owner_conninfo()) as connection:
        revoked_at = clients.revoke_key(connection, key_id)
    if as_json:
        print_json({"key_id": key_id, "revoked_at": revoked_at.isoformat()})
    else:
        click.echo(f"key {key_id} was revoked at {revoked_at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC")


def owner_conninfo() -> str:
    """How the role that owns the schema reaches the database of the cluster in the home. Holds the password."""
    home, topology = existing_home()
    return conninfo(owner_access(topology, Secrets(home.secrets)))


def _key_document(new_key: NewKey) -> dict[str, str]:
    return {"key_id": new_key.id, "key": new_key.text}


def _print_key(new_key: NewKey) -> None:
    """The key alone on standard output, so that it can be piped into a file or a password store."""
    click.echo("this key is shown once and cannot be shown again:", err=True)
    click.echo(new_key.text)


def _minute(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
