"""supervisord's XML-RPC interface. http://supervisord.org/api.html"""

import enum
import xmlrpc.client
from dataclasses import dataclass
from typing import Any
from xml.parsers.expat import ExpatError

import msgspec

from standfest.clients.asking import Asker, UnreachableError
from standfest.errors import StandfestError

USER = "supervisor"


_ORDER_S = 10.0
"""How long the answer to an order may take: on a busy machine supervisord is late. A dead one refuses at once."""


class ProgramState(enum.IntEnum):
    """http://supervisord.org/subprocess.html#process-states"""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


class Fault(enum.IntEnum):
    """Those fault codes of supervisor that callers tell apart."""

    SHUTDOWN_STATE = 6
    SPAWN_ERROR = 50
    ALREADY_STARTED = 60
    NOT_RUNNING = 70


class SupervisorFaultError(StandfestError):
    """supervisord refused: `code` is its fault code."""

    def __init__(self, what: str, code: int, text: str) -> None:
        super().__init__(f"{what}: supervisor answered {text} ({code})")
        self.code = code


class SupervisorEndingError(UnreachableError):
    """supervisord was told to end, stops its programs one after the other, and answers nothing until it has ended."""


class Program(msgspec.Struct, frozen=True):
    """One program that supervisord runs."""

    name: str
    state: ProgramState
    pid: int
    """0 where it does not run."""
    spawnerr: str = ""


_Changes = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Names of the programs that were added to the configuration, changed in it, and removed from it."""


@dataclass(frozen=True)
class Supervisor:
    """The interface of one node's supervisord."""

    asker: Asker
    address: str
    """`host:port`."""
    password: str

    async def programs(self) -> tuple[Program, ...]:
        """Every program and event listener with its state."""
        told = await self._call("supervisor.getAllProcessInfo", timeout_s=None)
        return msgspec.convert(told, tuple[Program, ...])

    async def start(self, program: str) -> None:
        """Start a program without waiting for it; one that runs already is left alone."""
        try:
            await self._call("supervisor.startProcess", program, False)
        except SupervisorFaultError as fault:
            # A program that ends at once is supervision's to repeat, like any other that ends.
            if fault.code not in (Fault.ALREADY_STARTED, Fault.SPAWN_ERROR):
                raise

    async def stop(self, program: str) -> None:
        """Ask a program to stop, without waiting; it stays stopped until it is started again."""
        try:
            await self._call("supervisor.stopProcess", program, False)
        except SupervisorFaultError as fault:
            if fault.code != Fault.NOT_RUNNING:
                raise

    async def take_up_new_programs(self) -> None:
        """Have it read its configuration again for programs that are new there; those it has are left as they are."""
        ((added, _, _),) = msgspec.convert(await self._call("supervisor.reloadConfig"), tuple[_Changes])
        for program in added:
            await self._call("supervisor.addProcessGroup", program)

    async def shutdown(self) -> None:
        """Stop all programs, then supervisord itself."""
        await self._call("supervisor.shutdown")

    async def _call(self, method: str, *parameters: Any, timeout_s: float | None = _ORDER_S) -> Any:
        """One call. supervisor's answers are small and come at once: it never works while it answers."""
        url = f"http://{self.address}/RPC2"
        body = xmlrpc.client.dumps(parameters, method).encode()
        answer = await self.asker.ask(
            "POST",
            url,
            body=body,
            headers={"Content-Type": "text/xml"},
            login=(USER, self.password),
            timeout_s=timeout_s,
        )
        if answer.status != 200:
            raise UnreachableError(f"{url} answered {answer.status} to {method}")
        try:
            (result,), _ = xmlrpc.client.loads(answer.body)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Fault.SHUTDOWN_STATE:
                raise SupervisorEndingError(
                    f"{url}: supervisor was told to end, and waits for its programs to stop"
                ) from fault
            raise SupervisorFaultError(f"{method}{parameters}", fault.faultCode, fault.faultString) from fault
        except (ExpatError, xmlrpc.client.Error) as error:
            raise UnreachableError(f"{url} did not answer {method} in XML-RPC: {error}") from error
        return result
