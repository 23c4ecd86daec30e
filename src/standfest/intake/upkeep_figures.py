"""What a worker tells Prometheus about the journal's etcd and its upkeep."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from standfest.intake.upkeep import JournalUpkeep


class UpkeepFigures(Collector):
    """Of a worker. Every worker sees all members; what was done is its own share."""

    def __init__(self, upkeep: JournalUpkeep) -> None:
        self._upkeep = upkeep

    def collect(self) -> Iterator[Metric]:
        """The figures as they were when the members were last asked."""
        health, done = self._upkeep.health, self._upkeep.done
        yield GaugeMetricFamily("standfest_journal_members_healthy", "Members that reach the quorum", health.healthy)
        yield GaugeMetricFamily("standfest_journal_has_leader", "1 while a member leads", float(bool(health.leader)))
        yield GaugeMetricFamily("standfest_journal_alarms", "Alarms, each a kind", len(health.alarms))
        size = GaugeMetricFamily("standfest_journal_size_bytes", "Size of a member's file", labels=["member"])
        used = GaugeMetricFamily("standfest_journal_in_use_bytes", "What is in use of it", labels=["member"])
        for member in health.members:
            if member.db_size_bytes:
                size.add_metric([member.address], member.db_size_bytes)
                used.add_metric([member.address], member.db_in_use_bytes)
        yield size
        yield used
        steps = CounterMetricFamily("standfest_journal_upkeep_steps", "What upkeep did", labels=["step"])
        for step, count in done.steps.items():
            steps.add_metric([step], count)
        yield steps
        yield CounterMetricFamily("standfest_journal_upkeep_failures", "Steps and rounds that failed", done.failures)
