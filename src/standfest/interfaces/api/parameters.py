"""Parameters of path, query and header: their schemas, and reading them strictly."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode
from uuid import UUID

from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.operations import Parameter, operation_of
from standfest.interfaces.api.problems import Problem, ProblemFault, invalid_parameter, not_found
from standfest.interfaces.api.texts import PRINTABLE_EDGES
from standfest.sales.errors import CursorExpired, CursorInvalid

PAGE_DEFAULT = 100
SKU_LENGTH_MAX = 64
CURSOR_LENGTH_MAX = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "1 to 255 visible ASCII characters, bare or as a quoted string; new for every order or command, and the"
    " same whenever the same request is sent again. It belongs to that request for ever.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!#-~][!-~]*$"},
    required=True,
)
ORDER_ID = Parameter("order_id", "path", "The order's id", {"type": "string", "format": "uuid"}, required=True)
SKU = Parameter(
    "sku",
    "path",
    "The product's SKU, percent-encoded",
    {"type": "string", "minLength": 1, "maxLength": SKU_LENGTH_MAX, "pattern": PRINTABLE_EDGES},
    required=True,
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "header",
    "* or entity tags (RFC 9110) of what is known already: 304 where it is still that",
    {"type": "string"},
    example='"1"',
)
IF_MATCH = Parameter(
    "If-Match",
    "header",
    "* or the entity tag (RFC 9110) of the version that the change is about: 412 where it is another by now",
    {"type": "string"},
    example='"1"',
)


def cursor_parameter(name: str, description: str) -> Parameter:
    """A parameter that says where to go on."""
    schema = {"type": "string", "minLength": 1, "maxLength": CURSOR_LENGTH_MAX, "pattern": "^[A-Za-z0-9_-]+$"}
    return Parameter(name, "query", description, schema)


CURSOR = cursor_parameter("cursor", "Where the page begins, as `next` of the page before said")
LINK_HEADER = ("Link", 'The next page, rel="next" (RFC 8288); not on the last one')


def next_page(path: str, values: Mapping[str, str], cursor: str | None) -> dict[str, str] | None:
    """The Link header to the page at `cursor`; None where this one is the last."""
    if cursor is None:
        return None
    return {"Link": f'<{path}?{urlencode({**values, "cursor": cursor})}>; rel="next"'}


def query(scope: Scope) -> Mapping[str, str]:
    """The query's parameters.

    Raises:
        Problem: 400: one that the operation does not have, one given twice, or one that is not UTF-8.
    """
    known = {entry.name for entry in operation_of(scope).parameters if entry.where == "query"}
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError as error:
        raise Problem("invalid-request", "the query is not percent-encoded UTF-8, or too long") from error
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise invalid_parameter(name, "there is no such query parameter here")
        if name in values:
            raise invalid_parameter(name, "given more than once")
        if not value or _CONTROL.search(value):
            raise invalid_parameter(name, "expected something, without control characters")
        values[name] = value
    return values


def limit_parameter(maximum: int) -> Parameter:
    """The parameter that bounds a page."""
    schema = {"type": "integer", "minimum": 1, "maximum": maximum, "default": PAGE_DEFAULT}
    return Parameter("limit", "query", "The most entries on a page", schema)


def limit(values: Mapping[str, str], maximum: int) -> int:
    """The page's size: 1 to `maximum`.

    Raises:
        Problem: 400.
    """
    text = values.get("limit", str(PAGE_DEFAULT))
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= maximum:
        raise invalid_parameter("limit", f"expected a whole number from 1 to {maximum}")
    return int(text)


@contextlib.contextmanager
def refused_cursor(name: str) -> Iterator[None]:
    """Makes a problem of a cursor, given as the parameter `name`, that the block refuses.

    Raises:
        Problem: 410 where who follows has to start again; 422 where it was never given out.
    """
    try:
        yield
    except CursorExpired as error:
        fault = ProblemFault("expired-cursor", str(error), parameter=name)
        raise Problem("cursor-expired", f"{name}: {error}", faults=[fault]) from error
    except CursorInvalid as error:
        fault = ProblemFault("unknown-cursor", str(error), parameter=name)
        raise Problem("invalid-content", f"{name}: {error}", faults=[fault]) from error


def path_sku(scope: Scope, behind: bytes | None = None) -> str:
    """The SKU in the path's third segment, from its raw form: a SKU may have a `/`, sent as `%2F`.

    `behind`: the segment that follows it.

    Raises:
        Problem: 400 or 404: it cannot be one.
    """
    _, _, _, *rest = scope["raw_path"].split(b"/")
    if rest[1:] != ([] if behind is None else [behind]):
        raise not_found("a SKU is one segment of the path: send a / in it as %2F")
    try:
        sku = unquote_to_bytes(rest[0]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid_parameter("sku", "expected percent-encoded UTF-8") from error
    if not 1 <= len(sku) <= SKU_LENGTH_MAX or _CONTROL.search(sku):
        raise invalid_parameter("sku", f"expected 1 to {SKU_LENGTH_MAX} printable characters")
    return sku


def path_order_id(scope: Scope) -> UUID:
    """The order id in the path.

    Raises:
        Problem: 404: it cannot be one.
    """
    text = scope["path_params"]["order_id"]
    if not _UUID.fullmatch(text):
        raise not_found("an order's id is a UUID")
    return UUID(text)
