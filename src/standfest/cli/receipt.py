"""`standfest receipt`: checking a receipt without asking the database."""

import asyncio
from pathlib import Path
from typing import IO

import aiohttp
import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from standfest.cli.home import existing_home
from standfest.cli.output import as_json, print_json
from standfest.clients.asking import Asker, UnreachableError
from standfest.cluster.secrets import Secrets
from standfest.errors import StandfestError
from standfest.intake.receipt_check import PublicKeyUnusable, ReceiptInvalid, read_public_key, verify
from standfest.intake.receipts import Receipt

_DOCUMENT_BYTES_MAX = 1024 * 1024
_KEY_PATH = "/v1/receipts/key"
_TIMEOUT_S = 5.0


class CannotCheck(StandfestError):
    """The receipt or the key could not be had."""

    exit_code = 2


@click.group()
def receipt() -> None:
    """Receipts: what was promised for an order, signed."""


@receipt.command(
    "verify",
    epilog="\b\nExamples:\n"
    "  standfest receipt verify receipt.json\n"
    "  curl -s -H 'Authorization: Bearer …' http://127.0.0.1:8080/v1/orders/ID/receipt | standfest receipt verify -",
)
@click.argument("file", type=click.File("rb"))
@click.option("--key", "key_file", type=click.File("rb"), help="PEM, or the JSON of /v1/receipts/key.")
@click.option("--door", help="Ask this address for the key, e.g. http://127.0.0.1:8080.")
@as_json
def verify_receipt(file: IO[bytes], key_file: IO[bytes] | None, door: str | None, as_json: bool) -> None:
    """Check the signed receipt in FILE (- for standard input), as GET /v1/orders/{id}/receipt answers it.

    Without --key and --door the key is the one of the cluster in the home. Exit code 0 valid, 1 not valid, 2 could
    not be checked.
    """
    if key_file is not None and door is not None:
        raise click.UsageError("give --key or --door, not both")
    document = _read(file, "the receipt")
    key = read_public_key(_read(key_file, "the key")) if key_file is not None else _key(door)
    try:
        found = verify(document, key)
    except ReceiptInvalid as error:
        if as_json:
            print_json({"valid": False, "reason": str(error)})
        else:
            click.echo(f"not valid: {error}")
        raise SystemExit(1) from error
    if as_json:
        print_json({"valid": True, "order_id": str(found.order_id), "number": found.number, "promise": found.promise})
    else:
        click.echo(_sentence(found))


def _sentence(found: Receipt) -> str:
    moment = f"{found.accepted_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"valid: order {found.number} ({found.order_id}) was {found.promise} at {moment}"


def _read(file: IO[bytes], what: str) -> bytes:
    try:
        data = file.read(_DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise CannotCheck(f"{what} cannot be read: {error.strerror}") from error
    if len(data) > _DOCUMENT_BYTES_MAX:
        raise CannotCheck(f"{what} is larger than {_DOCUMENT_BYTES_MAX} bytes; expected a small document")
    return data


def _key(door: str | None) -> Ed25519PublicKey:
    if door is not None:
        return read_public_key(asyncio.run(_ask(door)))
    home, _ = existing_home()
    path: Path = Secrets(home.secrets).receipt_signing_key
    try:
        return read_public_key(path.read_bytes())
    except OSError as error:
        raise PublicKeyUnusable(f"cannot read {path}: {error.strerror}; give a key with --key or --door") from error


async def _ask(door: str) -> bytes:
    url = door.rstrip("/") + _KEY_PATH
    async with aiohttp.ClientSession(trust_env=False) as session:
        try:
            answer = await Asker(session, _TIMEOUT_S).ask("GET", url)
        except UnreachableError as error:
            raise CannotCheck(f"{error}; give another --door, or the key as a file with --key") from error
    if answer.status != 200:
        raise CannotCheck(f"{url} answered {answer.status}; expected 200 with the key")
    return answer.body
