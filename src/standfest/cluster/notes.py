"""What a node's mender does with one of its programs, or waits for: a file each, which status shows."""

import contextlib
import json
from dataclasses import asdict, dataclass

from standfest.cluster.home import NodeHome, write_private

_BYTES_MAX = 4096


@dataclass(frozen=True)
class Note:
    """One program that is mended."""

    doing: str
    """What is done, or waited for."""
    why: str
    """How it is known that it must be."""
    since: str
    """RFC 3339, UTC."""

    def __str__(self) -> str:
        return f"{self.doing} since {self.since}, because {self.why}"


def write_note(home: NodeHome, program: str, note: Note) -> None:
    """Say what is done with a program; one that says the same already stays, with its time."""
    found = read_note(home, program)
    if found is None or (found.doing, found.why) != (note.doing, note.why):
        home.notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(home.notes / program, json.dumps(asdict(note)))


def read_note(home: NodeHome, program: str) -> Note | None:
    """What is done with a program; None where nothing is."""
    with contextlib.suppress(OSError, ValueError, TypeError), (home.notes / program).open(encoding="utf-8") as file:
        return Note(**json.loads(file.read(_BYTES_MAX)))
    return None


def remove_note(home: NodeHome, program: str) -> None:
    """Nothing is done with it any more."""
    (home.notes / program).unlink(missing_ok=True)
