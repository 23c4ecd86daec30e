"""Looks from outside and decides: the history file, the database and the API in, the verdict out."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp

from . import database
from .api import Api
from .decide import decide, once_missing
from .model import FoundOrder, History, Outcome, State, StockCount, Unseen, Verdict, subjects
from .submissions import load

LOOKS_MAX = 3
PAUSE_S = 2.5
"""Between two looks; longer than an order may be under way in the product."""
DRAINED_TIMEOUT_S = 60.0
"""How long orders that were accepted by the journal may take to come to the database; then they are missing."""
DRAINED_POLL_S = 0.5
FINDINGS_SHOWN = 20
"""How many findings of a kind a report lists; the figures count all orders or SKUs that have one."""


def check(history: Path, conninfo: str, doors: Sequence[str], key: str) -> Verdict:
    """The verdict on one drill; CheckerError where it cannot be reached.

    `conninfo` is a libpq connection string that may read all tables, `key` may read the orders of the drill's
    client and stock. Orders that were only accepted are waited for first. What is wrong is looked at again: a
    submission that its client gave up may still be committed between two looks, and only what stays wrong is; but an
    order that was acknowledged for good has to be there at the first look.
    """
    recorded = load(history)
    _await_drained(recorded, conninfo)
    first = verdict = decide(recorded, look(recorded, conninfo, doors, key))
    for _ in range(LOOKS_MAX - 1):
        if verdict.ok:
            break
        time.sleep(PAUSE_S)
        verdict = decide(recorded, look(recorded, conninfo, doors, key))
    return once_missing(recorded, first, verdict)


def _await_drained(history: History, conninfo: str) -> None:
    """Waits until the database has every order that was accepted before it had it, or for DRAINED_TIMEOUT_S."""
    accepted = [sent.order_id for sent in history.submissions if sent.by_journal and sent.order_id is not None]
    deadline = time.monotonic() + DRAINED_TIMEOUT_S
    while accepted and time.monotonic() < deadline:
        with database.connect(conninfo) as snapshot:
            if not snapshot.missing(accepted):
                return
        time.sleep(DRAINED_POLL_S)


def look(history: History, conninfo: str, doors: Sequence[str], key: str) -> State:
    """What the database and the API show of the orders and SKUs in a history."""
    named = [
        sent.order_id
        for sent in history.submissions
        if sent.order_id is not None and sent.outcome in (Outcome.ACKNOWLEDGED, Outcome.DECLINED)
    ]
    nonces = [sent.nonce for sent in history.submissions]
    skus = {line.sku for sent in history.submissions for line in sent.lines}
    # Without an opening nothing says which orders are older: then only the nonces of this history count.
    position = history.opening_position
    with database.connect(conninfo) as snapshot:
        orders = snapshot.orders(history.client, 2**62 if position is None else position, nonces)
        stock = snapshot.stock(history.client, position or 0, sorted(skus))
    kept = skus & (history.opening_stock.keys() | stock.keys())
    answers, counts = asyncio.run(_ask(doors, key, named, sorted(kept)))
    return State(orders, stock, answers, counts)


async def _ask(
    doors: Sequence[str], key: str, order_ids: Sequence[str], skus: Sequence[str]
) -> tuple[dict[str, FoundOrder | Unseen], dict[str, StockCount | Unseen]]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        api = Api(session, doors, key)
        return await api.orders(order_ids), await api.stock(skus)


def report(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values: figures, and the first findings of each kind."""
    kinds = {**verdict.findings, "unread": verdict.unread}
    figures = asdict(verdict) | {kind: subjects(findings) for kind, findings in kinds.items()}
    shown = {kind: [asdict(each) for each in found[:FINDINGS_SHOWN]] for kind, found in kinds.items() if found}
    return {"ok": verdict.ok, **figures, "findings": shown}


def as_text(verdict: Verdict) -> str:
    """The verdict for people: one line a figure, then the first findings."""
    values = report(verdict)
    findings = values.pop("findings")
    lines = [f"{name.replace('_', ' '):<22}{_text(value)}" for name, value in values.items()]
    for kind, found in findings.items():
        lines += [f"{kind.replace('_', ' ')}: {finding['subject']}: {finding['what']}" for finding in found]
    return "\n".join(lines)


def as_json(verdict: Verdict) -> str:
    """The verdict for programs."""
    return json.dumps(report(verdict), ensure_ascii=False)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
