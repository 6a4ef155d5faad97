"""What must be true of p-values, thresholds and the adaptive level, whatever the scores."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamgmm.engine.calibration import MIN_RANK, Calibration

SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)
RATES = st.floats(1e-6, 0.5)


@given(SCORES, st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), RATES)
@settings(max_examples=300, deadline=None)
def test_a_row_is_flagged_exactly_where_it_lies_below_the_threshold(recent, scores, rate):
    calibration = Calibration.of(1000, np.array(recent))
    threshold, x = calibration.threshold(rate), np.array([*scores, *recent])
    clear = (
        np.abs(x - threshold) > 1e-6 * (1.0 + np.abs(threshold)) if np.isfinite(threshold) else np.full(len(x), True)
    )
    np.testing.assert_array_equal((calibration.p_values(x) <= rate)[clear], (x < threshold)[clear])


@given(SCORES, RATES, RATES)
@settings(max_examples=200, deadline=None)
def test_a_lower_rate_has_a_lower_threshold(recent, one, other):
    calibration = Calibration.of(1000, np.array(recent))
    assert calibration.threshold(min(one, other)) <= calibration.threshold(max(one, other))


@given(st.lists(st.floats(-1e3, 1e3), min_size=MIN_RANK + 1, max_size=200, unique=True))
@settings(max_examples=200, deadline=None)
def test_the_tail_begins_where_the_ranks_end(recent):
    calibration = Calibration.of(1000, np.array(recent))
    first, anchor, scale = calibration._tail
    below = np.nextafter(anchor, -np.inf)
    assume(calibration.ordered[first - 2] < below)
    assume(anchor - below < 1e-6 * scale)
    at, beyond = calibration.p_values(np.array([anchor, below]))
    assert at == (1 + first) / (len(recent) + 1)
    assert beyond == pytest.approx(at, rel=1e-4)


@pytest.mark.parametrize("m", [1, 3, 5, 6, 20, 100])
def test_ranks_are_valid_however_few_the_scores(rng, m):
    """P(p ≤ α) ≤ α at every α that a rank can express (conformal prediction); the tail is a model and promises less."""
    draws = 20_000
    p = np.array([Calibration.of(m, rng.normal(size=m)).p_values(rng.normal(size=1))[0] for _ in range(draws)])
    alphas = (1 + np.arange(MIN_RANK if m > MIN_RANK else 0, m + 1)) / (m + 1)
    for alpha in alphas[:: max(1, len(alphas) // 5)]:
        assert (p <= alpha).mean() <= alpha + 4.0 * np.sqrt(alpha * (1 - alpha) / draws) + 1e-12


@pytest.mark.parametrize("target", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("step", [20, 100, 1000, 20_000])
@pytest.mark.parametrize("spread", [1.0, 1.15])
def test_the_adaptive_level_holds_the_rate(rng, target, step, spread):
    """Also where scores spread more than the buffer knows, so that a fixed level would flag too many."""
    calibration = Calibration.of(5000, rng.normal(size=5000))
    flags = rows = 0
    for i in range(min(20_000, max(60, int(400 / (target * step))))):
        p = calibration.p_values(rng.normal(size=step) * spread)
        level, calibration = calibration.adapt(p, np.full(step, fill_value=True), target)
        if i * step > 20 * max(step, 1.0 / target):
            flags, rows = flags + int((p <= level).sum()), rows + step
    assert flags / rows == pytest.approx(target, rel=0.05 + 4.0 / np.sqrt(rows * target))


def test_the_level_is_bounded():
    calibration, every = Calibration.of(10, np.empty(0)), np.full(100_000, fill_value=True)
    assert calibration.adapt(np.ones(100_000), every, 0.01)[1].level(0.01) == 0.5
    after = calibration.adapt(np.zeros(100_000), every, 0.01)[1]
    assert 0.0 < after.level(0.01) < 0.001
