"""Random mixtures and rows for tests."""

from __future__ import annotations

import numpy as np

from streamgmm.mixture.parameters import MixtureParameters

TYPES = ("full", "tied", "diag", "spherical")


def random_mixture(rng, covariance_type, n_components, n_features, offset=0.0, spread=2.0):
    K, d = n_components, n_features
    root = rng.normal(size=(K, d, 2 * d))
    full = np.einsum("kij,klj->kil", root, root) / (2 * d)
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": np.einsum("kii->ki", full),
        "spherical": full[:, 0, 0],
    }[covariance_type]
    weights = rng.dirichlet(np.full(K, 5.0))
    return MixtureParameters.from_covariances(
        weights, offset + spread * rng.normal(size=(K, d)), covariances, covariance_type
    )


def draw(params, n, rng):
    """Draw rows from a mixture."""
    labels = rng.choice(params.n_components, size=n, p=params.weights)
    roots = np.linalg.cholesky(params.full_covariances())
    noise = rng.normal(size=(n, params.n_features))
    return params.means[labels] + np.einsum("nij,nj->ni", roots[labels], noise)


def with_holes(X, rng, share=0.3):
    """Return rows with missing features, at least one of each row observed."""
    holes = rng.random(X.shape) < share
    holes[holes.all(axis=1), 0] = False
    return np.where(holes, np.nan, X)
