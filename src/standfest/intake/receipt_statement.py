"""What a process says of the receipts that it gave: the audit compares the files with it."""

import msgspec


class FileStatement(msgspec.Struct, frozen=True):
    """One file of receipts as its writer remembers it."""

    name: str
    lines: int
    """Receipts in it."""


class Statement(msgspec.Struct, frozen=True):
    """What a process says of its receipts: the audit compares the files with it."""

    service: str
    run: str
    """Name of the run: the stem of its files."""
    given: int
    """Receipts given to clients."""
    written: int
    """Receipts that are in a file."""
    queued: int
    lost: int
    """Receipts and notes that are in no file and never will be."""
    failing: str | None
    """Why the last write failed; None where it did not."""
    oldest_queued_at: float | None
    """When the oldest receipt that is in no file yet was given, in seconds since 1970."""
    files: list[FileStatement]
    """The newest files, the open one last."""
    disturbances: int
    """How often somebody else removed, shortened or replaced the open file."""
    disturbed: list[str]
    """The last ones, in words."""
