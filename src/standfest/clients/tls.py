"""TLS whose files may be renewed under a running process: every handshake uses them as they are then."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

_Stamp = tuple[tuple[int, int, int], ...]
"""Modification time in ns, inode and size of each file: a file that is replaced has another inode."""


class RenewedTls(ssl.SSLContext):
    """TLS as a client that trusts only one authority (or a bundle of them) and shows a certificate.

    OpenSSL reads these files once, so that a process would show its first certificate until it ends. Here each
    handshake looks whether they were replaced, at the price of three calls of stat. Files that do not fit each other,
    as while they are being replaced, leave the ones before in use. Connections that are there stay as they are: TLS
    looks at certificates at the handshake alone.
    """

    _files: tuple[Path, Path, Path]
    _stamp: _Stamp
    _current: ssl.SSLContext

    @classmethod
    def reading(cls, authority: Path, certificate: Path, key: Path) -> RenewedTls:
        """Read the files for the first time.

        Raises:
            OSError: one of them cannot be read, or they do not fit each other (`ssl.SSLError` is one).
        """
        made = cls(ssl.PROTOCOL_TLS_CLIENT)
        made._files = (authority, certificate, key)
        # Taken before they are read: what is replaced in between is read once more.
        made._stamp = _stamp(made._files)
        made._current = _read(*made._files)
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin one connection: asyncio and uvloop come here for each of theirs."""
        self._reread()
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """The same for who blocks."""
        self._reread()
        return self._current.wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname, session
        )

    def _reread(self) -> None:
        try:
            stamp = _stamp(self._files)
            if stamp != self._stamp:
                self._current, self._stamp = _read(*self._files), stamp
        except OSError:
            return  # half replaced: the next handshake looks again


def _stamp(files: Sequence[Path]) -> _Stamp:
    return tuple((found.st_mtime_ns, found.st_ino, found.st_size) for found in map(os.stat, files))


def _read(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(authority))
    context.load_cert_chain(certificate, key)
    return context
