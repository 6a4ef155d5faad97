"""Missing features (NaN): exact marginal densities, and the E-step with missing data, for every covariance type."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture import kernels, missing_kernels
from streamgmm.mixture.statistics import SufficientStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    Flags = NDArray[np.bool_]

# Rows of one pattern that pay for a blocked kernel on the marginal mixture.
LARGE_GROUP = 64


def fill_log_density(params: MixtureParameters, X: Floats, out: Floats, *, invariant: bool) -> None:
    """Overwrite the log-density of the rows that are not finite; `invariant` as in `scoring.log_density`."""
    rows = _not_finite(X)
    part = np.ascontiguousarray(X[rows])
    densities = np.empty(len(rows))
    large, rest = ([], np.arange(len(rows))) if invariant else _large_groups(params, part)
    for group_rows, observed in large:
        marginal, x = params.marginal(observed), np.ascontiguousarray(part[group_rows][:, observed])
        found = np.empty(len(x))
        kernels.score(marginal.packed.kind, x, *marginal.packed[1:], found)
        densities[group_rows] = found
    if len(rest):
        found = np.empty(len(rest))
        missing_kernels.log_sums(_joint(params, np.ascontiguousarray(part[rest]), invariant=True), found)
        densities[rest] = found
    densities[np.isinf(part).any(axis=1)] = -np.inf
    out[rows] = densities


def fill_joint(params: MixtureParameters, X: Floats, out: Floats) -> None:
    """Overwrite log weight plus log density (n, n_components) of the rows that are not finite."""
    rows = _not_finite(X)
    out[rows] = _joint(params, np.ascontiguousarray(X[rows]))


def e_step(params: MixtureParameters, X: Floats, sample_weight: Floats | None) -> tuple[SufficientStats, float]:
    """Return the expected statistics and the observed-data log-likelihood of rows with missing features.

    Conditional means and covariances of what is missing, given what is observed, stand in for it (Ghahramani & Jordan
    1994, "Supervised learning from incomplete data via an EM approach").
    """
    resp = _joint(params, X)
    densities = np.empty(len(X))
    kernels.normalise(resp, densities)
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    resp *= w[:, None]
    K, d = params.means.shape
    weight, first, absent = np.zeros(K), np.zeros((K, d)), np.isnan(X)
    kind = params.covariance_type
    order, starts = group(absent)
    if kind in {"diag", "spherical"}:
        second = np.zeros((K, d))
        missing_kernels.moments_missing_axes(
            X, absent, order, resp, params.means, _variances(params), weight, first, second
        )
        second = second.sum(axis=1) if kind == "spherical" else second
    else:
        stack = _stack(params)
        second = np.zeros(stack.shape)
        missing_kernels.moments_missing(X, absent, order, starts, resp, params.means, stack, weight, first, second)
        second = mirrored(second)
        second = second if kind == "full" else second[0]
    return SufficientStats(weight, first, second, params.means, kind), float(w @ densities)


def group(absent: Flags) -> tuple[Ints, Ints]:
    """Return an order of the rows that brings equal patterns together, and where each group starts (with an end)."""
    if len(absent) == 0:
        return np.empty(0, np.intp), np.zeros(1, np.intp)
    keys = np.packbits(absent, axis=1)
    order = np.lexsort(keys.T[::-1]).astype(np.intp)
    new = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    return order, np.concatenate([[0], np.flatnonzero(new) + 1, [len(order)]]).astype(np.intp)


def mirrored(lower: Floats) -> Floats:
    """Return symmetric matrices (…, d, d) from their lower triangles."""
    lower = np.tril(lower)
    return lower + np.swapaxes(np.tril(lower, -1), -1, -2)


def _joint(params: MixtureParameters, X: Floats, *, invariant: bool = False) -> Floats:
    """Return log weight plus log marginal density of rows, any of which may miss features; ±Inf gives −inf."""
    out = np.empty((len(X), params.n_components))
    with np.errstate(divide="ignore"):
        log_weights = np.log(params.weights)
    absent = np.isnan(X)
    if params.covariance_type in {"diag", "spherical"}:
        order = np.arange(len(X), dtype=np.intp)
        missing_kernels.joint_missing_axes(X, absent, order, params.means, _variances(params), log_weights, out)
    else:
        large, rest = ([], np.arange(len(X))) if invariant else _large_groups(params, X)
        for rows, observed in large:
            marginal, x = params.marginal(observed), np.ascontiguousarray(X[rows][:, observed])
            found = np.empty((len(x), params.n_components))
            kernels.joint(marginal.packed.kind, x, *marginal.packed[1:], found)
            out[rows] = found
        order, starts = group(absent[rest])
        order = rest[order]
        if params.covariance_type == "full":
            missing_kernels.joint_missing_lanes(X, absent, order, starts, *params.covariance_lanes, out)
        else:
            missing_kernels.joint_missing(X, absent, order, starts, params.means, _stack(params), log_weights, out)
    out[np.isinf(X).any(axis=1)] = -np.inf
    return out


def _large_groups(params: MixtureParameters, X: Floats) -> tuple[list[tuple[Ints, Ints]], Ints]:
    """Return rows and observed features of the groups that pay for a blocked kernel, and the rows of all others."""
    if params.covariance_type in {"diag", "spherical"}:
        return [], np.arange(len(X))
    absent = np.isnan(X)
    order, starts = group(absent)
    large, rest = [], [np.empty(0, np.intp)]
    for start, end in pairwise(starts):
        rows = order[start:end]
        observed = np.flatnonzero(~absent[rows[0]])
        if len(rows) >= LARGE_GROUP and observed.size:
            large.append((rows, observed))
        else:
            rest.append(rows)
    return large, np.concatenate(rest)


def _not_finite(X: Floats) -> Ints:
    return np.flatnonzero(~np.isfinite(X).all(axis=1))


def _stack(params: MixtureParameters) -> Floats:
    return params.covariances if params.covariance_type == "full" else params.covariances[None]


def _variances(params: MixtureParameters) -> Floats:
    if params.covariance_type == "diag":
        return params.covariances
    return np.ascontiguousarray(np.broadcast_to(params.covariances[:, None], params.means.shape))
