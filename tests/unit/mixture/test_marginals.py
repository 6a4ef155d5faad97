"""Products of one-dimensional mixtures: against ten lines of numpy, with missing cells, in other units."""

import numpy as np
import pytest

from streamgmm.errors import DetectorError
from streamgmm.mixture import marginals_kernels as kernels
from streamgmm.mixture.marginals import PRIOR_ROWS, PRIOR_VARIANCE, Marginals, run, start


def naive_joint(m, X):
    """Log weight plus log density of every cell and component (n, n_features, n_components)."""
    square = (X[:, :, None] - m.means) ** 2 / m.variances
    return np.log(m.weights) - 0.5 * np.log(2 * np.pi * m.variances) - 0.5 * square


def naive_each(m, X):
    joint = naive_joint(m, X)
    top = joint.max(axis=2)
    return np.where(np.isnan(X), 0.0, top + np.log(np.exp(joint - top[:, :, None]).sum(axis=2)))


def naive_pass(m, X):
    seen = ~np.isnan(X)
    r = np.exp(naive_joint(m, X) - naive_each(m, X)[:, :, None])
    r[~seen] = 0.0
    delta = np.where(seen, X, 0.0)[:, :, None] - m.means
    return r.sum(axis=0), (r * delta).sum(axis=0), (r * delta**2).sum(axis=0), naive_each(m, X).sum()


def random_marginals(rng, d, K):
    weights = rng.dirichlet(np.ones(K) * 3, size=d)
    return Marginals(weights, rng.normal(size=(d, K)) * 3, rng.uniform(0.05, 2.0, (d, K)))


@pytest.mark.parametrize(("n", "d", "K"), [(1, 1, 1), (7, 3, 2), (300, 16, 3), (131, 70, 4), (5, 130, 3)])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_kernels_and_their_twins_agree(rng, n, d, K, missing):
    m, X = random_marginals(rng, d, K), rng.normal(size=(n, d)) * 3
    X[rng.random((n, d)) < missing] = np.nan
    assert m.log_density(X) == pytest.approx(naive_each(m, X).sum(axis=1), rel=1e-12, abs=1e-10)
    assert -m.attribute(X).surprise == pytest.approx(naive_each(m, X), rel=1e-12, abs=1e-10)
    sums = [np.zeros((d, K)) for _ in range(3)]
    likelihood = kernels.moments(X, *m.packed, *sums)
    *expected, total = naive_pass(m, X)
    assert likelihood == pytest.approx(total, rel=1e-12)
    for ours, theirs in zip(sums, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_row_has_the_same_bits_whoever_stands_beside_it(rng):
    m, X = random_marginals(rng, 5, 3), rng.normal(size=(200, 5))
    X[::3, 1] = np.nan
    whole = m.log_density(X)
    np.testing.assert_array_equal(np.concatenate([m.log_density(part) for part in np.split(X, [1, 8, 77])]), whole)


def test_a_row_without_any_feature_says_nothing_and_an_infinite_one_is_impossible(rng):
    m = random_marginals(rng, 3, 2)
    X = np.array([[np.nan] * 3, [0.0, np.inf, 0.0], [np.nan, -np.inf, 0.0]])
    assert m.log_density(X).tolist() == [0.0, -np.inf, -np.inf]


def test_em_never_lowers_the_penalised_likelihood(rng):
    """Its prior, in the terms of the M-step, is part of what each pass raises."""
    X = np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(100, 2)) * 0.2 + 4.0])
    found, before = start(X, 3), -np.inf
    for _ in range(15):
        found = run(found, X, 1, 0.0)
        prior = -0.5 * PRIOR_ROWS * (np.log(found.variances) + PRIOR_VARIANCE / found.variances).sum()
        now = found.log_density(X).sum() + prior + np.log(found.weights).sum()
        assert now >= before - 1e-7
        before = now


