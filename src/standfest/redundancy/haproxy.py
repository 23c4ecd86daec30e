"""A door's configuration: one HAProxy process with an address of its own in front of every API process.

Options: the configuration manual of HAProxy 2.6. What is a repeat's risk decides the routes: a request is sent to
another API process only where it carries an Idempotency-Key or only reads, and only when no connection came about.
"""

import json

from standfest.cluster.inventory import Kind, Service, services_of
from standfest.cluster.topology import Door
from standfest.redundancy.site import Site

CHECK_INTERVAL_MS = 300
"""With two failures needed, a frozen API process is out of rotation within a second."""

CHECK_TIMEOUT_MS = 300
CHECK_AGAIN_MS = 50

_CLIENTS_MAX = 2000
_REQUESTS_PER_API_MAX = 256
"""What one API process works on at a time; the rest waits in the door's queue, where it can still go elsewhere."""

_QUEUE_TIMEOUT_S = 2
_CONNECT_TIMEOUT_MS = 500
_SERVER_TIMEOUT_S = 10
"""Above every deadline that an API process sets itself."""

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
    503: (
        "unavailable",
        "Nobody takes requests at the moment; nothing was attempted. Repeat with the same key.",
    ),
    504: ("outcome-unknown", "No answer came in time; repeat the request with the same key."),
}
"""What the door itself answers, as problem documents like all others."""


def render_door(site: Site, door: Door) -> str:
    """The door's haproxy.cfg; it holds the password of its statistics page."""
    stats = f"{site.node.address}:{site.topology.ports.door_stats}"
    apis = _api_processes(site)
    blocks = [
        _global(),
        _defaults(),
        _frontend(door),
        _backend(
            "repeatable",
            f"retries 2\n    retry-on conn-failure\n    option redispatch 1\n{_checks()}",
            [f"    server {name} {service.address} check" for name, service in apis],
        ),
        _backend(
            "once",
            "retries 0",
            [f"    server {name} {service.address} track repeatable/{name}" for name, service in apis],
        ),
        _statistics(stats, site.passwords["door-stats"]),
    ]
    return "\n".join(blocks)


def _api_processes(site: Site) -> list[tuple[str, Service]]:
    services = [service for node in site.topology.nodes for service in services_of(site.topology, node)]
    return [(f"{service.node}-{service.name}", service) for service in services if service.kind is Kind.API]


def _global() -> str:
    return f"""global
    maxconn {_CLIENTS_MAX}
    nbthread 1
    hard-stop-after {_HARD_STOP_S}s
    # A request larger than one buffer cannot be sent a second time.
    tune.bufsize 32768
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
        f"    timeout queue {_QUEUE_TIMEOUT_S}s",
        f"    timeout check {CHECK_TIMEOUT_MS}ms",
    ]
    for status, (slug, detail) in _FAILURES.items():
        problem = json.dumps({"type": _PROBLEMS + slug, "title": slug, "status": status, "detail": detail})
        retry = " hdr Retry-After 1" if status == 503 else ""
        lines.append(f"    http-error status {status} content-type application/problem+json string '{problem}'{retry}")
    return "\n".join(lines) + "\n"


def _frontend(door: Door) -> str:
    hidden = json.dumps({"type": f"{_PROBLEMS}not-found", "title": "not-found", "status": 404})
    return f"""frontend orders
    bind {door.address}:{door.port}
    # The whole body first: an API process never waits for a slow client.
    option http-buffer-request
    unique-id-format %[uuid]
    http-request set-header X-Request-Id %[unique-id] unless {{ req.hdr(X-Request-Id) -m found }}
    # Measurements are for operators, who ask each process by itself.
    http-request return status 404 content-type application/problem+json string '{hidden}' if {{ path /metrics }}
    acl only_reads method GET HEAD OPTIONS
    acl has_key req.hdr(Idempotency-Key) -m found
    use_backend repeatable if only_reads or has_key
    default_backend once
"""


def _checks() -> str:
    return f"""    option httpchk GET /readyz
    http-check expect status 200
    default-server inter {CHECK_INTERVAL_MS}ms fastinter {CHECK_AGAIN_MS}ms downinter {CHECK_INTERVAL_MS}ms \
fall 2 rise 1"""


def _backend(name: str, retries: str, servers: list[str]) -> str:
    lines = [
        f"backend {name}",
        "    balance random(2)",
        f"    default-server maxconn {_REQUESTS_PER_API_MAX} maxqueue {_REQUESTS_PER_API_MAX}",
        f"    {retries}",
        *servers,
    ]
    return "\n".join(lines) + "\n"


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
