"""Synthetic rows from a mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]


def draw(params: MixtureParameters, labels: NDArray[np.intp], rng: np.random.Generator) -> Floats:
    """Draw one row from each named component: labels (n,) → (n, n_features)."""
    noise = rng.standard_normal((len(labels), params.n_features))
    X = np.empty_like(noise)
    for k, factor in enumerate(np.linalg.cholesky(params.full_covariances())):
        chosen = labels == k
        X[chosen] = params.means[k] + np.einsum("ni,ji->nj", noise[chosen], factor)
    return X
