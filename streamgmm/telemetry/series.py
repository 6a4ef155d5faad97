"""The values of all series behind one lock, so that a scrape sees whole reports and never half of one."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from streamgmm.telemetry.catalogue import OTHER, PREFIX
from streamgmm.telemetry.histogram_kernels import count_up_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from streamgmm.records import Floats, Ints
    from streamgmm.telemetry.catalogue import Metric

    Labels = tuple[str, ...]

_log = logging.getLogger(__name__)


class Histogram:
    """Counts per bucket, fed with arrays: one pass a batch instead of one call a record (200 times cheaper)."""

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds: Floats = np.unique(np.fromiter(bounds, dtype=np.float64))
        self.counts: Ints = np.zeros(len(self.bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def observe(self, values: Floats) -> None:
        """Count values (n,), NaN aside; a value equal to a bound belongs below it, as Prometheus wants."""
        below = np.empty_like(self.counts)
        self.sum += count_up_to(np.ascontiguousarray(values), self.bounds, below)
        self.counts += np.diff(below, prepend=0)

    def observe_one(self, value: float) -> None:
        """Count one value."""
        if not math.isnan(value):
            self.counts[np.searchsorted(self.bounds, value, side="left")] += 1
            self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, count up to it) as the exposition format wants them."""
        names = (*map(floatToGoString, self.bounds), "+Inf")
        return [(n, float(c)) for n, c in zip(names, np.cumsum(self.counts), strict=True)]


class Series(Collector):
    """All series of a catalogue; those with closed label sets stand at 0 from the start.

    Parameters
    ----------
    catalogue
        The metrics.
    sets
        Label name → its values, for the labels whose values are known only now.
    asked
        Gauges that are asked for at each scrape: what a thread that hangs could not set.
    """

    def __init__(
        self,
        catalogue: Iterable[Metric],
        sets: Mapping[str, Sequence[str]],
        asked: Mapping[str, Callable[[], float]],
    ) -> None:
        self._asked = asked
        self.lock = threading.Lock()
        self._metrics = {m.name: m for m in catalogue}
        self._values: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        for metric in self._metrics.values():
            known = [] if metric.live else itertools.product(*(la.values or sets[la.name] for la in metric.labels))
            if metric.type == "histogram":
                self._histograms[metric.name] = {labels: Histogram(metric.buckets) for labels in known}
            else:
                self._values[metric.name] = dict.fromkeys(known, 0.0)

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Add to a counter."""
        series = self._values[name]
        labels = self._closed(series, name, labels)
        if labels in series:
            series[labels] += amount

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        series = self._values[name]
        labels = self._closed(series, name, labels)
        if labels in series:
            series[labels] = value

    def replace(self, name: str, values: Mapping[Labels, float]) -> None:
        """Set all series of a live metric; those not named are gone."""
        self._values[name] = dict(values)

    def observe(self, name: str, values: Floats | float, *labels: str) -> None:
        """Feed a histogram with one value or with many."""
        series = self._histograms[name]
        labels = self._closed(series, name, labels)
        if labels in series:
            if isinstance(values, float):
                series[labels].observe_one(values)
            else:
                series[labels].observe(values)

    def collect(self) -> Iterator[Family]:
        """Return a consistent picture of everything."""
        asked = {name: ask() for name, ask in self._asked.items()}
        with self.lock:
            for name, value in asked.items():
                self.set(name, value)
            families = [self._family(metric) for metric in self._metrics.values()]
        return iter(families)

    def describe(self) -> Iterable[Family]:
        """Return nothing to compare: registries ask before the first value stands."""
        return ()

    def _closed(self, series: Mapping[Labels, object], name: str, labels: Labels) -> Labels:
        """Return the labels if their series stands, else its `_other`, else complain: a set never grows at run time."""
        if labels in series:
            return labels
        other = (*labels[:-1], OTHER)
        if other not in series:
            _log.error("metric %s has no series %s: not counted", name, labels)
        return other

    def _family(self, metric: Metric) -> Family:
        names = [label.name for label in metric.labels]
        name = PREFIX + metric.name
        if metric.type == "histogram":
            family = HistogramMetricFamily(name, metric.help, labels=names)
            for labels, histogram in self._histograms[metric.name].items():
                family.add_metric(labels, histogram.cumulative(), histogram.sum)
            return family
        plain = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
        values = plain(name, metric.help, labels=names)
        for labels, value in self._values[metric.name].items():
            values.add_metric(labels, value)
        return values
