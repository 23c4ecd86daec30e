"""The table "What was promised holds, also when parts freeze or are damaged"."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from tests.tables.measuring import STARVING, beside, checked_out, drills, json_lines, standfest, tests, together
from tests.tables.table import ROOT, Measured, Plan, Row, Table

BEFORE = "00c7ea5"
"""The last commit before."""
FOUND_S_MAX = 30.0
_VOTES = ROOT / "src/standfest/emergency/drills/catalogue/votes.py"


def patroni_frozen(plan: Plan) -> Measured:
    """Patroni frozen on the primary: of 13 runs four are aimed at the vote, six meet it by chance, three are alone."""
    kinds = ["patroni-frozen-and-voter-stalls"] * 4 + ["patroni-frozen-and-standby-stalls"] * 6 + ["patroni-frozen"] * 3
    names = [kinds[number * 5 % 13] for number in range(plan.runs)]
    rates = ("10", "30", "50")
    shares = [names[number::3] for number in range(3)]
    parts = [
        drills(plan, share, "--rate", rate, "--hold", "32", failures=False)
        for share, rate in zip(shares, rates, strict=True)
        if share
    ]
    return together(*parts)


def before_loses(plan: Plan) -> Measured:
    """The commit before, with these drills put into it: it has to lose, or the runs prove nothing."""
    with checked_out(BEFORE) as old:
        added = old / _VOTES.relative_to(ROOT)
        added.write_bytes(_VOTES.read_bytes())
        index = added.with_name("__init__.py")
        named = index.read_text().replace("    waiters,", "    votes,\n    waiters,", 1)
        index.write_text(named.replace("_KINDS = (database,", "_KINDS = (database, votes,"))
        names = ["patroni-frozen-and-voter-stalls"] * plan.runs
        home = old.with_name("home")
        told = standfest(home, "drill", "run", *names, "--rate", "30", root=old, codes=(0, 1))["results"]
    losing = [each["lost"] for each in told if each.get("lost")]
    figure = f"loses in {len(losing)} of {len(told)} aimed runs ({', '.join(map(str, losing))} orders)"
    return Measured(figure, bool(losing), runs=len(told))


def etcd_leader_frozen(plan: Plan) -> Measured:
    """Patroni's etcd leader frozen while Patroni is frozen on the primary."""
    return drills(plan, ["patroni-and-etcd-leader-frozen"] * plan.runs, "--rate", "30", failures=False)


def without_quorum(plan: Plan) -> Measured:
    """Patroni's etcd without a quorum, for half an hour."""
    hold = "60" if plan.short else "1800"
    return drills(plan, ["etcd-without-quorum"] * plan.runs, "--rate", "40", "--hold", hold)


def all_drills(rate: int) -> Callable[[Plan], Measured]:
    """Every drill at so many orders/s, but for those that take the processor of all clusters on the machine."""

    def measure(plan: Plan) -> Measured:
        names = ["primary-crash", "standby-dead", "both-standbys-dead", "api-frozen"]
        if not plan.short:
            with tempfile.TemporaryDirectory() as home:
                names = [each["name"] for each in standfest(Path(home), "drill", "list")]
        chosen = [name for name in names if not name.startswith(STARVING)]
        return replace(drills(plan, chosen * plan.runs, "--rate", str(rate)), runs=plan.runs)

    return measure


def falsified(plan: Plan) -> Measured:
    """Twenty ways to take away or falsify what is audited, among 10,000 orders."""
    orders = "1000" if plan.short else "10000"
    told = json_lines("tests.acceptance.falsified", "--orders", orders)
    late = [each["way"] for each in told if not each["found"] or each["seconds"] > FOUND_S_MAX]
    slowest = max(each["seconds"] for each in told)
    figure = f"{len(told) - len(late)} of {len(told)} found within {FOUND_S_MAX:.0f} s, the slowest in {slowest:.1f} s"
    return Measured(figure + (f"; not: {', '.join(late)}" if late else ""), not late, violations=len(late))


def unwritable(plan: Plan) -> Measured:
    """Entries that cannot be written among others: the others drain."""
    entries = 1_000 if plan.short else 10_000
    (told,) = json_lines("tests.acceptance.unwritable", "--entries", str(entries))
    bad = entries // 100
    right = told["drained"] == entries - bad and told["quarantined"] == bad and told["alarm"]
    figure = f"{told['drained']} drained, {told['quarantined']} quarantined, alarm: {told['alarm']}"
    return Measured(figure, bool(right), violations=0 if right else 1)


_INTEGRATION = (
    *("promotion", "proof", "feed_cursor", "audit_unreceipted", "draining", "overtaking", "key_reused", "upkeep"),
    *("journal_size", "old_requests", "api_movements", "stock_locks", "api_repeats", "cut_off", "renewed_tls"),
    *("postgres_log", "member_start"),
)
ITEMS = (*(f"tests/integration/test_{name}.py" for name in _INTEGRATION), "tests/acceptance/test_certificates.py")
"""The tests of each point."""
RETURNS = ("tests/acceptance/test_mending.py",)


def items(plan: Plan) -> Measured:
    """The tests of each point."""
    return tests(plan, *ITEMS)


def returns(plan: Plan) -> Measured:
    """The tests of nodes and members that come back by themselves."""
    return tests(plan, *RETURNS)


def speed(plan: Plan) -> Measured:
    """Orders a second beside the commit before."""
    return beside(plan, os.environ.get("STANDFEST_BEFORE", BEFORE), 0.97)


TABLE = Table(
    "promises",
    (
        Row("patroni-frozen", "Patroni frozen on the primary, 10-50 orders/s", "0 lost", 130, 6, patroni_frozen),
        Row("before-loses", "The commit before, aimed at the vote", "loses in ≥ 1 of 3", 3, 0, before_loses),
        Row("etcd-leader-frozen", "and Patroni's etcd leader frozen 5-30 s", "0 lost", 30, 2, etcd_leader_frozen),
        Row("etcd-without-quorum", "30 min at 40 orders/s", "0 failed", 1, 1, without_quorum),
        Row("drills-40", "all, at 40/s, twice", "0 lost, doubled, altered, failed", 2, 1, all_drills(40)),
        Row("drills-150", "all, at 150/s, twice", "0 lost, doubled, altered, failed", 2, 0, all_drills(150)),
        Row("falsified", "Twenty ways, among 10,000 orders", "20 found ≤ 30 s", 1, 1, falsified),
        Row("unwritable", "100 entries of fourteen kinds among 10,000", "9,900 drained, 100 apart", 1, 1, unwritable),
        Row("items", "A test for each point", "all pass", 1, 1, items),
        Row("returns", "A node too far behind, a disk wiped", "back by itself", 1, 0, returns),
        Row("speed", "orders/s ÷ before", "≥ 0.97", 7, 0, speed),
    ),
)
