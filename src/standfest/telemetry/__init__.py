"""Names of metrics and structured logs: a leaf that every part may use."""
