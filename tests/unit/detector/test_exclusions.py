"""Values of two columns that exclude each other: counted, explained, kept."""

import itertools
import math

import numpy as np
import pytest

from streamgmm import StreamDetector
from streamgmm.detector.exclusions import MAX_PAIRS, MIN_EXCESS, MIN_EXPECTED
from streamgmm.detector.view import View


def in_step(rng, n=2000, m=3):
    """Return n rows of m switches that are thrown together, and of two numbers."""
    switch = (rng.random(n) < 0.5).astype(float)
    return np.column_stack([*[switch] * m, rng.normal(size=(n, 2))])


def by_hand(X, columns, row):
    """Return the excess of a row: its pairs' sum, over the root of their number."""
    found = []
    for i, j in itertools.combinations(columns, 2):
        one, other = X[:, i] == row[i], X[:, j] == row[j]
        expected = one.sum() * other.sum() / len(X)
        if expected >= MIN_EXPECTED:
            excess = math.log(expected / ((one & other).sum() + 0.5))
            found += [excess] if excess >= MIN_EXCESS else []
    return sum(found) / math.sqrt(len(found)) if found else 0.0


def test_the_excess_is_that_of_the_formula(rng):
    X = np.column_stack([rng.integers(0, 3, 2000), rng.normal(size=2000), rng.integers(0, 5, (2000, 2)) ** 2])
    X = X.astype(float)
    X[:, 3] = np.where(rng.random(2000) < 0.9, X[:, 2], X[:, 3])
    X[:, 0] = np.where((X[:, 2] > 5.0) & (X[:, 0] == 2.0), 1.0, X[:, 0])
    X[rng.random(X.shape) < 0.02] = np.nan
    tables = View.fit(X, 30.0, ()).tables
    rows = np.vstack([X[:300], [2, 0, 16, 9], [2, 0, 9, 9], [2, 0, np.nan, 1], [2, 0, 7, 9]])
    expected = [by_hand(X, [0, 2, 3], row) for row in rows]
    assert max(expected) > 4.0
    alone = tables.surprise(rows).sum(axis=1) / np.sqrt(3.0)
    np.testing.assert_allclose(-tables.log_mass(rows) - alone, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("m", [3, 20])
def test_a_switch_out_of_step_is_flagged_and_named(m):
    rng = np.random.default_rng(1)
    X = in_step(rng, 6500, m)
    X[6000, 1] = 1.0 - X[6000, 1]
    scored = StreamDetector.from_config({"codec": {"fields": [f"f{j}" for j in range(m + 2)]}}).process(X)
    assert scored.is_anomaly[6000]
    [found] = [a for a in scored.anomalies if a.index == 6000]
    assert found.explanation.contributions[0].feature == "f1"


def test_free_switches_and_those_in_step_cost_what_they_did(rng):
    free = np.column_stack([rng.random((2000, 6)) < 0.3, rng.normal(size=(2000, 1))]).astype(float)
    for X in (free, np.column_stack([free[:, 0], free])):
        tables = View.fit(X, 30.0, ()).tables
        alone = tables.surprise(X).sum(axis=1) / np.sqrt(len(tables.members))
        np.testing.assert_allclose(-tables.log_mass(X), alone)


def test_pairs_are_bounded(rng):
    tables = View.fit(in_step(rng, 500, 30), 30.0, ()).tables
    assert tables.exclusions.columns.shape == (2, MAX_PAIRS)


def test_exclusions_come_back_from_arrays_and_are_checked(rng):
    X = in_step(rng)
    odd = X.copy()
    odd[:, 1] = 1.0 - odd[:, 1]
    view = View.fit(X, 30.0, ())
    arrays = view.to_arrays()
    again = View.from_arrays(arrays)
    assert again.holds(5)
    np.testing.assert_array_equal(again.tables.log_mass(odd), view.tables.log_mass(odd))
    for wrong in (
        {"pairs": np.array([[0, 0, 3], [1, 2, 2]])},
        {"pairs": np.array([0, 1])},
        {"excess": np.zeros((3, 2, 2))},
        {"excess": np.zeros(3)},
    ):
        assert not View.from_arrays(arrays | wrong).holds(5)
