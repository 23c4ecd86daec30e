"""A door's configuration: one HAProxy process with an address of its own in front of every API process.

Options: the configuration manual of HAProxy 2.6; what was tried and what the traps are: docs/decisions/0009. A request
that carries an Idempotency-Key, or only reads, is sent to another API process when its own breaks off, cannot be
connected to, or is taken out of rotation; everything else only where no connection came about, so nothing was sent.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from standfest.cluster.inventory import Kind, services_of
from standfest.cluster.topology import Door
from standfest.redundancy.site import Site

CHECK_INTERVAL_MS = 200
CHECK_TIMEOUT_MS = 250
CHECK_AGAIN_MS = 100
"""Pause between the checks by which a process is found late, or in time again."""
CHECK_FAILURES = 2
CAPACITY_INTERVAL_MS = 500
"""An API process is asked so often how many orders it wants at a time."""
_CHECK_SUCCESSES = 5
"""A process that was late is in rotation again after so many answers in time in a row. On a slow machine a late one is
in time now and then: each return would draw all orders to it, and each relapse break off what it holds."""

OUT_OF_ROTATION_MS = CHECK_INTERVAL_MS + CHECK_FAILURES * CHECK_TIMEOUT_MS + CHECK_AGAIN_MS
"""An API process that freezes is out of rotation at the latest after this; one whose event loop is busy for
CHECK_INTERVAL_MS less stays in."""

_ALIVE_INTERVAL_MS = 1500
_ALIVE_TIMEOUT_MS = 5000
DEAD_MS = _ALIVE_INTERVAL_MS + _ALIVE_TIMEOUT_MS
"""A process that answers nothing is dead at the latest after this, and merely late before; one whose port refuses is
dead at the next check. An order that a dead process held is still young enough for another one."""

_CLIENTS_MAX = 4096
_ORDERS_PER_API_MAX, _ORDERS_QUEUED_MAX = 64, 64
"""What one API process gets of orders at a time from one door, and how many more the door keeps, each for
_QUEUE_TIMEOUT_MS at most: through two doors 512, which is a quarter of a second's work where 2,000 a second are taken,
and 2.5 s of 200 a second while nothing is acknowledged. An API process that got more at once would do nothing for a
while but read them. It gets fewer where it wants fewer: what it could not answer in time waits, or is refused, where
that costs least."""

_ORDERS_CROWDED = _ORDERS_QUEUED_MAX // 2
"""Where a door keeps so many, browsing and who has much there are refused first."""

_MUCH = 4
"""A client has much where it has more than the fourth part of the orders that a door holds, those at API processes and
those that wait: up to three clients that send without end leave half of the queue to the others. With a half as the
share two of them would fill the queue together."""
_ORDERS_PER_CLIENT_MAX = 128
"""More than this is much in any case, however many API processes there are."""

_OTHERS_PER_API_MAX = 32
_OTHERS_QUEUED_MAX = 256
_CLIENTS_KEPT = 10_000
_BUFFER_BYTES = 65536
"""A request larger than this, less 1 KiB, cannot be sent a second time: it holds orders of some 1,000 lines."""

_QUEUE_TIMEOUT_MS = 1000
"""What has waited for so long for a place at an API process is refused (429)."""

_CONNECT_TIMEOUT_MS = 500
_SERVER_TIMEOUT_S = 10
"""Above every deadline that an API process sets itself. A shorter one would send slow requests again and again."""

_CLIENT_TIMEOUT_S = 30
_REQUEST_TIMEOUT_S = 10
_KEEP_ALIVE_S = 60
_HARD_STOP_S = 30
"""An old worker ends at the latest this long after a reload."""

_PROBLEMS = "https://standfest.example/problems/"

_FAILURES = {
    400: ("invalid-request", "The request is not valid HTTP."),
    408: ("invalid-request", "The request did not arrive in time."),
    502: ("outcome-unknown", "The connection broke after the request was sent; repeat it with the same key."),
    504: ("outcome-unknown", "No answer came in time; repeat the request with the same key."),
}
"""What the door itself answers, as problem documents like all others."""

_NOT_TAKEN = (
    "No API process took it in time. With status 429 nothing was attempted, with 504 it may have happened."
    " Repeat it with the same key."
)
"""HAProxy's own 503. Without a repeat the request waited too long for a place, or found nobody, and the answer leaves
as 429. With one it may have been sent before: 504. HAProxy makes the document before that is known, so that it has no
type: its meaning is that of the status (RFC 9457, 4.2.1)."""

_REFUSED_REPEAT = (
    "The connection broke and the repeat was not taken; it may have happened. Repeat it with the same key."
)
_ANSWERED_BY = "X-Answered-By"
_TAKEN_AT = "X-Taken-At %[date(0,ms)]"
"""Of checks as well: by them an API process knows how much this machine's clock differs from its own."""

