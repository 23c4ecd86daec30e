"""PostgreSQL's log has a bound in bytes, whatever is written into it."""

import json
from pathlib import Path

from standfest.cluster.binaries import Binaries
from standfest.cluster.caretaker import LOG_BYTES_MAX, remove_old_logs
from standfest.cluster.home import NodeHome
from standfest.cluster.secrets import PASSWORDS, Secrets
from standfest.cluster.topology import LOCAL
from standfest.redundancy.postgres import render_patroni
from standfest.redundancy.site import Site
from tests.support.postgres import PostgresCluster
from tests.support.waiting import wait_until

TIMEOUT_S = 120.0
FILE_BYTES = 6_100_000
WRITE = "DO $$ BEGIN FOR i IN 1..6 LOOP RAISE LOG '%', repeat('x', 1000000); END LOOP; END $$"
LINE = "DO $$ BEGIN RAISE LOG 'x'; END $$"


def log_settings(home: NodeHome) -> dict[str, str]:
    """What a node's PostgreSQL is told of its log."""
    binaries = Binaries(*(Path("/x"),) * 4, postgres_major=18)
    site = Site(LOCAL, LOCAL.nodes[0], home, Secrets(home.root), dict.fromkeys(PASSWORDS, ""), binaries)
    parameters = json.loads(render_patroni(site))["postgresql"]["parameters"]
    return {name: str(value) for name, value in parameters.items() if name.startswith("log")}


def test_the_log_is_bounded(disposable_postgres: PostgresCluster) -> None:
    """However much a server logs within a day, its files are small, and old ones are removed before they are many."""
    server = disposable_postgres.primary
    home = NodeHome(server.data)
    server.stop()
    with (server.data / "postgresql.conf").open("a") as settings:
        settings.writelines(f"{name} = '{value}'\n" for name, value in log_settings(home).items())
    server.start()

    def files() -> list[int]:
        return [file.stat().st_size for file in home.logs.glob("postgres-*.log")]

    with disposable_postgres.admin() as admin:

        def next_file() -> bool:
            """A file's worth, and then a line more for as long as the second lasts for which that file is named."""
            before = len(files())
            admin.execute(WRITE)
            wait_until(lambda: admin.execute(LINE) is not None and len(files()) > before, "a new file", TIMEOUT_S)
            return sum(files()) > LOG_BYTES_MAX + 2 * FILE_BYTES

        wait_until(next_file, "the log to be longer than it may be", TIMEOUT_S)
        remove_old_logs(home)
        assert LOG_BYTES_MAX - 2 * FILE_BYTES < sum(files()) <= LOG_BYTES_MAX + FILE_BYTES
        before = sum(files())
        wait_until(lambda: admin.execute(WRITE) is not None and sum(files()) > before, "the log to go on", TIMEOUT_S)
