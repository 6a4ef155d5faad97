"""Mixtures along principal axes: the density of probabilistic PCA, in the units of the columns."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from streamgmm import StreamDetector
from streamgmm.detector.committee import Detector
from streamgmm.records import Version
from streamgmm.refit.fitting import cold, gate, warm
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.reduction import Reduction

SETTINGS = MemberSettings(n_components=2, pca_components=2, count_few=False)


def flat(rng, n, d=6):
    """Rows near a plane, with noise of standard deviation 0.1 about it, in very different units."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(d, 2)))[0]
    return (rng.normal(size=(n, 2)) * [3.0, 2.0]) @ basis.T + 0.1 * rng.normal(size=(n, d))


def test_one_gaussian_has_the_density_of_probabilistic_pca(rng):
    z = flat(rng, 3000)
    reduction = Reduction.fit(z, 2, None, 0.0)
    values = np.linalg.eigvalsh(np.cov(z, rowvar=False, bias=True))[::-1]
    assert reduction.rest == pytest.approx(values[2:].mean())
    member = cold(z, 0.0, replace(SETTINGS, n_components=1, shrinkage=0.0, floor=1e-9), rng)
    scaled = member.view.scaled(z)
    own = Reduction.fit(scaled, 2, None, 0.0)
    spectrum = np.linalg.eigvalsh(np.cov(scaled, rowvar=False, bias=True))[::-1]
    V = own.axes
    expected = V @ np.diag(spectrum[:2]) @ V.T + spectrum[2:].mean() * (np.eye(6) - V @ V.T)
    np.testing.assert_allclose(member.mixture.covariances[0], expected, atol=1e-6)
    density = multivariate_normal(scaled.mean(axis=0), expected).logpdf(scaled) - np.log(member.view.scale).sum()
    np.testing.assert_allclose(member.log_density(z), density, rtol=1e-5, atol=1e-4)


def test_there_and_back_is_the_identity_along_the_axes(rng):
    z = flat(rng, 500)
    reduction = Reduction.fit(z, 2, None, 1e-3)
    member = cold(z, 0.0, SETTINGS, rng)
    along = reduction.project(member.mixture, "full")
    again = reduction.project(reduction.expand(along), "full")
    np.testing.assert_allclose(again.means, along.means, atol=1e-10)
    np.testing.assert_allclose(again.covariances, along.covariances, atol=1e-10)
    np.testing.assert_allclose(reduction.axes.T @ reduction.axes, np.eye(2), atol=1e-12)


@pytest.mark.parametrize(("share", "n_axes"), [(0.5, 1), (0.99, 2), (1.0, 6)])
def test_a_share_of_the_variance_decides_the_number(rng, share, n_axes):
    assert Reduction.fit(flat(rng, 2000), None, share, 0.0).axes.shape == (6, n_axes)


@pytest.mark.parametrize("shape", ["full", "tied", "diag", "spherical"])
def test_a_member_goes_on_along_axes_of_its_own(rng, shape):
    settings = replace(SETTINGS, covariance_type=shape)
    member = cold(flat(rng, 800), 0.0, settings, rng)
    for _ in range(3):
        X = flat(rng, 800)
        member = warm(member, X, 0.0, settings, 1)
        assert gate(member) is None
    fresh = cold(X, 0.0, settings, rng)
    assert member.log_density(X).mean() == pytest.approx(fresh.log_density(X).mean(), abs=0.15)


def test_what_leaves_the_plane_is_improbable_and_the_column_is_named(rng):
    X = flat(rng, 2000)
    member = cold(X, 0.0, SETTINGS, rng)
    row = flat(rng, 1)
    off = row.copy()
    off[0, 3] += 2.0
    assert member.log_density(row)[0] - member.log_density(off)[0] > 10.0
    [told] = Detector((member,), Version(1, 0)).explain(off, tuple("abcdef"))
    assert told.contributions[0].feature == "d"
    assert sum(c.share for c in told.contributions) == pytest.approx(told.distance2, abs=1e-9)


def test_a_constant_column_takes_no_part_in_the_rest(rng):
    X = np.column_stack([flat(rng, 500), np.full(500, 4.0)])
    member = cold(X, 0.0, replace(SETTINGS, count_few=True), rng)
    assert gate(member) is None
    without = cold(X[:, :6], 0.0, SETTINGS, np.random.default_rng(3))
    assert member.log_density(X).mean() == pytest.approx(without.log_density(X[:, :6]).mean(), abs=0.1)


@pytest.mark.parametrize("model", [{"pca": {"n_components": 2}}, {"pca": {"explained_variance": 0.9}}])
def test_a_detector_serves_them(rng, model):
    detector = StreamDetector.from_config({"model": model}, fields=tuple("abcdef"), seed=1)
    scored = detector.process(flat(rng, 2500))
    assert np.isfinite(scored.log_density[1000:]).all()
    far = flat(rng, 1)
    far[0, 0] += 3.0
    assert detector.predict(far) == [-1]
