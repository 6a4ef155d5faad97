import naive
import numpy as np
import pytest
from mixtures import TYPES, draw, random_mixture

from streamgmm.mixture.attribution import attribute
from streamgmm.mixture.scoring import log_density, responsibilities


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("kind", TYPES)
def test_against_brute_force_marginals(rng, kind, d):
    params = random_mixture(rng, kind, 3, d)
    X = draw(params, 4, rng)
    X[0, 0] += 6.0
    found = attribute(params, X)
    for i, x in enumerate(X):
        surprise, expected, stddev = naive.attribution(params, x)
        np.testing.assert_allclose(found.surprise[i], surprise, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.expected[i], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.stddev[i], stddev, rtol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_shares_sum_to_the_squared_distance(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    X = draw(params, 50, rng)
    found = attribute(params, X)
    delta = X - params.means[found.component]
    precisions = np.linalg.inv(params.full_covariances())[found.component]
    np.testing.assert_allclose(found.distance2, np.einsum("ni,nij,nj->n", delta, precisions, delta), rtol=1e-9)
    np.testing.assert_allclose(found.share.sum(axis=1), found.distance2, rtol=1e-9)
    np.testing.assert_allclose(found.responsibilities, responsibilities(params, X), atol=1e-12)
    np.testing.assert_array_equal(found.component, found.responsibilities.argmax(axis=1))


def test_one_feature(rng):
    params = random_mixture(rng, "full", 3, 1)
    X = draw(params, 3, rng)
    found = attribute(params, X)
    np.testing.assert_allclose(found.surprise[:, 0], -log_density(params, X), rtol=1e-12)
    np.testing.assert_allclose(found.expected, (params.weights @ params.means).item())


@pytest.mark.parametrize("kind", TYPES)
def test_missing_features_are_expected_not_surprising(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    x = draw(params, 1, rng)
    holed = x.copy()
    holed[0, 2] = np.nan
    found, complete = attribute(params, holed), attribute(params, x)
    assert found.surprise[0, 2] == 0.0
    assert found.share[0, 2] == 0.0
    # What is expected of a feature, given the others, does not depend on whether it was observed.
    np.testing.assert_allclose(found.expected[0, 2], complete.expected[0, 2], rtol=1e-9)
    np.testing.assert_allclose(found.stddev[0, 2], complete.stddev[0, 2], rtol=1e-9)
    marginal = attribute(params.marginal(np.array([0, 1, 3])), x[:, [0, 1, 3]])
    np.testing.assert_allclose(found.surprise[:, [0, 1, 3]], marginal.surprise, rtol=1e-9)


def test_a_row_that_misses_everything(rng):
    params = random_mixture(rng, "full", 3, 4)
    found = attribute(params, np.full((1, 4), np.nan))
    np.testing.assert_allclose(found.expected[0], params.weights @ params.means)
    np.testing.assert_allclose(found.responsibilities[0], params.weights)
