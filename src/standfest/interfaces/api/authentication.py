"""Who sends a request: `Authorization: Bearer KEY` (RFC 6750)."""

import math
import re

import structlog

from standfest.catalogue.keys import Client, parse_key
from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.body import headers_named
from standfest.interfaces.api.errors import RETRY_AFTER_S
from standfest.interfaces.api.operations import PUBLIC, Operation, has_scope, services_of
from standfest.interfaces.api.problems import Problem
from standfest.interfaces.api.services import Services
from standfest.storage.errors import DatabaseUnavailable

KEY_LENGTH_MAX = 256
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]{1,256}=*)", re.IGNORECASE)

_log = structlog.get_logger(__name__)


async def authenticate(scope: Scope, operation: Operation) -> None:
    """Sets the request's client, or refuses it.

    Raises:
        Problem: unauthenticated, 401, or forbidden, 403; unavailable, 503, where the catalogue of keys and products
            is too old to be used.
        DatabaseUnavailable: the key is not known here, and whether it is new cannot be found out now.
    """
    if operation.scopes == PUBLIC:
        return
    client = await _client(scope, services_of(scope))
    structlog.contextvars.bind_contextvars(client=str(client.id))
    if not has_scope(client, *operation.scopes):
        needed = " or ".join(sorted(operation.scopes))
        raise Problem("forbidden", f"this needs a key of a client with the scope {needed}")
    scope["user"] = client


async def _client(scope: Scope, services: Services) -> Client:
    bearer = _bearer(scope)
    _require_usable_catalogue(services)
    client = services.catalogue.authenticate(bearer)
    if client is None and parse_key(bearer) is not None:
        # The key may be younger than what is in memory.
        fresh = await services.catalogue.refresh_now()
        client = services.catalogue.authenticate(bearer)
        # Where orders cannot be committed, what answers reads may be a primary that was replaced meanwhile.
        if client is None and (not fresh or services.intake.database_away):
            raise DatabaseUnavailable("whether this is a new key cannot be found out now")
    if client is None:
        raise _unauthenticated("the key is not known or has been revoked", 'error="invalid_token"')
    return client


def _require_usable_catalogue(services: Services) -> None:
    age_s, age_max_s = services.catalogue.age_s, services.limits.catalogue_age_max_s
    if age_s > age_max_s:
        read = "have not been read yet" if age_s == math.inf else f"were last read {age_s:.0f} s ago"
        detail = (
            f"keys and prices {read}, and are used for at most {age_max_s:.0f} s: nothing was attempted; try again "
            "once the database is back (for who runs this: see `standfest status`)"
        )
        raise Problem("unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def _bearer(scope: Scope) -> str:
    values = headers_named(scope, b"authorization")
    if not values:
        raise _unauthenticated("send the header Authorization: Bearer KEY")
    if len(values) > 1:
        raise _unauthenticated("there is more than one Authorization header", 'error="invalid_request"')
    match = _BEARER.fullmatch(values[0])
    if match is None or len(match[1]) > KEY_LENGTH_MAX:
        raise _unauthenticated("expected the header Authorization: Bearer KEY", 'error="invalid_request"')
    return match[1].decode("ascii")


def _unauthenticated(detail: str, *parameters: str) -> Problem:
    challenge = ", ".join(('Bearer realm="standfest"', *parameters))
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": challenge})
