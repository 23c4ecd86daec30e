"""Ways to take away or falsify receipts, orders, lines, stock, feed, chain and seals behind the product's back.

Each way is applied to a stage, says by which kinds the audit may name it, and can be undone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg

from standfest.domain.events import next_event
from standfest.intake.audit.files import is_closed
from standfest.intake.audit.receipted import BLOCK

SYNTHETIC = "00000000-0000-8000-8000-000000000001"
Undo = Callable[[], None]
_numbers = itertools.count(1)


class Stage(Protocol):
    """Where something is falsified: a database, folders of receipts, and the processes that write them."""

    @property
    def directories(self) -> Sequence[Path]:
        """The folders of receipts, one a node."""

    def connect(self) -> psycopg.Connection[Any]:
        """A superuser's connection to the primary."""

    def rotate(self) -> None:
        """Ends a process that gave receipts, in good order, and starts another: its files grow no more."""

    def sell(self, orders: int) -> object:
        """Places orders at a process that gives receipts."""

    def place_behind(self) -> str:
        """Stores an order as the product would, and gives nobody a receipt; its order id."""


@dataclass(frozen=True)
class Way:
    """One way to falsify."""

    name: str
    kinds: frozenset[str]
    """As the audit may name it."""
    apply: Callable[[Stage], Undo]


WAYS: list[Way] = []


def _way(name: str, *kinds: str) -> Callable[[Callable[[Stage], Undo]], Callable[[Stage], Undo]]:
    def add(apply: Callable[[Stage], Undo]) -> Callable[[Stage], Undo]:
        WAYS.append(Way(name, frozenset(kinds), apply))
        return apply

    return add


# Receipt files.


def _files(stage: Stage, *, closed: bool) -> list[Path]:
    """Files with receipts that an API process wrote, the largest first."""
    found = [
        path
        for directory in stage.directories
        for path in directory.glob("api*.jsonl")
        if path.stat().st_size and is_closed(path) == closed
    ]
    return sorted(found, key=lambda path: path.stat().st_size, reverse=True)


def _open(stage: Stage) -> Path:
    deadline = time.monotonic() + 60
    if not _files(stage, closed=False):
        stage.sell(3)
    while not (found := _files(stage, closed=False)):
        assert time.monotonic() < deadline, "no process writes receipts"
        time.sleep(0.1)
    return found[0]


def _closed(stage: Stage) -> Path:
    if not _files(stage, closed=True):
        stage.rotate()
    return _files(stage, closed=True)[0]


def _give(path: Path, content: bytes, like: os.stat_result) -> None:
    """A file in place of another, with its owner and mode."""
    new = path.with_name(f".{path.name}.falsified")
    new.write_bytes(content)
    os.chown(new, like.st_uid, like.st_gid)
    new.chmod(stat.S_IMODE(like.st_mode))
    new.replace(path)