_TOO_MUCH = "More is sent than can be taken now; nothing was attempted. Try again shortly, with the same key."
_NOBODY = "Nobody takes requests at the moment; nothing was attempted. Repeat with the same key."


def render_door(site: Site, door: Door) -> str:
    """The door's haproxy.cfg; it holds the password of its statistics page."""
    stats = f"{site.node.address}:{site.topology.ports.door_stats}"
    apis = _api_processes(site)
    blocks = [
        _global(),
        _defaults(),
        _frontend(door),
        _clients(),
        _intake(apis),
        _repeatable(apis),
        _alive(apis),
        _once(apis),
        _statistics(stats, site.passwords["door-stats"]),
    ]
    return "\n".join(blocks)


class _Api(NamedTuple):
    """An API process, as a server of a backend."""

    name: str
    address: str
    capacity_port: int


def _api_processes(site: Site) -> list[_Api]:
    topology = site.topology
    services = [service for node in topology.nodes for service in services_of(topology, node)]
    return [
        _Api(
            f"{service.node}-{service.name}",
            service.address,
            topology.capacity_port(int(service.address.rpartition(":")[2])),
        )
        for service in services
        if service.kind is Kind.API
    ]


def _global() -> str:
    return f"""global
    maxconn {_CLIENTS_MAX}
    nbthread 1
    hard-stop-after {_HARD_STOP_S}s
    tune.bufsize {_BUFFER_BYTES}
    log stdout format raw daemon notice
"""


def _defaults() -> str:
    lines = [
        "defaults",
        "    mode http",
        "    log global",
        "    option dontlog-normal",
        "    # No addresses, no query strings, no bodies: what goes wrong is told without saying who ordered what.",
        '    log-format "%HM %HPO %ST %ts %TR/%Tw/%Tc/%Tr/%Ta %b/%s retries=%rc request_id=%ID"',
        f"    timeout connect {_CONNECT_TIMEOUT_MS}ms",
        f"    timeout client {_CLIENT_TIMEOUT_S}s",
        f"    timeout server {_SERVER_TIMEOUT_S}s",
        f"    timeout http-request {_REQUEST_TIMEOUT_S}s",
        f"    timeout http-keep-alive {_KEEP_ALIVE_S}s",
        f"    timeout queue {_QUEUE_TIMEOUT_MS}ms",
        f"    timeout check {CHECK_TIMEOUT_MS}ms",
    ]
    for status, (slug, detail) in _FAILURES.items():
        lines.append(f"    http-error status {status} {_problem(status, slug, detail)} hdr {_ANSWERED_BY} door")
    lines.append(f"    http-error status 503 {_document({'detail': _NOT_TAKEN})} hdr {_ANSWERED_BY} door")
    return "\n".join(lines) + "\n"


def _problem(status: int, slug: str, detail: str) -> str:
    return _document({"type": _PROBLEMS + slug, "title": slug, "status": status, "detail": detail})


def _document(problem: Mapping[str, str | int]) -> str:
    return f"content-type application/problem+json string '{json.dumps(problem)}'"


