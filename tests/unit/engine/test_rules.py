"""A flag is taken back where nothing that leads to it matters, and only there."""

import math
from dataclasses import replace

import numpy as np
import pytest

from streamgmm import StreamDetector
from streamgmm.engine.rules import FieldRule, deserves_flag, leading
from streamgmm.errors import ConfigError
from streamgmm.records import Contribution, Explanation


def contribution(feature, z, stddev=1.0, expected=10.0):
    """Return what a normal column that is z standard deviations off contributes."""
    surprise, usual = (square / 2 + 0.5 * math.log(2 * math.pi) for square in (z * z, 1.0))
    return Contribution(feature, surprise, 0.0, expected + z * stddev, expected, stddev, usual)


def explained(**z):
    return Explanation("slow", 0, (1.0,), 0.0, tuple(contribution(name, value) for name, value in z.items()))


@pytest.mark.parametrize("committee", ["single", ["slow", "fast", "marginals"]])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_excess_is_free_of_the_unit(rng, unit, committee):
    """A normal column's excess at z standard deviations is z²/2 − 1/2, and that of one at rest far below notable."""
    X = rng.normal(size=(3000, 3))
    X[:, 2] += 0.9 * X[:, 1]
    detector = StreamDetector.from_config(
        {"model": {"committee": committee, **({"n_components": 1} if committee == "single" else {})}},
        fields=["a", "b", "c"],
    )
    detector.process(X * [unit, 1.0, 1.0 / unit])
    row = np.array([[8.0, 0.1, 0.1]]) * [unit, 1.0, 1.0 / unit]
    (explanation,) = detector.engine.state.detector.explain(np.repeat(row, 1, axis=0), ["a", "b", "c"])
    found = {c.feature: c.excess for c in explanation.contributions}
    assert found["a"] == pytest.approx(31.5, rel=0.25)
    assert max(found["b"], found["c"]) < 1.0
    assert [c.feature for c in leading(explanation)] == ["a"]


@pytest.mark.parametrize(
    ("z", "names"),
    [
        ({"a": 9, "b": 3.1, "c": 2}, {"a", "b"}),
        ({"a": -9, "b": 1, "c": 2.9}, {"a"}),
        ({"a": 2.5, "b": 2.2, "c": 1.1}, {"a", "b"}),
        ({"a": 0.2, "b": -0.3, "c": 0.0}, set()),
    ],
)
def test_what_leads(z, names):
    assert {c.feature for c in leading(explained(**z))} == names


@pytest.mark.parametrize(
    ("rule", "z", "kept"),
    [
        (FieldRule("high"), {"a": 8}, True),
        (FieldRule("high"), {"a": -8}, False),
        (FieldRule("low"), {"a": -8}, True),
        (FieldRule("low"), {"a": 8}, False),
        (FieldRule("both", 7.5), {"a": -8}, True),
        (FieldRule("both", 8.5), {"a": -8}, False),
        (FieldRule("high", 8.5), {"a": 8, "b": 2}, False),
        (FieldRule("high", 8.5), {"a": 8, "b": 4}, True),
        (FieldRule("high"), {"b": 8}, True),
        (FieldRule("high"), {"a": 0.5}, True),
    ],
)
def test_a_rule_takes_back_what_it_should_and_no_more(rule, z, kept):
    assert deserves_flag(explained(**z), {"a": rule}) is kept


def test_what_has_no_expectation_is_never_held_back():
    unknown = replace(contribution("a", 9.0), expected=math.nan, stddev=math.nan)
    assert deserves_flag(Explanation("slow", 0, (1.0,), 0.0, (unknown,)), {"a": FieldRule("low", 1e9)})


CONFIG = {"codec": {"fields": ["a", "b"]}, "detection": {"target_rate": 0.01}}


def run(fields, X, *, explain=True, level="fixed"):
    detection = {"target_rate": 0.02, "level": level, "fields": fields}
    detector = StreamDetector.from_config({**CONFIG, "detection": detection}, explain=explain)
    return detector.process(X)


@pytest.mark.parametrize("explain", [True, False])
@pytest.mark.parametrize("level", ["fixed", "adaptive"])
def test_rules_change_flags_and_nothing_else(rng, explain, level):
    X = rng.normal(size=(3000, 2))
    down, up = np.arange(1500, 3000, 200), np.arange(1600, 3000, 200)
    X[down, 0] -= 9.0
    X[up, 0] += 9.0
    plain = run({}, X, level=level)
    ruled = run({"a": {"direction": "high", "min_deviation": 2.5}}, X, explain=explain, level=level)
    for name in ("log_density", "p_value", "score", "threshold", "status"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(ruled, name))
    assert plain.is_anomaly[down].any()
    assert plain.is_anomaly[up].any()
    assert not ruled.is_anomaly[down].any()
    np.testing.assert_array_equal(ruled.is_anomaly[up], plain.is_anomaly[up])
    assert set(np.flatnonzero(plain.is_anomaly)) == set(np.flatnonzero(ruled.is_anomaly)) | set(ruled.withdrawn)
    assert not ruled.is_anomaly[list(ruled.withdrawn)].any()
    assert [a.index for a in ruled.anomalies] == (np.flatnonzero(ruled.is_anomaly).tolist() if explain else [])


def test_a_rule_for_a_column_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match="no column 'c'"):
        StreamDetector.from_config({**CONFIG, "detection": {"fields": {"c": {"direction": "low"}}}})
    with pytest.raises(ConfigError, match="no column 'c'"):
        StreamDetector.from_config({"detection": {"fields": {"c": {"direction": "low"}}}}, fields=["a", "b"])
