"""docs/metrics.md says what the catalogue says, both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamgmm.telemetry.catalogue import CATALOGUE, PREFIX

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(streamgmm_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", re.MULTILINE)


def labels(metric):
    """Return the labels column: each label with its closed set, or where its values come from."""
    said = (f"`{la.name}`: {', '.join(f'`{v}`' for v in la.values) or la.of}" for la in metric.labels)
    return "; ".join(said) or "–"


def expected(metric):
    return (PREFIX + metric.name, metric.type, labels(metric), metric.help)


def test_the_page_and_the_catalogue_say_the_same():
    table = "\n".join("| `{}` | {} | {} | {} |".format(*expected(m)) for m in CATALOGUE)
    assert ROW.findall(PAGE.read_text()) == [expected(m) for m in CATALOGUE], f"the table should be:\n{table}"


def test_buckets_on_the_page():
    text = PAGE.read_text()
    for metric in CATALOGUE:
        if metric.buckets:
            assert f"`{metric.name}`: {', '.join(f'{b:g}' for b in metric.buckets)}" in text


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda m: m.name)
def test_names_follow_the_rules_of_prometheus(metric):
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert bool(metric.buckets) == (metric.type == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")
    assert not {label.name for label in metric.labels} & {
        "key",
        "offset",
        "exception",
        "error",
        "job",
        "instance",
        "le",
    }
    assert all(label.values or label.of for label in metric.labels)


def test_names_are_unique():
    names = [m.name for m in CATALOGUE]
    assert len(names) == len(set(names))
