"""The bits of a row's log-density, asked for with `invariant`, are the same in a block of any size, at any place."""

import numpy as np
import pytest

from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.scoring import log_density

SIZES = (*range(1, 34), 63, 64, 65, 100, 127, 128, 129, 200)


def mixture(rng, covariance_type, d, k=3):
    A = rng.normal(size=(k, d, d)) / np.sqrt(d) + np.eye(d)
    C = A @ A.transpose(0, 2, 1)
    covariances = {
        "full": C,
        "tied": C[0],
        "diag": np.einsum("kii->ki", C).copy(),
        "spherical": np.einsum("kii->k", C) / d,
    }[covariance_type]
    return MixtureParameters.from_covariances(
        np.full(k, 1.0 / k), rng.normal(size=(k, d)), covariances, covariance_type
    )


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("d", [1, 4, 16, 38])
def test_a_slice_has_the_bits_of_the_whole(rng, covariance_type, d):
    p, X = mixture(rng, covariance_type, d), rng.normal(size=(400, d)) * 3.0
    whole = log_density(p, X, invariant=True)
    for n in SIZES:
        for start in (0, 1, 5, 130, 400 - n):
            block = np.ascontiguousarray(X[start : start + n])
            np.testing.assert_array_equal(log_density(p, block, invariant=True), whole[start : start + n])
