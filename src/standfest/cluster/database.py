"""The order plane's database and roles: made at first start; later only what differs is put right."""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import socket
import threading
from collections.abc import Iterator

import psycopg
from psycopg import sql

from standfest.cluster.access import APP_ROLE, DATABASE, OWNER_ROLE
from standfest.cluster.handle import Cluster
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Topology
from standfest.errors import StandfestError

_CONNECT_TIMEOUT_S = 5
_DEADLINE_S = 20.0
"""For all statements together. PostgreSQL's own timeouts do not end a COMMIT that waits for a standby."""

_OWNER_CONNECTIONS = 20
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([^$:]+)\$([^$:]+):([^$:]+)")

_Connection = psycopg.Connection[tuple[object, ...]]


class DatabaseSetupError(StandfestError):
    """The database or its roles could not be made."""


def set_up_database(cluster: Cluster) -> None:
    """Make roles and database where they are missing; blocking, on the primary, and over after a known time."""
    topology, secrets = cluster.topology, cluster.secrets
    try:
        with _superuser(topology, secrets) as connection, _cut_off_after(connection, _DEADLINE_S):
            _ensure_role(connection, OWNER_ROLE, secrets.password("postgres-owner"), _OWNER_CONNECTIONS)
            _ensure_role(connection, APP_ROLE, secrets.password("postgres-app"), topology.postgres.app_connections)
            _ensure_database(connection)
    except psycopg.Error as error:
        raise DatabaseSetupError(
            f"roles and database could not be made on the primary within {_DEADLINE_S:.0f} s: {error}"
        ) from error


def begin_generation(cluster: Cluster) -> None:
    """Begin another history of the data, in which cursors of the one before are refused; blocking, on the primary.

    To be called where transactions may be gone that a client has seen, or transaction ids count anew: by whatever
    restores, recovers or upgrades, before clients read again. It may be repeated. It waits for no standby: none may be
    there yet, and what is acknowledged later lies behind it in the WAL.

    Raises:
        DatabaseSetupError: it is not known whether another history began.
    """
    try:
        with (
            _superuser(cluster.topology, cluster.secrets, DATABASE) as connection,
            _cut_off_after(connection, _DEADLINE_S),
        ):
            there = connection.execute("SELECT to_regprocedure('public.begin_generation()') IS NOT NULL").fetchone()
            if there == (True,):  # an older release's database has given out no cursors of this kind
                connection.execute("SET synchronous_commit = local")
                connection.execute("SELECT public.begin_generation()")
    except psycopg.Error as error:
        raise DatabaseSetupError(
            f"cursors of the history before could not be ended on the primary within {_DEADLINE_S:.0f} s: {error}"
        ) from error


def _superuser(topology: Topology, secrets: Secrets, database: str = "postgres") -> _Connection:
    return psycopg.connect(
        host=",".join(node.address for node in topology.nodes),
        port=str(topology.ports.postgres),
        dbname=database,
        user="postgres",
        password=secrets.password("postgres-superuser"),
        target_session_attrs="read-write",
        connect_timeout=_CONNECT_TIMEOUT_S,
        autocommit=True,
    )


@contextlib.contextmanager
def _cut_off_after(connection: _Connection, deadline_s: float) -> Iterator[None]:
    """End the connection from this side at the deadline, whatever the server is waiting for.

    The server may still finish the statement; each of them may be repeated.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as line:

        def cut_off() -> None:
            with contextlib.suppress(OSError):  # the server was quicker: there is no connection left to end
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(deadline_s, cut_off)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _ensure_role(connection: _Connection, role: str, password: str, limit: int) -> None:
    """The password is sent as a SCRAM verifier: it never stands in a statement that could be logged."""
    found = connection.execute(
        "SELECT rolcanlogin AND rolconnlimit = %s, coalesce(rolpassword, '') FROM pg_authid WHERE rolname = %s",
        [limit, role],
    ).fetchone()
    if found and found[0] and verifies(str(found[1]), password):
        return
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("{verb} ROLE {role} LOGIN CONNECTION LIMIT {limit} PASSWORD {verifier}").format(
        verb=sql.SQL("ALTER" if found else "CREATE"),
        role=sql.Identifier(role),
        limit=sql.Literal(limit),
        verifier=sql.Literal(verifier),
    )
    connection.execute(statement)


def verifies(verifier: str, password: str) -> bool:
    """Whether PostgreSQL's SCRAM verifier is that of an ASCII password (RFC 5802, section 3; RFC 7677)."""
    parts = _VERIFIER.fullmatch(verifier)
    if parts is None:
        return False
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), base64.b64decode(parts[2]), int(parts[1]))
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return hmac.compare_digest(base64.b64decode(parts[3]), stored_key)


def _ensure_database(connection: _Connection) -> None:
    database, owner, app = sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE), sql.Identifier(APP_ROLE)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    for_all = connection.execute(
        """
        SELECT 1 FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
        WHERE datname = %s AND grantee = 0
        """,
        [DATABASE],
    ).fetchone()
    if for_all:
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    admitted = connection.execute("SELECT 1 WHERE has_database_privilege(%s, %s, 'CONNECT')", [APP_ROLE, DATABASE])
    if not admitted.fetchone():
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, app))
