"""Undoes what a drill did however the drill ends: done, interrupted, or killed.

The drill starts a guard (`python -m standfest.emergency.drills.guard LOG RUN_FOR_S WAIT_S`) before it does anything,
and tells it what would have to be undone before each thing that it does. As long as the drill lives it undoes things
itself and says so; when it is gone, the guard's standard input ends, and the guard undoes what is left, the latest
first.

There is one guard for a log at a time: what an earlier one undoes late must not meet what a later drill does.

One JSON object a line, each answered by its number: {"add": n, "wake": ["PID:START", …]},
{"add": n, "run": [argument, …]} and {"drop": n}.
"""

import contextlib
import fcntl
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from standfest.emergency.drills.processes import Process, ProcessGone, send
from standfest.errors import StandfestError

ANSWER_TIMEOUT_S = 10.0
RUN_TIMEOUT_S = 300.0
"""Seconds that one try of a command of the guard may take; as long as a drill gives the same command."""
RUN_FOR_S = 660.0
"""Seconds for which a command that fails is tried again. It may meet another one that changes the cluster, such as one
that the drill itself had started, and is refused at once: a node's mender is the longest, with 600 s."""
RUN_PAUSE_S = 2.0
"""Seconds between two tries."""
WAIT_S = 60.0
"""Seconds that a guard waits for an earlier one of its log to end."""
BUSY = "busy"
"""Answered in place of `ready` by a guard that has waited in vain."""
POLL_S = 0.1
LOG_BYTES_MAX = 1024 * 1024
LEFT_TIMEOUT_S = 10.0
"""How long a guard that has nothing left to undo may take to end."""


class GuardBusy(StandfestError):
    """Another guard has the log: a drill runs, or what it did is still being undone."""


class GuardLost(StandfestError):
    """The guard does not answer: what the drill does next would not be undone if the drill were killed."""


def wake(processes: Iterable[Process]) -> None:
    """Sends SIGCONT to each of them that still runs."""
    for process in processes:
        with contextlib.suppress(ProcessGone):
            send(process, signal.SIGCONT)


class Guard:
    """The drill's side of it; a context manager. Its calls take a millisecond and may come from any thread.

    GuardBusy where the log has another one and keeps it for `wait_s`. A command that fails is tried for `run_for_s`.
    """

    def __init__(self, log: Path, *, run_for_s: float = RUN_FOR_S, wait_s: float = WAIT_S) -> None:
        self._log = log
        self._run_for_s = run_for_s
        self._wait_s = wait_s
        self._numbers = count(1)
        self._left: set[int] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        told = (str(self._log), str(self._run_for_s), str(self._wait_s))
        # A session of its own keeps the guard alive when the terminal interrupts the drill's process group.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "standfest.emergency.drills.guard", *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        if self._await_answer(self._wait_s + ANSWER_TIMEOUT_S) == BUSY:
            self.__exit__(None, None, None)
            raise GuardBusy(f"another drill runs, or is still being undone: wait for that to end, see {self._log}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            # It may have something to undo after all, where a drill failed in undoing it, and went on with that as its
            # result.
            self._process.wait(LEFT_TIMEOUT_S + len(self._left) * (self._run_for_s + RUN_TIMEOUT_S))

    @contextlib.contextmanager
    def waking(self, processes: Sequence[Process]) -> Iterator[None]:
        """These are woken when the block ends, and also when this process is killed in it."""
        number = self._add({"wake": [str(process) for process in processes]})
        try:
            yield
        finally:
            wake(processes)
            self.drop(number)

    def announce(self, command: Sequence[str]) -> int:
        """From now on this command is run when this process ends, until it is dropped by the number returned."""
        return self._add({"run": list(command)})

    def drop(self, number: int) -> None:
        """What was announced is undone already."""
        self._ask({"drop": number})
        self._left.discard(number)

    def drop_from(self, number: int) -> None:
        """What was announced by this number and after it is undone already, or has nothing left to be undone in."""
        for each in sorted((each for each in self._left if each >= number), reverse=True):
            self.drop(each)

    def _add(self, action: dict[str, Any]) -> int:
        number = next(self._numbers)
        self._left.add(number)
        self._ask({"add": number, **action})
        return number

    def _ask(self, line: dict[str, Any]) -> None:
        with self._lock:
            if self._process is None or self._process.stdin is None:
                raise RuntimeError("a guard is used outside of its 'with' block")
            try:
                self._process.stdin.write(json.dumps(line).encode() + b"\n")
            except OSError as error:
                raise GuardLost(f"the drill's guard is gone ({error}): see {self._log}") from error
            self._await_answer()

    def _await_answer(self, timeout_s: float = ANSWER_TIMEOUT_S) -> str:
        output = None if self._process is None else self._process.stdout
        if output is None or not select.select([output], [], [], timeout_s)[0] or not (line := output.readline()):
            raise GuardLost(f"the drill's guard did not answer: see {self._log}")
        return line.decode().strip()


class _Duties:
    """What the guard has to undo, and the log of what it did."""

    def __init__(self, log: Path, run_for_s: float) -> None:
        self._log = log
        self._run_for_s = run_for_s
        self._actions: dict[int, dict[str, Any]] = {}

    def take(self, line: bytes) -> int:
        """Takes one line of the drill's; its number."""
        told = json.loads(line)
        if "drop" in told:
            self._actions.pop(told["drop"], None)
            return int(told["drop"])
        self._actions[told["add"]] = told
        return int(told["add"])

    def undo(self) -> None:
        """Undoes all that is left, the latest first; what fails is logged and the rest still undone."""
        for action in reversed(list(self._actions.values())):
            if "wake" in action:
                wake(Process.parse(text) for text in action["wake"])
                self._note(f"woke {len(action['wake'])} processes")
            else:
                self._run(action["run"])

    def _run(self, command: Sequence[str]) -> None:
        deadline = time.monotonic() + self._run_for_s
        while not self._ends_well(command) and time.monotonic() < deadline:
            time.sleep(RUN_PAUSE_S)

    def _ends_well(self, command: Sequence[str]) -> bool:
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._note(f"{' '.join(command)}: {error}")
            return False
        said = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        self._note(f"{' '.join(command)}: ended with {ended.returncode} {said}")
        return ended.returncode == 0

    def _note(self, what: str) -> None:
        """What is older than LOG_BYTES_MAX has the file beside it."""
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {what}\n")


def main() -> None:
    """Takes lines until the input ends, then undoes what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log, run_for_s, wait_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    with log.with_suffix(".lock").open("a", encoding="utf-8") as lock:
        if not _locked(lock, wait_s):
            _answer(BUSY)
            return
        duties = _Duties(log, run_for_s)
        _answer("ready")
        for line in sys.stdin.buffer:
            if not line.endswith(b"\n"):
                break  # The drill was killed in this line: what it announced has not begun.
            _answer(str(duties.take(line)))
        duties.undo()


def _locked(file: IO[str], wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _answer(word: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # The drill is gone: the end of the input comes next.
        sys.stdout.write(word + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
