"""What the audit remembers over its own restart: how far each receipt file is read, and what was found wrong."""

import contextlib
import os
from pathlib import Path

import msgspec
import structlog

from standfest.intake.audit.faults import Fault
from standfest.intake.audit.findings import Finding
from standfest.intake.audit.left import Ranges
from standfest.intake.audit.windows import Window
from standfest.intake.receipt_runs import boot_id
from standfest.telemetry.failures import facts_of

_FILE = "audit.json"
_FORMAT = 2

_log = structlog.get_logger(__name__)


class FileState(msgspec.Struct, frozen=True):
    """How far a receipt file is audited."""

    offset: int
    """All lines before it are settled."""
    lines: int
    """So many."""
    damaged: int = 0
    """Lines among them that are no receipts."""
    seq: int = 0
    """Number of the last line before `offset`."""
    digest: str = ""
    """Of all lines before `offset`, in hexadecimal."""
    best: "FileState | None" = None
    """How far it was read before somebody changed, shortened or removed it; None where nobody did."""


class PeerState(msgspec.Struct, frozen=True):
    """What another node's audit last said."""

    acknowledged: int = 0
    """Receipts that it had read."""
    heard_at: float = 0.0
    """Seconds since 1970."""
    blocks: dict[str, str] = {}
    """Block of ingest positions -> which of them have a receipt there, as a hexadecimal bit mask."""
    windows: list[Window] = []
    """Times in which that node's receipts may have been lost with its disk."""


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
    sealed_passed_at: float | None = None
    """The same for the last full pass over sealed blocks."""
    left: Ranges | list[str] = {}
    """Files that the audit itself removed; names of the newest ones in a state of the release before."""
    runs: dict[str, int] = {}
    """Run files and how long they were, in bytes."""
    faults: list[Fault] = []
    receipted: dict[str, str] = {}
    """Block of ingest positions -> which of them have a receipt on this node, as a hexadecimal bit mask."""
    lost_at: list[float] = []
    """When receipts were written anew, the newest ones, in seconds since 1970."""
    receipts_lost: int = 0
    """Receipts that were written anew, ever."""
    peers: dict[str, PeerState] = {}
    """Other node's audit, by address."""
    seals: int = 0
    """Seals whose digests are on this node's disk."""
    boot: str = ""
    """The machine's boot id when this was written."""
    windows: list[Window] = []
    """Times in which processes of this node lost receipts, as far as no run file says so any more."""


def read_state(directory: Path) -> State:
    """The state in `directory`; an empty one where there is none that can be used: then all is audited again.

    Which files the audit removed is lost with it: of those of which a run file tells it is said that they are missing.
    """
    try:
        state = msgspec.json.decode((directory / _FILE).read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.warning("audit_state_unusable", **facts_of(error), next="all receipts are audited again")
        return State()
    if state.format == 1:  # of the release before: it did not note which positions have receipts, so all is read again
        return msgspec.structs.replace(state, format=_FORMAT, files={}, boot=boot_id())
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
        file.flush()
        os.fsync(descriptor)  # without it a machine that loses power may leave an empty file under the name
    temporary.replace(directory / _FILE)