def test_two_clusters_of_a_column_are_found(rng):
    X = np.concatenate([rng.normal(size=3000) * 0.1 - 1.0, rng.normal(size=1000) * 0.1 + 1.5])[:, None]
    found = run(start(X, 2), X, 30, 1e-6)
    assert sorted(found.means[0]) == pytest.approx([-1.0, 1.5], abs=0.02)
    assert sorted(found.weights[0]) == pytest.approx([0.25, 0.75], abs=0.01)


def test_missing_cells_teach_nothing(rng):
    X = rng.normal(size=(500, 2))
    holes = X.copy()
    holes[100:200, 0] = np.nan
    first, second = run(start(X, 3), holes, 4, 1e-3), run(start(X, 3), np.delete(X, np.s_[100:200], 0), 4, 1e-3)
    np.testing.assert_allclose(first.means[0], second.means[0], rtol=1e-9)
    np.testing.assert_allclose(first.variances[0], second.variances[0], rtol=1e-9)


def test_a_column_that_was_never_seen_is_no_obstacle(rng):
    X = rng.normal(size=(50, 2))
    X[:, 1] = np.nan
    found = run(start(X, 3), X, 3, 1e-3)
    assert np.isfinite(found.log_density(X)).all()


def test_the_density_is_the_same_in_other_units(rng):
    m, X = random_marginals(rng, 4, 3), rng.normal(size=(50, 4))
    ratio, shift = rng.uniform(0.1, 10.0, 4), rng.normal(size=4)
    there = m.moved(ratio, shift).log_density(X * ratio + shift) + np.log(ratio).sum()
    assert there == pytest.approx(m.log_density(X), rel=1e-9)


def test_a_pair_has_the_product_of_both(rng):
    m, X = random_marginals(rng, 5, 3), rng.normal(size=(20, 5))
    pair = m.marginal(np.array([3, 1]))
    from streamgmm.mixture.scoring import log_density

    assert log_density(pair, X[:, [3, 1]]) == pytest.approx(naive_each(m, X)[:, [3, 1]].sum(axis=1), rel=1e-9)
    with pytest.raises(DetectorError, match="too many components"):
        random_marginals(rng, 9, 3).marginal(np.arange(9))


def test_draws_have_the_moments_of_the_columns(rng):
    m = random_marginals(rng, 3, 3)
    X = m.draw(40_000, rng)
    mean = (m.weights * m.means).sum(axis=1)
    variance = (m.weights * (m.variances + (m.means - mean[:, None]) ** 2)).sum(axis=1)
    assert X.mean(axis=0) == pytest.approx(mean, abs=0.05)
    assert X.var(axis=0) == pytest.approx(variance, rel=0.05)


def test_shares_sum_to_the_distance(rng):
    m, X = random_marginals(rng, 4, 3), rng.normal(size=(30, 4))
    X[3, 2] = np.nan
    a = m.attribute(X)
    assert a.share.sum(axis=1) == pytest.approx(a.distance2, abs=1e-12)
    assert a.surprise.sum(axis=1) == pytest.approx(-m.log_density(X), rel=1e-9)
    assert (a.surprise[3, 2], a.share[3, 2]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": np.full((2, 2), 0.6)}, "sum to one"),
        ({"variances": np.zeros((2, 2))}, "variances positive"),
        ({"means": np.full((2, 2), np.nan)}, "not finite"),
        ({"means": np.zeros((2, 3))}, "do not match"),
    ],
)
def test_arrays_that_are_no_mixtures_are_refused(change, said):
    good = {"weights": np.full((2, 2), 0.5), "means": np.zeros((2, 2)), "variances": np.ones((2, 2))}
    arrays = {f"marginal_{name}": array for name, array in {**good, **change}.items()}
    with pytest.raises(DetectorError, match=said):
        Marginals.from_arrays(arrays)


def test_arrays_come_back(rng):
    m = random_marginals(rng, 3, 2)
    again = Marginals.from_arrays(m.to_arrays())
    X = rng.normal(size=(9, 3))
    np.testing.assert_array_equal(again.log_density(X), m.log_density(X))
    with pytest.raises(DetectorError, match="expected rows of 3"):
        m.log_density(X[:, :2])
