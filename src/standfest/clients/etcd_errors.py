"""What can become of a request to etcd, told apart by what it means for the caller."""

from __future__ import annotations

import enum

import msgspec

from standfest.errors import StandfestError


class EtcdError(StandfestError):
    """A request to etcd did not succeed."""


class EtcdUnavailable(EtcdError):
    """Nothing was sent that could have been applied, now or later."""


class EtcdOutcomeUnknown(EtcdError):
    """Something was sent and no usable answer came: it may have been applied, or may be applied later."""


class EtcdFull(EtcdError):
    """The store's file has reached its quota (NOSPACE).

    This does not say that nothing was written: the transaction with which a member finds its quota reached is applied
    and refused at once (etcd 3.4, `quotaApplierV3.Txn`). Who has to know reads the keys through a transaction.
    """


class EtcdRejected(EtcdError):
    """etcd refuses the request as it is, wherever and however often it is sent: too large, too many operations, …"""


class EtcdCompacted(EtcdRejected):
    """The revision has been compacted before."""


class Refusal(enum.Enum):
    """What an error answer of the gateway means."""

    NOT_PROPOSED = "refused before it was proposed to the others; another member may take it"
    UNCERTAIN = "given up after it may have been proposed; it may be repeated on another member"
    FULL = "quota reached"
    COMPACTED = "the revision is compacted already"
    INVALID = "never acceptable"


class _GatewayError(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 0


_INVALID_ARGUMENT, _OUT_OF_RANGE, _NOT_FOUND, _FAILED_PRECONDITION = 3, 11, 5, 9
"""gRPC's codes (google.golang.org/grpc/codes) of what is wrong with a request, rather than with a member."""

_NOT_PROPOSED = ("etcdserver: too many requests", "etcdserver: not capable", "etcdserver: not leader")
"""Said before a proposal is made (etcd 3.4, `processInternalRaftRequestOnce`, `v3rpc/interceptor.go`)."""


def read_refusal(status: int, body: bytes) -> tuple[Refusal, str]:
    """What an answer other than 200 means, and its message.

    The gateway answers {"error", "message", "code"}, the code being gRPC's. What it does not recognise is uncertain.
    """
    try:
        error = msgspec.json.decode(body, type=_GatewayError)
    except msgspec.MsgspecError:
        return Refusal.UNCERTAIN, f"HTTP status {status} without etcd's error"
    message = error.message
    if "database space exceeded" in message:
        return Refusal.FULL, message
    if "required revision has been compacted" in message:
        return Refusal.COMPACTED, message
    if message in _NOT_PROPOSED:
        return Refusal.NOT_PROPOSED, message
    if error.code in (_INVALID_ARGUMENT, _OUT_OF_RANGE, _NOT_FOUND, _FAILED_PRECONDITION):
        return Refusal.INVALID, message
    return Refusal.UNCERTAIN, message
