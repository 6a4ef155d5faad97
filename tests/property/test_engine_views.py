"""A mixture keeps its density when the view of the columns changes under it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.detector.member import Member
from streamgmm.detector.view import View
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.refit.fitting import rebase

D, K = 3, 2
CELLS = st.floats(-5.0, 5.0)
SCALES = st.floats(1e-3, 1e6)


def view(location, scale):
    return View(np.array(location), np.array(scale), np.array(scale), 1e9, (), np.zeros(len(scale)))


def mixture(rng, covariance_type):
    A = rng.normal(size=(K, D, D)) + 2.0 * np.eye(D)
    C = A @ A.transpose(0, 2, 1)
    covariances = {
        "full": C,
        "tied": C[0],
        "diag": np.einsum("kii->ki", C).copy(),
        "spherical": np.einsum("kii->k", C) / D,
    }[covariance_type]
    return MixtureParameters.from_covariances(
        rng.dirichlet([5.0, 5.0]), rng.normal(size=(K, D)), covariances, covariance_type
    )


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@given(
    seed=st.integers(0, 1000),
    shifts=st.lists(CELLS, min_size=2 * D, max_size=2 * D),
    old=st.lists(SCALES, min_size=D, max_size=D),
    factors=st.lists(st.floats(0.05, 20.0), min_size=D, max_size=D),
)
@settings(max_examples=60, deadline=None)
def test_rebasing_changes_no_density(covariance_type, seed, shifts, old, factors):
    rng = np.random.default_rng(seed)
    # A sphere stays a sphere only where all columns are rescaled alike.
    factors = np.full(D, factors[0]) if covariance_type == "spherical" else np.array(factors)
    before = view(np.array(shifts[:D]) * old, old)
    after = view(before.location + np.array(shifts[D:]) * old, before.scale * factors)
    p = mixture(rng, covariance_type)
    X = rng.normal(size=(50, D)) * before.scale * 3.0 + before.location
    one = Member("m", before, p, 0.0).log_density(X)
    other = Member("m", after, rebase(p, before, after), 0.0).log_density(X)
    np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_rebasing_to_the_same_view_is_the_same_mixture(rng, covariance_type):
    p, same = mixture(rng, covariance_type), view(rng.normal(size=D), [0.1, 7.0, 300.0])
    moved = rebase(p, same, same)
    np.testing.assert_array_equal(moved.means, p.means)
    np.testing.assert_array_equal(moved.covariances, p.covariances)
