"""SQL statements, each in a file of its own under `sql/`."""

from functools import cache
from importlib.resources import files


@cache
def statement(*names: str) -> bytes:
    """The text of `sql/<name>.sql`, e.g. `statement("barrier")`; of several names the texts, one behind the other."""
    folder = files(__package__) / "sql"
    return b"".join(folder.joinpath(*f"{name}.sql".split("/")).read_bytes() for name in names)
