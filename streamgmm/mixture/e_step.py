"""The E-step: one pass over the rows that leaves mergeable statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture import em_kernels, missing
from streamgmm.mixture.parts import PART_ROWS, each_part
from streamgmm.mixture.scoring import as_rows
from streamgmm.mixture.statistics import SufficientStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]


def e_step(
    params: MixtureParameters, X: Floats, sample_weight: Floats | None = None, *, n_threads: int = 1
) -> tuple[SufficientStats, float]:
    """Return the statistics about the current means and the log-likelihood Σ weight · log p(x), in one pass.

    Memory beyond the result is that of one block of rows. NaN in X is a missing feature. Results do not depend on the
    number of threads.

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

    def of_part(rows: slice) -> tuple[SufficientStats, float]:
        return _e_step(params, X[rows], w[rows] if weighted else w, weighted)

    if len(X) <= PART_ROWS:
        return _e_step(params, X, w, weighted)
    found = each_part(of_part, len(X), n_threads)
    stats, likelihood = next(found)
    for part, more in found:
        stats, likelihood = stats.merge(part), likelihood + more
    return stats, likelihood


def _e_step(params: MixtureParameters, X: Floats, w: Floats, weighted: bool) -> tuple[SufficientStats, float]:
    stats, likelihood = _MOMENTS[params.covariance_type](params, X, w, weighted)
    if math.isfinite(likelihood):
        return stats, likelihood
    return _e_step_not_finite(params, X, w if weighted else np.ones(len(X)))


def _moments_full(params: MixtureParameters, X: Floats, w: Floats, weighted: bool) -> tuple[SufficientStats, float]:
    K, d = params.means.shape
    weight, first, second = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d))
    kind, *arrays = params.packed
    likelihood = em_kernels.moments_full(kind, X, w, weighted, *arrays, weight, first, second)
    return SufficientStats(weight, first, second, params.means, "full"), likelihood


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


def _e_step_not_finite(params: MixtureParameters, X: Floats, w: Floats) -> tuple[SufficientStats, float]:
    """Take rows with missing features on their own, and merge."""
    if np.isinf(X).any():
        raise DetectorError("the rows to learn contain infinity", hint="replace ±Inf, or NaN where a value is missing")
    incomplete = np.isnan(X).any(axis=1)
    if not incomplete.any():
        raise FitError(
            "the log-likelihood overflows",
            hint="scale the features: some values are too large to square",
            reason="overflow",
        )
    stats, likelihood = missing.e_step(params, np.ascontiguousarray(X[incomplete]), w[incomplete])
    if not incomplete.all():
        rest, more = _e_step(params, np.ascontiguousarray(X[~incomplete]), w[~incomplete], weighted=True)
        stats, likelihood = rest.merge(stats), likelihood + more
    return stats, likelihood
