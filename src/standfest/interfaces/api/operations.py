"""Operations: one place that says of each route who may use it, what it takes and what it answers.

Authentication and the OpenAPI document are both made from it, so neither can forget a route.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from standfest.catalogue.keys import Client
from standfest.interfaces.api.asgi import Answer, Receive, Scope
from standfest.interfaces.api.parts import Parts
from standfest.interfaces.api.services import Services
from standfest.storage.deadline import Deadline


class ApiRequest(NamedTuple):
    """A request to one of the operations."""

    scope: Scope
    receive: Receive


Handler = Callable[[ApiRequest], Awaitable[Answer]]
Scopes = frozenset[str]

ADMIN = "admin"
"""The scope that includes all others."""
PUBLIC: Scopes = frozenset()
"""No key is needed."""


@dataclass(frozen=True)
class Parameter:
    """A parameter in path, query or header."""

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: dict[str, Any]
    required: bool = False
    example: Any = None


@dataclass(frozen=True)
class Content:
    """A successful answer."""

    description: str
    type: Any = None
    """A msgspec type, or None for an answer without JSON."""
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    """Name and description."""


@dataclass(frozen=True)
class Operation:
    """What a route is."""

    id: str
    summary: str
    scopes: Scopes
    """One of them is needed; PUBLIC: no key is."""
    answers: dict[int, Content]
    problems: tuple[str, ...] = ()
    """Slugs of the problems that it can answer, apart from those that follow from the rest."""
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    """A msgspec type."""
    example: Any = None
    """A body."""
    tag: str = "orders"


def operation_of(scope: Scope) -> Operation:
    """What the request asks for."""
    return cast("Operation", scope["operation"])


def parts_of(scope: Scope) -> Parts:
    """What the app was made of."""
    return cast("Parts", scope["parts"])


def services_of(scope: Scope) -> Services:
    """The services that the app was made with."""
    return parts_of(scope).services


def change_deadline(scope: Scope) -> Deadline:
    """Until when the change that is asked for may be sent to the database; not for orders."""
    return parts_of(scope).freshness.change_deadline(scope, services_of(scope).limits.write_deadline_s)


def order_deadline(scope: Scope) -> Deadline:
    """Until when the order that is asked for may be sent anywhere."""
    return parts_of(scope).freshness.order_deadline(scope, services_of(scope).limits.order_age_max_s)


def client_of(scope: Scope) -> Client:
    """Who sent the request; only where the operation needs a key."""
    return cast("Client", scope["user"])


def has_scope(client: Client, *scopes: str) -> bool:
    """Whether the client has one of the scopes, or all of them as an administrator."""
    return ADMIN in client.scopes or any(scope in client.scopes for scope in scopes)
