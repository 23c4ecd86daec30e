"""The catalogue on disk, so that an API process can start and take orders while the database is away.

Two files: the snapshot, written anew where something changed, and beside it its age, a few hundred bytes that say
how long nothing has. Every call here blocks: make it in a thread.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from standfest.catalogue.snapshot_format import (
    Age,
    Contents,
    Encoded,
    SnapshotNewer,
    SnapshotUnusable,
    decode,
    decode_age,
    encode,
    encode_age,
)
from standfest.errors import StandfestError

SIZE_MAX_BYTES = 1024**3
"""A larger file is neither written nor read. A million products are about 200 MB."""
_PAUSE_S = 0.001  # after each piece: who waits for the interpreter meanwhile gets it, and the disk too

_log = structlog.get_logger(__name__)


class SnapshotNotWritten(StandfestError):
    """The snapshot could not be written; the one before is as it was."""


class SnapshotFile:
    """The snapshot of one process. Two processes must not share one."""

    def __init__(self, path: Path) -> None:
        """`path`: of the snapshot; its folder is made where it is missing (0700)."""
        self.path = path
        self.size_bytes = 0
        """Of the snapshot that was read or written last."""
        self._age_path = path.with_name(f"{path.name}.age")
        self._digest = b""

    def load(self) -> Contents | None:
        """What the file holds, at its newest age, or None where there is nothing that can be used.

        What is damaged, or could have been written by somebody else, is logged and set aside as `*.broken`: nothing
        of it is used.
        """
        try:
            with _opened(self.path) as stream:
                size_bytes = os.fstat(stream.fileno()).st_size
                contents, self._digest = decode(stream)
        except FileNotFoundError:
            return None
        except SnapshotNewer as error:
            _log.warning(
                "catalogue_snapshot_ignored", file=str(self.path), error=f"{error}; the next write replaces it"
            )
            return None
        except SnapshotUnusable as error:
            self._set_aside(error)
            return None
        except OSError as error:
            _log.error("catalogue_snapshot_unreadable", file=str(self.path), error=error.strerror)
            return None
        self.size_bytes = size_bytes
        age = self._load_age()
        if age is not None and age.snapshot == self._digest:
            return msgspec.structs.replace(contents, position=age.position, read_at=age.read_at)
        return contents

    def write(self, contents: Contents) -> None:
        """Replaces the snapshot, on disk when this returns.

        Raises:
            SnapshotNotWritten: the one before is as it was.
        """
        encoded = encode(contents)
        self.size_bytes = self._replace(self.path, encoded, sync=True)
        self._digest = encoded.digest

    def write_age(self, contents: Contents) -> None:
        """Says that the snapshot, as last read or written, was still right at `contents.read_at`.

        It is not forced to the disk, which would disturb the database each time: where the power goes, the file may
        be old, empty or half, and then the snapshot counts as older than it is.

        Raises:
            SnapshotNotWritten: the snapshot keeps the age that it had.
        """
        age = Age(self._digest, contents.position, contents.read_at)
        self._replace(self._age_path, encode_age(age), sync=False)

    def _load_age(self) -> Age | None:
        try:
            with _opened(self._age_path) as stream:
                return decode_age(stream)
        except FileNotFoundError:
            return None
        except (SnapshotUnusable, SnapshotNewer) as error:
            _log.warning("catalogue_snapshot_age_ignored", file=str(self._age_path), error=str(error))
        except OSError as error:
            _log.warning("catalogue_snapshot_age_ignored", file=str(self._age_path), error=error.strerror)
        return None

    def _set_aside(self, reason: SnapshotUnusable) -> None:
        aside = self.path.with_name(f"{self.path.name}.broken")
        detail = f"{reason}; it is not used, and kept as {aside.name}: the catalogue is read from the database"
        _log.error("catalogue_snapshot_unusable", file=str(self.path), error=detail)
        try:
            self.path.replace(aside)
        except OSError as error:
            _log.error("catalogue_snapshot_not_set_aside", file=str(self.path), error=error.strerror)

    def _replace(self, path: Path, pieces: Encoded, *, sync: bool) -> int:
        """Writes beside the file and renames: a reader finds the old one or the new one. Says how many bytes."""
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in path.parent.glob(f"{path.name}.*.new"):
                left.unlink(missing_ok=True)  # by a process that was killed while it wrote
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
                size = _write(pieces, stream)
                if sync:
                    os.fsync(stream.fileno())
            new.replace(path)
            if sync:
                _sync_folder(path.parent)
        except (OSError, SnapshotNotWritten) as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SnapshotNotWritten(f"{path}: {reason}; is there room, and may this process write there?") from error
        return size


def _write(pieces: Encoded, stream: BinaryIO) -> int:
    size = 0
    for piece in pieces:
        size += stream.write(piece)
        if size > SIZE_MAX_BYTES:
            raise SnapshotNotWritten(f"it would have more than {SIZE_MAX_BYTES} bytes")
        time.sleep(_PAUSE_S)
    stream.flush()
    return size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file that nobody else could have written or read, because keys are in it.

    Raises:
        SnapshotUnusable: somebody could have, or it is no file, or too large.
        OSError: it cannot be opened.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SnapshotUnusable("it is not a regular file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise SnapshotUnusable("it must be this process's own and of mode 0600: others could have changed its keys")
        if status.st_size > SIZE_MAX_BYTES:
            raise SnapshotUnusable(f"it has {status.st_size} bytes; {SIZE_MAX_BYTES} are the most")
        yield stream


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
