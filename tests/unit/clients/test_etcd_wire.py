"""What is sent to etcd and what is understood of its answers: pure."""

import base64
import json

import msgspec
import pytest

from standfest.clients.etcd_attempt import PATIENCE_MAX_S, REST_S, Members
from standfest.clients.etcd_errors import Refusal, read_refusal
from standfest.clients.etcd_maintenance import Alarm, read_alarms
from standfest.clients.etcd_wire import (
    Absent,
    Delete,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    Unchanged,
    decode_range,
    decode_txn,
    encode_range,
    encode_txn,
)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_nested_transaction_is_written_as_the_gateway_wants_it() -> None:
    """Comparisons, each operation and nested transactions have etcd's names; bytes are base64, revisions strings."""
    inner = Txn((Absent(b"c"), Unchanged(b"o", 7)), (Put(b"c", b"\0"), Delete(b"o")), (Range(b"c"),))
    assert json.loads(encode_txn(Txn((), (inner, Delete(b"a", b"b"))))) == {
        "compare": [],
        "success": [
            {
                "request_txn": {
                    "compare": [
                        {"key": _b64(b"c"), "target": "CREATE", "result": "EQUAL", "create_revision": "0"},
                        {"key": _b64(b"o"), "target": "MOD", "result": "EQUAL", "mod_revision": "7"},
                    ],
                    "success": [
                        {"request_put": {"key": _b64(b"c"), "value": "AA=="}},
                        {"request_delete_range": {"key": _b64(b"o")}},
                    ],
                    "failure": [{"request_range": {"key": _b64(b"c")}}],
                }
            },
            {"request_delete_range": {"key": _b64(b"a"), "range_end": _b64(b"b")}},
        ],
        "failure": [],
    }


def test_a_range_says_only_what_it_wants() -> None:
    """Options that are off are not sent; those that are on have etcd's names."""
    assert json.loads(encode_range(Range(b"a"))) == {"key": _b64(b"a")}
    assert json.loads(encode_range(Range(b"a", b"b", 5, keys_only=True, count_only=True, by_creation=True))) == {
        "key": _b64(b"a"),
        "range_end": _b64(b"b"),
        "limit": "5",
        "keys_only": True,
        "count_only": True,
        "sort_order": "ASCEND",
        "sort_target": "CREATE",
    }


def test_answers_are_read_into_results_of_the_same_shape() -> None:
    """Integers come as strings, what is absent is zero, and nested answers are nested results."""
    body = {
        "header": {"revision": "9007199254740993", "raft_term": "2"},
        "succeeded": True,
        "responses": [
            {"response_put": {"header": {"revision": "3"}}},
            {"response_delete_range": {"header": {}}},
            {"response_delete_range": {"deleted": "2"}},
            {"response_range": {"kvs": [{"key": "Yw==", "value": "AA==", "create_revision": "2"}], "count": "1"}},
            {"response_txn": {"header": {}, "responses": [{"response_range": {}}]}},
        ],
    }
    answer = decode_txn(json.dumps(body).encode())
    assert answer.revision == 9007199254740993
    assert answer.result == TxnResult(
        True,
        (
            None,
            0,
            2,
            RangeResult((KeyValue(b"c", b"\0", 2, 0),), 1, False),
            TxnResult(False, (RangeResult((), 0, False),)),
        ),
    )
    assert decode_range(b'{"header":{},"count":"4","more":true}') == RangeResult((), 4, True)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"responses":[7]}', b'{"succeeded":"maybe"}'])
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    """Nothing is made up from a body that is not what it should be."""
    with pytest.raises(msgspec.MsgspecError):
        decode_txn(body)


@pytest.mark.parametrize(
    ("message", "code", "refusal"),
    [
        ("etcdserver: mvcc: database space exceeded", 8, Refusal.FULL),
        ("etcdserver: too many requests", 8, Refusal.NOT_PROPOSED),
        ("etcdserver: not leader", 9, Refusal.NOT_PROPOSED),
        ("etcdserver: request is too large", 3, Refusal.INVALID),
        ("etcdserver: too many operations in txn request", 3, Refusal.INVALID),
        ("etcdserver: duplicate key given in txn request", 3, Refusal.INVALID),
        ("etcdserver: mvcc: required revision has been compacted", 11, Refusal.COMPACTED),
        ("etcdserver: mvcc: required revision is a future revision", 11, Refusal.INVALID),
        ("etcdserver: leader changed", 14, Refusal.UNCERTAIN),
        ("etcdserver: no leader", 14, Refusal.UNCERTAIN),
        ("etcdserver: request timed out", 14, Refusal.UNCERTAIN),
        ("context deadline exceeded", 2, Refusal.UNCERTAIN),
        ("something that a later release says", 99, Refusal.UNCERTAIN),
    ],
)
def test_refusals_are_told_apart_by_what_they_leave_open(message: str, code: int, refusal: Refusal) -> None:
    """Only what etcd says before it proposes counts as not proposed; what is not recognised is uncertain."""
    body = json.dumps({"error": message, "message": message, "code": code}).encode()
    assert read_refusal(400, body) == (refusal, message)


def test_an_answer_that_is_not_etcds_is_uncertain() -> None:
    """A page of something in between says nothing about what was sent."""
    assert read_refusal(404, b"Not Found\n")[0] is Refusal.UNCERTAIN


def test_alarms_are_found_among_the_errors_of_a_status() -> None:
    """A status shows alarms as text beside other errors."""
    errors = ("etcdserver: no leader", "memberID:15326819058355210593 alarm:NOSPACE ", "memberID:7 alarm:CORRUPT ")
    assert read_alarms(errors) == (Alarm(15326819058355210593, "NOSPACE"), Alarm(7, "CORRUPT"))


def test_the_first_member_is_preferred_until_it_fails() -> None:
    """A member that failed is left for the next, then tried by one request, and preferred again once it answered."""
    members = Members(["own", "second", "third"], patience_s=0.2)
    assert members.choose(0.0) == "own"
    members.failed("own", 1.0)
    assert members.choose(1.0) == "second"
    assert members.choose(1.0 + REST_S) == "own"
    assert members.choose(1.0 + REST_S) == "second", "only one request tries it"
    members.worked("own", 0.01)
    assert members.choose(1.0 + REST_S) == "own"


def test_where_all_members_failed_they_are_asked_in_turn() -> None:
    """Nobody is given up: the one that has rested longest is next."""
    members = Members(["own", "second", "third"], patience_s=0.2)
    for number, address in enumerate(("second", "own", "third")):
        members.failed(address, number / 10)
    assert [members.choose(0.3 + number / 10) for number in range(4)] == ["second", "own", "third", "second"]


def test_patience_follows_the_answers_within_bounds() -> None:
    """Slow answers make it longer, but not without end; quick ones bring it back to the shortest."""
    members = Members(["own"], patience_s=0.2)
    for _ in range(50):
        members.worked("own", 0.002)
    assert members.patience_s == 0.2
    for _ in range(50):
        members.worked("own", 0.5)
    assert 0.5 < members.patience_s <= PATIENCE_MAX_S
    members.worked("own", 60.0)
    assert members.patience_s == PATIENCE_MAX_S
    for _ in range(200):
        members.worked("own", 0.002)
    assert members.patience_s == 0.2


def test_a_store_needs_a_member() -> None:
    """Without any address nothing can be asked."""
    with pytest.raises(ValueError, match="at least one"):
        Members([], patience_s=0.2)
