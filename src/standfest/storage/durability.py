"""When a commit counts: it waited for a named standby, and nothing cut the wait short.

Sources: PostgreSQL, "Synchronous Replication" (`synchronous_standby_names`), and Patroni, "Synchronous
mode": in strict mode without a standby it sets `ANY 1 (*)`, which any WAL receiver satisfies.
"""

import re
from functools import lru_cache

SYNC_WAIT_CUT_SHORT = "01000"
"""SQLSTATE of the warning after which a commit is local only: its outcome is unknown."""

_LIST = re.compile(r"\((?P<list>.*)\)", re.DOTALL)


@lru_cache(maxsize=16)
def names_a_standby(synchronous_standby_names: str) -> bool:
    """Whether the setting makes a commit wait for a standby that is named: not empty, and not `*`."""
    setting = synchronous_standby_names.strip()
    listed = _LIST.search(setting)
    names = [name.strip() for name in (listed["list"] if listed else setting).split(",")]
    return all(names) and "*" not in (name.strip('"') for name in names)
