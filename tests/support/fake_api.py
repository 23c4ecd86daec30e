"""A small order API in memory behind real sockets, for tests of its clients without a cluster."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

Hook = Callable[[web.Request, int], Awaitable[web.StreamResponse | None]]
"""Called with the request and its running number before (or instead of) the real handling."""


def problem(status: int, slug: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """An answer of RFC 9457 with a type of the product."""
    body = {"type": f"https://standfest.example/problems/{slug}", "status": status, "detail": slug, **more}
    return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")


class FakeApi:
    """Products, stock and orders; the same request under the same key gets the same answer."""

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook
        self.products: dict[str, dict[str, Any]] = {}
        self.on_hand: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[str, int, str]] = {}
        self.writes = 0
        """How often anything was changed."""
        self.requests = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The one handler of every route: the hook first."""
        self.requests += 1
        if self.hook is not None and (answer := await self.hook(request, self.requests)) is not None:
            return answer
        return await self.answer(request)

    async def answer(self, request: web.Request) -> web.Response:
        """What the API answers to a request, and does."""
        _, *parts = request.path.strip("/").split("/")
        body = json.loads(await request.read()) if request.can_read_body else {}
        match request.method, parts:
            case "PUT", ["products"]:
                return self._put(self.products, {p["sku"]: p for p in body["products"]})
            case "PUT", ["stock"]:
                return self._put(self.on_hand, {s["sku"]: int(s["on_hand"]) for s in body["stock"]})
            case "GET", ["stock", sku]:
                there, held = self.on_hand.get(sku, 0), self.reserved.get(sku, 0)
                counts = {"on_hand": there, "reserved": held, "available": there - held}
                return web.json_response({"sku": sku, **{name: str(n) for name, n in counts.items()}})
            case "POST", ["orders"]:
                return self._once(request, body, self._place)
            case "POST", ["orders", order_id, "cancel"]:
                return self._once(request, body, lambda key, b: self._cancel(order_id, b))
            case "GET", ["orders", order_id] if order_id in self.orders:
                return web.json_response(self.orders[order_id])
        return problem(404, "not-found")

    def _put(self, old: dict[str, Any], new: dict[str, Any]) -> web.Response:
        changed = sum(old.get(sku) != value for sku, value in new.items())
        self.writes += changed
        old.update(new)
        return web.json_response({"changed": changed, "unchanged": len(new) - changed})

    def _once(self, request: web.Request, body: Any, act: Callable[[str, Any], tuple[int, str]]) -> web.Response:
        key = request.headers["Idempotency-Key"]
        digest = hashlib.sha256(f"{request.path}{json.dumps(body, sort_keys=True)}".encode()).hexdigest()
        if key not in self.keys:
            self.keys[key] = (digest, *act(key, body))
        known, status, text = self.keys[key]
        if known != digest:
            return problem(422, "idempotency-key-reused")
        return web.Response(status=status, text=text, content_type="application/json")

    def _place(self, key: str, body: Any) -> tuple[int, str]:
        unknown = [line["sku"] for line in body["lines"] if line["sku"] not in self.products]
        if unknown:
            return 422, problem(422, "unknown-sku", errors=[{"pointer": "/lines/0/sku"}]).text or ""
        self.writes += 1
        order_id = hashlib.sha256(key.encode()).hexdigest()[:32]
        wanted: dict[str, int] = {}
        for line in body["lines"]:
            if self.products[line["sku"]]["stock_policy"] == "tracked":
                wanted[line["sku"]] = wanted.get(line["sku"], 0) + int(line["quantity"])
        short = [sku for sku, n in wanted.items() if n > self.on_hand.get(sku, 0) - self.reserved.get(sku, 0)]
        if short:
            text = problem(409, "out-of-stock", order_id=order_id, number=order_id[:8], lines=short).text
            return 409, text or ""
        for sku, count in wanted.items():
            self.reserved[sku] = self.reserved.get(sku, 0) + count
        lines = [{**line, "position": n, "cancelled": "0"} for n, line in enumerate(body["lines"], start=1)]
        self.orders[order_id] = {
            "id": order_id,
            "number": order_id[:8],
            "status": "confirmed",
            "external_reference": body.get("external_reference"),
            "lines": lines,
            "totals": {"gross": "1.00"},
            "receipt": {"content_hash": "c", "accepted_at": datetime.now(UTC).isoformat()},
        }
        return 201, json.dumps(self.orders[order_id])

    def _cancel(self, order_id: str, body: Any) -> tuple[int, str]:
        order = self.orders[order_id]
        wanted = body.get("lines") or [
            {"position": line["position"], "quantity": line["quantity"]} for line in order["lines"]
        ]
        for line in wanted:
            target = order["lines"][line["position"] - 1]
            left = Decimal(target["quantity"]) - Decimal(target["cancelled"])
            if Decimal(line["quantity"]) > left:
                return 409, problem(409, "conflict").text or ""
            target["cancelled"] = str(Decimal(target["cancelled"]) + Decimal(line["quantity"]))
            if self.products[target["sku"]]["stock_policy"] == "tracked":
                self.reserved[target["sku"]] -= int(line["quantity"])
        self.writes += 1
        if all(line["cancelled"] == line["quantity"] for line in order["lines"]):
            order["status"] = "cancelled"
        return 200, json.dumps(order)


@asynccontextmanager
async def serving(api: FakeApi, doors: int = 2) -> AsyncIterator[list[str]]:
    """The API behind so many doors, each on an address of its own; yields their URLs."""
    async with AsyncExitStack() as stack:
        urls = []
        for number in range(1, doors + 1):
            app = web.Application(client_max_size=2**20)
            app.router.add_route("*", "/{path:.*}", api.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, f"127.0.23.{number}", 0).start()
            host, port = runner.addresses[0][:2]
            urls.append(f"http://{host}:{port}")
        yield urls