def _changed(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> Undo:
    content, like = path.read_bytes(), path.stat()
    _give(path, b"".join(change(content.splitlines(keepends=True))), like)
    return lambda: _give(path, content, like)


def _cut(path: Path, size: int) -> Undo:
    content = path.read_bytes()
    os.truncate(path, size)

    def undo() -> None:
        with path.open("r+b") as file:
            file.write(content)

    return undo


def _removed(path: Path) -> Undo:
    content, like = path.read_bytes(), path.stat()
    path.unlink()
    return lambda: _give(path, content, like)


def _sealed_again(entry: dict[str, Any]) -> bytes:
    data = json.dumps(entry, separators=(",", ":")).encode()
    return b'{"crc32":%d,"entry":%b}\n' % (zlib.crc32(data), data)


@_way("the open receipt file is emptied", "receipts_missing")
def _open_emptied(stage: Stage) -> Undo:
    return _cut(_open(stage), 0)


@_way("the open receipt file is removed", "receipts_missing")
def _open_removed(stage: Stage) -> Undo:
    return _removed(_open(stage))


@_way("the open receipt file is replaced by an empty one", "receipts_missing")
def _open_replaced(stage: Stage) -> Undo:
    return _changed(_open(stage), lambda _: [])


@_way("a finished receipt file is removed", "receipts_missing")
def _closed_removed(stage: Stage) -> Undo:
    return _removed(_closed(stage))


@_way("a finished receipt file is cut in half", "receipts_missing")
def _closed_cut(stage: Stage) -> Undo:
    path = _closed(stage)
    return _cut(path, path.stat().st_size // 2)


@_way("one receipt is taken out of its file", "receipts_missing")
def _receipt_removed(stage: Stage) -> Undo:
    return _changed(_closed(stage), lambda lines: lines[:1] + lines[2:])


@_way("one receipt is overwritten", "receipts_damaged", "damaged")
def _receipt_overwritten(stage: Stage) -> Undo:
    return _changed(_closed(stage), lambda lines: [lines[0].replace(b"confirmed", b"forgotten"), *lines[1:]])


@_way("one receipt is forged, its checksum made to fit", "altered", "receipts_damaged")
def _receipt_forged(stage: Stage) -> Undo:
    def forge(lines: list[bytes]) -> list[bytes]:
        entry = json.loads(lines[0])["entry"]
        entry["receipt"]["content_hash"] = "f" * 64
        return [_sealed_again(entry), *lines[1:]]

    return _changed(_closed(stage), forge)


@_way("one receipt is replaced by a copy of the next one", "receipts_damaged", "receipts_missing")
def _receipt_copied(stage: Stage) -> Undo:
    def copy(lines: list[bytes]) -> list[bytes]:
        first, second = json.loads(lines[0])["entry"], json.loads(lines[1])["entry"]
        return [_sealed_again(second | {"seq": first["seq"]}), *lines[1:]]

    return _changed(_closed(stage), copy)


@_way("a receipt file cannot be read", "receipts_unreadable")
def _unreadable(stage: Stage) -> Undo:
    path = _closed(stage)
    content, like = path.read_bytes(), path.stat()
    path.unlink()
    path.symlink_to(path.name)  # unlike a mode this keeps root out as well
    return lambda: _give(path, content, like)


@_way("the folder of receipts is taken away", "receipts_missing")
def _folder(stage: Stage) -> Undo:
    folder = _closed(stage).parent
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    folder.touch()

    def undo() -> None:
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink()
        aside.rename(folder)

    return undo


@_way("the run file of an ended process is removed", "receipts_missing")
def _run_file(stage: Stage) -> Undo:
    def ended() -> list[Path]:
        runs = [path for directory in stage.directories for path in directory.glob("api*.run")]
        return [path for path in runs if is_closed(path)]

    if not ended():
        stage.rotate()
    return _removed(ended()[0])


# Rows.


def _do(stage: Stage, *statements: str, **values: object) -> None:
    with stage.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode(), values)


def _ask(stage: Stage, statement: str, **values: object) -> tuple[Any, ...]:
    with stage.connect() as connection:
        row = connection.execute(statement.encode(), values).fetchone()
    assert row is not None, statement
    return tuple(row)


def _kept(stage: Stage, *tables: tuple[str, str]) -> Undo:
    """Remembers rows (table, condition that names them whatever becomes of them); undoing puts them as they were."""
    copies = [(table, condition, f"falsified_{next(_numbers)}") for table, condition in tables]
    _do(
        stage, *(f"CREATE TABLE {copy} AS SELECT * FROM {table} WHERE {condition}" for table, condition, copy in copies)
    )

    def undo() -> None:
        statements = []
        for table, condition, copy in copies:
            overriding = "" if table in ("order_line", "order_event", "stock") else "OVERRIDING SYSTEM VALUE "
            statements += [
                f"DELETE FROM {table} WHERE {condition}",
                f"INSERT INTO {table} {overriding}SELECT * FROM {copy}",
                f"DROP TABLE {copy}",
            ]
        _do(stage, *statements)

    return undo


def _order(stage: Stage, *, sealed: bool = False, offset: int = 3) -> tuple[int, str]:
    """Position and id of a confirmed order with more than one line and something reserved: a late, or a sealed one."""
    order = "ASC" if sealed else "DESC"
    position, order_id = _ask(
        stage,
        f"SELECT id, order_id FROM orders WHERE client_id <> '{SYNTHETIC}' AND status = 'confirmed'"
        f" AND (NOT %(sealed)s OR id / {BLOCK} IN (SELECT block FROM audit_seal))"
        f" ORDER BY id {order} OFFSET {offset} LIMIT 1",
        sealed=sealed,
    )
    return int(position), str(order_id)


def _falsified(*statements: str, sealed: bool = False, offset: int = 3) -> Callable[[Stage], Undo]:
    """Statements about one order: {ref} is its position, {id} its id."""

    def apply(stage: Stage) -> Undo:
        ref, order_id = _order(stage, sealed=sealed, offset=offset)
        products = _ask(stage, f"SELECT string_agg(product_id::text, ',') FROM order_line WHERE order_ref = {ref}")[0]
        undo = _kept(
            stage,
            ("orders", f"id = {ref}"),
            ("order_line", f"order_ref = {ref}"),
            ("order_event", f"order_ref = {ref}"),
            ("change", f"order_id = '{order_id}'"),
            ("stock", f"product_id IN ({products})"),
        )
        _do(stage, *(statement.replace("{ref}", str(ref)).replace("{id}", order_id) for statement in statements))
        return undo

    return apply


_WHOLE = (
    "UPDATE stock SET reserved = stock.reserved - line.reserved FROM (SELECT product_id, sum(reserved) AS reserved"
    " FROM order_line WHERE order_ref = {ref} GROUP BY product_id) AS line WHERE line.product_id = stock.product_id",
    "DELETE FROM change WHERE order_id = '{id}'",
    "DELETE FROM order_event WHERE order_ref = {ref}",
    "DELETE FROM order_line WHERE order_ref = {ref}",
    "DELETE FROM orders WHERE id = {ref}",
)
_ORDERS: tuple[tuple[str, tuple[str, ...], Callable[[Stage], Undo]], ...] = (
    ("an order is removed", ("missing",), _falsified("DELETE FROM orders WHERE id = {ref}")),
    ("an order is removed with all of it, stock and feed made to fit", ("missing",), _falsified(*_WHOLE)),
    (
        "an order is made a synthetic one",
        ("altered", "missing", "sealed"),
        _falsified(f"UPDATE orders SET client_id = '{SYNTHETIC}' WHERE id = {{ref}}"),
    ),
    ("a line is removed", ("altered",), _falsified("DELETE FROM order_line WHERE order_ref = {ref} AND position = 2")),
    (
        "a quantity is changed",
        ("altered",),
        _falsified("UPDATE order_line SET quantity = quantity + 7 WHERE order_ref = {ref} AND position = 1"),
    ),
    (
        "the totals are changed",
        ("altered",),
        _falsified("UPDATE orders SET net = net + 1, gross = gross + 1 WHERE id = {ref}"),
    ),
    ("a status is changed", ("altered",), _falsified("UPDATE orders SET status = 'cancelled' WHERE id = {ref}")),
    ("an event is removed", ("altered",), _falsified("DELETE FROM order_event WHERE order_ref = {ref}")),
    (
        "an event is changed",
        ("altered",),
        _falsified("UPDATE order_event SET actor = 'nobody' WHERE order_ref = {ref}"),
    ),
    (
        "an event is backdated, in the feed as well",
        ("altered",),
        _falsified(
            "UPDATE order_event SET at = at - interval '1 day' WHERE order_ref = {ref}",
            "UPDATE change SET at = at - interval '1 day' WHERE order_id = '{id}'",
        ),
    ),
    ("an event is taken out of the feed", ("feed",), _falsified("DELETE FROM change WHERE order_id = '{id}'")),
    (
        "an event is another one in the feed",
        ("feed",),
        _falsified("UPDATE change SET version = version + 1 WHERE order_id = '{id}'"),
    ),
    (
        "the feed tells an event twice",
        ("feed",),
        _falsified(
            "INSERT INTO change (type, order_id, client_id, version, at) SELECT type, order_id, client_id, version, at"
            " FROM change WHERE order_id = '{id}'"
        ),
    ),
    (
        "more is reserved than was ordered",
        ("stock",),
        _falsified(
            "UPDATE stock SET reserved = reserved + 1 WHERE product_id ="
            " (SELECT product_id FROM order_line WHERE order_ref = {ref} AND position = 1)"
        ),
    ),
    (
        "more of a product is waited for than by orders",
        ("stock",),
        _falsified(
            "UPDATE stock SET backordered = backordered + 1 WHERE product_id ="
            " (SELECT product_id FROM order_line WHERE order_ref = {ref} AND position = 1)"
        ),
    ),
    (
        "what is on hand is changed, and nobody told",
        ("stock",),
        _falsified(
            "UPDATE stock SET on_hand = on_hand + 100, version = version + 1 WHERE product_id ="
            " (SELECT product_id FROM order_line WHERE order_ref = {ref} AND position = 1)"
        ),
    ),
    (
        "a stock row is removed",
        ("stock",),
        _falsified(
            "DELETE FROM stock WHERE product_id ="
            " (SELECT product_id FROM order_line WHERE order_ref = {ref} AND position = 1)"
        ),
    ),
    (
        "a sealed order is removed with all of it, stock and feed made to fit",
        ("sealed",),
        _falsified(*_WHOLE, sealed=True),
    ),
)
for _name, _kinds, _apply in _ORDERS:
    _way(_name, *_kinds)(_apply)


@_way("an order is doubled under an id of its own", "doubled")
def _doubled(stage: Stage) -> Undo:
    ref, _ = _order(stage)
    _do(
        stage,
        f"CREATE TABLE falsified_copy AS SELECT * FROM orders WHERE id = {ref}",
        "UPDATE falsified_copy SET id = nextval('orders_id_seq'), order_id = gen_random_uuid(),"
        " idempotency_key = 'falsified'",
        "INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT * FROM falsified_copy",
        "DROP TABLE falsified_copy",
    )
    return lambda: _do(stage, "DELETE FROM orders WHERE idempotency_key = 'falsified'")


@_way("a sealed order's chain is written anew for another actor", "sealed")
def _chain(stage: Stage) -> Undo:
    ref, _ = _order(stage, sealed=True)
    undo = _kept(stage, ("order_event", f"order_ref = {ref}"))
    version, type_, at, reason, data, content_hash = _ask(
        stage, f"SELECT version, type, at, reason, data, content_hash FROM order_event WHERE order_ref = {ref}"
    )
    again = next_event(
        b"", version=version, type=type_, actor="nobody", at=at, content_hash=content_hash, reason=reason, data=data
    )
    _do(
        stage,
        f"UPDATE order_event SET actor = 'nobody', chain_hash = %(chain_hash)s WHERE order_ref = {ref}",
        chain_hash=again.chain_hash,
    )
    return undo


@_way("an order is slipped in that nobody acknowledged", "unreceipted")
def _slipped_in(stage: Stage) -> Undo:
    order_id = stage.place_behind()
    [ref] = _ask(stage, f"SELECT id FROM orders WHERE order_id = '{order_id}'")
    return lambda: _do(stage, *(statement.replace("{ref}", str(ref)).replace("{id}", order_id) for statement in _WHOLE))


@_way("a change of the catalogue is taken out of the feed", "feed")
def _catalogue(stage: Stage) -> Undo:
    [sequence] = _ask(stage, "SELECT max(sequence) FROM change WHERE order_id IS NULL")
    undo = _kept(stage, ("change", f"sequence = {sequence}"))
    _do(stage, f"DELETE FROM change WHERE sequence = {sequence}")
    return undo


@_way("a seal is removed", "sealed")
def _seal_removed(stage: Stage) -> Undo:
    [block] = _ask(stage, "SELECT min(block) FROM audit_seal")
    undo = _kept(stage, ("audit_seal", f"block = {block}"))
    _do(stage, f"DELETE FROM audit_seal WHERE block = {block}")
    return undo


@_way("a seal is changed", "sealed")
def _seal_changed(stage: Stage) -> Undo:
    [block] = _ask(stage, "SELECT min(block) FROM audit_seal")
    undo = _kept(stage, ("audit_seal", f"block = {block}"))
    _do(stage, f"UPDATE audit_seal SET marks = set_byte(marks, 40, 77), digest = sha256('x') WHERE block = {block}")
    return undo


@contextlib.contextmanager
def falsified(stage: Stage, way: Way) -> Iterator[None]:
    """One way, applied for as long as the block lasts."""
    undo = way.apply(stage)
    try:
        yield
    finally:
        undo()
