"""The fitted view: scaling that remembers, clipping, categories by their frequency."""

import numpy as np
import pytest

from streamgmm.detector import column_kernels
from streamgmm.detector.committee import Detector
from streamgmm.detector.view import View
from streamgmm.records import Version
from streamgmm.refit.fitting import cold
from streamgmm.refit.job import MemberSettings


def test_features_have_mean_zero_and_unit_deviation_at_any_offset(rng):
    X = rng.normal(size=(1000, 2)) * [1e-6, 1e3] + [1e9, -5.0]
    z = View.fit(X[:, 1:], 30.0, ()).apply(X[:, 1:])
    assert abs(z.mean()) < 1e-12
    assert z.std() == pytest.approx(1.0)
    assert View.fit(rng.normal(size=(1000, 1)) + 1e9, 30.0, ()).scale[0] == pytest.approx(1.0, rel=0.1)


def test_a_constant_column_is_measured_by_its_size():
    view = View.fit(np.full((10, 2), [7.0, 0.0]), 30.0, ())  # too few rows to say how many values it has
    np.testing.assert_array_equal(view.scale, [7.0, 1.0])
    assert not view.apply(np.full((1, 2), [7.0, 0.0])).any()


def test_a_column_that_freezes_keeps_a_share_of_its_scale(rng):
    lively = View.fit(rng.normal(size=(500, 1)), 30.0, ())
    frozen = View.fit(np.full((500, 1), 2.0), 30.0, (), lively)
    assert frozen.scale[0] == pytest.approx(0.02 * 0.999 * lively.scale[0])


def test_far_values_are_clipped_and_missing_ones_stay_missing(rng):
    view = View.fit(rng.normal(size=(500, 2)), 30.0, ())
    np.testing.assert_array_equal(view.apply(np.array([[1e9, np.nan]])), [[30.0, np.nan]])


def test_a_category_is_as_surprising_as_it_is_rare():
    codes = np.array([1.0] * 90 + [2.0] * 9 + [3.0])
    view = View.fit(np.column_stack([codes, np.arange(100.0)]), 30.0, (0,))
    common, rare, rarest, unseen = view.encode(np.array([[1.0, 0], [2.0, 0], [3.0, 0], [99.0, 0]]))[:, 0]
    assert common < rare < rarest < unseen
    assert np.isnan(view.encode(np.array([[np.nan, 0.0]]))[0, 0])


def test_the_jacobian_makes_densities_comparable(rng):
    X = rng.normal(size=(500, 1)) * 1000.0
    member = cold(X, 0.0, MemberSettings(n_components=1, shrinkage=0.0, floor=0.0), rng)
    expected = -0.5 * np.log(2 * np.pi) - np.log(X.std()) - 0.5 * ((X - X.mean()) / X.std()) ** 2
    np.testing.assert_allclose(member.log_density(X), expected[:, 0], rtol=1e-6)


def test_arrays_bring_a_detector_back_to_the_bit(rng):
    X = np.column_stack([rng.normal(size=300), rng.integers(0, 3, 300).astype(float)])
    settings = MemberSettings(n_components=2, category_columns=(1,))
    members = tuple(cold(X, 12.5, settings, rng) for _ in range(2))
    detector = Detector(members, Version(3, 4))
    again = Detector.from_arrays(detector.to_arrays())
    assert again.version == Version(3, 4)
    assert again.members[0].trained_at == 12.5
    np.testing.assert_array_equal(again.log_density(X), detector.log_density(X))
    np.testing.assert_allclose(
        detector.log_density(X), np.mean([m.log_density(X) for m in members], axis=0), rtol=1e-14
    )


@pytest.mark.parametrize("wild", [1e4, 1e9, -1e18, 1.8e19])
def test_one_wild_reading_is_forgotten_with_its_window(rng, wild):
    X = rng.normal(size=(1000, 2))
    view = View.fit(X, 30.0, ())
    X[500, 0] = wild
    for _ in range(10):  # as often as a window of 1000 rows is refreshed while it holds the reading
        view = View.fit(X, 30.0, (), view)
    after = View.fit(rng.normal(size=(1000, 2)), 30.0, (), view)
    np.testing.assert_allclose(after.scale, 1.0, rtol=0.2)


