"""What the databases take alone: the reference of every other figure, and of how quick the machine is."""

from standfest.scaling.bench.figures import Result
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target


async def run(target: Target, plan: Plan) -> Result:
    """Writes the product's rows with pgbench alone. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    clients = await rounds.best_clients()
    for number in range(1, plan.rounds + 1):
        plan.tell(f"pgbench with {clients} clients (round {number} of {plan.rounds})")
        rounds.note("pgbench, orders/s", (await rounds.reference(clients)).orders_per_s)
    return Result("pgbench", (), rounds.rates, {})
