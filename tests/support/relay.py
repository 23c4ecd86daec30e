"""A way between two processes that a test can cut, so that connections end and no new ones come about, or stall."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

_CONNECT_S = 5.0


class Relay:
    """Passes on what comes to `address`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server((host, 0))
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._cut = False
        self._flows = threading.Event()
        self._flows.set()
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Passes on no more: connections stay, and new ones come about, without any answer."""
        self._flows.clear()

    def cut(self) -> None:
        """Ends it for good."""
        self._flows.set()
        with self._lock:
            self._cut = True
            lines = [*self._lines, self._listener]
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target, _CONNECT_S)
            except OSError:
                return
            far.settimeout(None)
            with self._lock:
                if self._cut:
                    near.close()
                    far.close()
                    return
                self._lines |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
        for line in (source, sink):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._lines -= {source, sink}
        source.close()


@contextlib.contextmanager
def relays(targets: list[str]) -> Iterator[list[Relay]]:
    """A relay to each of these addresses until the end of the block."""
    running = [Relay(target) for target in targets]
    try:
        yield running
    finally:
        for relay in running:
            relay.cut()
