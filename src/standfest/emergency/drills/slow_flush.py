"""Makes every flush of a program, and of all that it starts, take longer: a slow disk.

`python -m standfest.emergency.drills.slow_flush SOCKET DIRECTORY PROGRAM …` becomes the program, in which the kernel
stops each fsync and fdatasync and asks a process of this module, which lets it go on after a delay
(seccomp_unotify(2)). It needs no root, and reaches what has no C library as well (etcd). Whoever connects to SOCKET
says how long; when that connection ends, or something else goes wrong, there is no delay any more. A second process,
which is delayed as the program is, measures flushes in DIRECTORY.

One JSON object a line, each answered: {"delay_s": 0.02}, {"measure": 20} (answered by {"median_s"}).

Invariant: the process that is asked does not end before all that could flush has. From then on the kernel would answer
each flush with ENOSYS, on which PostgreSQL panics.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import select
import socket
import statistics
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path

CONNECT_TIMEOUT_S = 60.0
"""How long somebody may take to connect; afterwards nobody does, and nothing is measured."""
WAIT_S = 1.0
"""How long nothing may happen until it is looked whether anything is due; also the pause after something went wrong."""
LINE_BYTES_MAX = 4096
FLUSHED_BYTES = 8192
"""Written before each flush that is measured: a page of PostgreSQL."""
# AUDIT_ARCH_*, and the numbers of seccomp, fsync and fdatasync (linux/audit.h, asm/unistd.h)
_CALLS = {"x86_64": (0xC000003E, 317, 74, 75), "aarch64": (0xC00000B7, 277, 82, 83)}
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 1 << 3, 1 << 5
"""The second (Linux 5.19): a signal to a program that waits does not make its wait begin anew."""
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4
"""In struct seccomp_data."""
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
"""SECCOMP_IOCTL_NOTIF_RECV and _SEND, with the sizes of their structs."""
_NOTIFICATION_BYTES = 80
_CONTINUE = 1


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


def _intercept() -> int:
    """From now on each flush of this process, and of what it starts, waits for whoever has the descriptor returned."""
    architecture, seccomp, *flushes = _CALLS[platform.machine()]
    steps = [
        _Step(_LOAD, 0, 0, _ARCH_AT),
        _Step(_EQUAL, 0, len(flushes) + 1, architecture),
        _Step(_LOAD, 0, 0, _NUMBER_AT),
        *(_Step(_EQUAL, len(flushes) - number, 0, call) for number, call in enumerate(flushes)),
        _Step(_RETURN, 0, 0, _ALLOW),
        _Step(_RETURN, 0, 0, _NOTIFY),
    ]
    library = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV
    descriptor: int = library.syscall(seccomp, _SET_MODE_FILTER, flags, ctypes.byref(program))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor


class _AllEnded(Exception):
    """Nothing is left that could flush."""


class _Gate:
    """Where flushes wait until they may go on."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        self._waiting: deque[tuple[float, int]] = deque()
        """When each came, and its number."""
        self.delay_s = 0.0
        """Also of those that wait already."""

    def wait(self, others: Sequence[socket.socket]) -> list[socket.socket]:
        """Lets those go on whose time has come, and waits for the next one, or for others: those that have something.

        _AllEnded where nobody is left to wait for.
        """
        poll = select.poll()
        for descriptor in (self._listener, *(each.fileno() for each in others)):
            poll.register(descriptor, select.POLLIN)
        ready = dict(poll.poll(1000 * min(self._let_go(), WAIT_S)))
        event = ready.pop(self._listener, 0)
        if event & select.POLLIN:
            self._take()
        elif event:
            raise _AllEnded
        return [each for each in others if each.fileno() in ready]

    def _take(self) -> None:
        """Takes one that has come."""
        notification = bytearray(_NOTIFICATION_BYTES)
        with contextlib.suppress(FileNotFoundError):  # who flushed was killed meanwhile
            self._ask_kernel(_RECEIVE, notification)
            self._waiting.append((time.monotonic(), *struct.unpack_from("=Q", notification)))

    def _let_go(self) -> float:
        """Lets those go on whose time has come; seconds until the next one's, WAIT_S where none waits."""
        while self._waiting:
            came_at, number = self._waiting[0]
            left_s = came_at + self.delay_s - time.monotonic()
            if left_s > 0:
                return left_s
            self._waiting.popleft()
            with contextlib.suppress(FileNotFoundError):
                self._ask_kernel(_SEND, struct.pack("=QqiI", number, 0, 0, _CONTINUE))
        return WAIT_S

    def _ask_kernel(self, request: int, told: bytes | bytearray) -> None:
        while True:
            with contextlib.suppress(InterruptedError):
                fcntl.ioctl(self._listener, request, told)
                return


