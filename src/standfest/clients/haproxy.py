"""A door's statistics page as CSV. HAProxy 2.6 management guide, section 9.1."""

import csv
import io
from dataclasses import dataclass

from standfest.clients.asking import Asker, UnreachableError

USER = "operator"


@dataclass(frozen=True)
class Server:
    """One API process as a door sees it."""

    name: str
    is_up: bool
    check: str
    """HAProxy's word for the last check's outcome, for example L4CON (no connection) or L7STS (wrong status)."""


@dataclass(frozen=True)
class Door:
    """The statistics page of one door."""

    asker: Asker
    address: str
    """`host:port` of the statistics page."""
    password: str

    async def servers(self, backend: str) -> tuple[Server, ...]:
        """The servers of `backend` as the door sees them."""
        url = f"http://{self.address}/stats;csv"
        answer = await self.asker.ask("GET", url, login=(USER, self.password))
        if answer.status != 200:
            raise UnreachableError(f"{url} answered {answer.status}")
        rows = csv.DictReader(io.StringIO(answer.body.decode().removeprefix("# ")))
        return tuple(
            Server(row["svname"], row["status"].startswith("UP"), row["check_status"])
            for row in rows
            if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")
        )
