"""Whether a node's own copies look as if they had to be mended: cheap enough to be asked every few seconds.

What looks so may be harmless; the mender looks at the whole cluster, and decides. Standard library only, as the
restarter asks.
"""

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from standfest.cluster.home import NodeHome

LOOKS_MIN = 4
"""So many times in a row a standby must be found not streaming: one that starts is soon something else."""

PAUSE_FIRST_S, PAUSE_MAX_S = 5.0, 30.0
"""Between two starts of the mender for the same reason; doubles."""

_TIMEOUT_S = 2.0
_ANSWER_BYTES_MAX = 1024 * 1024
_MEMBERS = ("etcd", "journal")


@dataclass
class Watch:
    """When the mender is to be started. Times are seconds on the monotonic clock, given in by the caller."""

    not_streaming: int = 0
    """How many times in a row."""
    pause_s: float = 0.0
    next_at: float = 0.0

    def due(self, found: "Symptoms", now: float) -> bool:
        """Whether the mender is to look now; its next time is later each time, and at once where all was well."""
        self.not_streaming = self.not_streaming + 1 if found.not_streaming else 0
        if not found.at_once and self.not_streaming < LOOKS_MIN:
            self.pause_s, self.next_at = 0.0, 0.0
            return False
        if now < self.next_at:
            return False
        self.pause_s = min(PAUSE_MAX_S, self.pause_s * 2 or PAUSE_FIRST_S)
        self.next_at = now + self.pause_s
        return True


@dataclass(frozen=True)
class Symptoms:
    """What was found at one look."""

    at_once: tuple[str, ...] = field(default=())
    """What is reason enough by itself."""
    not_streaming: bool = False
    """The node's PostgreSQL is a standby, or tries to be one, and gets no WAL."""


def look(home: NodeHome, given_up: tuple[str, ...]) -> Symptoms:
    """What a node's disk and its Patroni say; `given_up` are the programs that supervisor gave up on lately."""
    return Symptoms(tuple(_at_once(home, given_up)), _not_streaming(home))


def _at_once(home: NodeHome, given_up: tuple[str, ...]) -> Iterator[str]:
    for name in _MEMBERS:
        if not _has_data(home, name):
            yield f"{name} has no data"
        if name in given_up:
            yield f"{name} ends again and again"
    with contextlib.suppress(OSError):
        yield from (f"{note.name} is being mended" for note in home.notes.iterdir())


def mark_founded(home: NodeHome) -> None:
    """Note which members of etcd have data, so that none of them starts without it any more."""
    for name in _MEMBERS:
        if not home.founded(name).exists() and _has_data(home, name):
            home.founded(name).touch(mode=0o600)


def _has_data(home: NodeHome, name: str) -> bool:
    data = _settings(home.config / f"{name}.json").get("data-dir")
    return not isinstance(data, str) or any((Path(data) / "member" / "wal").glob("*.wal"))


def _not_streaming(home: NodeHome) -> bool:
    """False where Patroni does not answer: without it nothing could be cloned."""
    rest = _settings(home.config / "patroni.json").get("restapi")
    address = rest.get("connect_address") if isinstance(rest, dict) else None
    if not isinstance(address, str):
        return False
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/patroni")
        said = json.loads(connection.getresponse().read(_ANSWER_BYTES_MAX))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return bool(said.get("role") not in ("primary", "master") and said.get("replication_state") != "streaming")


def _settings(file: Path) -> dict[str, object]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
