"""The append-only history of a drill: what was sent, what was answered, what was done to the cluster.

One JSON object a line, UTF-8, compact. Each line goes to the kernel in one `write()` with O_APPEND as soon
as it happens, so that a killed writer loses nothing that it recorded, and several writers may share a file.
It is synced to disk when it is closed and not before: no drill takes this machine's kernel down, and a sync
a line would slow the generator that is being measured. Nothing is kept in memory. Only the last line may be
torn.

Every line has
  t      seconds, CLOCK_MONOTONIC of this machine: comparable across processes
  wall   RFC 3339, UTC: for people only
  op     invoke | ok | fail | unknown | shed | read | note

Amounts and quantities are decimal strings. A submission has one `invoke` and at most one terminal line (`ok`,
`fail`, `unknown`) with the same key; without one it counts as unknown. Repeats are counted in `attempts`.

invoke   kind          place | cancel
         key           the Idempotency-Key
         nonce         place: unique an order, sent as its `external_reference`; cancel: the cancelled order's
         due           t at which the open-loop schedule wanted it sent
         content       place: {"parties": {"customer": {…}, "ship_to": {…}}, each as it is sent, "currency",
                               "lines": [[sku, quantity, unit_price|null], …]}
                       cancel: {"order_id", "lines": [[position, quantity], …] | null}; null: the whole order
         payload_sha256  hex SHA-256 of the RFC 8785 canonical JSON of the body: the product's request hash
ok       definite success (2xx)
fail     definite refusal: no order may exist for it, except for 409 with an order_id, the recorded refusal
unknown  no definite answer before the client's deadline: it may have happened, once
  these  kind, key, nonce, attempts, broken (attempts whose connection was not made or broke before a whole answer),
         ambiguous (attempts that were sent and got no definite answer), status, problem, order_id, order_status,
         number, content_hash, gross, receipt: each where there is one
shed     an arrival that was never sent, as too many were under way: kind, key, nonce, due
read     a GET of an order after its acknowledgement: key, nonce, order_id, status (null without an answer)
note     what, and whatever belongs to it; those that the checker reads:
         start          format: 2, client: the name of the client that sends; first line of the file
         opening        position: the highest ingest position of an order before the first submission
         opening-stock  stock: [[sku, on_hand, reserved], …], backorder: [sku, …], those of them that are sold beyond
                        their stock as well; several such lines add up
         end            counts by op; last line of the sender
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from standfest.errors import StandfestError

FORMAT = 2
"""The version of the format, in the `start` note."""

Operation = Literal["invoke", "ok", "fail", "unknown", "shed", "read", "note"]


class HistoryBroken(StandfestError):
    """A history has a line, other than a torn last one, that is not a JSON object."""


class HistoryWriter:
    """Appends to one history file (mode 0600: it may hold customers' data); usable as a context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, op: Operation, **fields: object) -> None:
        """Appends one line; `t` and `wall` are now unless they are among the fields. OSError if it cannot."""
        line = {
            "t": time.monotonic(),
            "wall": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "op": op,
            **fields,
        }
        data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        written = os.write(self._descriptor, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes reached {self.path}: is the disk full?")

    def close(self) -> None:
        """Syncs to disk and closes; further calls do nothing."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Mapping[str, Any]]:
    """Each line in the order of the file, one in memory at a time; a torn last line is left out.

    HistoryBroken for any other line that is not a JSON object.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise HistoryBroken(f"{path} line {number} is not JSON ({error}): the file was changed") from error
            if not isinstance(entry, dict):
                raise HistoryBroken(f"{path} line {number} is not a JSON object: the file was changed")
            yield entry
