"""Expectation-maximisation: the E-step leaves mergeable statistics, the M-step turns them into parameters.

Batch, incremental, mini-batch and stepwise EM are callers of the same two functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture import em_kernels, factor_kernels, missing
from streamgmm.mixture.parameters import MixtureParameters, not_positive_definite
from streamgmm.mixture.protection import Protection, Repair, dying, reseed
from streamgmm.mixture.scoring import as_rows
from streamgmm.mixture.seeding import cheap_start
from streamgmm.mixture.statistics import SufficientStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Fit", "Protection", "Repair", "e_step", "fit", "m_step", "run"]

Deadline: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """The outcome of a fit.

    Attributes
    ----------
    lower_bound
        Mean log-likelihood per row of the parameters before the last M-step, nats.
    n_iter
        EM passes over the rows.
    converged
        Whether the last pass gained less than the tolerance.
    repairs
        What protection did, in order.
    history
        lower_bound after each pass.
    """

    parameters: MixtureParameters
    lower_bound: float
    n_iter: int
    converged: bool
    repairs: tuple[Repair, ...] = ()
    history: tuple[float, ...] = ()


def e_step(params: MixtureParameters, X: Floats, sample_weight: Floats | None = None) -> tuple[SufficientStats, float]:
    """Return the statistics about the current means and the log-likelihood Σ weight · log p(x), in one pass.

    Memory beyond the result is that of one block of rows. NaN in X is a missing feature.

    Raises
    ------
    DetectorError
        ±Inf in X, or a wrong shape.
    """
    X = as_rows(params, X)
    weighted = sample_weight is not None
    w = np.require(sample_weight, np.float64, ["C", "W"]) if sample_weight is not None else np.empty(0)
    if weighted and w.shape != (len(X),):
        raise DetectorError(f"sample_weight must have shape ({len(X)},), got {w.shape}")
    stats, likelihood = _MOMENTS[params.covariance_type](params, X, w, weighted)
    if np.isfinite(likelihood):
        return stats, likelihood
    return _e_step_not_finite(params, X, sample_weight)


def m_step(
    stats: SufficientStats, covariance_type: str, protection: Protection, *, n_iter: int = 0
) -> MixtureParameters:
    """Return the parameters that maximise the expected log-likelihood, protected as asked.

    Raises
    ------
    FitError
        A covariance is not positive definite in spite of the protection.
    """
    return _m_step(stats, covariance_type, protection, n_iter)[0]


def run(
    params: MixtureParameters,
    X: Floats,
    max_iter: int,
    tol: float,
    protection: Protection,
    *,
    sample_weight: Floats | None = None,
    lower_bound: float = -np.inf,
    deadline: Deadline | None = None,
    on_pass: Callable[[int, float], None] | None = None,
) -> Fit:
    """EM from a start, until a pass gains less than tol nats per row or max_iter is reached.

    lower_bound is that of the pass before, where EM goes on. on_pass is told the number and the bound of every pass.
    """
    X = as_rows(params, X)
    mass = float(len(X) if sample_weight is None else np.sum(sample_weight))
    if not mass > 0.0:
        raise FitError("nothing to fit: no rows of positive weight")
    bound, repairs, history, converged = lower_bound, [], [], False
    for i in range(1, max_iter + 1):
        if deadline is not None and deadline():
            break
        stats, likelihood = e_step(params, X, sample_weight)
        params, lifted = _m_step(stats, params.covariance_type, protection, i)
        repairs += lifted
        previous, bound = bound, likelihood / mass
        history.append(bound)
        if on_pass is not None:
            on_pass(i, bound)
        # A re-seeded component needs two passes to find its place.
        dead = dying(stats.weight) if protection.reseed and i <= max_iter - 2 else None
        if dead is not None and len(repairs) < 2 * params.n_components:
            params = reseed(params, dead)
            repairs.append(Repair("reseeded", dead, i))
        elif abs(bound - previous) < tol:
            converged = True
            break
    return Fit(params, bound, len(history), converged, tuple(repairs), tuple(history))


def fit(
    X: Floats,
    n_components: int,
    covariance_type: str,
    rng: np.random.Generator,
    *,
    max_iter: int = 100,
    tol: float = 1e-3,
    n_init: int = 1,
    protection: Protection | None = None,
    init: str = "k-means++",
    sample_weight: Floats | None = None,
    deadline: Deadline | None = None,
    on_pass: Callable[[int, float], None] | None = None,
) -> Fit:
    """Fit from nothing: each of n_init runs goes on from the best of many cheap starts; the best run is returned.

    Parameters
    ----------
    X
        (n_samples, n_features); NaN is a missing feature.
    tol
        Gain per pass, nats per row, below which EM has converged.
    init
        k-means++ (greedy, then Lloyd) or random (rows drawn as centres).

    Raises
    ------
    DetectorError
        Fewer rows than components, ±Inf.
    FitError
        Every run collapsed.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or not 1 <= n_components <= len(X):
        raise DetectorError(f"cannot fit {n_components} components to an array of shape {X.shape}")
    protection = Protection() if protection is None else protection
    best: Fit | None = None
    failure: FitError | None = None
    for _ in range(n_init):
        try:
            start = cheap_start(X, n_components, covariance_type, rng, init, sample_weight, _short_run(protection))
            found = run(
                start,
                X,
                max_iter,
                tol,
                protection,
                sample_weight=sample_weight,
                deadline=deadline,
                on_pass=on_pass,
            )
        except FitError as error:
            failure = error
            continue
        if best is None or found.lower_bound > best.lower_bound:
            best = found
        if deadline is not None and deadline():
            break
    if best is None:
        raise failure or FitError("no run was made", hint="n_init must be at least 1")
    return best


