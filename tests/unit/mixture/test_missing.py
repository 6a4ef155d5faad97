"""Rows with missing features go several ways, by how many miss what: each gives the exact marginal."""

import naive
import numpy as np
import pytest
from mixtures import TYPES, draw, random_mixture, with_holes

from streamgmm.mixture import missing
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.scoring import log_density


@pytest.mark.parametrize("d", [1, 5, 64, 65, 130])
def test_equal_patterns_come_together(rng, d):
    patterns = rng.random((7, d)) < 0.5
    absent = patterns[rng.integers(7, size=300)]
    order, starts = missing.group(absent)
    np.testing.assert_array_equal(np.sort(order), np.arange(300))
    groups = np.split(order, starts[1:-1])
    assert len(groups) == len(np.unique(absent, axis=0))
    for rows in groups:
        assert (absent[rows] == absent[rows[0]]).all()
        assert (np.diff(rows) > 0).all()


def test_no_rows_make_no_group():
    order, starts = missing.group(np.zeros((0, 3), dtype=bool))
    assert (len(order), starts.tolist()) == (0, [0])


@pytest.mark.parametrize("kind", TYPES)
def test_large_groups_few_holes_many_holes_and_complete_rows_beside_each_other(rng, kind):
    params = random_mixture(rng, kind, 3, 6)
    X = draw(params, 900, rng)
    X[: missing.LARGE_GROUP + 20, [1, 4]] = np.nan
    X[400:600] = with_holes(X[400:600], rng, 0.15)
    X[600:800] = with_holes(X[600:800], rng, 0.7)
    X[800:803] = np.nan
    X = rng.permutation(X)
    for invariant in (False, True):
        np.testing.assert_allclose(
            log_density(params, X, invariant=invariant), naive.log_density(params, X), rtol=1e-11, atol=1e-11
        )


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize(("closeness", "beyond"), [(2e-2, False), (1e-3, True)])
def test_nearly_dependent_features_are_as_exact(rng, kind, closeness, beyond):
    """Beyond MOST_INFLATION the covariance is factored: the precision's way would lose digits."""
    root = rng.normal(size=(2, 8, 32)) / np.sqrt(32)
    root[:, 1] = root[:, 0] + closeness * root[:, 1]
    full = np.einsum("kij,klj->kil", root, root)
    covariances = full if kind == "full" else full[0]
    params = MixtureParameters.from_covariances([0.4, 0.6], rng.normal(size=(2, 8)), covariances, kind)
    assert (params.as_full.inflation > missing.MOST_INFLATION) == beyond
    X = with_holes(draw(params, 60, rng), rng, 0.2)
    np.testing.assert_allclose(log_density(params, X), naive.log_density(params, X), rtol=1e-8)