def test_a_column_that_wakes_is_remembered(rng):
    X = np.full((1000, 1), 5.0)
    view = View.fit(X, 30.0, ())
    for _ in range(5):
        X = np.vstack([X[200:], 5.0 + 100.0 * rng.normal(size=(200, 1))])
        view = View.fit(X, 30.0, (), view)
    assert view.remembered[0] > 50.0


@pytest.mark.parametrize("far", [1e155, 1e300, -1.7e308])
def test_an_explanation_of_what_is_absurdly_far_still_holds_numbers(rng, far):
    X = rng.normal(size=(500, 3))
    detector = Detector((cold(X, 0.0, MemberSettings(n_components=2), rng),), Version(1, 0))
    [explanation] = detector.explain(np.array([[0.0, far, 0.0]]), ("a", "b", "c"))
    assert explanation.contributions[0].feature == "b"
    numbers = [explanation.distance2, *explanation.responsibilities]
    numbers += [v for c in explanation.contributions for v in (c.surprise, c.share, c.observed, c.expected, c.stddev)]
    assert np.isfinite(numbers).all()


def test_a_robust_scale_ignores_a_few_far_rows(rng):
    X = rng.normal(size=(1000, 2)) * [1.0, 50.0] + [5.0, 0.0]
    X[:50, 0] = 1e6
    view = View.fit(X, 30.0, (), robust=True)
    np.testing.assert_allclose(view.scale, [1.0, 50.0], rtol=0.3)
    np.testing.assert_allclose(view.location, [5.0, 0.0], atol=5.0)
    assert View.fit(X, 30.0, ()).scale[0] > 1e4
    resting = np.where(rng.random((1000, 1)) < 0.05, 1.0 + rng.random((1000, 1)), 0.0)
    assert View.fit(resting, 30.0, (), robust=True).scale[0] == pytest.approx(0.1 * resting.std())


def test_a_robust_view_keeps_missing_cells_and_its_memory(rng):
    X = rng.normal(size=(500, 2))
    X[::3, 0] = np.nan
    X[:, 1] = np.nan
    view = View.fit(X, 30.0, (), robust=True)
    assert np.isfinite([view.location, view.scale]).all()
    quiet = View.fit(np.full((500, 2), 0.0), 30.0, (), view, robust=True)
    assert quiet.remembered[0] == pytest.approx(0.999 * view.remembered[0])


def test_remembered_scales_and_floors_are_those_of_the_formula(rng):
    n = 2000
    known = np.where(rng.random(n) < 0.2, 0.0, rng.exponential(size=n))
    spread = np.where(rng.random(n) < 0.2, 0.0, rng.exponential(size=n))
    spread[:20] = np.nan
    before, location = rng.normal(size=(2, n)) * 10.0 ** rng.integers(-3, 10, n)
    low, high = before - rng.exponential(size=n), before + rng.exponential(size=n) * 3.0
    remembered, scale = np.empty(n), np.empty(n)
    left = column_kernels.remember(known, before, spread, low, high, 2.0, 0.9, remembered)
    tame = (known > 0.0) & (np.maximum(high - before, before - low) <= 2.0 * known)
    np.testing.assert_array_equal(remembered, np.where(tame, np.maximum(0.9 * known, spread), 0.9 * known))
    assert left == (~tame & ~(spread <= 0.9 * known)).sum() > 0
    location[:30] = 0.0
    column_kernels.floored(spread, remembered, location, 0.02, 1e-9, scale)
    floored, magnitude = np.maximum(spread, 0.02 * remembered), np.abs(location)
    np.testing.assert_array_equal(
        scale, np.where(floored > 1e-9 * magnitude, floored, np.where(magnitude > 0.0, magnitude, 1.0))
    )
