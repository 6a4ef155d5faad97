"""A product of one-dimensional mixtures, one per feature: what each column is like by itself.

It sees what full covariances blur: a cluster of anomalies far out in one column attracts a component of a joint
mixture, but stays rare in its column.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture import marginals_kernels as kernels
from streamgmm.mixture.attribution import Attribution
from streamgmm.mixture.parameters import LOG_2PI, MixtureParameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# The prior of every variance: so many rows of this variance (a share of the feature's own, which is 1 in a view).
PRIOR_ROWS, PRIOR_VARIANCE = 2.0, 0.1
FIRST_VARIANCE = 0.5
# The most components of a pair of features, which has the product of two numbers of them.
MAX_PAIRED = 4096


@dataclass(frozen=True, eq=False)
class Marginals:
    """One mixture per feature; arrays are (n_features, n_components) and not to be written to.

    Attributes
    ----------
    weights
        Positive; those of a feature sum to one.
    means, variances
        Of each feature's components.
    """

    weights: Floats
    means: Floats
    variances: Floats

    @property
    def n_components(self) -> int:
        """Number of components of each feature."""
        return int(self.means.shape[1])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.means.shape[0])

    @cached_property
    def packed(self) -> tuple[Floats, Floats, Floats]:
        """Means, precisions, and log weight plus log of the density at the mean: what kernels read."""
        with np.errstate(divide="ignore"):
            constants = np.log(self.weights) - 0.5 * (LOG_2PI + np.log(self.variances))
        return self.means, 1.0 / self.variances, constants

    def condition_numbers(self) -> Floats:
        """Return the largest over the smallest variance of each component's rank, over all features (n_components,)."""
        return np.asarray(self.variances.max(axis=0) / self.variances.min(axis=0))

    def log_density(self, X: Floats) -> Floats:
        """Return Σ_j log p(x_j) of each row (n, n_features) → (n,), nats; a missing feature (NaN) drops out."""
        out = np.empty(len(X))
        kernels.score(self._rows(X), *self.packed, out)
        return out

    def attribute(self, X: Floats) -> Attribution:
        """Attribute rows (n, n_features) to features; the one component is the product of the nearest ones."""
        X = self._rows(X)
        surprise = np.empty(X.shape)
        kernels.score_each(X, *self.packed, surprise)
        means, precisions, constants = self.packed
        delta = np.where(np.isnan(X), 0.0, X)[:, :, None] - means
        nearest = np.argmax(constants - 0.5 * precisions * delta * delta, axis=2)[:, :, None]
        share = np.take_along_axis(precisions * delta * delta, nearest, axis=2)[:, :, 0]
        share[np.isnan(X)] = 0.0
        expected = (self.weights * means).sum(axis=1)
        variance = (self.weights * (self.variances + np.square(means - expected[:, None]))).sum(axis=1)
        n = len(X)
        return Attribution(
            surprise=-surprise,
            expected=np.tile(expected, (n, 1)),
            stddev=np.tile(np.sqrt(variance), (n, 1)),
            share=share,
            distance2=share.sum(axis=1),
            component=np.zeros(n, dtype=np.intp),
            responsibilities=np.ones((n, 1)),
        )

    def moved(self, ratio: Floats, shift: Floats) -> Marginals:
        """Return the same of ratio · x + shift (each (n_features,))."""
        return Marginals(
            self.weights, self.means * ratio[:, None] + shift[:, None], self.variances * np.square(ratio)[:, None]
        )

    def marginal(self, features: NDArray[Any]) -> MixtureParameters:
        """Return the joint mixture of a few of the features: every combination of their components.

        Raises
        ------
        DetectorError
            There would be too many.
        """
        if self.n_components ** len(features) > MAX_PAIRED:
            raise DetectorError(f"a product of {len(features)} features has too many components")
        grid = np.indices((self.n_components,) * len(features)).reshape(len(features), -1)
        own = np.asarray(features)[:, None]
        weights = self.weights[own, grid].prod(axis=0)
        return MixtureParameters.from_covariances(
            weights / weights.sum(), self.means[own, grid].T, self.variances[own, grid].T, "diag"
        )

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw n rows (n, n_features)."""
        limits = np.cumsum(self.weights, axis=1)
        labels = (rng.random((n, self.n_features, 1)) > limits[None, :, :-1]).sum(axis=2)
        feature = np.arange(self.n_features)
        normal = rng.standard_normal((n, self.n_features))
        return np.asarray(self.means[feature, labels] + np.sqrt(self.variances[feature, labels]) * normal)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        return {"marginal_weights": self.weights, "marginal_means": self.means, "marginal_variances": self.variances}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Marginals:
        """Rebuild what `to_arrays` gave; everything is checked.

        Raises
        ------
        DetectorError
            Shapes differ, or the numbers are no mixture.
        """
        w, m, v = (
            np.ascontiguousarray(arrays[f"marginal_{name}"], dtype=np.float64)
            for name in ("weights", "means", "variances")
        )
        if not (w.shape == m.shape == v.shape and w.ndim == 2 and w.size):
            raise DetectorError(f"marginals of shapes {w.shape}, {m.shape}, {v.shape} do not match")
        if not (np.isfinite(w).all() and np.isfinite(m).all() and np.isfinite(v).all()):
            raise DetectorError("marginals are not finite", hint="a model with NaN or infinite parameters cannot score")
        if not ((w >= 0.0).all() and np.allclose(w.sum(axis=1), 1.0, rtol=0.0, atol=1e-6) and (v > 0.0).all()):
            raise DetectorError("weights must be positive and sum to one per feature, variances positive")
        return cls(w, m, v)

    def _rows(self, X: Floats) -> Floats:
        X = np.ascontiguousarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise DetectorError(f"expected rows of {self.n_features} features, got an array of shape {X.shape}")
        return X


def start(X: Floats, n_components: int) -> Marginals:
    """Return where EM starts for rows (n, n_features): means at evenly spaced quantiles, wide and of equal weight."""
    levels = (np.arange(n_components) + 0.5) / n_components
    seen = ~np.isnan(X).all(axis=0)
    means = np.zeros((X.shape[1], n_components))
    if seen.any():
        means[seen] = np.nanquantile(X[:, seen], levels, axis=0).T
    return Marginals(
        np.full(means.shape, 1.0 / n_components), np.ascontiguousarray(means), np.full(means.shape, FIRST_VARIANCE)
    )


def run(
    start: Marginals,
    X: Floats,
    passes: int,
    reg_covar: float,
    *,
    deadline: Callable[[], bool] | None = None,
    on_pass: Callable[[int, float], None] | None = None,
) -> Marginals:
    """Take EM passes over rows (n, n_features) of standardised features; NaN cells teach nothing.

    Variances are drawn towards a prior, weights towards each other with the force of a row.

    Raises
    ------
    FitError
        A parameter is not finite any more.
    """
    found, X = start, np.ascontiguousarray(X)
    for i in range(1, passes + 1):
        if deadline is not None and deadline():
            break
        weight, first, second = (np.zeros(found.means.shape) for _ in range(3))
        likelihood = kernels.moments(X, *found.packed, weight, first, second)
        found = _m_step(found, weight, first, second, reg_covar)
        if on_pass is not None:
            on_pass(i, likelihood / len(X))
    return found


def _m_step(before: Marginals, weight: Floats, first: Floats, second: Floats, reg_covar: float) -> Marginals:
    mass = weight + 1e-9
    shift = first / mass
    scatter = np.maximum(second - mass * shift * shift, 0.0)
    variances = (scatter + PRIOR_ROWS * PRIOR_VARIANCE) / (mass + PRIOR_ROWS) + reg_covar
    means = before.means + shift
    if not (np.isfinite(means).all() and np.isfinite(variances).all()):
        raise FitError(
            "the marginal mixtures are not finite any more",
            hint="some values are too large to square",
            reason="overflow",
        )
    weights = (mass + 1.0) / (mass + 1.0).sum(axis=1, keepdims=True)
    return Marginals(weights, means, variances)
