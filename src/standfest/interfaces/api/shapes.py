"""From a JSON value to a struct, and from msgspec's message to a fault with a JSON Pointer."""

import re
from typing import Any, TypeVar, get_args

import msgspec

from standfest.domain import request
from standfest.domain.faults import Fault, Invalid
from standfest.interfaces.api.strict_json import Path, pointer

Shape = TypeVar("Shape")

# msgspec 0.22 reports one fault at a time as "MESSAGE - at `$.lines[0].sku`"; the path is left out at the root.
# Names in a path are those of struct fields, so only the name of an unknown field is up to the client.
_AT = re.compile(r" - at `(?P<path>\$[^`]*)`\Z")
_NAME_LENGTH_MAX = 200
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
_PATTERN = re.compile(r"Expected `str` matching regex '(?P<pattern>.*)'", re.DOTALL)


def _pattern(annotated: Any) -> str:
    return repr(get_args(annotated)[1].pattern)[1:-1]


_FORMS = {
    _pattern(request.ShortText): "control characters are not allowed",
    _pattern(request.DecimalString): 'expected a decimal number without a sign, such as "12.5", with at most'
    " nine digits before and four after the point",
    _pattern(request.SignedDecimalString): 'expected a decimal number with its sign, such as "+12.5" or "-3"',
    _pattern(request.CountryCode): "expected a country code of two capital letters (ISO 3166-1 alpha-2)",
    _pattern(request.Email): "expected an e-mail address",
}


def shape(value: Any, type_: type[Shape]) -> Shape:
    """`value` as a `type_`, nothing coerced.

    Raises:
        Invalid: with the first fault and a pointer to its field.
    """
    try:
        return msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError as error:
        raise Invalid((translate(str(error)),)) from error


def translate(text: str) -> Fault:
    """The fault that a message of msgspec's ValidationError speaks of."""
    message, path = text, _steps(None)
    if at := _AT.search(text):
        message, path = text[: at.start()], _steps(at["path"])
    if unknown := _UNKNOWN.fullmatch(message):
        name = unknown["name"]
        where = pointer((*path, name)) if len(name) <= _NAME_LENGTH_MAX else pointer(path)
        return Fault(where, "unknown-field", "there is no such field here")
    if missing := _MISSING.fullmatch(message):
        return Fault(pointer((*path, missing["name"])), "missing", "this field is required")
    if pattern := _PATTERN.fullmatch(message):
        detail = _FORMS.get(pattern["pattern"], f"expected a text that matches {pattern['pattern']}")
        return Fault(pointer(path), "wrong-form", detail)
    return Fault(pointer(path), _code(message), message.replace("`", ""))


def _code(message: str) -> str:
    if " of length " in message:
        return "wrong-length"
    if ", got " in message:
        return "wrong-type"
    return "wrong-value"


def _steps(path: str | None) -> Path:
    return tuple(
        step["name"] if step["name"] is not None else int(step["index"]) for step in _STEP.finditer(path or "")
    )
