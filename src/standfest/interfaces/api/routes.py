"""Routes: the one way to make a handler that is asked, which lets in only whom its operation is for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from standfest.interfaces.api.asgi import Answer, Receive, Scope, Send
from standfest.interfaces.api.authentication import authenticate
from standfest.interfaces.api.errors import answer_error
from standfest.interfaces.api.operations import ApiRequest, Handler, Operation
from standfest.interfaces.api.parts import Parts
from standfest.interfaces.api.problems import Problem

Method = Literal["GET", "POST", "PUT"]


@dataclass(frozen=True)
class Route:
    """An operation at its place, and what carries it out."""

    method: Method
    path: str
    """With its parameters, such as `/v1/orders/{order_id:str}`."""
    operation: Operation
    handler: Handler


def route(method: Method, path: str, operation: Operation) -> Callable[[Handler], Route]:
    """Makes a handler the one of an operation."""
    return lambda handler: Route(method, path, operation, handler)


class Resource:
    """All that answers at one path, as an ASGI app; GET answers HEAD as well. Whatever goes wrong is answered."""

    def __init__(self, routes: Iterable[Route], parts: Parts) -> None:
        self._parts = parts
        self._routes: dict[str, Route] = {route.method: route for route in routes}
        if "GET" in self._routes:
            self._routes["HEAD"] = self._routes["GET"]
        self._allow = {"Allow": ", ".join(sorted({"OPTIONS", *self._routes}))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        answer = await self._answer(scope, receive)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        found = self._routes.get(scope["method"])
        if found is None and scope["method"] == "OPTIONS":
            return Answer(status=204, headers=self._allow)
        try:
            if found is None:
                raise Problem("method-not-allowed", "see the header Allow", headers=self._allow)
            scope["parts"], scope["operation"] = self._parts, found.operation
            await authenticate(scope, found.operation)
            return await found.handler(ApiRequest(scope, receive))
        except Exception as error:  # noqa: BLE001 - each is told, and logged where it is ours
            return answer_error(scope, error)