def _short_run(protection: Protection) -> Callable[[SufficientStats, str, Floats, Floats | None], Fit]:
    """Return what judges a cheap start: its M-step and a few passes."""

    def judge(stats: SufficientStats, covariance_type: str, X: Floats, sample_weight: Floats | None) -> Fit:
        params = m_step(stats, covariance_type, protection)
        return run(params, X, 5, 0.0, replace(protection, reseed=False), sample_weight=sample_weight)

    return judge


def _m_step(
    stats: SufficientStats, covariance_type: str, protection: Protection, n_iter: int
) -> tuple[MixtureParameters, list[Repair]]:
    # As scikit-learn does: no division by zero where a component has no rows left.
    weight = stats.weight + 10.0 * np.finfo(np.float64).eps
    means = stats.centre + stats.first / weight[:, None]
    d = means.shape[1]
    scatter = stats.scatter(weight) / (d if covariance_type == "spherical" else 1)
    covariances = _COVARIANCES[covariance_type](scatter, weight, protection.shrinkage * d)
    weights = (weight + 1.0) / (weight.sum() + len(weight)) if protection.shrinkage > 0.0 else weight
    covariances = _add_to_diagonal(covariances, covariance_type, np.full(d, protection.reg_covar))
    repairs: list[Repair] = []
    if protection.floor > 0.0:
        lifted, covariances = _lift(stats, weight, means, covariances, protection.floor)
        repairs = [Repair("floored", int(k), n_iter) for k in lifted]
    if not (np.isfinite(covariances).all() and np.isfinite(means).all()):
        raise not_positive_definite(int(np.argmin(weight)))
    return MixtureParameters.from_covariances(weights / weights.sum(), means, covariances, covariance_type), repairs


def _full(scatter: Floats, weight: Floats, force: float) -> Floats:
    if force == 0.0:
        return np.asarray(scatter / weight[:, None, None])
    pooled = _tied(scatter.sum(axis=0), weight, force)
    return np.asarray((scatter + force * pooled) / (weight[:, None, None] + force))


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
    "full": _full,
    "tied": _tied,
    "diag": _diag,
    "spherical": _spherical,
}


def _add_to_diagonal(covariances: Floats, covariance_type: str, variances: Floats) -> Floats:
    """Add variances (n_features,) to covariances of any type."""
    if covariance_type in {"full", "tied"}:
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


def _moments_full(params: MixtureParameters, X: Floats, w: Floats, weighted: bool) -> tuple[SufficientStats, float]:
    K, d = params.means.shape
    weight, first, second = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d))
    kind, *arrays = params.packed
    likelihood = em_kernels.moments_full(kind, X, w, weighted, *arrays, weight, first, second)
    return SufficientStats(weight, first, missing.mirrored(second), params.means, "full"), likelihood


def _moments_tied(params: MixtureParameters, X: Floats, w: Floats, weighted: bool) -> tuple[SufficientStats, float]:
    K, d = params.means.shape
    weight, first, second, pairs = np.zeros(K), np.zeros((K, d)), np.zeros((d, d)), np.zeros((K, K))
    kind, *arrays = params.packed
    likelihood = em_kernels.moments_tied(kind, X, w, weighted, *arrays, weight, first, second, pairs)
    k, j = np.tril_indices(K, -1)
    apart = params.means[k] - params.means[j]
    second = missing.mirrored(second) + np.einsum("p,pi,pj->ij", pairs[k, j], apart, apart)
    return SufficientStats(weight, first, second, params.means, "tied"), likelihood


def _moments_axes(params: MixtureParameters, X: Floats, w: Floats, weighted: bool) -> tuple[SufficientStats, float]:
    K, d = params.means.shape
    weight, first, second = np.zeros(K), np.zeros((K, d)), np.zeros((K, d))
    kind, *arrays = params.packed
    likelihood = em_kernels.moments_axes(kind, X, w, weighted, *arrays, weight, first, second)
    if params.covariance_type == "spherical":
        second = second.sum(axis=1)
    return SufficientStats(weight, first, second, params.means, params.covariance_type), likelihood


_MOMENTS = {"full": _moments_full, "tied": _moments_tied, "diag": _moments_axes, "spherical": _moments_axes}


def _e_step_not_finite(
    params: MixtureParameters, X: Floats, sample_weight: Floats | None
) -> tuple[SufficientStats, float]:
    """Take rows with missing features on their own, and merge."""
    if np.isinf(X).any():
        raise DetectorError("infinity in the rows to learn", hint="replace ±Inf, or NaN where a value is missing")
    incomplete = np.isnan(X).any(axis=1)
    if not incomplete.any():
        raise FitError("the log-likelihood overflows", hint="scale the features: some values are too large to square")
    w = np.ones(len(X)) if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=np.float64)
    stats, likelihood = missing.e_step(params, np.ascontiguousarray(X[incomplete]), w[incomplete])
    if not incomplete.all():
        rest, more = e_step(params, np.ascontiguousarray(X[~incomplete]), w[~incomplete])
        stats, likelihood = rest.merge(stats), likelihood + more
    return stats, likelihood
