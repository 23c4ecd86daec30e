"""Names of the metrics that Standfest's processes export.

Units are the last word of a name (seconds, bytes); counters end in `_total` (Prometheus naming practice).
"""

HTTP_REQUESTS = "standfest_http_requests_total"
"""Answers, by method, route and status."""
HTTP_SECONDS = "standfest_http_request_seconds"
"""Time from a request's headers to the end of its answer, by method and route."""
HTTP_IN_FLIGHT = "standfest_http_requests_in_flight"
"""Requests that are being worked on."""
HTTP_SHED = "standfest_http_requests_shed_total"
"""Requests refused because too many were in flight."""
EVENT_LOOP_LAG_SECONDS = "standfest_event_loop_lag_seconds"
"""How late the event loop answered the watching thread last time."""
DRAINING = "standfest_draining"
"""1 while the process wants no new traffic."""
CATALOGUE_AGE_SECONDS = "standfest_catalogue_age_seconds"
"""Time since the catalogue in memory was last known to be that of the database."""
CATALOGUE_FAILURES = "standfest_catalogue_refresh_failures_total"
"""Refreshes of the catalogue in memory that failed."""
ORDERS_ANSWERED = "standfest_orders_answered_total"
"""Durable answers to orders, by the order's status and whether the request was a repeat."""
