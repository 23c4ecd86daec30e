"""Renewing services one after the other: what waits for what."""

import asyncio

import pytest

from standfest.cluster.inventory import Service, programs_of
from standfest.cluster.rolling import one_by_one
from standfest.cluster.topology import LOCAL
from standfest.cluster.waiting import NotReadyError, Silent

SERVICES = programs_of(LOCAL, LOCAL.nodes[0])[:3]
NAMES = [service.name for service in SERVICES]


def roll(stuck_after: int | None = None) -> list[str]:
    """What happened, in order: each question, and each renewal; the answer is no for ever after some renewals."""
    told: list[str] = []

    async def missing(service: Service | None) -> str:
        told.append(f"{service.name if service else 'all'}?")
        return "not well" if told.count("renewed") == stuck_after else ""

    async def renew(_: Service) -> None:
        told.append("renewed")

    try:
        asyncio.run(one_by_one(SERVICES, missing, renew, 0.0, Silent()))
    except NotReadyError as error:
        told.append(str(error))
    return told


def test_each_is_renewed_once_it_can_be_spared() -> None:
    """Before each renewal, and after the last one, it is asked whether all that is needed is there."""
    assert roll() == [f"{NAMES[0]}?", "renewed", f"{NAMES[1]}?", "renewed", f"{NAMES[2]}?", "renewed", "all?"]


@pytest.mark.parametrize("done", range(4))
def test_what_does_not_come_back_ends_it(done: int) -> None:
    """Where something is missing until the deadline no further service is touched, and it is said what it was."""
    told = roll(done)
    assert told.count("renewed") == done
    assert told[-1].endswith("not well")
