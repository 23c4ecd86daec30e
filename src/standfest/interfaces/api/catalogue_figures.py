"""What is measured of the catalogue: in memory, and on disk where it is kept."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from standfest.catalogue.snapshot import Catalogue
from standfest.telemetry import names


class CatalogueFigures(Collector):
    """Figures that the catalogue keeps itself."""

    def __init__(self, catalogue: Catalogue, age_max_s: float) -> None:
        """`age_max_s`: the age from which on nothing is done with it."""
        self._catalogue = catalogue
        self._age_max_s = age_max_s

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        catalogue, keeper = self._catalogue, self._catalogue.keeper
        yield GaugeMetricFamily(names.CATALOGUE_AGE_SECONDS, "Age of the catalogue in memory", catalogue.age_s)
        yield GaugeMetricFamily(names.CATALOGUE_AGE_MAX_SECONDS, "The highest age that is used", self._age_max_s)
        yield GaugeMetricFamily(names.CATALOGUE_PRODUCTS, "Products in memory", len(catalogue.products))
        yield CounterMetricFamily(names.CATALOGUE_FAILURES, "Refreshes that failed", catalogue.failures)
        if keeper is not None:
            yield GaugeMetricFamily(names.CATALOGUE_SNAPSHOT_AGE_SECONDS, "Age of the snapshot on disk", keeper.age_s)
            yield GaugeMetricFamily(names.CATALOGUE_SNAPSHOT_BYTES, "Size of the snapshot on disk", keeper.size_bytes)
            yield CounterMetricFamily(names.CATALOGUE_SNAPSHOT_FAILURES, "Writes that failed", keeper.failures)
