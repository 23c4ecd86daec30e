"""Where the cluster's database meets the order plane's schema."""

from psycopg.conninfo import make_conninfo

from standfest.cluster.access import DatabaseAccess
from standfest.storage.migrate import migrate

_MIGRATION_DEADLINE_S = 60.0


def conninfo(access: DatabaseAccess) -> str:
    """A libpq connection string to the primary, wherever it is. Holds the password: never print it."""
    addresses = [host.rpartition(":") for host in access.hosts]
    return make_conninfo(
        host=",".join(address for address, _, _ in addresses),
        port=",".join(port for _, _, port in addresses),
        dbname=access.name,
        user=access.user,
        password=access.password,
        target_session_attrs="read-write",
        connect_timeout=5,
        application_name="standfest-cli",
    )


def prepare_database(access: DatabaseAccess) -> None:
    """Brings the order plane's schema up to date, as the role that owns it.

    Raises:
        MigrationError: what failed, and what to do.
    """
    migrate(conninfo(access), deadline_s=_MIGRATION_DEADLINE_S)
