"""All orders buy one product, beside orders of all products; and what is not there is not sold."""

from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.figures import HOT, OVERSOLD, Figure, Result
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import STOCK, Target


async def run(target: Target, plan: Plan) -> Result:
    """Orders of one line: of one product, and of any. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    oversold = []
    for number in range(1, plan.rounds + 1):
        of = f"(round {number} of {plan.rounds})"
        plan.tell(f"orders of any product {of}")
        rounds.note("any product, orders/s", (await rounds.place(rounds.load(target.apis, lines=1))).good_per_s)
        plan.tell(f"orders of one product {of}")
        sent = await rounds.place(rounds.load(target.apis, lines=1, products=1))
        rounds.note("one product, orders/s", sent.good_per_s)
        plan.tell(f"one product, of which there is too little {of}")
        # About a half of what would be ordered in the time; a line has five pieces in the mean.
        await target.leave_free(target.writing.first_product, int(sent.good_per_s * plan.seconds * 5 / 2))
        short = await rounds.place(rounds.load(target.apis, lines=1, products=1), refused=(409,))
        if 409 not in short.statuses:
            raise BenchFailed("the product's stock was enough for all: nothing is shown of what is not there")
        rounds.note("of them declined where stock is short, orders/s", short.answers[409].count / short.seconds)
        oversold.append(await target.oversold())
        await target.leave_free(target.writing.first_product, STOCK)
    return Result(
        "hot",
        (Figure(HOT, rounds.ratios("one product, orders/s", "any product, orders/s")), Figure(OVERSOLD, oversold)),
        rounds.rates,
        {},
    )
