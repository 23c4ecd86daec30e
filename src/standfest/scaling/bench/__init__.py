"""Benchmarks: what the cluster takes, beside what its databases take of the same rows without anything in front."""