def _frontend(door: Door) -> str:
    hidden = _problem(404, "not-found", "There is nothing here.")
    nobody = _problem(503, "unavailable", _NOBODY)
    return f"""frontend orders
    bind {door.address}:{door.port}
    # The whole body first: an API process never waits for a slow client, and only a whole request can be repeated.
    option http-buffer-request
    # A reload closes a kept connection with an answer, never under a request that is on its way.
    option idle-close-on-response
    unique-id-format %[uuid]
    # When it was taken, in ms: what an API process finds too late, because it was frozen, it refuses.
    http-request set-header {_TAKEN_AT}
    http-request set-header X-Request-Id %[unique-id] unless {{ req.hdr(X-Request-Id) -m found }}
    # Measurements are for operators, who ask each process by itself. However the path is written, as below.
    http-request return status 404 {hidden} if {{ path,url_dec -m reg ^/+metrics(/.*)?$ }}
    # In a worker that is stopping no server counts as usable, though all of them still are used.
    http-request return status 503 {nobody} hdr Retry-After 1 if {{ nbsrv(repeatable) eq 0 }} !{{ stopping }}
    # Its own 503 says what became of the request, which HAProxy knows by the number of repeats.
    http-after-response set-var-fmt(txn.repeats) %rc if {{ status 503 }}
    acl by_door res.hdr({_ANSWERED_BY}) door
    acl unsent var(txn.repeats) -m str 0
    http-after-response set-header Retry-After 1 if {{ status 503 }} by_door unsent
    http-after-response set-status 429 reason "Too Many Requests" if {{ status 503 }} by_door unsent
    http-after-response set-status 504 reason "Gateway Timeout" if {{ status 503 }} by_door
    acl only_reads method GET HEAD OPTIONS
    acl has_key req.hdr(Idempotency-Key) -m found
    # However it is written: the API reads paths as generously.
    acl order path,url_dec -m reg ^/+v1/+orders/*$
    http-request set-var(txn.changes) bool(true) if !only_reads
    use_backend intake if order has_key !only_reads
    # Nothing keeps a PUT's key: what it changed at one process, another one would refuse for its If-Match.
    use_backend repeatable if only_reads or has_key {{ method POST }}
    default_backend once
"""


def _clients() -> str:
    return f"""backend clients
    # By a digest of the key, which is not to be read from a door.
    stick-table type binary len 20 size {_CLIENTS_KEPT} expire 10s store conn_cur
"""


def _intake(apis: list[_Api]) -> str:
    capacity = f" agent-check agent-inter {CAPACITY_INTERVAL_MS}ms agent-port {{capacity_port}}"
    return f"""backend intake
    # Servers only track here: for an answer of what a process wants, which comes late from one that is late.
    timeout check {_ALIVE_TIMEOUT_MS}ms
    http-request track-sc0 req.hdr(Authorization),word(-1,' '),sha1 table clients
    # Much is a share of what is here now: how much that is follows the limits.
    http-request set-var(req.here) be_conn
    acl has_much sc_conn_cur(0),mul({_MUCH}),sub(req.here) gt 0
    acl has_much sc_conn_cur(0) gt {_ORDERS_PER_CLIENT_MAX}
    # What would wait too long is refused here, at the least cost and before it is attempted: first who has much here.
    http-request return {_refusal()} if {{ queue ge {_ORDERS_CROWDED} }} has_much
    http-request return {_refusal()} if {{ queue ge {_ORDERS_QUEUED_MAX} }}
    # And waits behind the others.
    http-request set-priority-class int(1) if has_much
{_repeating()}
    # How many orders an API process wants it tells, as `maxconn:` and as its weight, so that a door compares how full
    # processes are. One that does not tell gets as many as before.
    default-server maxconn {_ORDERS_PER_API_MAX} weight {_ORDERS_PER_API_MAX} on-marked-down shutdown-sessions
{_servers(apis, "track repeatable/{name}", capacity)}
"""


