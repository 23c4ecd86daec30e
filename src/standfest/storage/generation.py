"""Which history of the data the database has: positions in it mean nothing in another one."""

from standfest.errors import StandfestError
from standfest.storage.connection import Connection
from standfest.storage.statements import statement


class GenerationMissing(StandfestError):
    """The database does not say which history it has: its row was deleted. `SELECT begin_generation()` needs one."""


async def read_generation(connection: Connection) -> str:
    """The history's name, as the transaction sees it.

    Raises:
        GenerationMissing: the row is not there.
    """
    row = await (await connection.execute(statement("generation"))).fetchone()
    if row is None:
        raise GenerationMissing("table generation has no row; as the owner: INSERT INTO generation DEFAULT VALUES")
    return str(row[0])
