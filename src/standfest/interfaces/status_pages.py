"""What a process that takes no orders says of itself over HTTP: /livez, /metrics, and documents of its own."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from standfest.errors import StandfestError


class AddressTaken(StandfestError):
    """The process's own address cannot be listened on."""


@contextlib.asynccontextmanager
async def status_pages(
    registry: CollectorRegistry,
    address: str,
    port: int,
    documents: Mapping[str, Callable[[], object]] | None = None,
    queries: Mapping[str, Callable[[Mapping[str, str]], object]] | None = None,
) -> AsyncIterator[None]:
    """Answers for as long as the block lasts.

    Args:
        registry: shown at /metrics.
        address: to listen on.
        port: to listen on.
        documents: path -> what gives its JSON value, at once.
        queries: the same, where the value depends on the parameters of the URL.

    Raises:
        AddressTaken: nothing can listen there.
    """
    runner = web.AppRunner(_app(registry, documents or {}, queries or {}), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError as error:
            raise AddressTaken(
                f"cannot listen on {address}:{port}: {error.strerror}; see who has it with `ss -ltnp`"
            ) from error
        yield
    finally:
        await runner.cleanup()


def _app(
    registry: CollectorRegistry,
    documents: Mapping[str, Callable[[], object]],
    queries: Mapping[str, Callable[[Mapping[str, str]], object]],
) -> web.Application:
    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/metrics", metrics)])
    for path, value in documents.items():
        app.router.add_get(path, _page(value))
    for path, ask in queries.items():
        app.router.add_get(path, _query(ask))
    return app


def _page(value: Callable[[], object]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(value()), content_type="application/json")

    return page


def _query(ask: Callable[[Mapping[str, str]], object]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def page(request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(ask(request.query)), content_type="application/json")

    return page
