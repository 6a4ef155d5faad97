"""Every kernel against its slow twin, over shapes, types and offsets."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import naive
import numpy as np
import pytest
from mixtures import TYPES, draw, random_mixture, with_holes

import streamgmm
from streamgmm.errors import DetectorError
from streamgmm.mixture import em, scoring
from streamgmm.mixture.parameters import MixtureParameters

# Blocks hold 128 rows, tiles 16 or 32; factors are packed four rows at a time; lanes hold 4 or 8 components.
SHAPES = [(1, 1, 1), (1, 3, 40), (3, 2, 7), (2, 4, 129), (3, 5, 128), (9, 7, 3), (4, 8, 33), (9, 13, 20)]


def cases(rng, kind, shape, offset):
    K, d, n = shape
    params = random_mixture(rng, kind, K, d, offset)
    return params, draw(params, n, rng)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", TYPES)
class TestAgainstTwins:
    def test_log_density(self, rng, kind, shape, offset):
        params, X = cases(rng, kind, shape, offset)
        np.testing.assert_allclose(scoring.log_density(params, X), naive.log_density(params, X), rtol=1e-12, atol=1e-12)

    def test_weighted_log_density_and_responsibilities(self, rng, kind, shape, offset):
        params, X = cases(rng, kind, shape, offset)
        joint = scoring.weighted_log_density(params, X)
        np.testing.assert_allclose(joint, naive.weighted_log_density(params, X), rtol=1e-12, atol=1e-11)
        resp = scoring.responsibilities(params, X)
        np.testing.assert_allclose(resp, naive.responsibilities(params, X), rtol=0, atol=1e-11)
        np.testing.assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-14)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_e_step(self, rng, kind, shape, offset, weighted):
        params, X = cases(rng, kind, shape, offset)
        sample_weight = rng.random(len(X)) + 0.1 if weighted else None
        stats, likelihood = em.e_step(params, X, sample_weight)
        weight, first, second, expected = naive.e_step(params, X, sample_weight)
        second = naive.second_of_type(second, kind)
        np.testing.assert_allclose(stats.weight, weight, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(stats.first, first, atol=1e-10 * len(X))
        np.testing.assert_allclose(stats.second, second, atol=1e-11 * np.abs(second).max())
        assert likelihood == pytest.approx(expected, rel=1e-12)

    def test_missing_features(self, rng, kind, shape, offset):
        params, X = cases(rng, kind, shape, offset)
        X = with_holes(X, rng)
        sample_weight = rng.random(len(X)) + 0.1
        np.testing.assert_allclose(scoring.log_density(params, X), naive.log_density(params, X), rtol=1e-11, atol=1e-11)
        resp = scoring.responsibilities(params, X)
        np.testing.assert_allclose(resp, naive.responsibilities(params, X), rtol=0, atol=1e-10)
        stats, likelihood = em.e_step(params, X, sample_weight)
        weight, first, second, expected = naive.e_step(params, X, sample_weight)
        second = naive.second_of_type(second, kind)
        np.testing.assert_allclose(stats.weight, weight, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(stats.first, first, atol=1e-9 * len(X))
        np.testing.assert_allclose(stats.second, second, atol=1e-10 * np.abs(second).max())
        assert likelihood == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("n", [1, 40])
class TestHostileRows:
    def test_infinity_scores_minus_infinity_and_harms_nobody(self, rng, kind, n):
        params = random_mixture(rng, kind, 3, 4)
        X = draw(params, n + 1, rng)
        expected = naive.log_density(params, X[1:])
        X[0, 2] = np.inf
        scores = scoring.log_density(params, X)
        assert scores[0] == -np.inf
        np.testing.assert_allclose(scores[1:], expected, rtol=1e-12)
        np.testing.assert_allclose(scoring.responsibilities(params, X).sum(axis=1), 1.0)

    def test_a_row_that_misses_everything_has_density_one(self, rng, kind, n):
        params = random_mixture(rng, kind, 3, 4)
        X = np.full((n, 4), np.nan)
        np.testing.assert_allclose(scoring.log_density(params, X), 0.0, atol=1e-12)
        np.testing.assert_allclose(scoring.responsibilities(params, X), np.tile(params.weights, (n, 1)))

    def test_overflow_is_minus_infinity(self, rng, kind, n):
        params = random_mixture(rng, kind, 3, 4)
        assert (scoring.log_density(params, np.full((n, 4), 1e200)) == -np.inf).all()
        assert np.isfinite(scoring.log_density(params, np.full((n, 4), 1e150))).all()

    def test_no_rows(self, rng, kind, n):
        params = random_mixture(rng, kind, n, 4)
        assert scoring.log_density(params, np.empty((0, 4))).shape == (0,)
        assert scoring.responsibilities(params, np.empty((0, 4))).shape == (0, n)


def test_read_only_rows_are_taken(rng):
    params = random_mixture(rng, "full", 3, 4)
    X = draw(params, 50, rng)
    expected = scoring.log_density(params, X)
    X.setflags(write=False)
    np.testing.assert_array_equal(scoring.log_density(params, X), expected)
    em.e_step(params, X)


def test_weights_of_zero_and_nearly_zero(rng):
    base = random_mixture(rng, "full", 3, 2)
    for tiny in (0.0, 1e-300):
        params = MixtureParameters.from_covariances([tiny, 0.4, 0.6], base.means, base.covariances, "full")
        X = draw(params, 60, rng)
        rest = MixtureParameters.from_covariances([0.4, 0.6], base.means[1:], base.covariances[1:], "full")
        np.testing.assert_allclose(scoring.log_density(params, X), naive.log_density(rest, X), rtol=1e-12)
        np.testing.assert_allclose(scoring.log_density(params, X[:1]), naive.log_density(rest, X[:1]), rtol=1e-12)


def test_wrong_width_is_an_error(rng):
    params = random_mixture(rng, "full", 3, 2)
    with pytest.raises(DetectorError, match="2 features"):
        scoring.log_density(params, np.zeros((5, 3)))


def test_invariance(rng):
    """With `invariant`, the bits of a row's score do not depend on the rows beside it."""
    params = random_mixture(rng, "full", 5, 6)
    X = draw(params, 200, rng)
    together = scoring.log_density(params, X, invariant=True)
    apart = np.concatenate([scoring.log_density(params, X[i : i + 3], invariant=True) for i in range(0, 200, 3)])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("kind", TYPES)
