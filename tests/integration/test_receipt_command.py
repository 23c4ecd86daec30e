"""`standfest receipt verify` on receipts that a real API signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from standfest.cli.receipt import CannotCheck, receipt
from standfest.intake.receipt_check import PublicKeyUnusable
from tests.integration.test_api_orders import new_product, place
from tests.support.api import RunningApi

Verify = Callable[..., Result]


@pytest.fixture
def signed(admin: httpx.Client) -> bytes:
    """The signed receipt of a fresh order."""
    placed = place(admin, new_product(admin))
    return admin.get(f"/v1/orders/{placed.json()['id']}/receipt").content


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """Runs the command on a document; `key` goes into a file."""

    def run(document: bytes, *arguments: str, key: bytes | None = None) -> Result:
        (tmp_path / "receipt.json").write_bytes(document)
        if key is not None:
            (tmp_path / "key").write_bytes(key)
            arguments = (*arguments, "--key", str(tmp_path / "key"))
        return CliRunner().invoke(receipt, ["verify", str(tmp_path / "receipt.json"), *arguments])

    return run


def sentence(result: Result) -> str:
    """The one line that the command says; the API of these tests logs in the same process."""
    [line] = [line for line in result.output.splitlines() if "[debug" not in line]
    return line


def test_a_receipt_is_valid_by_the_key_that_the_api_hands_out(api: RunningApi, signed: bytes, verify: Verify) -> None:
    """The key is public, and is taken from a door, as that document, or as PEM; the receipt from a pipe as well."""
    key = httpx.get(f"{api.url}/v1/receipts/key")
    assert key.status_code == 200
    assert key.json()["algorithm"] == "Ed25519"
    number = json.loads(signed)["receipt"]["number"]
    for result in (
        verify(signed, "--door", api.url),
        verify(signed, key=key.content),
        verify(signed, key=key.json()["pem"].encode()),
        CliRunner().invoke(receipt, ["verify", "-", "--door", api.url], input=signed),
    ):
        assert result.exit_code == 0, result.output
        assert sentence(result).startswith(f"valid: order {number}")


@pytest.mark.parametrize("field", ["order_id", "number", "request_hash", "content_hash", "accepted_at", "promise"])
def test_whatever_is_changed_it_is_not_valid(api: RunningApi, signed: bytes, verify: Verify, field: str) -> None:
    """Each field is covered by the signature."""
    document = json.loads(signed)
    value = document["receipt"][field]
    document["receipt"][field] = value.replace(value[0], "1" if value[0] != "1" else "2", 1)
    result = verify(json.dumps(document).encode(), "--door", api.url)
    assert result.exit_code == 1, result.output
    assert sentence(result).startswith("not valid: ")


def test_strange_documents_are_not_valid(api: RunningApi, signed: bytes, verify: Verify) -> None:
    """One line and exit code 1 for whatever is no signed receipt, or one that another key signed."""
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = httpx.get(f"{api.url}/v1/receipts/key").content
    documents = [b"", b"[]", b"\xff", b'{"receipt":{},"algorithm":"Ed25519","key_id":"","signature":"!"}']
    document = json.loads(signed)
    documents += [
        json.dumps(document | {"algorithm": "none"}).encode(),
        json.dumps(document | {"signature": ""}).encode(),
    ]
    for result in (*(verify(each, key=key) for each in documents), verify(signed, key=other)):
        assert result.exit_code == 1, result.output
        assert sentence(result).startswith("not valid: ")


def test_what_cannot_be_checked_is_not_called_invalid(signed: bytes, verify: Verify, tmp_path: Path) -> None:
    """A key that is none, a door that does not answer, a receipt that is not there: exit code 2."""
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert verify(signed, key=private).exit_code == 1  # its public half is a key, and not the one
    unusable = verify(signed, key=b"nonsense")
    assert isinstance(unusable.exception, PublicKeyUnusable)
    assert unusable.exception.exit_code == 2
    silent = verify(signed, "--door", "http://127.0.34.9:9")
    assert isinstance(silent.exception, CannotCheck)
    assert silent.exception.exit_code == 2
    assert CliRunner().invoke(receipt, ["verify", str(tmp_path / "nothing")]).exit_code == 2
