"""File descriptors: each connection takes one, and without one left nothing can be accepted, opened or answered."""

import resource

RESERVED_MAX = 128
"""Kept free of requests: connections to databases and journal, files, and connections that are told to close."""
RESERVED_SHARE = 4
"""Of a low limit no more than its fourth is reserved."""
WANTED = 65_536
"""More than any process here can use."""


def raise_limit() -> None:
    """Takes as many descriptors as this process may give itself: the usual soft limit of 1,024 is for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_scarce(descriptor: int) -> bool:
    """Whether a descriptor that was just given out is one of the last: the lowest free one is always given.

    The limit is asked for each time, as an operator may change it (`prlimit`).
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return False
    return descriptor >= soft - min(RESERVED_MAX, soft // RESERVED_SHARE)
