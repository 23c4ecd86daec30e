"""Who is let in, and when nobody can say."""

from __future__ import annotations

import asyncio

import httpx

from standfest.intake.drain import Drainer
from standfest.intake.paths import Path
from tests.integration.orders import pool_of
from tests.integration.test_api_orders import new_product, place
from tests.support.api import RunningApi, open_journal, shared_journal
from tests.support.waiting import wait_until


def _stranger(api: RunningApi) -> httpx.Response:
    return httpx.get(f"{api.url}/v1/products", headers={"Authorization": "Bearer sf_abc_def"}, timeout=20)


async def _drain(api: RunningApi) -> None:
    """Bring the journal's orders to the database, as a worker would."""
    pool = pool_of(api.database)
    try:
        async with open_journal(shared_journal()) as journal:
            drainer = Drainer(pool, journal)
            while await drainer.round():
                pass
    finally:
        await pool.close()


def test_a_fresh_key_lets_in_at_once(api: RunningApi) -> None:
    """A key that is younger than what is in memory is found, and one that nobody made is refused."""
    with api.client() as admin:
        assert admin.get("/v1/products").status_code == 200
    assert _stranger(api).status_code == 401


def test_no_key_is_called_unknown_by_a_primary_that_cannot_commit(api: RunningApi, admin: httpx.Client) -> None:
    """It may have been replaced, with keys made since elsewhere: 503 while orders take the journal's path, then 401."""
    sku = new_product(admin)
    assert place(admin, sku).status_code in (201, 202)
    with api.database.standby.paused():
        assert place(admin, sku).status_code == 202
        assert api.services.intake.path is Path.JOURNAL
        stranger = _stranger(api)
        assert (stranger.status_code, stranger.headers["Retry-After"]) == (503, "1"), stranger.text
        assert admin.get("/v1/products").status_code == 503  # known, and what there is to read is not proven
    asyncio.run(_drain(api))
    wait_until(lambda: _stranger(api).status_code == 401, "orders take the direct path again", 30)
