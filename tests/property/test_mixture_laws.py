"""What holds of every mixture."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import TYPES, draw, random_mixture

from streamgmm.mixture import em
from streamgmm.mixture.em import Protection
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.scoring import log_density, responsibilities

PLAIN = Protection(reg_covar=0.0)
KINDS, SEEDS = st.sampled_from(TYPES), st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6))


@given(KINDS, SEEDS, SHAPES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_merge_is_commutative_associative_and_what_one_pass_gives(kind, seed, shape):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, kind, *shape)
    X = draw(params, 90, rng)
    a, b, c = (em.e_step(params, part)[0] for part in np.split(X, 3))
    whole = em.e_step(params, X)[0]
    # A part about another centre says the same.
    moved = b.about(b.centre + rng.normal(size=b.centre.shape))
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b), a.merge(moved).merge(c)):
        for name in ("weight", "first", "second"):
            one, other = getattr(merged, name), getattr(whole, name)
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(other).max()))


@given(KINDS, SEEDS, SHAPES, st.floats(0.1, 1.0))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_decay_changes_no_parameters(kind, seed, shape, rho):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, kind, *shape)
    stats = em.e_step(params, draw(params, 200, rng))[0]
    one, two = em.m_step(stats, kind, PLAIN), em.m_step(stats.decay(rho), kind, PLAIN)
    np.testing.assert_allclose(two.covariances, one.covariances, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(two.weights, one.weights, rtol=1e-8)


@given(KINDS, SEEDS, SHAPES)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_likelihood_never_falls(kind, seed, shape):
    rng = np.random.default_rng(seed)
    X = draw(random_mixture(rng, kind, *shape), 300, rng)
    fit = em.run(random_mixture(rng, kind, *shape), X, 15, 0.0, Protection(reg_covar=1e-9))
    assert all(after >= before - 1e-7 for before, after in itertools.pairwise(fit.history))


@given(SEEDS, SHAPES)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_affine_equivariance(seed, shape):
    """EM on A x + b ends where EM on x does, mapped; densities differ by log |det A|."""
    rng = np.random.default_rng(seed)
    d = shape[1]
    start = random_mixture(rng, "full", *shape)
    X = draw(start, 200, rng)
    A, b = rng.normal(size=(d, d)) + 3.0 * np.eye(d), 10.0 * rng.normal(size=d)
    mapped = MixtureParameters.from_covariances(
        start.weights, start.means @ A.T + b, A @ start.covariances @ A.T, "full"
    )
    one = em.run(start, X, 3, 0.0, PLAIN)
    two = em.run(mapped, X @ A.T + b, 3, 0.0, PLAIN)
    log_determinant = np.linalg.slogdet(A)[1]
    np.testing.assert_allclose(two.lower_bound, one.lower_bound - log_determinant, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(two.parameters.means, one.parameters.means @ A.T + b, rtol=1e-6, atol=1e-6)


@given(KINDS, SEEDS)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_labels_do_not_matter(kind, seed):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, kind, 4, 3)
    order = rng.permutation(4)
    covariances = params.covariances if kind == "tied" else params.covariances[order]
    other = MixtureParameters.from_covariances(params.weights[order], params.means[order], covariances, kind)
    X = draw(params, 100, rng)
    np.testing.assert_allclose(log_density(other, X), log_density(params, X), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(responsibilities(other, X), responsibilities(params, X)[:, order], atol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("d", [1, 2])
def test_density_integrates_to_one(rng, kind, d):
    params = random_mixture(rng, kind, 3, d)
    reach = 9.0 * np.sqrt(params.full_covariances().max())
    axis = np.linspace(params.means.min() - reach, params.means.max() + reach, 20001 if d == 1 else 801)
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
    cell = (axis[1] - axis[0]) ** d
    assert np.exp(log_density(params, grid)).sum() * cell == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", TYPES)
def test_a_fit_of_samples_recovers_the_mixture(rng, kind):
    truth = random_mixture(rng, kind, 3, 2, spread=8.0)
    found = em.fit(draw(truth, 20_000, rng), 3, kind, rng, tol=1e-7).parameters
    fresh = draw(truth, 20_000, rng)
    assert abs((log_density(truth, fresh) - log_density(found, fresh)).mean()) < 2e-3


@pytest.mark.parametrize("kind", TYPES)
def test_every_pattern_of_missing_features_equals_the_brute_force_marginal(rng, kind):
    params = random_mixture(rng, kind, 4, 6)
    x = draw(params, 1, rng)[0]
    for observed in itertools.product([False, True], repeat=6):
        keep = np.flatnonzero(observed)
        if not keep.size:
            continue
        covariances = params.full_covariances()[:, keep][:, :, keep]
        marginal = MixtureParameters.from_covariances(params.weights, params.means[:, keep], covariances, "full")
        holed = np.where(observed, x, np.nan)[None]
        expected = log_density(marginal, x[keep][None])
        np.testing.assert_allclose(log_density(params, holed), expected, rtol=1e-9, atol=1e-9)
