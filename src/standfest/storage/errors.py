"""What can go wrong between this process and PostgreSQL, told apart by what may have happened."""

from standfest.errors import StandfestError

_OF_A_STATEMENT = ("53", "08P01")
"""No resources, protocol violation: what the server is asked for can be too much, or odd, while it is well."""


class DatabaseUnavailable(StandfestError):
    """Nothing was changed: there was no primary, no free connection, or the work was rolled back."""


class PoolBusy(DatabaseUnavailable):
    """All connections are in use and as many callers wait as may: nothing was attempted."""


class TryAgain(DatabaseUnavailable):
    """The work was rolled back for the sake of another, or waited too long for a lock; the database itself is well."""


class LockTimeout(TryAgain):
    """Somebody else held a lock for longer than is waited for one."""


class StatementFailed(DatabaseUnavailable):
    """A statement failed by itself and was rolled back; whether another one fares better is not known.

    Whatever PostgreSQL does not say of itself as a whole: a damaged page, a missing column, a constraint, a defect.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class NoStandby(DatabaseUnavailable):
    """A commit on this node would be on one node only, or answered by nobody: perhaps it is the primary no more."""


class TooManyConnections(DatabaseUnavailable):
    """The node is there, and has no connection left for this role."""


class OutcomeUnknown(StandfestError):
    """A commit was sent and no durable yes came back: it may or may not have happened."""


def sqlstate_of(error: BaseException) -> str:
    """What the server answered, as an SQLSTATE; empty where it gave no answer."""
    states = (getattr(each, "sqlstate", None) for each in (error, error.__cause__))
    return next((state for state in states if state), "")


def is_perhaps_ones_own(error: BaseException) -> bool:
    """Whether a failure may be that of one order alone, and others would fare better without it."""
    if isinstance(error, OutcomeUnknown):
        return False
    return isinstance(error, StatementFailed) or sqlstate_of(error).startswith(_OF_A_STATEMENT)


def concerns_the_database(error: BaseException) -> bool:
    """Whether a failure says something about the database as a whole, and not only about what was asked of it."""
    if isinstance(error, (TryAgain, StatementFailed)):
        return False
    return isinstance(error, (DatabaseUnavailable, OutcomeUnknown))
