"""The order plane's database and roles: made at first start, put right at every later one."""

import psycopg
from psycopg import sql

from standfest.cluster.access import APP_ROLE, DATABASE, OWNER_ROLE
from standfest.cluster.handle import Cluster
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Topology
from standfest.errors import StandfestError

_CONNECT_TIMEOUT_S = 5
_STATEMENT_TIMEOUT = "15s"


class DatabaseSetupError(StandfestError):
    """The database or its roles could not be made."""


def set_up_database(cluster: Cluster) -> None:
    """Make roles and database where they are missing; blocking, for a few statements on the primary."""
    topology, secrets = cluster.topology, cluster.secrets
    limit = topology.postgres.app_connections
    try:
        with _superuser(topology, secrets) as connection:
            _ensure_role(connection, OWNER_ROLE, secrets.password("postgres-owner"), limit=20)
            _ensure_role(connection, APP_ROLE, secrets.password("postgres-app"), limit)
            _ensure_database(connection)
    except psycopg.Error as error:
        raise DatabaseSetupError(f"roles and database could not be made on the primary: {error}") from error


def _superuser(topology: Topology, secrets: Secrets) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=",".join(node.address for node in topology.nodes),
        port=str(topology.ports.postgres),
        dbname="postgres",
        user="postgres",
        password=secrets.password("postgres-superuser"),
        target_session_attrs="read-write",
        connect_timeout=_CONNECT_TIMEOUT_S,
        options=f"-c statement_timeout={_STATEMENT_TIMEOUT}",
        autocommit=True,
    )


def _ensure_role(connection: psycopg.Connection[tuple[object, ...]], role: str, password: str, limit: int) -> None:
    """The password is sent as a SCRAM verifier: it never stands in a statement that could be logged."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    statement = sql.SQL("{verb} ROLE {role} LOGIN CONNECTION LIMIT {limit} PASSWORD {verifier}").format(
        verb=sql.SQL("ALTER" if known else "CREATE"),
        role=sql.Identifier(role),
        limit=sql.Literal(limit),
        verifier=sql.Literal(verifier),
    )
    connection.execute(statement)


def _ensure_database(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    database, owner, app = sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE), sql.Identifier(APP_ROLE)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, app))