def _serve(listener: int, server: socket.socket, probe: socket.socket) -> None:
    """Delays flushes as it is told to, and afterwards lets them go at once, until nothing is left that could flush."""
    gate = _Gate(listener)
    try:
        # The probe waits here as well, and would be the last that never ends.
        with server, probe:
            _delay(gate, server, probe)
    except _AllEnded:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is: see the module's invariant
        _note(error)
    gate.delay_s = 0.0
    while True:
        try:
            gate.wait(())
        except _AllEnded:
            return
        except Exception as error:  # noqa: BLE001 - likewise
            _note(error)
            time.sleep(WAIT_S)


def _delay(gate: _Gate, server: socket.socket, probe: socket.socket) -> None:
    """Does what whoever connects says, until that one is gone or nobody has come."""
    connect_until = time.monotonic() + CONNECT_TIMEOUT_S
    while not gate.wait([server]):
        if time.monotonic() > connect_until:
            return
    client, _ = server.accept()
    server.close()
    with client:
        for each in (client, probe):
            each.setblocking(False)  # who takes nothing does not keep flushes waiting
        begun = b""
        while True:
            ready = gate.wait([client, probe])
            if probe in ready:
                median_s = probe.recv(64)
                if not median_s:
                    return
                client.sendall(b'{"median_s": %s}\n' % median_s)
            if client in ready:
                received = client.recv(LINE_BYTES_MAX)
                *lines, begun = (begun + received).split(b"\n")
                for line in lines:
                    _obey(gate, line, client, probe)
                if not received or len(begun) > LINE_BYTES_MAX:
                    return


def _obey(gate: _Gate, line: bytes, client: socket.socket, probe: socket.socket) -> None:
    told = json.loads(line)
    if "measure" in told:
        probe.sendall(b"%d" % told["measure"])
    else:
        gate.delay_s = float(told["delay_s"])
        client.sendall(line + b"\n")


def _note(error: Exception) -> None:
    """Into the log; a disk that is full does not keep flushes from going on."""
    with contextlib.suppress(OSError):
        traceback.print_exception(error)


def _measure(channel: socket.socket, directory: Path) -> None:
    """Flushes as often as it is asked to, and tells the median of the times in seconds."""
    file = directory / "flush-probe"
    while asked := channel.recv(64):
        times = []
        with file.open("wb", buffering=0) as written:
            for _ in range(int(asked)):
                written.write(bytes(FLUSHED_BYTES))
                began = time.perf_counter()
                os.fdatasync(written)
                times.append(time.perf_counter() - began)
        file.unlink()
        channel.send(b"%.6f" % statistics.median(times))


def _apart(directory: Path) -> None:
    """A forked process that outlives who started it leaves the standard streams; what goes wrong is in a file."""
    os.setsid()
    with Path(os.devnull).open("r+b") as nothing, (directory / "slow-flush.log").open("ab") as log:
        for number, file in enumerate((nothing, nothing, log)):
            os.dup2(file.fileno(), number)


def main() -> None:
    """Becomes the program."""
    directory, command = Path(sys.argv[2]), sys.argv[3:]
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen(1)
    to_program, to_gate = socket.socketpair()
    to_probe, from_gate = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # two numbers stay two
    if not os.fork():
        to_gate.close()
        from_gate.close()
        _apart(directory)
        _, listeners, _, _ = socket.recv_fds(to_program, 1, 1)
        if listeners:
            _serve(listeners[0], server, to_probe)
        sys.exit()
    for each in (server, to_program, to_probe):
        each.close()
    try:
        listener = _intercept()
    except (OSError, KeyError) as error:
        sys.exit(f"flushes cannot be delayed on this machine, which needs Linux 5.19 on x86-64 or arm64: {error!r}")
    socket.send_fds(to_gate, [b"."], [listener])
    os.close(listener)
    to_gate.close()
    if not os.fork():
        _apart(directory)
        _measure(from_gate, directory)
        sys.exit()
    os.execvp(command[0], command)  # noqa: S606 - there is no shell to avoid


if __name__ == "__main__":
    main()
