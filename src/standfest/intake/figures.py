"""What intake and drainers tell Prometheus, as collectors that read the figures where they are kept."""

import time
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from standfest.intake.drain import Drainer
from standfest.intake.intake import Intake
from standfest.intake.paths import Path
from standfest.intake.receipt_log import ReceiptLog
from standfest.intake.synthetic import Synthetic
from standfest.intake.upkeep import JournalUpkeep
from standfest.telemetry import names


class IntakeFigures(Collector):
    """Of an API process."""

    def __init__(self, intake: Intake, synthetic: Synthetic) -> None:
        self._intake = intake
        self._synthetic = synthetic

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        intake, synthetic = self._intake, self._synthetic
        direct = float(intake.path is Path.DIRECT)
        yield GaugeMetricFamily("standfest_intake_direct", "1 while new orders take the direct path", direct)
        yield GaugeMetricFamily("standfest_intake_under_way", "Orders that are not answered yet", intake.under_way)
        yield GaugeMetricFamily(
            "standfest_intake_limit", "Orders that may be under way: as many as are answered in time", intake.limit
        )
        yield GaugeMetricFamily(
            "standfest_intake_silence_max_seconds",
            "For how long the database may be silent before orders go by the journal",
            intake.silence_max_s,
        )
        yield CounterMetricFamily("standfest_intake_turns", "How often the direct path was left", intake.turns)
        yield CounterMetricFamily(
            names.INTAKE_BOTH_PATHS.removesuffix("_total"),
            "Orders that were tried on one path and then sent on the other one too",
            intake.on_both_paths,
        )
        yield GaugeMetricFamily(
            "standfest_journal_well_seconds",
            "Time since the journal last accepted a synthetic order",
            synthetic.well_for_s,
        )
        yield CounterMetricFamily(
            "standfest_synthetic_failures", "Synthetic orders that were not accepted", synthetic.failures
        )
        if synthetic.last_s is not None:
            yield GaugeMetricFamily(
                "standfest_synthetic_accepted_seconds", "Time the last one took to be accepted", synthetic.last_s
            )


class ReceiptFigures(Collector):
    """Of an API process: its receipts on their way to disk."""

    def __init__(self, log: ReceiptLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        log = self._log
        yield GaugeMetricFamily("standfest_receipts_queued", "Receipts that wait to be written", log.queued)
        yield CounterMetricFamily("standfest_receipts_written", "Receipts that are in a file", log.written)
        yield CounterMetricFamily("standfest_receipts_lost", "Receipts that are in no file and never will be", log.lost)
        yield CounterMetricFamily("standfest_receipts_write_failures", "Writes that failed", log.failures)


class UpkeepFigures(Collector):
    """Of a worker: the journal's members as they were last seen."""

    def __init__(self, upkeep: JournalUpkeep) -> None:
        self._upkeep = upkeep

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        health, done = self._upkeep.health, self._upkeep.done
        yield GaugeMetricFamily("standfest_journal_members_healthy", "Members that reach a quorum", health.healthy)
        yield GaugeMetricFamily("standfest_journal_has_leader", "1 while it has one", float(health.leader is not None))
        yield GaugeMetricFamily("standfest_journal_size_bytes", "The largest member's file", health.size_bytes)
        yield GaugeMetricFamily("standfest_journal_in_use_bytes", "What of it is in use", health.in_use_bytes)
        yield GaugeMetricFamily("standfest_journal_alarms", "Alarms that etcd has raised", len(health.alarms))
        steps = CounterMetricFamily("standfest_journal_upkeep_steps", "What was done for it", labels=["step"])
        for step, count in done.steps.items():
            steps.add_metric([step], count)
        yield steps
        yield CounterMetricFamily("standfest_journal_upkeep_failures", "Steps and rounds that failed", done.failures)


class DrainFigures(Collector):
    """Of a worker."""

    def __init__(self, drainer: Drainer) -> None:
        self._drainer = drainer

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        drainer = self._drainer
        yield CounterMetricFamily("standfest_journal_drained", "Orders written from the journal", drainer.drained)
        yield CounterMetricFamily("standfest_journal_quarantined", "Entries that were set apart", drainer.set_apart)
        yield CounterMetricFamily("standfest_journal_conflicts", "Orders stored in conflict", drainer.conflicts)
        yield GaugeMetricFamily(
            "standfest_journal_left", "Entries that the last round left for the next one", drainer.left
        )
        yield GaugeMetricFamily(
            "standfest_drain_refused", "1 while the database answers and refuses every order", float(drainer.refused)
        )
        yield CounterMetricFamily("standfest_drain_failures", "Rounds that failed", drainer.failures)
        yield GaugeMetricFamily(
            "standfest_drain_round_age_seconds", "Time since a round ended well", time.monotonic() - drainer.well_at
        )
        if drainer.synthetic_age_s is not None and drainer.synthetic_at is not None:
            yield GaugeMetricFamily(
                "standfest_synthetic_confirmed_age_seconds",
                "Age of the last synthetic order when it was confirmed here",
                drainer.synthetic_age_s,
            )
            yield GaugeMetricFamily(
                "standfest_synthetic_confirmed_timestamp_seconds",
                "When that was, in seconds since 1970",
                drainer.synthetic_at,
            )
