"""Histograms count blocks of values as Prometheus wants them counted."""

import numpy as np
import pytest

from streamgmm.telemetry.series import Histogram

BOUNDS = [0.001, 0.01, 0.1, 1.0]


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_blocks_count_as_their_values_do(n, rng):
    values = np.concatenate([rng.lognormal(-3.0, 3.0, size=n), rng.choice(BOUNDS, size=n), np.full(n // 3, np.nan)])
    whole, singly = Histogram(BOUNDS), Histogram(BOUNDS)
    whole.observe(values)
    for value in values:
        singly.observe_one(value)
    assert whole.counts.tolist() == singly.counts.tolist()
    assert whole.sum == pytest.approx(singly.sum)


def test_a_value_on_a_bound_belongs_below_it():
    histogram = Histogram(BOUNDS)
    histogram.observe(np.array([0.01, 0.010001, 5.0, np.inf]))
    assert histogram.cumulative() == [("0.001", 0.0), ("0.01", 1.0), ("0.1", 2.0), ("1.0", 2.0), ("+Inf", 4.0)]
