"""What keeps a fit from collapsing: regularisation, shrinkage, a floor, re-seeding; and an account of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamgmm.errors import DetectorError
from streamgmm.mixture.parameters import MixtureParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A component is dying below this share of the rows, or this many of them.
DYING_SHARE, DYING_ROWS = 0.004, 3.0


@dataclass(frozen=True, slots=True)
class Protection:
    """How an M-step is kept from collapsing.

    Parameters
    ----------
    reg_covar
        Added to every variance, in squared units of the features.
    shrinkage
        κ ≥ 0: every covariance is drawn towards the pooled one (itself shrunk to its diagonal) with the force of κ·d
        rows, and every weight towards 1/K with the force of a row. Diag and spherical, which have fewer numbers to
        estimate, feel a tenth of it.
    floor
        No conditional variance of a feature, given the features before it, falls below this share of the feature's
        variance; a component that would is lifted by that much.
    reseed
        Move a component that has lost its rows onto half of the largest one.
    """

    reg_covar: float = 1e-6
    shrinkage: float = 0.0
    floor: float = 0.0
    reseed: bool = False

    def __post_init__(self) -> None:
        for name in ("reg_covar", "shrinkage", "floor"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise DetectorError(f"{name} must be a number ≥ 0, got {value}")


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing protection did: which component was lifted or re-seeded, and after which EM pass."""

    kind: Literal["floored", "reseeded"]
    component: int
    n_iter: int


def dying(weight: Floats) -> int | None:
    """Return the component that has lost its rows, if any."""
    k = int(np.argmin(weight))
    return k if len(weight) > 1 and weight[k] < max(DYING_ROWS, DYING_SHARE * weight.sum()) else None


def reseed(params: MixtureParameters, dead: int) -> MixtureParameters:
    """Put a dead component on half of the largest one.

    The largest is cut by a plane through its mean, across its longest axis: the halves of a Gaussian have their means
    √(2/π) standard deviations to either side, and 1 − 2/π of the variance along that axis.
    """
    largest = int(np.argmax(params.weights))
    axis = _longest_axis(params, largest)
    weights, means, covariances = params.weights.copy(), params.means.copy(), params.covariances.copy()
    weights[[dead, largest]] = weights[largest] / 2.0
    weights /= weights.sum()
    means[dead] = means[largest] - np.sqrt(2.0 / np.pi) * axis
    means[largest] += np.sqrt(2.0 / np.pi) * axis
    if params.covariance_type == "full":
        covariances[[dead, largest]] = covariances[largest] - 2.0 / np.pi * np.outer(axis, axis)
    elif params.covariance_type == "diag":
        covariances[[dead, largest]] = covariances[largest] - 2.0 / np.pi * axis**2
    elif params.covariance_type == "spherical":
        covariances[dead] = covariances[largest]
    return MixtureParameters.from_covariances(weights, means, covariances, params.covariance_type)


def _longest_axis(params: MixtureParameters, k: int) -> Floats:
    """Return the direction of the largest variance, as long as its standard deviation, (n_features,)."""
    if params.covariance_type in {"diag", "spherical"}:
        variances = params.covariances[k] * np.ones(params.n_features)
        axis = np.zeros(params.n_features)
        axis[np.argmax(variances)] = np.sqrt(variances.max())
        return axis
    covariance = params.covariances[k] if params.covariance_type == "full" else params.covariances
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(np.sqrt(values[-1]) * vectors[:, -1])
