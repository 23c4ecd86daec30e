"""SQL statements, each in a file of its own under `sql/`."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> bytes:
    """The text of `sql/<name>.sql`, e.g. `statement("intake/insert_orders")`."""
    return files(__package__).joinpath("sql", *f"{name}.sql".split("/")).read_bytes()
