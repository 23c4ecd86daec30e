"""The only place that builds adapters: one function a plane."""

import asyncio
import contextlib
from pathlib import Path
from typing import Self

import msgspec

from standfest.catalogue.snapshot import Catalogue
from standfest.domain.agreement import Merchant
from standfest.errors import StandfestError
from standfest.intake.intake import Intake
from standfest.intake.receipts import Signer
from standfest.interfaces.api.app import create_app
from standfest.interfaces.api.server import listen, serve
from standfest.interfaces.api.services import Services
from standfest.sales.worker import run_worker
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database

ORDER_DEADLINE_S = 4.0
"""An order is answered after so long, whatever is known by then."""
ORDERS_UNDER_WAY_MAX = 256


class ConfigurationUnusable(StandfestError):
    """The configuration file of an order plane's process is missing or not what it should be."""


class _Listener(msgspec.Struct, forbid_unknown_fields=True):
    listen: str

    @property
    def host(self) -> Host:
        """Address and port."""
        address, _, port = self.listen.rpartition(":")
        return Host(address, int(port))


class _Database(msgspec.Struct, forbid_unknown_fields=True):
    hosts: list[str]
    name: str
    user: str
    password_file: Path


class _Journal(msgspec.Struct, forbid_unknown_fields=True):
    members: list[str]
    authority_file: Path
    certificate_file: Path
    key_file: Path
    size_max_bytes: int


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    snapshot_directory: Path
    age_max_s: float


class _Receipts(msgspec.Struct, forbid_unknown_fields=True):
    signing_key_file: Path
    directory: Path | None = None


class _FailPoints(msgspec.Struct, forbid_unknown_fields=True):
    file: Path


class Configuration(msgspec.Struct, forbid_unknown_fields=True):
    """What `serve api` and `serve worker` are told; the cluster's configuration renders it."""

    cluster: str
    node: str
    api: _Listener
    worker: _Listener
    database: _Database
    receipts: _Receipts
    merchant: Merchant
    service: str = "api"
    journal: _Journal | None = None
    catalogue: _Catalogue | None = None
    audit: _Listener | None = None
    failpoints: _FailPoints | None = None

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """Reads a TOML file.

        Raises:
            ConfigurationUnusable: it is missing, or something in it is not as expected.
        """
        try:
            return msgspec.toml.decode(file.read_bytes(), type=cls, dec_hook=_decode)
        except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ConfigurationUnusable(f"{file}: {error}; `standfest up` writes it anew") from error


def _decode(wanted: type[object], value: object) -> object:
    """What msgspec does not decode by itself: paths."""
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"cannot decode {wanted}")


def database(configuration: Configuration) -> Database:
    """The pool of a process of the order plane; connects to nothing yet.

    Raises:
        ConfigurationUnusable: the password file cannot be read.
    """
    section = configuration.database
    try:
        password = section.password_file.read_text().strip()
    except OSError as error:
        raise ConfigurationUnusable(f"{section.password_file}: {error.strerror}; `standfest up` writes it") from error
    settings = DatabaseSettings(
        hosts=tuple(_Listener(host).host for host in section.hosts),
        name=section.name,
        user=section.user,
        password=password,
    )
    return Database(settings)


async def serve_api(configuration: Configuration, stop: asyncio.Event) -> None:
    """Runs an API process until `stop` is set and what it has begun is finished.

    Raises:
        ConfigurationUnusable: a file cannot be read, or the address cannot be listened on.
        SigningKeyUnusable: the receipt signing key is not one.
    """
    orders = database(configuration)
    catalogue_reads = orders.beside(connections_max=2)  # so that orders in a queue do not make it age
    catalogue = Catalogue(catalogue_reads)
    services = Services(
        node=configuration.node,
        merchant=configuration.merchant,
        catalogue=catalogue,
        intake=Intake(orders, deadline_s=ORDER_DEADLINE_S, under_way_max=ORDERS_UNDER_WAY_MAX),
        database=orders,
        signer=Signer.from_file(configuration.receipts.signing_key_file),
    )
    address = configuration.api.host
    try:
        listener = listen(address.address, address.port)
    except OSError as error:
        detail = f"cannot listen on {configuration.api.listen}: {error.strerror}; see who has it with `ss -ltnp`"
        raise ConfigurationUnusable(detail) from error
    refreshing = asyncio.create_task(catalogue.run())
    refreshing.add_done_callback(lambda _: stop.set())  # without it the process would serve an ageing catalogue
    try:
        await serve(create_app(services), listener, stop)
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing
    finally:
        await orders.close()
        await catalogue_reads.close()


async def serve_worker(configuration: Configuration, stop: asyncio.Event) -> None:
    """Runs a worker until `stop` is set and its batch is ended."""
    address = configuration.worker.host
    await run_worker(database(configuration), address.address, address.port, stop)
