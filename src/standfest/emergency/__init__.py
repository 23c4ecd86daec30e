"""Measure 6: being ready for an outage: runbooks, incidents, drills, training."""
