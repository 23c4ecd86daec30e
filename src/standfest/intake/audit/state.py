"""What the audit remembers over its own restart: how far each receipt file is read, and what was found wrong."""

import contextlib
import os
from pathlib import Path

import msgspec
import structlog

from standfest.intake.audit.findings import Finding
from standfest.telemetry.failures import facts_of

_FILE = "audit.json"
_FORMAT = 1

_log = structlog.get_logger(__name__)


class FileState(msgspec.Struct, frozen=True):
    """How far a receipt file is audited."""

    offset: int
    """All lines before it are settled."""
    lines: int
    """So many."""
    damaged: int = 0
    """Lines among them that are no receipts."""


class State(msgspec.Struct, frozen=True):
    """All that is remembered."""

    format: int = _FORMAT
    files: dict[str, FileState] = {}
    removed_lines: int = 0
    """Receipts in files that were audited and removed."""
    findings: list[Finding] = []
    receipts_passed_at: float | None = None
    """When the last full pass over the receipts ended, in seconds since 1970."""
    orders_passed_at: float | None = None
    """When the last full pass over the database's orders ended, as this node made it."""


def read_state(directory: Path) -> State:
    """The state in `directory`; an empty one where there is none that can be used: then all is audited again."""
    try:
        state = msgspec.json.decode((directory / _FILE).read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.warning("audit_state_unusable", **facts_of(error), next="all receipts are audited again")
        return State()
    return state if state.format == _FORMAT else State()


def write_state(directory: Path, state: State) -> None:
    """Replaces the state in one step (0600).

    Raises:
        OSError: it could not be written; the old one is as it was.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = directory / f".{_FILE}.new"
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(state))
    temporary.replace(directory / _FILE)
