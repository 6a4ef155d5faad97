"""Where EM starts: distances, clusters and their moments against plain numpy."""

import numpy as np
import pytest

from streamgmm.mixture import seeding, seeding_kernels


@pytest.mark.parametrize("d", [1, 7, 8, 19])
def test_distances_and_lloyds_step(rng, d):
    X, centres = rng.normal(size=(200, d)) + 1e3, rng.normal(size=(4, d)) + 1e3
    weights, labels = rng.uniform(0.5, 2.0, 200), np.full(200, -1, dtype=np.intp)
    distances = np.square(X[:, None] - centres).sum(axis=2)
    moved = centres.copy()
    assert seeding_kernels.lloyd(X, weights, moved, labels) == 200
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    for k in np.unique(labels):
        np.testing.assert_allclose(moved[k], np.average(X[labels == k], axis=0, weights=weights[labels == k]))
    nearest, out = rng.uniform(0, 2 * d, 200), np.empty(200)
    expected = np.minimum(nearest, np.square(X - X[17]).sum(axis=1))
    potential = seeding_kernels.nearer(X, 17, nearest, weights, out)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(potential, weights @ expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_moments_of_labels_are_those_of_certain_responsibilities(rng, kind):
    X, labels = rng.normal(size=(300, 5)) + 1e4, rng.integers(0, 3, 300)  # the fourth cluster is empty
    weights = rng.uniform(0.5, 2.0, 300)
    found = seeding.moments_of_labels(X, labels, 4, kind, weights)
    expected = seeding.moments(X, seeding.one_hot(labels, 4), kind, weights)
    for name in ("weight", "first", "second", "centre"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 50, 101])
@pytest.mark.parametrize("level", [0.0, 0.37, 0.98, 1.0])
def test_quantiles_are_numpys(rng, n, level):
    values = rng.normal(size=n)
    assert seeding.quantile(values, level) == pytest.approx(np.quantile(values, level), rel=1e-12, abs=1e-12)
