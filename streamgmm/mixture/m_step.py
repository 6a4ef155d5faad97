"""The M-step: from statistics to parameters, protected against collapse as asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture import factor_kernels, m_step_kernels
from streamgmm.mixture.factors import not_positive_definite, precision_factors
from streamgmm.mixture.parameters import MixtureParameters, empty_full
from streamgmm.mixture.protection import Protection, Repair

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import CovarianceType
    from streamgmm.mixture.statistics import SufficientStats

    Floats = NDArray[np.float64]

NO_ROWS = 10.0 * float(np.finfo(np.float64).eps)
ALL_WELL = -1


def m_step(
    stats: SufficientStats, covariance_type: str, protection: Protection, *, n_iter: int = 0
) -> MixtureParameters:
    """Return the parameters that maximise the expected log-likelihood, protected as asked.

    Raises
    ------
    FitError
        A covariance is not positive definite in spite of the protection.
    """
    return repaired_m_step(stats, covariance_type, protection, n_iter)[0]


def repaired_m_step(
    stats: SufficientStats, covariance_type: str, protection: Protection, n_iter: int
) -> tuple[MixtureParameters, list[Repair]]:
    """Return what `m_step` does, and what protection did."""
    # As scikit-learn does: no division by zero where a component has no rows left.
    weight = stats.weight + NO_ROWS
    if covariance_type == "full" and not protection.floor:
        return _all_full(stats, weight, protection), []
    maximise = _full if covariance_type == "full" else _fewer
    means, covariances, finite = maximise(stats, weight, protection)
    weights = (weight + 1.0) / (weight.sum() + len(weight)) if protection.shrinkage > 0.0 else weight
    repairs: list[Repair] = []
    if protection.floor > 0.0:
        lifted, covariances = _lift(stats, weight, means, covariances, protection.floor)
        repairs = [Repair("floored", int(k), n_iter) for k in lifted]
    if not finite:
        raise not_positive_definite(int(np.argmin(weight)))
    # Checked just now: the constructor that checks would take longer than a pass over a hundred rows.
    factors = precision_factors(covariances, covariance_type)
    kind: CovarianceType = covariance_type  # type: ignore[assignment]  # that of the statistics
    return MixtureParameters(weights / weights.sum(), means, covariances, kind, factors), repairs


def _all_full(stats: SufficientStats, weight: Floats, protection: Protection) -> MixtureParameters:
    """Do it all in one kernel: many small steps would cost more than the sums."""
    K, d = stats.first.shape
    weights, (means, covariances, U, *packed) = np.empty(K), empty_full(K, d)
    moments = stats.first, stats.second, stats.centre
    force = protection.shrinkage * d
    bad = m_step_kernels.maximise_full(
        weight, *moments, force, protection.reg_covar, weights, means, covariances, U, *packed
    )
    if bad != ALL_WELL:
        raise not_positive_definite(bad if bad >= 0 else int(np.argmin(weight)))
    return MixtureParameters.full(weights, means, covariances, U, *packed)


def _full(stats: SufficientStats, weight: Floats, protection: Protection) -> tuple[Floats, Floats, bool]:
    """Return means, covariances, and whether all of these are finite."""
    K, d = stats.first.shape
    means, covariances = np.empty((K, d)), np.empty((K, d, d))
    force = protection.shrinkage * d
    check = m_step_kernels.full_covariances(
        weight, stats.first, stats.second, stats.centre, force, protection.reg_covar, means, covariances
    )
    return means, covariances, not math.isnan(check)


def _fewer(stats: SufficientStats, weight: Floats, protection: Protection) -> tuple[Floats, Floats, bool]:
    """Return what `_full` does, of the types with fewer numbers."""
    kind, d = stats.covariance_type, stats.first.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is told by the last value
        means = stats.centre + stats.first / weight[:, None]
        scatter = stats.scatter(weight) / (d if kind == "spherical" else 1)
        covariances = _COVARIANCES[kind](scatter, weight, protection.shrinkage * d)
        covariances = _add_to_diagonal(covariances, kind, np.full(d, protection.reg_covar))
    return means, covariances, bool(np.isfinite(covariances).all() and np.isfinite(means).all())


def _tied(scatter: Floats, weight: Floats, force: float) -> Floats:
    """Return the pooled covariance, shrunk to its diagonal."""
    total = weight.sum()
    pooled = scatter / total
    return np.asarray((pooled * total + np.diag(np.diag(pooled)) * force) / (total + force))


def _diag(scatter: Floats, weight: Floats, force: float) -> Floats:
    pooled, force = scatter.sum(axis=0) / weight.sum(), 0.1 * force
    return np.asarray((scatter + force * pooled) / (weight[:, None] + force))


def _spherical(scatter: Floats, weight: Floats, force: float) -> Floats:
    pooled, force = scatter.sum() / weight.sum(), 0.1 * force
    return np.asarray((scatter + force * pooled) / (weight + force))


_COVARIANCES: dict[str, Callable[[Floats, Floats, float], Floats]] = {
    "tied": _tied,
    "diag": _diag,
    "spherical": _spherical,
}


def _add_to_diagonal(covariances: Floats, covariance_type: str, variances: Floats) -> Floats:
    """Add variances (n_features,) to covariances that components share, diag or spherical ones."""
    if covariance_type == "tied":
        return np.asarray(covariances + np.diag(variances))
    return np.asarray(covariances + (variances if covariance_type == "diag" else variances.mean()))


def _lift(
    stats: SufficientStats, weight: Floats, means: Floats, covariances: Floats, floor: float
) -> tuple[NDArray[np.intp], Floats]:
    """Lift components one of whose conditional variances is below the floor; return which, and the covariances."""
    kind = stats.covariance_type
    least = floor * _feature_variances(stats, weight, means)
    if kind in {"diag", "spherical"}:
        limit = least if kind == "diag" else least.mean()
        low = (covariances < limit).reshape(len(weight), -1).any(axis=1)
        return np.flatnonzero(low), np.maximum(covariances, limit)
    stack = np.ascontiguousarray(covariances if kind == "full" else covariances[None])
    pivots = np.empty(stack.shape[:2])
    U = np.empty_like(stack)
    low = np.zeros(len(stack), dtype=bool)
    for k in range(len(stack)):
        singular = factor_kernels.precision_cholesky(stack[k : k + 1], U[k : k + 1], pivots[k : k + 1]) >= 0
        low[k] = singular or bool((pivots[k] < least).any())
    lifted = np.where(low[:, None, None], stack + np.diag(least), stack)
    return np.flatnonzero(low), lifted if kind == "full" else lifted[0]


def _feature_variances(stats: SufficientStats, weight: Floats, means: Floats) -> Floats:
    """Return the variance of each feature over all rows; a constant feature has that of its rounding error at least."""
    share = weight / weight.sum()
    scatter = stats.scatter(weight)
    if stats.covariance_type == "spherical":
        within = np.full(means.shape[1], scatter.sum() / means.shape[1])
    else:
        within = np.asarray(
            np.einsum({"full": "kii->i", "tied": "ii->i", "diag": "ki->i"}[stats.covariance_type], scatter)
        )
    centre = share @ means
    between = share @ (means - centre) ** 2
    least = (1e-6 * np.maximum(np.abs(centre), 1.0)) ** 2
    return np.asarray(np.maximum(within / weight.sum() + between, least))
