"""From exceptions to problem documents."""

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from standfest.domain.cancellation import Conflict
from standfest.domain.faults import Invalid
from standfest.intake.errors import IntakeOutcomeUnknown, IntakeUnavailable, KeyReused, Overloaded
from standfest.interfaces.api.problems import MEDIA_TYPE, Problem, invalid
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
        case OrderNotFound():
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
        case HTTPException():
            return _of_framework(error)
    return None


def _of_framework(error: HTTPException) -> Problem | None:
    """What routing itself refuses; its texts are for developers and stay in the log."""
    if error.status_code == 404:
        return Problem("not-found", "there is no such resource")
    if error.status_code == 405:
        return Problem("method-not-allowed", "see the header Allow", headers=_allowed(error))
    if 400 <= error.status_code < 500:
        return Problem("invalid-request", "the request is not valid HTTP for this service")
    return None


def _allowed(error: HTTPException) -> dict[str, str]:
    return {"Allow": (error.headers or {}).get("allow", "")}


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that ended with an exception."""
    problem = problem_of(error)
    if problem is None:
        _log.error("request_failed", **facts_of(error), exc_info=error)
        problem = Problem("internal-error", "the request id leads to the cause in this service's log")
    elif problem.status >= 500:
        _log.warning("request_not_done", problem=problem.slug, **facts_of(error))
    document = problem.document(request.scope["request_id"])  # type: ignore[typeddict-item]
    return Response(document, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


HANDLERS: ExceptionHandlersMap = {HTTPException: answer_error, Exception: answer_error}
