"""K-means is EM in the limit: spherical components of equal weight, whose common variance goes to zero."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from streamgmm import GaussianMixture
from streamgmm.mixture import em
from streamgmm.mixture.em import Protection
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.scoring import log_density, responsibilities

K, VARIANCE = 4, 1e-8


def limit(means, variance=VARIANCE):
    return MixtureParameters.from_covariances(np.full(K, 1.0 / K), means, np.full(K, variance), "spherical")


def nearest(X, means):
    return np.square(X[:, None] - means).sum(axis=2).argmin(axis=1)


@pytest.fixture
def rows(rng):
    return rng.normal(size=(600, 3)) + 2.0 * rng.integers(0, 3, size=(600, 1))


def test_responsibilities_become_the_nearest_centre(rng, rows):
    means = rows[rng.choice(len(rows), K, replace=False)]
    soft = responsibilities(limit(means, 1.0), rows)
    assert np.minimum(soft, 1.0 - soft).max() > 0.1
    np.testing.assert_array_equal(responsibilities(limit(means), rows), np.eye(K)[nearest(rows, means)])


def test_the_m_step_becomes_the_update_of_the_centroids(rng, rows):
    means = rows[rng.choice(len(rows), K, replace=False)]
    labels = nearest(rows, means)
    moved = em.run(limit(means), rows, 1, 0.0, Protection(reg_covar=0.0)).parameters
    np.testing.assert_allclose(moved.means, [rows[labels == k].mean(axis=0) for k in range(K)], rtol=1e-12)


def test_em_with_the_variance_held_is_lloyds_algorithm(rng, rows):
    """From the same start, step for step, until both have come to rest at the same place."""
    means = rows[rng.choice(len(rows), K, replace=False)]
    theirs = KMeans(K, init=means, n_init=1, tol=0.0, algorithm="lloyd").fit(rows)
    for _ in range(theirs.n_iter_):
        means = em.run(limit(means), rows, 1, 0.0, Protection(reg_covar=0.0)).parameters.means
    np.testing.assert_allclose(means, theirs.cluster_centers_, rtol=1e-10)
    model = GaussianMixture(K, covariance_type="spherical")
    params = limit(means)
    model._set_parameters((params.weights, params.means, params.covariances, params.precisions_cholesky))
    np.testing.assert_array_equal(model.predict(rows), theirs.labels_)
    assert set(np.unique(model.predict_proba(rows))) == {0.0, 1.0}


def test_the_log_likelihood_becomes_the_inertia(rows):
    """−2 σ² log p(x) tends to the squared distance to the nearest centre: what k-means minimises."""
    theirs = KMeans(K, n_init=1, random_state=0).fit(rows)
    total = -2.0 * VARIANCE * log_density(limit(theirs.cluster_centers_), rows).sum()
    assert total == pytest.approx(theirs.inertia_, rel=1e-4)
