"""What is held on purpose: a marker file a program, or one for the whole node, that outlives `down` and `up`."""

from pathlib import Path

from standfest.cluster.home import NodeHome

_NODE = ".node"
"""No program can have this name."""


def is_held(node: NodeHome, program: str) -> bool:
    """Whether the program may not run, by itself or with its whole node."""
    return node_is_held(node) or _marker(node, program).exists()


def node_is_held(node: NodeHome) -> bool:
    """Whether the whole node is held down."""
    return _marker(node, _NODE).exists()


def hold(node: NodeHome, program: str = _NODE) -> None:
    """Hold a program, or the node; held before it is stopped, so that nothing restarts it in between."""
    marker = _marker(node, program)
    marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker.touch(mode=0o600)


def release(node: NodeHome, program: str = _NODE) -> None:
    """Let it run again."""
    _marker(node, program).unlink(missing_ok=True)


def _marker(node: NodeHome, program: str) -> Path:
    return node.run / "held" / program
