"""Reads what a daemon says of itself on /metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """One line of /metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """Read the Prometheus text format."""
    for line in text.splitlines():
        if match := SAMPLE.match(line):
            name, labels, value = match.groups()
            yield Sample(name, dict(LABEL.findall(labels or "")), float(value))


class Metrics:
    """What the daemon says of itself; every name carries the prefix `streamgmm_`."""

    def __init__(self, text: str = "") -> None:
        self._samples = tuple(samples(text))

    def total(self, name: str, **labels: str) -> float:
        """Return the sum over the series of a name that carry these labels."""
        wanted = labels.items()
        return sum(s.value for s in self._samples if s.name == f"streamgmm_{name}" and wanted <= s.labels.items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the value of each series of a name by one of its labels, zeros left out."""
        found: dict[str, float] = {}
        for sample in self._samples:
            if sample.name == f"streamgmm_{name}" and sample.value and label in sample.labels:
                found[sample.labels[label]] = found.get(sample.labels[label], 0.0) + sample.value
        return found

    @property
    def seen(self) -> int:
        """Return the rows that the daemon is done with, whatever became of them."""
        return int(sum(self.total(f"rows_{fate}_total") for fate in ("scored", "unscored", "rejected")))
