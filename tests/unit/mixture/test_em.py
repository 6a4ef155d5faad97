from dataclasses import replace

import numpy as np
import pytest
from mixtures import TYPES, draw, random_mixture, with_holes
from sklearn.mixture import GaussianMixture as Theirs

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture import em
from streamgmm.mixture.em import Protection
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.scoring import log_density
from streamgmm.mixture.statistics import SufficientStats

PLAIN = Protection(reg_covar=0.0)


def theirs_after(params, X, n, reg_covar):
    """Return scikit-learn's parameters after n passes from the same start."""
    invert = np.linalg.inv if params.covariance_type in {"full", "tied"} else np.reciprocal
    model = Theirs(
        params.n_components,
        covariance_type=params.covariance_type,
        tol=0.0,
        reg_covar=reg_covar,
        max_iter=n,
        weights_init=params.weights,
        means_init=params.means,
        precisions_init=invert(params.covariances),
    )
    return model.fit(X)


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("K", "d", "n"), [(3, 2, 500), (4, 8, 5000), (8, 5, 100_000)])
def test_parameters_are_scikit_learns_after_the_same_passes(rng, kind, K, d, n):
    truth = random_mixture(rng, kind, K, d)
    X = draw(truth, n, rng)
    start = random_mixture(rng, kind, K, d)
    ours = em.run(start, X, 7, 0.0, Protection(reg_covar=1e-6)).parameters
    model = theirs_after(start, X, 7, 1e-6)
    np.testing.assert_allclose(ours.weights, model.weights_, rtol=1e-8)
    np.testing.assert_allclose(ours.means, model.means_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.covariances, model.covariances_, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", TYPES)
def test_a_fit_far_from_the_origin_is_the_fit_shifted(rng, kind):
    """scikit-learn refuses this: its moments cancel."""
    truth = random_mixture(rng, kind, 3, 4)
    # Rounded to a grid that survives the shift, so that both fits see the same rows.
    X = np.round(draw(truth, 2000, rng) * 2**20) / 2**20
    near = em.fit(X, 3, kind, np.random.default_rng(1), protection=PLAIN)
    far = em.fit(X + 1e8, 3, kind, np.random.default_rng(1), protection=PLAIN)
    assert far.lower_bound == pytest.approx(near.lower_bound, rel=1e-6)
    np.testing.assert_allclose(far.parameters.weights, near.parameters.weights, rtol=1e-6)
    np.testing.assert_allclose(far.parameters.means - 1e8, near.parameters.means, atol=1e-6)
    np.testing.assert_allclose(far.parameters.covariances, near.parameters.covariances, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_likelihood_never_falls(rng, kind, holes):
    X = with_holes(draw(random_mixture(rng, kind, 4, 5), 600, rng), rng, holes)
    wide = random_mixture(rng, kind, 4, 5)
    start = MixtureParameters.from_covariances(wide.weights, wide.means, 9.0 * wide.covariances, kind)
    fit = em.run(start, X, 60, 0.0, PLAIN)
    assert np.diff(fit.history).min() > -1e-12


@pytest.mark.parametrize("kind", TYPES)
def test_rows_that_miss_features_are_worth_learning(rng, kind):
    """Half of the rows miss something: the fit on all of them is closer to the truth than on the complete ones."""
    truth = random_mixture(rng, kind, 2, 3, spread=4.0)
    X = draw(truth, 4000, rng)
    X[::2] = with_holes(X[::2], rng, 0.3)
    found = em.fit(X, 2, kind, rng, tol=1e-6).parameters
    fresh = draw(truth, 4000, rng)
    assert (log_density(truth, fresh) - log_density(found, fresh)).mean() < 0.02


@pytest.mark.parametrize("kind", TYPES)
def test_weights_are_repetitions(rng, kind):
    X = draw(random_mixture(rng, kind, 3, 4), 200, rng)
    times = rng.integers(0, 4, size=200)
    start = random_mixture(rng, kind, 3, 4)
    weighted, a = em.e_step(start, X, times.astype(float))
    repeated, b = em.e_step(start, np.repeat(X, times, axis=0))
    assert a == pytest.approx(b, rel=1e-12)
    for name in ("weight", "first", "second"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_an_m_step_gives_back_what_a_mixture_expects(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    back = em.m_step(SufficientStats.expected(params), kind, PLAIN)
    np.testing.assert_allclose(back.covariances, params.covariances, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(back.weights, params.weights, rtol=1e-12)


def test_the_deadline_is_looked_at_between_passes(rng):
    X = draw(random_mixture(rng, "full", 3, 4), 300, rng)
    answers = iter([False, False, True])
    fit = em.run(random_mixture(rng, "full", 3, 4), X, 10, 0.0, PLAIN, deadline=lambda: next(answers))
    assert fit.n_iter == 2
    assert not fit.converged


def test_a_fit_is_the_same_under_the_same_seed(rng):
    X = draw(random_mixture(rng, "full", 3, 4), 5000, rng)
    one, two = (em.fit(X, 3, "full", np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.parameters.covariances, two.parameters.covariances)


def test_many_cheap_starts_find_the_components(rng):
    means = 12.0 * rng.normal(size=(8, 4))
    truth = MixtureParameters.from_covariances(np.full(8, 1 / 8), means, np.ones(8), "spherical")
    X = draw(truth, 4000, rng)
    found = em.fit(X, 8, "full", rng).parameters
    apart = np.linalg.norm(found.means[:, None] - means, axis=2)
    assert (apart.min(axis=0) < 0.5).all()


class TestProtection:
    def test_a_plain_fit_of_degenerate_rows_fails_with_the_remedy(self, rng):
        with pytest.raises(FitError, match="increase reg_covar"):
            em.fit(np.ones((20, 3)), 2, "full", rng, protection=PLAIN)

    @pytest.mark.parametrize("kind", TYPES)
    @pytest.mark.parametrize("rows", ["constant", "constant feature", "duplicate feature", "one value", "scales"])
    def test_hostile_rows_give_a_finite_model(self, rng, kind, rows):
        X = rng.normal(size=(400, 3))
        if rows == "constant":
            X[:] = 3.0
        elif rows == "constant feature":
            X[:, 1] = 7.0
        elif rows == "duplicate feature":
            X[:, 1] = X[:, 0]
        elif rows == "one value":
            X[:360] = 0.0
        else:
            X *= [1e9, 1.0, 1e-6]
        protection = Protection(reg_covar=0.0, shrinkage=1.0, floor=1e-6, reseed=True)
        params = em.fit(X, 5, kind, rng, protection=protection).parameters
        assert np.isfinite(log_density(params, X)).all()
        assert (params.weights > 0.0).all()

    def test_the_floor_says_what_it_lifted(self, rng):
        X = rng.normal(size=(300, 3))
        X[:, 2] = X[:, 0] + 1e-9 * rng.normal(size=300)
        fit = em.fit(X, 2, "full", rng, protection=Protection(reg_covar=0.0, floor=1e-3))
        assert {repair.kind for repair in fit.repairs} == {"floored"}
        assert fit.parameters.condition_numbers().max() < 1e5

    def test_a_dying_component_is_moved_onto_the_largest(self, rng):
        means = np.array([[0.0, 0.0], [8.0, 0.0]])
        truth = MixtureParameters.from_covariances([0.5, 0.5], means, np.ones(2), "spherical")
        X = draw(truth, 2000, rng)
        covariances = [100.0 * np.eye(2), np.eye(2)]
        start = MixtureParameters.from_covariances([0.5, 0.5], [[4.0, 0.0], [500.0, 500.0]], covariances, "full")
        fit = em.run(start, X, 30, 0.0, Protection(reseed=True))
        assert [repair.kind for repair in fit.repairs] == ["reseeded"]
        np.testing.assert_allclose(np.sort(fit.parameters.means[:, 0]), [0.0, 8.0], atol=0.3)

    def test_shrinkage_draws_a_thin_component_to_the_pool(self, rng):
        X = np.concatenate([rng.normal(size=(500, 3)), 30.0 + 1e-6 * rng.normal(size=(5, 3))])
        thin = em.fit(X, 2, "full", np.random.default_rng(0), protection=PLAIN)
        shrunk = em.fit(X, 2, "full", np.random.default_rng(0), protection=Protection(0.0, 1.0))
        assert thin.parameters.condition_numbers().max() > 2 * shrunk.parameters.condition_numbers().max()
        small = int(np.argmin(shrunk.parameters.weights))
        assert np.diag(shrunk.parameters.covariances[small]).min() > 0.1

    @pytest.mark.parametrize("bad", [{"reg_covar": -1.0}, {"shrinkage": np.nan}, {"floor": -0.1}])
    def test_bad_numbers_are_refused(self, bad):
        with pytest.raises(DetectorError):
            Protection(**bad)


def test_infinity_is_not_learnt(rng):
    X = rng.normal(size=(50, 2))
    X[3, 1] = np.inf
    with pytest.raises(DetectorError, match="infinity"):
        em.e_step(random_mixture(rng, "full", 2, 2), X)


def test_more_components_than_rows_is_an_error(rng):
    with pytest.raises(DetectorError, match="5 components"):
        em.fit(rng.normal(size=(4, 2)), 5, "full", rng)


@pytest.mark.parametrize(("K", "d", "shrinkage"), [(1, 1, 0.0), (3, 5, 0.7), (9, 16, 2.0)])
def test_full_covariances_are_those_of_the_formula(rng, K, d, shrinkage):
    weight, first, centre = rng.uniform(5, 50, K), rng.normal(size=(K, d)), rng.normal(size=(K, d))
    rows = rng.normal(size=(K, 4 * d, d))
    second = np.swapaxes(rows, 1, 2) @ rows * weight[:, None, None]
    found = em.m_step(SufficientStats(weight, first, second, centre, "full"), "full", Protection(1e-3, shrinkage))
    scatter = second - np.einsum("ki,kj->kij", first, first) / weight[:, None, None]
    pooled, force = scatter.sum(axis=0), shrinkage * d
    total = weight.sum()
    pooled = (pooled + force * np.diag(np.diag(pooled)) / total) / (total + force)
    expected = (scatter + force * pooled) / (weight[:, None, None] + force) + 1e-3 * np.eye(d)
    np.testing.assert_allclose(found.covariances, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(found.means, centre + first / weight[:, None], rtol=1e-12)
    drawn = weight + (shrinkage > 0.0)
    np.testing.assert_allclose(found.weights, drawn / drawn.sum(), rtol=1e-12)


@pytest.mark.parametrize(("K", "d"), [(1, 1), (3, 5), (9, 16)])
def test_what_kernels_read_is_the_same_bits_after_a_restart(rng, K, d):
    start = random_mixture(rng, "full", K, d)
    fitted = em.run(start, draw(start, 500, rng), 1, 0.0, Protection(1e-3, 1.0)).parameters
    restored = type(fitted).from_arrays(fitted.to_arrays())
    moved = fitted.moved(rng.uniform(0.5, 2.0, d), rng.normal(size=d))
    again = replace(moved)
    for params, same in ((fitted, restored), (moved, again)):
        for kept, made in zip(params.packed, same.packed, strict=True):
            np.testing.assert_array_equal(kept, made)


@pytest.mark.parametrize("broken", ["first", "second"])
def test_an_m_step_of_what_is_not_finite_is_refused(broken):
    stats = SufficientStats(
        np.full(2, 9.0), np.zeros((2, 3)), np.tile(9.0 * np.eye(3), (2, 1, 1)), np.eye(2, 3), "full"
    )
    getattr(stats, broken)[1, 2] = np.inf
    with pytest.raises(FitError, match="Component"):
        em.m_step(stats, "full", Protection(1e-3, 1.0))


@pytest.mark.parametrize(("K", "d", "n"), [(2, 1, 40), (5, 6, 700), (5, 16, 3000), (3, 40, 500)])
@pytest.mark.parametrize("spread", [0.0, 3.0, 50.0])
def test_moments_leave_out_only_what_is_nothing(rng, K, d, n, spread):
    params = random_mixture(rng, "full", K, d, spread=spread)
    X = draw(params, n, rng)
    found, likelihood = em.e_step(params, X)
    expected, theirs = em.e_step(params, X, np.ones(n))  # of weighted rows, all are taken
    assert likelihood == pytest.approx(theirs, rel=1e-12)
    for name in ("weight", "first", "second"):
        a, b = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12 * np.abs(b).max())
