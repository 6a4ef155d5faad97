"""What a member may hold: a Gaussian mixture of all features, or a product of one-dimensional ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from streamgmm.mixture import attribution, scoring
from streamgmm.mixture.marginals import Marginals
from streamgmm.mixture.parameters import MixtureParameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from streamgmm.mixture.attribution import Attribution

    Floats = NDArray[np.float64]

Mixture: TypeAlias = MixtureParameters | Marginals


def log_density(mixture: Mixture, z: Floats) -> Floats:
    """Return log p of rows (n, n_features) → (n,), nats; the same bits whatever rows stand beside a row."""
    if isinstance(mixture, Marginals):
        return mixture.log_density(z)
    return scoring.log_density(mixture, z, invariant=True)


def attribute(mixture: Mixture, z: Floats) -> Attribution:
    """Attribute rows (n, n_features) to features."""
    return mixture.attribute(z) if isinstance(mixture, Marginals) else attribution.attribute(mixture, z)


def blank(mixture: Mixture) -> float:
    """Return what stands for a counted column: nothing for a product, and a constant where missing cells cost time."""
    return math.nan if isinstance(mixture, Marginals) else 0.0


def component_weights(mixture: Mixture) -> Floats:
    """Return a weight per component (n_components,): of a product, the mean over its features."""
    return mixture.weights.mean(axis=0) if isinstance(mixture, Marginals) else mixture.weights


def numbers(mixture: Mixture) -> tuple[Floats, ...]:
    """Return all arrays of parameters: a mixture that serves has finite ones only."""
    if isinstance(mixture, Marginals):
        return mixture.weights, mixture.means, mixture.variances
    return mixture.weights, mixture.means, mixture.covariances, mixture.precisions_cholesky


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Mixture:
    """Rebuild what a mixture's `to_arrays` gave."""
    return (Marginals if "marginal_weights" in arrays else MixtureParameters).from_arrays(arrays)
