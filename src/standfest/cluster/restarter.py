"""What supervisor lacks: it gives up on a program (FATAL); this event listener starts it again, for ever.

The pause before each new start doubles up to a bound, and begins anew once the program has stayed up. Protocol:
http://supervisord.org/events.html. Standard library only: one of these runs on every node.

Beside that it looks after what no restart mends (caretaker.py).
"""

import argparse
import base64
import http.client
import logging
import os
import select
import sys
import time
import xmlrpc.client
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers.expat import ExpatError

from standfest.cluster.caretaker import look_after
from standfest.cluster.home import NodeHome

PAUSE_FIRST_S = 2.0
PAUSE_MAX_S = 30.0
STEADY_S = 60.0
"""A program that ran this long counts as well again: its next failure starts with the first pause."""

_FATAL = 200
_EVENTS = 0
"""supervisor writes its events to standard input."""

_TIMEOUT_S = 10.0
_NO_ANSWER = (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError)
_logger = logging.getLogger("standfest.restarter")


@dataclass
class Restarts:
    """Which programs are due when. Times are seconds on the monotonic clock, given in by the caller."""

    due: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    running_since: dict[str, float] = field(default_factory=dict)
    failed_at: dict[str, float] = field(default_factory=dict)

    def ran(self, program: str, now: float) -> None:
        """The program has started."""
        self.running_since[program] = now

    def failed(self, program: str, now: float) -> float:
        """supervisor gave the program up; answers the pause in seconds until its next start."""
        since = self.running_since.pop(program, None)
        if since is not None and now - since >= STEADY_S:
            self.failures[program] = 0
        count = self.failures.get(program, 0)
        # 2**16 pauses would be beyond the bound by far; the exponent is bounded so that it stays a small number.
        pause = min(PAUSE_MAX_S, PAUSE_FIRST_S * float(2 ** min(count, 16)))
        self.failures[program] = count + 1
        self.failed_at[program] = now
        self.due[program] = now + pause
        return pause

    def failed_lately(self, now: float) -> tuple[str, ...]:
        """The programs that were given up on within the longest pause and what it takes to be given up on again."""
        return tuple(program for program, at in self.failed_at.copy().items() if now - at < 2 * PAUSE_MAX_S)

    def take_due(self, now: float) -> list[str]:
        """The programs whose pause is over; each is answered once."""
        ready = [program for program, at in self.due.items() if at <= now]
        for program in ready:
            del self.due[program]
        return ready

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next one is due; None where nothing is pending."""
        return max(0.0, min(self.due.values()) - now) if self.due else None


class _Transport(xmlrpc.client.Transport):
    """XML-RPC with a deadline and a login."""

    def __init__(self, password: str) -> None:
        super().__init__(headers=[("Authorization", "Basic " + _basic("supervisor", password))])

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = _TIMEOUT_S
        return connection


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def main(arguments: list[str] | None = None) -> None:
    """Read supervisor's events from standard input and restart what it gives up, until it closes the pipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--held", type=Path, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    transport = _Transport(options.password_file.read_text(encoding="ascii").strip())
    server = xmlrpc.client.ServerProxy(f"{options.url}/RPC2", transport=transport)
    restarts = Restarts()
    look_after(NodeHome(options.held.parent.parent), restarts.failed_lately)
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    # What was given up on while no restarter listened brings no event any more.
    surveyed = _survey(server, restarts)
    while True:
        pause_s = restarts.wait_s(time.monotonic()) if surveyed else PAUSE_FIRST_S
        readable, _, _ = select.select([_EVENTS], [], [], pause_s)
        surveyed = surveyed or _survey(server, restarts)
        if readable and not _take_event(restarts):
            return
        for program in restarts.take_due(time.monotonic()):
            if not (options.held / program).exists():
                _start(server, restarts, program)


def _take_event(restarts: Restarts) -> bool:
    """Note one event and acknowledge it; False at the end of input. The pipe is unbuffered: select sees all of it."""
    line = _read_line()
    if not line:
        return False
    header = _fields(line)
    payload = _fields(_read(int(header["len"])))
    program, now = payload["processname"], time.monotonic()
    if header["eventname"] == "PROCESS_STATE_RUNNING":
        restarts.ran(program, now)
    else:
        pause_s = restarts.failed(program, now)
        _logger.warning("supervisor gave up on %s; next start in %.0f s", program, pause_s)
    sys.stdout.write("RESULT 2\nOKREADY\n")
    sys.stdout.flush()
    return True


def _read_line() -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(_EVENTS, 1)
        if not byte:
            return ""
        line += byte
    return line.decode()


def _read(length: int) -> str:
    data = bytearray()
    while len(data) < length:
        chunk = os.read(_EVENTS, length - len(data))
        if not chunk:
            raise EOFError("supervisor closed the pipe in the middle of an event")
        data += chunk
    return data.decode()


def _fields(text: str) -> dict[str, str]:
    return dict(entry.split(":", 1) for entry in text.split() if ":" in entry)


def _survey(server: xmlrpc.client.ServerProxy, restarts: Restarts) -> bool:
    """Note every program that supervisor has given up on; False where it could not be asked."""
    try:
        known = server.supervisor.getAllProcessInfo()
    except _NO_ANSWER as error:
        _logger.error("supervisor does not say what it has given up on (%s); it is asked again", error)
        return False
    for program in given_up(known):
        restarts.failed(program, time.monotonic())
    return True


def given_up(known: object) -> list[str]:
    """The programs that are FATAL in an answer to getAllProcessInfo."""
    infos = [info for info in known if isinstance(info, dict)] if isinstance(known, list) else []
    return [str(info["name"]) for info in infos if info.get("state") == _FATAL]


def _start(server: xmlrpc.client.ServerProxy, restarts: Restarts, program: str) -> None:
    try:
        info = server.supervisor.getProcessInfo(program)
        if isinstance(info, dict) and info.get("state") == _FATAL:
            server.supervisor.startProcess(program, False)
            _logger.warning("started %s again", program)
    except xmlrpc.client.Fault as fault:
        # A program that cannot even be spawned brings its own FATAL event, and with it the next pause.
        _logger.error("supervisor refused to start %s: %s", program, fault.faultString)
    except _NO_ANSWER as error:
        pause_s = restarts.failed(program, time.monotonic())
        _logger.error("supervisor does not answer (%s); %s is tried again in %.0f s", error, program, pause_s)


if __name__ == "__main__":
    main()