def test_invariance_with_missing_features(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    X = draw(params, 300, rng)
    X[:, 1] = np.nan
    together = scoring.log_density(params, X, invariant=True)
    apart = np.concatenate([scoring.log_density(params, X[i : i + 7], invariant=True) for i in range(0, 300, 7)])
    np.testing.assert_array_equal(together, apart)


def test_a_changed_helper_invalidates_the_cache(tmp_path):
    """numba looks only at a kernel's own file: `kernel` must make it look at the helpers as well."""
    package = tmp_path / "streamgmm"
    source = Path(streamgmm.__file__).parent
    package.mkdir()
    for name in ("__init__.py", "errors.py", "cache_kernels.py"):
        shutil.copy(source / name, package)
    shutil.copytree(source / "mixture", package / "mixture", ignore=shutil.ignore_patterns("__pycache__"))
    helper = package / "mixture" / "simd_kernels.py"
    (package / "mixture" / "some_kernels.py").write_text(
        "from numba.core.types import float64\n"
        "from streamgmm.mixture.simd_kernels import kernel\n"
        "@kernel(float64(float64))\n"
        "def half(x): return x / 2\n"
    )
    program = textwrap.dedent("""
        from streamgmm.mixture.some_kernels import half
        print(sum(half.stats.cache_hits.values()), sum(half.stats.cache_misses.values()))
    """)

    def hits_and_misses():
        environment = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert hits_and_misses() == ["0", "1"]
    assert hits_and_misses() == ["1", "0"]
    helper.write_text(helper.read_text() + "\n# changed\n")
    assert hits_and_misses() == ["0", "1"]
