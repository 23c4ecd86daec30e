"""The topology as a TOML file: read, checked, and written so that a person can edit it."""

import json
from pathlib import Path

import msgspec

from standfest.cluster.topology import Topology, TopologyError


def parse_topology(text: str, source: str) -> Topology:
    """The topology in `text`; TopologyError names `source` and the entry that is wrong."""
    try:
        return msgspec.toml.decode(text, type=Topology)
    except msgspec.ValidationError as error:
        raise TopologyError(f"{source}: {error}") from error
    except msgspec.DecodeError as error:
        raise TopologyError(f"{source} is not valid TOML: {error}") from error


def read_topology(path: Path) -> Topology:
    """The topology in the file at `path`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TopologyError(f"there is no topology file {path}; `./standfest up` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(f"the topology file {path} cannot be read: {error}") from error
    return parse_topology(text, str(path))


def render_topology(topology: Topology) -> str:
    """`topology` as TOML. JSON's strings and numbers are TOML's as well, for all that a topology may hold."""
    lines = [
        "# The cluster's topology: every configuration of its parts is rendered from it at `./standfest up`.",
        f"name = {json.dumps(topology.name)}",
    ]
    for table in ("ports", "processes", "postgres", "journal", "catalogue", "merchant"):
        lines += ["", f"[{table}]", *_entries(getattr(topology, table))]
    for table, values in (("nodes", topology.nodes), ("doors", topology.doors)):
        for value in values:
            lines += ["", f"[[{table}]]", *_entries(value)]
    return "\n".join(lines) + "\n"


def _entries(value: msgspec.Struct) -> list[str]:
    return [f"{key} = {json.dumps(entry)}" for key, entry in msgspec.structs.asdict(value).items()]
