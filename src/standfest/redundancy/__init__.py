"""Measure 1: the topology as the parts' configurations, and whether the cluster can lose a node."""
