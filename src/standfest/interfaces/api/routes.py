"""Routes: the one way to make a handler that is asked, which lets in only whom its operation is for."""

from collections.abc import Callable

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Method

from standfest.interfaces.api.authentication import authenticate
from standfest.interfaces.api.operations import ApiRequest, Handler, Operation


def route(method: Method, path: str, operation: Operation) -> Callable[[Handler], HTTPRouteHandler]:
    """Makes a handler the one of an operation; GET answers HEAD as well."""
    methods: list[Method] = ["GET", "HEAD"] if method == "GET" else [method]

    def decorate(handler: Handler) -> HTTPRouteHandler:
        # No guard of the framework's: it would copy the route for every request.
        async def answer(request: ApiRequest) -> ASGIApp:
            await authenticate(request.scope, operation)
            return await handler(request)

        return HTTPRouteHandler(
            path, http_method=methods, status_code=200, include_in_schema=False, opt={"operation": operation}
        )(answer)

    return decorate
