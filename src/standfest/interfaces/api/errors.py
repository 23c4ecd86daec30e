"""From exceptions to problem documents."""

import structlog

from standfest.catalogue.movements import MovementKeyReused, ProductNotFound, StockOutOfRange
from standfest.domain.cancellation import Conflict
from standfest.domain.faults import Invalid
from standfest.intake.errors import IntakeOutcomeUnknown, IntakeUnavailable, KeyReused, Overloaded
from standfest.interfaces.api.asgi import Answer, Scope
from standfest.interfaces.api.problems import Problem, answer_problem, invalid
from standfest.sales.errors import CommandKeyReused, OrderNotFound
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown, PoolBusy
from standfest.telemetry.failures import facts_of

RETRY_AFTER_S = 1

_log = structlog.get_logger(__name__)


def problem_of(error: Exception) -> Problem | None:
    """The problem that an exception of the order plane is to a client; None where it is a defect."""
    match error:
        case Problem():
            return error
        case Invalid(faults=faults):
            return invalid("invalid-content", faults)
        case KeyReused(order_id=order_id):
            return Problem("idempotency-key-reused", str(error), order_id=str(order_id))
        case CommandKeyReused():
            return Problem("idempotency-key-reused", str(error))
        case MovementKeyReused():
            return Problem("idempotency-key-reused", str(error))
        case StockOutOfRange(on_hand=on_hand):
            return Problem("stock-out-of-range", str(error), on_hand=on_hand)
        case OrderNotFound() | ProductNotFound():
            return Problem("not-found", str(error))
        case Conflict():
            return Problem("conflict", str(error))
        case Overloaded(retry_after_s=seconds):
            return Problem("overloaded", str(error), headers={"Retry-After": str(seconds)})
        case PoolBusy():
            detail = "as many requests as may wait for the database do; nothing was attempted"
            return Problem("overloaded", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        case DatabaseUnavailable() | IntakeUnavailable():
            detail = "nothing was changed; try again shortly"
            return Problem("unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        case OutcomeUnknown() | IntakeOutcomeUnknown():
            return Problem("outcome-unknown", "the change may have been made: send the same request again")
    return None


def answer_error(scope: Scope, error: Exception) -> Answer:
    """The answer to a request that ended with an exception."""
    problem = problem_of(error)
    if problem is None:
        _log.error("request_failed", **facts_of(error), exc_info=error)
        problem = Problem("internal-error", "the request id leads to the cause in this service's log")
    elif problem.status >= 500:
        _log.warning("request_not_done", problem=problem.slug, **facts_of(error))
    return answer_problem(problem, scope["request_id"])
