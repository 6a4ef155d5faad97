"""p-values are ranks among scores that no fit had seen, and a tail beyond them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from streamgmm.engine.calibration import LEVEL_BOUND, LEVEL_GAIN, MIN_RANK, Calibration

SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def naive_p(recent, x):
    return (1 + sum(s <= x for s in recent)) / (len(recent) + 1)


def test_the_rank_is_what_counting_gives(rng):
    recent = rng.normal(size=500)
    p = Calibration.of(500, recent).p_values(recent)
    counted = np.array([naive_p(recent, x) for x in recent])
    inside = counted * 501 - 1 >= MIN_RANK
    np.testing.assert_array_equal(p[inside], counted[inside])


def test_p_values_are_uniform_under_the_null(rng):
    calibration = Calibration.of(5000, rng.normal(size=5000))
    p = calibration.p_values(rng.normal(size=20_000))
    assert stats.kstest(p, "uniform").statistic < 0.03


@given(SCORES, st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
@settings(max_examples=200, deadline=None)
def test_p_values_are_monotone_and_never_zero(recent, scores):
    p = Calibration.of(1000, np.array(recent)).p_values(np.sort(scores))
    assert (np.diff(p) >= 0.0).all()
    assert (p > 0.0).all()
    assert (p <= 1.0).all()


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=40), max_size=12), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_adding_in_parts_equals_sorting_from_scratch(parts, capacity):
    calibration = Calibration.of(capacity, np.empty(0))
    for part in parts:
        calibration = calibration.add(np.array(part))
    everything = np.array([s for part in parts for s in part])[-capacity:]
    np.testing.assert_array_equal(calibration.recent, everything)
    np.testing.assert_array_equal(calibration.ordered, np.sort(everything))


@pytest.mark.parametrize("rate", [0.3, 0.05, 0.01, 1e-3, 1e-5])
def test_the_threshold_is_where_the_p_value_crosses_the_rate(rng, rate):
    calibration = Calibration.of(2000, rng.normal(size=2000))
    threshold = calibration.threshold(rate)
    below, above = calibration.p_values(np.array([threshold - 1e-6, threshold + 1e-6]))
    assert below <= rate * (1 + 1e-5)
    assert above >= rate * (1 - 1e-5)


def test_far_beyond_the_buffer_the_tail_goes_on(rng):
    calibration = Calibration.of(1000, rng.exponential(size=1000) * -1.0)
    near, far, absurd = calibration.p_values(np.array([-12.0, -20.0, -1e300]))
    assert 1e-3 > near > far > absurd > 0.0


@pytest.mark.parametrize("m", [300, 1000, 5000, 10_000])
@pytest.mark.parametrize("wild", [-200.0, -1e5, -1e300])
def test_a_few_wild_scores_leave_the_tail_as_it_is(rng, m, wild):
    clean = rng.exponential(size=m) * -1.0
    for n in {300: (1,), 1000: (1, 3)}.get(m, (1, 3, 10)):
        spoilt = clean.copy()
        spoilt[m // 2 : m // 2 + n] = wild
        x = np.array([-30.0, -80.0, wild])
        before, after = (Calibration.of(m, scores).p_values(x) for scores in (clean, spoilt))
        assert (after < 1e-5).all(), (n, before, after)
        assert (np.log(after[:2]) < 0.5 * np.log(before[:2])).all(), (n, before, after)


def test_scores_that_are_no_numbers_enter_no_buffer(rng):
    scores = np.append(rng.normal(size=500), [-np.inf, np.nan, np.inf])
    whole, added = Calibration.of(1000, scores), Calibration.of(1000, np.empty(0)).add(scores)
    for calibration in (whole, added, added.add(np.full(40, -np.inf))):
        np.testing.assert_array_equal(calibration.recent, scores[:500])
        assert (calibration._ranks(rng.normal(size=300)) <= 500).all()


def test_without_scores_nothing_is_improbable():
    calibration = Calibration.of(100, np.empty(0))
    assert calibration.p_values(np.array([-1e9]))[0] == 1.0
    assert calibration.threshold(0.01) == -np.inf


def naive_levels(p, counts, target, log_gain=0.0):
    levels = []
    for x, moves in zip(p, counts, strict=True):
        levels.append(min(0.5, target * np.exp(log_gain)))
        if moves and not np.isnan(x):
            gain = LEVEL_GAIN * min(1.0, 100 * target)
            log_gain = np.clip(log_gain + gain * (1 - (x <= levels[-1]) / target), -LEVEL_BOUND, LEVEL_BOUND)
    return np.array(levels), log_gain


@pytest.mark.parametrize("target", [0.1, 0.01, 0.001])
def test_the_adaptive_level_moves_against_the_realised_rate(rng, target):
    calibration = Calibration.of(100, np.empty(0), 0.3)
    p, counts = rng.random(3000) ** 2, rng.random(3000) < 0.9
    p[::97] = np.nan
    levels, after = calibration.adapt(p, counts, target)
    expected, log_gain = naive_levels(p, counts, target, 0.3)
    np.testing.assert_allclose(levels, expected, rtol=1e-12)
    assert after.log_gain == pytest.approx(log_gain, rel=1e-12)
    assert calibration.log_gain == 0.3


def test_blocks_change_no_level(rng):
    whole, p = Calibration.of(100, np.empty(0)), rng.random(500)
    part, levels = whole, []
    for block in np.array_split(p, 7):
        found, part = part.adapt(block, np.full(len(block), fill_value=True), 0.05)
        levels.append(found)
    np.testing.assert_array_equal(np.concatenate(levels), whole.adapt(p, np.full(500, fill_value=True), 0.05)[0])


def test_a_burst_is_paid_for():
    calibration = Calibration.of(100, np.empty(0))
    p = np.full(300, 0.005)
    level, _ = calibration.adapt(p, np.full(300, fill_value=True), 0.01)
    assert (p <= level).sum() <= 5


def test_rows_are_ranked_among_those_of_the_step_before_them(rng):
    calibration, x, counts = Calibration.of(500, rng.normal(size=500)), rng.normal(size=300), rng.random(300) < 0.7
    p, nothing = calibration.p_values(x), np.empty(0)
    whole = calibration.worn(p, x, nothing, counts)
    assert (whole >= p).all()
    for i in (0, 1, 50, 299):
        known = np.append(calibration.recent, x[:i][counts[:i]])
        rank = (known <= x[i]).sum()
        expected = max(p[i], (1 + rank) / (len(known) + 1)) if rank >= MIN_RANK else p[i]
        assert whole[i] == pytest.approx(expected, rel=1e-12)
    parts = [calibration.worn(p[:120], x[:120], nothing, counts[:120])]
    parts.append(calibration.worn(p[120:], x[120:], x[:120][counts[:120]], counts[120:]))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_burst_within_a_step_wears_off(rng):
    calibration, every = Calibration.of(1000, rng.normal(size=1000)), np.full(100, fill_value=True)
    x = rng.normal(size=100) - 20.0
    p = calibration.p_values(x)
    worn = calibration.worn(p, x, np.empty(0), every)
    assert (p < 1e-3).all()
    assert (worn[:5] < 1e-3).all()
    assert worn[-30:].mean() > 0.02
