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
    order, starts = missing.group(np.where(absent, np.nan, 0.0))
    np.testing.assert_array_equal(np.sort(order), np.arange(300))
    groups = np.split(order, starts[1:-1])
    assert len(groups) == len(np.unique(absent, axis=0))
    for rows in groups:
        assert (absent[rows] == absent[rows[0]]).all()
        assert (np.diff(rows) > 0).all()


def test_no_rows_make_no_group():
    order, starts = missing.group(np.zeros((0, 3)))
    assert (len(order), starts.tolist()) == (0, [0])


@pytest.mark.parametrize("kind", TYPES)
def test_large_groups_few_holes_many_holes_and_complete_rows_beside_each_other(rng, kind):
    params = random_mixture(rng, kind, 3, 6)
    X = draw(params, 900, rng)
    X[: missing.FEWEST + 6 * missing.FEWEST_PER_FEATURE, [1, 4]] = np.nan
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


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("d", "K"), [(4, 3), (7, 1), (17, 5), (33, 2)])
def test_few_patterns_of_many_rows(rng, kind, d, K):
    """Patterns have a marginal mixture of their own: every count of features that a tile of four leaves over."""
    params = random_mixture(rng, kind, K, d)
    X = draw(params, 16 * (missing.FEWEST + missing.FEWEST_PER_FEATURE * d) * 2, rng)
    patterns = rng.random((16, d)) < np.linspace(0.0, 1.0, 16)[:, None]
    X = np.where(patterns[rng.integers(16, size=len(X))], np.nan, X)
    found = log_density(params, X)
    np.testing.assert_allclose(found, naive.log_density(params, X), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(log_density(params, X, n_threads=3), found)


@pytest.mark.parametrize("kind", TYPES)
def test_every_pattern_has_its_marginal(rng, kind):
    params = random_mixture(rng, kind, 3, 6)
    patterns = (np.arange(64)[:, None] >> np.arange(6)) % 2 == 1
    holes = np.repeat(patterns, missing.FEWEST + 6 * missing.FEWEST_PER_FEATURE, axis=0)
    X = rng.permutation(np.where(holes, np.nan, draw(params, len(holes), rng)))
    np.testing.assert_allclose(log_density(params, X), naive.log_density(params, X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("invariant", [False, True])
def test_infinity_beside_missing_features(rng, kind, invariant):
    params = random_mixture(rng, kind, 3, 5)
    X = draw(params, 400, rng)
    X[:300, 2] = np.nan
    X[::7, 4] = np.inf
    found = log_density(params, X, invariant=invariant)
    assert (found[::7] == -np.inf).all()
    assert np.isfinite(np.delete(found, np.s_[::7])).all()


@pytest.mark.parametrize("kind", TYPES)
def test_a_complete_row_keeps_its_bits_beside_rows_with_holes(rng, kind):
    params = random_mixture(rng, kind, 3, 9)
    X = draw(params, 500, rng)
    alone = log_density(params, X)
    holed = X.copy()
    holed[::3, 4] = np.nan
    np.testing.assert_array_equal(log_density(params, holed)[1::3], alone[1::3])


def test_chunks_of_rows_follow_each_other(rng, monkeypatch):
    params = random_mixture(rng, "full", 2, 3)
    X = draw(params, 700, rng)
    X[:, 1] = np.nan
    whole = log_density(params, X)
    monkeypatch.setattr(missing, "CHUNK_ROWS", 256)
    np.testing.assert_array_equal(log_density(params, X), whole)


def test_more_patterns_than_the_first_table_holds(rng):
    absent = rng.random((5000, 70)) < 0.5
    absent[2500:] = absent[:2500]
    order, starts = missing.group(np.where(absent, np.nan, 0.0))
    assert len(starts) == 2501
    np.testing.assert_array_equal(order.reshape(-1, 2), np.arange(2500)[:, None] + [0, 2500])
