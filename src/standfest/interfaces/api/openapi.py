"""The OpenAPI 3.1 document, made from the operations and from the very types that bodies and answers are."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from standfest.intake.receipts import Receipt
from standfest.interfaces.api import problems
from standfest.interfaces.api.answers import ShortageAnswer
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.edge import PROBES
from standfest.interfaces.api.operations import (
    PUBLIC,
    ApiRequest,
    Content,
    Operation,
    Parameter,
    parts_of,
)
from standfest.interfaces.api.routes import Route, route

API_VERSION = "1.0.0"
_REF = "#/components/schemas/{name}"
_PATH_TYPE = re.compile(r"\{(\w+):\w+\}")
_HEADERS = {
    401: ("WWW-Authenticate", "How to authenticate (RFC 6750)"),
    429: ("Retry-After", "Seconds"),
    503: ("Retry-After", "Seconds"),
}

_MEMBERS = {
    "out-of-stock": ("order_id", "number", "receipt", "lines"),
    "stock-out-of-range": ("on_hand",),
    "idempotency-key-reused": ("order_id",),
    "outcome-unknown": ("order_id", "number"),
}
"""Members of problem documents on top of the common ones."""


@route(
    "GET",
    "/v1/openapi.json",
    Operation(
        id="openapi",
        summary="This document",
        scopes=PUBLIC,
        answers={200: Content("The OpenAPI 3.1 document", dict[str, Any])},
        tag="process",
    ),
)
async def openapi(request: ApiRequest) -> Answer:
    """`GET /v1/openapi.json`."""
    return Answer(parts_of(request.scope).openapi, media_type="application/json")


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of an API with these routes."""
    described = [(_PATH_TYPE.sub(r"{\1}", each.path), each.method.lower(), each.operation) for each in routes]
    types = [problems.ProblemFault, Receipt, ShortageAnswer]
    types += [type_ for _, _, operation in described for type_ in _types(operation)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(map(str, types), map(_plain, schemas), strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in described:
        paths.setdefault(path, {})[method] = _operation(path, operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Standfest",
            "version": API_VERSION,
            "description": "Orders, products and stock. Amounts and quantities are decimal strings; times are"
            " UTC, RFC 3339; errors are problem documents (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "responses": {
                _name(slugs): _problem(status, slugs)
                for path, _, operation in described
                for status, slugs in _problems(path, operation).items()
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A client's key"}},
        },
    }


def _types(operation: Operation) -> Iterator[Any]:
    if operation.body is not None:
        yield operation.body
    yield from (content.type for content in operation.answers.values() if content.type is not None)


def _operation(path: str, operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [] if operation.scopes == PUBLIC else [{"key": []}],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {str(status): _answer(content, schema_of) for status, content in operation.answers.items()},
    }
    if operation.scopes != PUBLIC:
        described["description"] = f"Scope: {' or '.join(sorted(operation.scopes))}"
    if operation.body is not None:
        content = {"schema": schema_of[str(operation.body)]}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    for status, slugs in _problems(path, operation).items():
        reference = {"$ref": f"#/components/responses/{_name(slugs)}"}
        described["responses"].setdefault(str(status), reference)
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "required": parameter.required,
        "schema": _plain(parameter.schema),
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _answer(content: Content, schema_of: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": content.description, "headers": _headers(content.headers)}
    if content.type is not None:
        described["content"] = {content.media_type: {"schema": schema_of[str(content.type)]}}
    return described


def _headers(named: Iterable[tuple[str, str]]) -> dict[str, Any]:
    always = ("X-Request-Id", "Leads to this request in the service's log")
    return {name: {"description": description, "schema": {"type": "string"}} for name, description in (*named, always)}


def _problems(path: str, operation: Operation) -> dict[int, list[str]]:
    """Status -> slugs of all problems that an operation can answer."""
    slugs = [*operation.problems, "internal-error"]
    if path not in PROBES:
        slugs.append("overloaded")
    if operation.scopes != PUBLIC:
        slugs += ["unauthenticated", "forbidden", "unavailable"]
    if operation.body is not None:
        slugs += ["invalid-request", "request-timeout", "payload-too-large", "unsupported-media-type"]
    if any(parameter.name == "Idempotency-Key" for parameter in operation.parameters):
        slugs += ["idempotency-key-missing", "idempotency-key-invalid"]
    if any(parameter.name != "order_id" for parameter in operation.parameters):
        slugs.append("invalid-request")
    if any(parameter.name == "sku" for parameter in operation.parameters):
        slugs.append("not-found")
    by_status: dict[int, list[str]] = {}
    for slug in sorted(set(slugs)):
        by_status.setdefault(problems.KINDS[slug][0], []).append(slug)
    return dict(sorted(by_status.items()))


def _name(slugs: list[str]) -> str:
    return ".".join(slugs)


def _problem(status: int, slugs: list[str]) -> dict[str, Any]:
    return {
        "description": "; ".join(f"{slug}: {problems.KINDS[slug][1]}" for slug in slugs),
        "headers": _headers([_HEADERS[status]] if status in _HEADERS else []),
        "content": {problems.MEDIA_TYPE: {"schema": _problem_schema(status, slugs)}},
    }


def _problem_schema(status: int, slugs: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "type": {"enum": [problems.TYPE_PREFIX + slug for slug in slugs]},
        "title": {"type": "string"},
        "status": {"const": status},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": _REF.format(name="ProblemFault")}},
        "request_id": {"type": "string"},
        "order_id": {"type": "string", "format": "uuid"},
        "number": {"type": "string"},
        "on_hand": {"type": "string"},
        "receipt": {"$ref": _REF.format(name="Receipt")},
        "lines": {"type": "array", "items": {"$ref": _REF.format(name="ShortageAnswer")}},
    }
    required = ["type", "title", "status", "detail", "request_id"]
    extra = next((members for slug, members in _MEMBERS.items() if slug in slugs), ())
    known = [*required, "errors", *extra]
    schema = {"type": "object", "properties": {name: properties[name] for name in known}, "required": required}
    if slugs in (["out-of-stock"], ["stock-out-of-range"]):
        schema["required"] = [*required, *extra]
    return schema


def _plain(schema: Any) -> Any:
    """The schema with patterns as ECMA-262 has them.

    There `$` does not match before a line feed at the end, and text that is UTF-8 has no lone surrogates:
    what guards against both in Python's patterns is left out.
    """
    if isinstance(schema, dict):
        return {name: _pattern(value) if name == "pattern" else _plain(value) for name, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_plain(value) for value in schema]
    return schema


def _pattern(value: Any) -> Any:
    if not isinstance(value, str):  # a property that is called "pattern"
        return _plain(value)
    return value.replace(r"(?!\n)", "").replace(r"\ud800-\udfff", "")
