"""The parameters of a Gaussian mixture, frozen: weights, means, covariances, and what kernels consume of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from streamgmm.errors import DetectorError
from streamgmm.mixture import factor_kernels, kernels, m_step_kernels
from streamgmm.mixture.factors import lanes, matrix_lanes, pack, packed_size, precision_factors
from streamgmm.mixture.simd_kernels import WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]

CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]
KINDS: dict[str, int] = {
    "full": kernels.FULL,
    "tied": kernels.TIED,
    "diag": kernels.DIAG,
    "spherical": kernels.SPHERICAL,
}
LOG_2PI = float(np.log(2.0 * np.pi))


class Packed(NamedTuple):
    """Flat arrays in the order in which kernels read them."""

    kind: int
    means: Floats
    factors: Floats
    constants: Floats


@dataclass(frozen=True, eq=False)
class MixtureParameters:
    """A Gaussian mixture; arrays are not to be written to.

    Attributes
    ----------
    weights
        (n_components,), positive, sum to one.
    means
        (n_components, n_features).
    covariances
        full (n_components, n_features, n_features), tied (n_features, n_features), diag (n_components, n_features),
        spherical (n_components,).
    covariance_type
        full, tied, diag or spherical.
    precisions_cholesky
        Shaped as covariances: upper triangular U with precision = U Uᵀ (full, tied), 1/σ (diag, spherical).
    """

    weights: Floats
    means: Floats
    covariances: Floats
    covariance_type: CovarianceType
    precisions_cholesky: Floats

    @classmethod
    def from_covariances(
        cls, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, covariance_type: str
    ) -> MixtureParameters:
        """Check everything and compute the precision factors.

        Raises
        ------
        DetectorError
            Wrong shapes, values that are not finite, weights that are no distribution.
        FitError
            A covariance is not positive definite.
        """
        w, m, c = (np.array(a, dtype=np.float64, order="C", ndmin=1) for a in (weights, means, covariances))
        _check(w, m, c, covariance_type)
        return cls(w, m, c, covariance_type, precision_factors(c, covariance_type))  # type: ignore[arg-type]  # checked

    @classmethod
    def full(
        cls, weights: Floats, means: Floats, covariances: Floats, U: Floats, factors: Floats, constants: Floats
    ) -> MixtureParameters:
        """Take what a kernel has computed, and packed, of a mixture with full covariances."""
        found = cls(weights, means, covariances, "full", U)
        found.__dict__["packed"] = Packed(kernels.FULL, means.ravel(), factors, constants)
        return found

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return weights, means, covariances and covariance_type as named arrays."""
        return {
            "weights": self.weights,
            "means": self.means,
            "covariances": self.covariances,
            "covariance_type": np.array(self.covariance_type),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> MixtureParameters:
        """Rebuild what `to_arrays` gave; everything is checked again, the factors are recomputed."""
        return cls.from_covariances(
            arrays["weights"], arrays["means"], arrays["covariances"], str(arrays["covariance_type"])
        )

    @property
    def n_components(self) -> int:
        """Number of components."""
        return int(self.means.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.means.shape[1])

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, as BIC and AIC count them."""
        return count_parameters(self.n_components, self.n_features, self.covariance_type)

    @cached_property
    def log_determinants(self) -> Floats:
        """Half the log-determinant of each precision, (n_components,)."""
        U = self.precisions_cholesky
        if self.covariance_type == "full":
            return np.asarray(np.log(np.einsum("kii->ki", U)).sum(axis=1))
        if self.covariance_type == "tied":
            return np.full(self.n_components, np.log(np.diag(U)).sum())
        if self.covariance_type == "diag":
            return np.asarray(np.log(U).sum(axis=1))
        return np.asarray(self.n_features * np.log(U))

    @cached_property
    def log_weights(self) -> Floats:
        """Logarithm of the weights, (n_components,); −inf of a weight of zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @cached_property
    def log_normalizers(self) -> Floats:
        """Log weight plus log of the density at the mean, (n_components,), nats."""
        if self.covariance_type == "full":
            return self.packed.constants
        return self.log_weights + self.log_determinants - 0.5 * self.n_features * LOG_2PI

    def moved(self, ratio: Floats, shift: Floats) -> MixtureParameters:
        """Return the same (full) of ratio · x + shift (each (n_features,))."""
        means, covariances, U, *packed = empty_full(self.n_components, self.n_features)
        m_step_kernels.move_full(
            self.weights, self.means, self.covariances, self.precisions_cholesky, ratio, shift, means, covariances, U,
            *packed
        )  # fmt: skip
        return MixtureParameters.full(self.weights, means, covariances, U, *packed)

    def condition_bound(self) -> float:
        """Return a bound (full) on all condition numbers that needs no eigenvalues: |Σ|·|Σ⁻¹| in Frobenius' norm."""
        return float(m_step_kernels.condition_bound(self.covariances, self.precisions_cholesky))

    def condition_numbers(self) -> Floats:
        """Condition number of each component's covariance, (n_components,)."""
        c = self.covariances
        if self.covariance_type == "spherical":
            return np.ones(self.n_components)
        if self.covariance_type == "diag":
            return np.asarray(c.max(axis=1) / c.min(axis=1))
        eigenvalues = np.atleast_2d(np.linalg.eigvalsh(c))
        with np.errstate(divide="ignore"):
            ratio = eigenvalues[:, -1] / np.maximum(eigenvalues[:, 0], 0.0)
        return np.broadcast_to(ratio, self.n_components).copy()

    def variances(self, component: int) -> Floats:
        """Return the variance of each feature in a component, (n_features,)."""
        c = self.covariances
        if self.covariance_type == "full":
            return np.asarray(np.diag(c[component]))
        if self.covariance_type == "tied":
            return np.asarray(np.diag(c))
        return np.broadcast_to(c[component], self.n_features)

    def full_covariances(self) -> Floats:
        """Return covariances as (n_components, n_features, n_features), whatever the type."""
        K, d, c = self.n_components, self.n_features, self.covariances
        if self.covariance_type == "full":
            return c
        if self.covariance_type == "tied":
            return np.tile(c, (K, 1, 1))
        variances = c if self.covariance_type == "diag" else np.tile(c[:, None], d)
        return np.asarray(variances[:, :, None] * np.eye(d))

    def marginal(self, features: NDArray[Any]) -> MixtureParameters:
        """Return the mixture of some of the features: the exact marginal."""
        c = self.covariances
        if self.covariance_type == "full":
            c = c[:, features][:, :, features]
        elif self.covariance_type == "tied":
            c = c[features][:, features]
        elif self.covariance_type == "diag":
            c = c[:, features]
        means = np.ascontiguousarray(self.means[:, features])
        c = np.ascontiguousarray(c)
        return MixtureParameters(
            self.weights, means, c, self.covariance_type, precision_factors(c, self.covariance_type)
        )

    @cached_property
    def packed(self) -> Packed:
        """Everything as flat arrays for the kernels."""
        U, means = self.precisions_cholesky, self.means
        if self.covariance_type == "full":
            factors, constants = np.empty(len(U) * packed_size(len(means[0]))), np.empty(len(U))
            factor_kernels.pack_full(self.weights, U, factors, constants)
            return Packed(kernels.FULL, means.ravel(), factors, constants)
        if self.covariance_type == "tied":
            centre = self.weights @ means
            projected = np.einsum("kd,de->ke", means - centre, U)
            factors = np.concatenate([pack(U[None]), projected.ravel(), centre])
        else:
            factors = np.ascontiguousarray(np.square(U).ravel())
        return Packed(KINDS[self.covariance_type], means.ravel(), factors, self.log_normalizers)

    @cached_property
    def lanes(self) -> Floats:
        """Full covariances packed over components, for single rows (`few_kernels.score_lanes`)."""
        K, d = self.means.shape
        rows, columns = np.tril_indices(d)
        lanes = np.zeros((d + len(rows) + 1, -(-K // WIDTH) * WIDTH))
        lanes[-1] = -np.inf
        lanes[:d, :K] = self.means.T
        lanes[d:-1, :K] = self.precisions_cholesky[:, columns, rows].T
        lanes[-1, :K] = self.log_normalizers
        return lanes.ravel()

    @cached_property
    def covariance_lanes(self) -> tuple[Floats, Floats, Floats]:
        """Full means, covariances and log weights, whole vectors of components (`missing_kernels.joint_observed`).

        means (vectors, n_features, WIDTH), covariances (vectors, n_features, n_features, WIDTH) and
        log weights (vectors, WIDTH), all flat; where a vector holds no component, the identity, as factors must exist.
        """
        log_weights = np.zeros(-(-self.n_components // WIDTH) * WIDTH)
        log_weights[: self.n_components] = self.log_weights
        return lanes(self.means, 0.0), matrix_lanes(self.covariances), log_weights

    @cached_property
    def precision_lanes(self) -> tuple[Floats, Floats]:
        """Full means and precisions, laid out as `covariance_lanes` (`missing_kernels.marginalise`)."""
        U = self.precisions_cholesky
        return lanes(self.means, 0.0), matrix_lanes(np.einsum("kij,klj->kil", U, U))

    @cached_property
    def inflation(self) -> float:
        """Largest variance inflation of full covariances: variance over what the other features leave open of it."""
        precisions = np.square(self.precisions_cholesky).sum(axis=2)
        return float((np.einsum("kii->ki", self.covariances) * precisions).max())

    @cached_property
    def as_full(self) -> MixtureParameters:
        """The same mixture (full or tied) with a covariance of its own for each component."""
        if self.covariance_type == "full":
            return self
        K = self.n_components
        return MixtureParameters(
            self.weights,
            self.means,
            np.tile(self.covariances, (K, 1, 1)),
            "full",
            np.tile(self.precisions_cholesky, (K, 1, 1)),
        )


def empty_full(n_components: int, n_features: int) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return room for means, covariances and precision factors of full covariances, and for the latter packed."""
    K, d = n_components, n_features
    return np.empty((K, d)), np.empty((K, d, d)), np.empty((K, d, d)), np.empty(K * packed_size(d)), np.empty(K)


def count_parameters(n_components: int, n_features: int, covariance_type: str) -> int:
    """Return the number of free parameters of a mixture."""
    K, d = n_components, n_features
    covariance = {"full": K * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": K * d, "spherical": K}
    return covariance[covariance_type] + K * d + K - 1


def _check(weights: Floats, means: Floats, covariances: Floats, covariance_type: str) -> None:
    if covariance_type not in get_args(CovarianceType):
        raise DetectorError(f"covariance_type {covariance_type!r} is not one of full, tied, diag, spherical")
    if means.ndim != 2 or means.size == 0:
        raise DetectorError(f"means must be (n_components, n_features), got shape {means.shape}")
    K, d = means.shape
    shapes = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}
    for name, array, shape in (("weights", weights, (K,)), ("covariances", covariances, shapes[covariance_type])):
        if array.shape != shape:
            raise DetectorError(f"{name} must have shape {shape} ({covariance_type}), got {array.shape}")
    for name, array in (("weights", weights), ("means", means), ("covariances", covariances)):
        if not np.isfinite(array).all():
            raise DetectorError(f"{name} are not finite", hint="a model with NaN or infinite parameters cannot score")
    if (weights < 0.0).any() or not np.isclose(weights.sum(), 1.0, rtol=0.0, atol=1e-6):
        raise DetectorError(f"weights must be positive and sum to one, got {weights}")
