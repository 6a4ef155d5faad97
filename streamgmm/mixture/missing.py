"""Missing features (NaN): exact marginal densities, and the E-step with missing data, for every covariance type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture import kernels, missing_em_kernels, missing_kernels
from streamgmm.mixture.parameters import LOG_2PI
from streamgmm.mixture.statistics import SufficientStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters, Packed

    Marginals = dict[bytes, Packed]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    Flags = NDArray[np.bool_]

# Rows of one pattern that pay for a marginal mixture of their own.
LARGE_GROUP = 256
# The precision's missing block is factored while no more than this share of the features is missing (measured), and
# while no variance is inflated more than this by what the other features tell: a digit is lost with every factor 10.
MISSING_SHARE = 0.4
MOST_INFLATION = 1e5


def log_density(params: MixtureParameters, X: Floats, marginals: Marginals, *, invariant: bool = False) -> Floats:
    """Return the log-density of rows (n, n_features), some of which are not finite; ±Inf gives −inf.

    `marginals` keeps the marginal mixtures of this `params` for the next rows, by what is missing; `invariant` as in
    `scoring.log_density`.
    """
    absent, counts, _ = _observed(X)
    if (counts > 0).all():
        by_pattern = not invariant and params.covariance_type in {"full", "tied"}
        return (
            _by_group(params, X, absent, counts, marginals) if by_pattern else _sums(_joint(params, X, absent, counts))
        )
    complete, rest = np.flatnonzero(counts == 0), np.flatnonzero(counts > 0)
    out, found = np.full(len(X), -np.inf), np.empty(len(complete))
    kernels.score(params.packed.kind, X[complete], *params.packed[1:], found)
    out[complete] = found
    if rest.size:
        out[rest] = log_density(params, X[rest], marginals, invariant=invariant)
    return out


def _by_group(params: MixtureParameters, X: Floats, absent: Flags, counts: Ints, marginals: Marginals) -> Floats:
    """Score large groups of rows that miss the same features by a marginal mixture, the other rows one by one."""
    order, starts = group(absent)
    sizes = np.diff(starts)
    large = sizes >= LARGE_GROUP
    if not large.any():
        return _sums(_joint(params, X, absent, counts))
    out = np.empty(len(X))
    for g in np.flatnonzero(large):
        rows = order[starts[g] : starts[g + 1]]
        observed, key = np.flatnonzero(~absent[rows[0]]), absent[rows[0]].tobytes()
        if observed.size and key not in marginals:
            marginals[key] = params.marginal(observed).packed
        out[rows] = _log_density_of_group(marginals[key], X, rows, observed) if observed.size else 0.0
    rest = order[np.repeat(~large, sizes)]
    if rest.size:
        out[rest] = _sums(_joint(params, X[rest], absent[rest], counts[rest]))
    return out


def _sums(joint: Floats) -> Floats:
    out = np.empty(len(joint))
    missing_kernels.log_density(joint, out)
    return out


def _log_density_of_group(marginal: Packed, X: Floats, rows: Ints, observed: Ints) -> Floats:
    """Score rows that miss the same features by the marginal mixture of all others."""
    out, part = np.empty(len(rows)), np.empty((len(rows), len(observed)))
    missing_kernels.gather(X, rows, observed, part)
    kernels.score(marginal.kind, part, *marginal[1:], out)
    return out


def _observed(X: Floats) -> tuple[Flags, Ints, int]:
    """Return which features are missing, how many of each row (−1 of rows with ±Inf), and how many have ±Inf."""
    absent, counts = np.empty(X.shape, np.bool_), np.empty(len(X), np.intp)
    return absent, counts, missing_kernels.observe(X, absent, counts)


def e_step(params: MixtureParameters, X: Floats, sample_weight: Floats | None) -> tuple[SufficientStats, float]:
    """Return the expected statistics and the observed-data log-likelihood of rows with missing features.

    Conditional means and covariances of what is missing, given what is observed, stand in for it (Ghahramani & Jordan
    1994, "Supervised learning from incomplete data via an EM approach").
    """
    resp = joint(params, X)
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
        missing_em_kernels.moments_missing_axes(
            X, absent, order, resp, params.means, _variances(params), weight, first, second
        )
        second = second.sum(axis=1) if kind == "spherical" else second
    else:
        stack = _stack(params)
        second = np.zeros(stack.shape)
        missing_em_kernels.moments_missing(X, absent, order, starts, resp, params.means, stack, weight, first, second)
        second = mirrored(second)
        second = second if kind == "full" else second[0]
    return SufficientStats(weight, first, second, params.means, kind), float(w @ densities)


def group(absent: Flags) -> tuple[Ints, Ints]:
    """Return an order of the rows that brings equal patterns together, and where each group starts (with an end)."""
    order, starts = np.empty(len(absent), np.intp), np.empty(len(absent) + 1, np.intp)
    n_groups = missing_kernels.group(absent, order, starts)
    return order, starts[: n_groups + 1]


def mirrored(lower: Floats) -> Floats:
    """Return symmetric matrices (…, d, d) from their lower triangles."""
    return np.where(np.tri(lower.shape[-1], dtype=bool), lower, np.swapaxes(lower, -1, -2))


def joint(params: MixtureParameters, X: Floats) -> Floats:
    """Return log weight plus log marginal density (n, n_components) of rows; ±Inf gives −inf."""
    absent, counts, infinite = _observed(X)
    out = _joint(params, X, absent, counts)
    if infinite:
        out[counts < 0] = -np.inf
    return out


def _joint(params: MixtureParameters, X: Floats, absent: Flags, counts: Ints) -> Floats:
    if params.covariance_type in {"diag", "spherical"}:
        return _by_axes(params, X)
    return _by_pattern(params.as_full, X, absent, counts)


def _by_axes(params: MixtureParameters, X: Floats) -> Floats:
    out = np.empty((len(X), params.n_components))
    variances = _variances(params).ravel()
    arrays = params.means.ravel(), 1.0 / variances, LOG_2PI + np.log(variances), params.log_weights
    missing_kernels.joint_masked_axes(X, *arrays, out)
    return out


def _by_pattern(params: MixtureParameters, X: Floats, absent: Flags, counts: Ints) -> Floats:
    few = counts <= (MISSING_SHARE * X.shape[1] if params.inflation <= MOST_INFLATION else -1.0)
    if few.all():
        return _by_precision(params, X, absent)
    out = np.empty((len(X), params.n_components))
    for rows, route in ((np.flatnonzero(few), _by_precision), (np.flatnonzero(~few), _by_covariance)):
        if rows.size:
            out[rows] = route(params, X[rows], absent[rows])
    return out


def _by_precision(params: MixtureParameters, X: Floats, absent: Flags) -> Floats:
    out = np.empty((len(X), params.n_components))
    missing_kernels.joint_masked(X, *params.packed[1:], out)
    missing_kernels.marginalise(X, absent, *group(absent), *params.precision_lanes, out)
    return out


def _by_covariance(params: MixtureParameters, X: Floats, absent: Flags) -> Floats:
    out = np.empty((len(X), params.n_components))
    missing_kernels.joint_observed(X, absent, *group(absent), *params.covariance_lanes, out)
    return out


def _stack(params: MixtureParameters) -> Floats:
    return params.covariances if params.covariance_type == "full" else params.covariances[None]


def _variances(params: MixtureParameters) -> Floats:
    if params.covariance_type == "diag":
        return params.covariances
    return np.ascontiguousarray(np.broadcast_to(params.covariances[:, None], params.means.shape))