def _repeatable(apis: list[_Api]) -> str:
    return f"""backend repeatable
    # Browsing goes behind orders.
    acl many path,url_dec -m reg ^/+v1/+(orders|changes|products)/*$
    http-request return {_refusal()} if {{ method GET HEAD }} many {{ queue(intake) ge {_ORDERS_CROWDED} }}
    http-request return {_refusal()} if {{ queue ge {_OTHERS_QUEUED_MAX} }}
{_repeating()}
    option httpchk GET /readyz
    http-check send hdr {_TAKEN_AT}
    # Unready (draining, late) is no failure: no new requests, but what is under way there is finished.
    http-check expect status 200 error-status L7OKC
    default-server inter {CHECK_INTERVAL_MS}ms fastinter {CHECK_AGAIN_MS}ms downinter {CHECK_INTERVAL_MS}ms
    default-server fall {CHECK_FAILURES} rise {_CHECK_SUCCESSES}
    # What a frozen process holds is broken off, and thereby sent to another one.
    default-server maxconn {_OTHERS_PER_API_MAX} on-marked-down shutdown-sessions
{_servers(apis, "check")}
"""


def _alive(apis: list[_Api]) -> str:
    """Who turns over, ready or not, however late: asked by nobody but those who find that none is ready and in time."""
    return f"""backend alive
    timeout connect {_ALIVE_INTERVAL_MS}ms
    timeout check {_ALIVE_TIMEOUT_MS}ms
    option httpchk GET /livez
    http-check send hdr {_TAKEN_AT}
    http-check expect status 200
    default-server inter {_ALIVE_INTERVAL_MS}ms downinter {CHECK_INTERVAL_MS}ms fall 1 rise 1
{_lines(apis, "{name}", "check")}
"""


def _repeating() -> str:
    unknown = _problem(504, "outcome-unknown", _REFUSED_REPEAT)
    return f"""    balance random(2)
    retries 3
    # No status and no response-timeout: what was shed would come back as more load, what is slow as more of it.
    retry-on conn-failure empty-response junk-response
    option redispatch 1
    # Who got the repeat speaks for itself alone: what broke before may have been done.
    http-response set-var-fmt(txn.repeats) %rc
    acl unsent var(txn.repeats) -m str 0
    http-response return status 504 {unknown} if {{ status 429 503 }} !unsent
    # A refusal neither: that which broke may be working on it still. What is in conflict (409) is so for both.
    http-response return status 504 {unknown} if {{ status 400:408 410:499 }} {{ var(txn.changes) -m bool }} !unsent"""


def _refusal() -> str:
    return f"status 429 {_problem(429, 'overloaded', _TOO_MUCH)} hdr Retry-After 1"


def _servers(apis: list[_Api], check: str, more: str = "") -> str:
    """The API processes that are ready and in time, and where none is, all that are alive: late, they do it all the
    same, unready, they say what cannot be done, and the first that can do it again takes the next request."""
    anyway = _lines(apis, "any-{name}", f"track alive/{{name}}{more} backup")
    return f"    option allbackups\n{_lines(apis, '{name}', check + more)}\n{anyway}"


def _lines(apis: list[_Api], name: str, more: str) -> str:
    lines = (f"    server {name} {{address}} {more}".format_map(api._asdict()) for api in apis)
    return "\n".join(lines)


def _once(apis: list[_Api]) -> str:
    return f"""backend once
    http-request return {_refusal()} if {{ queue ge {_OTHERS_QUEUED_MAX} }}
    balance random(2)
    retries 3
    retry-on conn-failure
    option redispatch 1
    # On a kept connection that the server is closing nobody knows whether it was sent.
    http-reuse never
    default-server maxconn {_OTHERS_PER_API_MAX}
{_servers(apis, "track repeatable/{name}")}
"""


def _statistics(address: str, password: str) -> str:
    """For operators only: which server is up, and draining one (`stats admin`).

    TCP, as socket paths may get too long.
    """
    return f"""frontend statistics
    bind {address}
    option dontlog-normal
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /stats
    stats auth operator:{password}
    stats admin if TRUE
"""
