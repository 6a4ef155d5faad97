from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from streamgmm.telemetry.metrics import Metrics

VERSIONS = {"version": "1.2.3", "python": "3.11", "numpy": "2", "numba": "0.6"}
NOW = 1_700_000_000.0


class Scrape:
    """Metrics on a registry of their own, with a clock that stands until it is moved, and what a scrape says."""

    def __init__(self, **changes):
        self.registry = CollectorRegistry()
        self.now = NOW
        self.ready = False
        settings = {
            "target_rate": 0.002,
            "topics": ["vectors"],
            "sinks": ["anomalies", "dead-letters"],
            "members": ["single"],
            "fields": ["load", "heat"],
            "version_info": VERSIONS,
            "ready": lambda: self.ready,
            "clock": lambda: self.now,
        } | changes
        self.metrics = Metrics(registry=self.registry, **settings)

    def text(self):
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()

    def samples(self):
        families = text_string_to_metric_families(self.text())
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}

    def value(self, name, **labels):
        return self.samples()[f"streamgmm_{name}", tuple(sorted(labels.items()))]

    def series(self, name):
        return {labels: value for (n, labels), value in self.samples().items() if n == f"streamgmm_{name}"}


@pytest.fixture
def scrape():
    return Scrape()


@pytest.fixture
def make_scrape():
    return Scrape
