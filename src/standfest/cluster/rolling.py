"""Renewing what runs, one service after the other, each only while the others can spare it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from standfest.cluster.inventory import Service
from standfest.cluster.waiting import Progress, until


async def one_by_one(
    services: Sequence[Service],
    missing: Callable[[Service | None], Awaitable[str]],
    renew: Callable[[Service], Awaitable[None]],
    timeout_s: float,
    progress: Progress,
) -> None:
    """Renew each service once nothing that is needed is missing beside it, and wait for that after the last one too.

    `missing` says what still is, given the service that is about to go away, or None after the last one.

    Raises:
        NotReadyError: it is still missing after `timeout_s`; what comes later has not been touched.
    """
    for service in services:
        await until(f"all that {service.full_name} relies on", partial(missing, service), timeout_s, progress)
        await renew(service)
    if services:
        await until("all that was renewed", partial(missing, None), timeout_s, progress)
