"""JSON that means one thing only (RFC 8259, with the strictness of RFC 7493, "I-JSON").

Refused: bytes that are not UTF-8, a byte order mark, duplicate member names, NaN and Infinity, numbers no
double can hold, lone surrogates, nesting deeper than `MAX_DEPTH`, more than `MAX_MARKS` values and names.

Whatever a body of a MiB holds, it is read or refused in some tens of milliseconds: the event loop waits.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from standfest.domain.faults import Fault, Invalid

MAX_DEPTH = 32
"""Levels of arrays and objects; an order has three."""
MAX_MARKS = 30_000
"""Commas, colons and opening brackets outside strings; the largest legal body, 1,000 products, has 22,000."""
MAX_NUMBER_CHARACTERS = 32
"""Longer numbers are refused before they are computed."""

Path = tuple[str | int, ...]

_decode = msgspec.json.Decoder().decode


class _NotPlain(Exception):
    """It takes a closer look to say whether a document is sound."""


def parse(raw: bytes) -> Any:
    """The value of a JSON document, made of dict, list, str, int, float, bool and None.

    Raises:
        Invalid: with a pointer to the fault, or to the whole document where it cannot be read.
    """
    try:
        return _parse_plain(raw)
    except _NotPlain:
        return parse_thoroughly(raw)


def _parse_plain(raw: bytes) -> Any:
    """The value of a document that is soon seen to be sound: no numbers, and as many colons as members in the end.

    (So no colon stands in a text, and no member twice.) It takes a tenth of the time, and nearly all orders are so.
    """
    if _count_marks(raw) > MAX_MARKS:
        raise _NotPlain
    try:
        value = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _NotPlain from error
    if _members([value], MAX_DEPTH + 1) != raw.count(b":"):
        raise _NotPlain
    return value


def _members(node: Any, levels: int) -> int:
    """How many members there are in and below an object or array of at most so many levels."""
    if levels == 0:
        raise _NotPlain
    count, children = 0, node
    if isinstance(node, dict):
        count, children = len(node), list(node.values())
    for child in children:
        kind = type(child)
        if kind is dict or kind is list:
            count += _members(child, levels - 1)
        elif kind is int or kind is float:
            raise _NotPlain
    return count


def parse_thoroughly(raw: bytes) -> Any:
    """The same, for whatever document; what is wrong is found and named here."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _whole("wrong-encoding", f"byte {error.start} is not UTF-8") from error
    if _marks(raw) > MAX_MARKS:
        raise _whole("too-many-values", f"more than {MAX_MARKS} values and member names")
    duplicates: list[tuple[dict[str, Any], str]] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            duplicates.append((result, _first_duplicate(pairs)))
        return result

    try:
        value = json.loads(
            text,
            object_pairs_hook=members,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
            parse_float=_number,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _whole("malformed-json", f"{error.msg}: {where}") from error
    except RecursionError as error:
        raise _too_deep(()) from error
    if not _is_sound(value):
        _refuse_first_unsound(value)
    if duplicates:
        # hooks run from the inside out, so nothing above the last one was overwritten: it can be reached
        raise _duplicate(value, *duplicates[-1])
    return value


def pointer(path: Path) -> str:
    """The JSON Pointer (RFC 6901) to the node at `path`."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _marks(raw: bytes) -> int:
    """Commas, colons and opening brackets outside strings; a higher number where that is below the bound too."""
    if (everywhere := _count_marks(raw)) <= MAX_MARKS:
        return everywhere
    parts = raw.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    return _count_marks(b"".join(parts[::2]))


def _count_marks(text: bytes) -> int:
    return sum(map(text.count, (b",", b":", b"[", b"{")))


def _whole(code: str, detail: str) -> Invalid:
    return Invalid((Fault("", code, detail),))


def _too_deep(path: Path) -> Invalid:
    return Invalid((Fault(pointer(path), "too-deep", f"more than {MAX_DEPTH} levels of nesting"),))


def _refuse_constant(name: str) -> NoReturn:
    raise _whole("malformed-json", f"{name} is not JSON")


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise _whole("number-out-of-range", f"a number has more than {MAX_NUMBER_CHARACTERS} characters")
    return int(digits)


def _number(digits: str) -> float | int:
    number = float(digits) if len(digits) <= MAX_NUMBER_CHARACTERS else math.inf
    if not math.isfinite(number):
        raise _whole("number-out-of-range", f"{digits[:MAX_NUMBER_CHARACTERS]} is out of range or too long")
    return int(number) if number.is_integer() else number  # 3.0 and 3 are one number (RFC 8785, 3.2.2.3)


def _first_duplicate(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("called with names that are all different")


def _duplicate(value: Any, where: dict[str, Any], name: str) -> Invalid:
    path = next(path for path, node in _nodes(value) if node is where)
    fault = Fault(pointer((*path, name)), "duplicate-member", "this member is there more than once")
    return Invalid((fault,))


def _nodes(value: Any) -> Iterator[tuple[Path, Any]]:
    """Every array, object, string and scalar with its path; not deeper than one level beyond the bound."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        if len(path) > MAX_DEPTH:
            continue
        if isinstance(node, dict):
            waiting.extend(((*path, name), child) for name, child in node.items())
        elif isinstance(node, list):
            waiting.extend(((*path, index), child) for index, child in enumerate(node))


def _is_sound(value: Any) -> bool:
    """Whether nothing is too deep and every text is Unicode. Level by level: only a fault needs a path."""
    level = [value]
    for depth in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for node in level:
            if isinstance(node, str):
                if not _is_unicode(node):
                    return False
            elif isinstance(node, dict):
                if depth == MAX_DEPTH or not all(map(_is_unicode, node)):
                    return False
                below.extend(node.values())
            elif isinstance(node, list):
                if depth == MAX_DEPTH:
                    return False
                below.extend(node)
        level = below
    return True


def _refuse_first_unsound(value: Any) -> NoReturn:
    for path, node in _nodes(value):
        if isinstance(node, dict | list) and len(path) >= MAX_DEPTH:
            raise _too_deep(path[:MAX_DEPTH])
        if isinstance(node, str) and not _is_unicode(node):
            raise Invalid((Fault(pointer(path), "lone-surrogate", "half of a surrogate pair is no character"),))
        if isinstance(node, dict) and not all(map(_is_unicode, node)):
            raise Invalid((Fault(pointer(path), "lone-surrogate", "a member's name has half a surrogate pair"),))
    raise AssertionError("called with a value that is sound")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
