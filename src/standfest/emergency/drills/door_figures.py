"""What the doors say of themselves and of the API processes behind them: HAProxy's statistics page as CSV.

http://docs.haproxy.org/2.6/management.html, 9.1
"""

import csv
from collections.abc import Mapping

from standfest.clients.asking import UnreachableError
from standfest.cluster.topology import Door
from standfest.emergency.drills.stage import Stage

BACKEND, FRONTEND = "repeatable", "orders"
ASKED_S = 5.0
"""A door is waited for so long: on a starved machine it is late, and what it has counted is wanted all the same."""


async def server_states(stage: Stage, node: str, service: str) -> Mapping[str, str]:
    """How each door sees an API process (`UP`, `DOWN`, `DRAIN` …); doors that do not answer are left out."""
    found: dict[str, str] = {}
    for door in stage.cluster.topology.doors:
        for row in await _rows(stage, door):
            if row["pxname"] == BACKEND and row["svname"] == f"{node}-{service}":
                found[door.name] = row["status"]
    return found


async def answered_5xx(stage: Stage) -> int:
    """How many answers of 500 and above the doors have given since they were started."""
    rows = [row for door in stage.cluster.topology.doors for row in await _rows(stage, door)]
    return sum(int(row["hrsp_5xx"] or 0) for row in rows if (row["pxname"], row["svname"]) == (FRONTEND, "FRONTEND"))


async def _rows(stage: Stage, door: Door) -> list[dict[str, str]]:
    cluster = stage.cluster
    address = f"{cluster.topology.node(door.node).address}:{cluster.topology.ports.door_stats}"
    login = ("operator", cluster.secrets.password("door-stats"))
    try:
        answer = await cluster.asker.ask("GET", f"http://{address}/stats;csv", login=login, timeout_s=ASKED_S)
    except UnreachableError:
        return []
    return list(csv.DictReader(answer.body.decode(errors="replace").removeprefix("# ").splitlines()))
