"""Missing features (NaN): exact marginal densities, and the E-step with missing data, for every covariance type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture import kernels, missing_em_kernels, missing_kernels, pattern_kernels
from streamgmm.mixture.factors import not_positive_definite, packed_size
from streamgmm.mixture.parts import over_parts
from streamgmm.mixture.statistics import SufficientStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    Flags = NDArray[np.bool_]

# The precision's missing block is factored while no more than this share of the features is missing (measured), and
# while no variance is inflated more than this by what the other features tell: a digit is lost with every factor 10.
MISSING_SHARE = 0.4
MOST_INFLATION = 1e5
# Rows that are brought together by what they miss: enough for few patterns to have many rows each.
CHUNK_ROWS = 32_768
# Rows of a pattern that pay for a marginal mixture of its own (measured): so many, and under full, where each component
# has a factor to be made, so many more per observed feature.
FEWEST, FEWEST_PER_FEATURE = 12, 3


def log_density(
    params: MixtureParameters, X: Floats, rows: Ints, out: Floats, *, invariant: bool = False, n_threads: int = 1
) -> None:
    """Write the log-density of those of X (n, n_features) that rows names to their places in out; full and tied.

    Some of their values are not finite; ±Inf gives −inf. `invariant` as in `scoring.log_density`.
    """
    for start in range(0, len(rows), CHUNK_ROWS):
        _log_density(params, X, rows[start : start + CHUNK_ROWS], out, invariant, n_threads)


def _log_density(
    params: MixtureParameters, X: Floats, rows: Ints, out: Floats, invariant: bool, n_threads: int
) -> None:
    """Score large groups of rows that miss the same features by a marginal mixture, the other rows one by one."""
    order, starts = _grouped(X, rows)
    sizes, examples = np.diff(starts), order[starts[:-1]]
    observed = (~np.isnan(X[examples])).sum(axis=1)
    complete = observed == params.n_features
    fewest = FEWEST + (FEWEST_PER_FEATURE * observed if params.covariance_type == "full" else 0)
    large = complete | (not invariant) & (sizes >= fewest)
    if large.all():
        _by_group(params, X, order, sizes, observed, out, n_threads)
        return
    if large.any():
        in_large = np.repeat(large, sizes)
        _by_group(params, X, order[in_large], sizes[large], observed[large], out, n_threads)
        order = order[~in_large]

    def one_by_one(part: slice) -> None:
        each = joint(params, X[order[part]])
        sums = np.empty(len(each))
        missing_kernels.log_density(each, sums)
        out[order[part]] = sums

    if order.size:
        over_parts(one_by_one, len(order), n_threads)


def _by_group(
    params: MixtureParameters, X: Floats, order: Ints, sizes: Ints, observed: Ints, out: Floats, n_threads: int
) -> None:
    """Score groups of rows that miss the same features, one after the other in order, by marginal mixtures."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    kind, *whole = params.packed
    offsets = np.concatenate([[0], np.cumsum(_packed_sizes(params, observed))])
    packs = np.empty(offsets[-1])
    centre = params.weights @ params.means
    bad = pattern_kernels.pack_marginals(
        kind, X, order[starts[:-1]], offsets, params.means, _stack(params), params.log_weights, centre, packs
    )
    if bad >= 0:
        raise not_positive_definite(int(bad))

    def score(part: slice) -> None:
        bounds = np.array([part.start, part.stop], dtype=np.intp)
        pattern_kernels.score_groups(kind, X, order, starts, bounds, offsets, packs, *whole, out)

    over_parts(score, len(order), n_threads)


def _packed_sizes(params: MixtureParameters, m: Ints) -> Ints:
    """Return how many numbers the packed marginal mixture of m features has (`kernels`)."""
    K, triangle = params.n_components, packed_size(m)
    factors = K * triangle if params.covariance_type == "full" else triangle + K * m + m
    return np.asarray(K * m + factors + K)


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
    order, starts = group(X)
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


def group(X: Floats) -> tuple[Ints, Ints]:
    """Return an order of rows that brings equal patterns of NaN together, and where each group starts (with an end)."""
    return _grouped(X, np.arange(len(X)))


def _grouped(X: Floats, rows: Ints) -> tuple[Ints, Ints]:
    order, starts = np.empty(len(rows), np.intp), np.empty(len(rows) + 1, np.intp)
    n_groups = pattern_kernels.group(X, rows, order, starts)
    return order, starts[: n_groups + 1]


def mirrored(lower: Floats) -> Floats:
    """Return symmetric matrices (…, d, d) from their lower triangles."""
    return np.where(np.tri(lower.shape[-1], dtype=bool), lower, np.swapaxes(lower, -1, -2))


def joint(params: MixtureParameters, X: Floats) -> Floats:
    """Return log weight plus log marginal density (n, n_components) of rows; ±Inf gives −inf."""
    if params.covariance_type in {"diag", "spherical"}:
        out = np.empty((len(X), params.n_components))
        kernels.joint(params.packed.kind, X, *params.packed[1:], out)
        return out
    absent, counts, infinite = _observed(X)
    out = _joint(params.as_full, X, absent, counts)
    if infinite:
        out[counts < 0] = -np.inf
    return out


def _joint(params: MixtureParameters, X: Floats, absent: Flags, counts: Ints) -> Floats:
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
    missing_kernels.marginalise(X, absent, *group(X), *params.precision_lanes, out)
    return out


def _by_covariance(params: MixtureParameters, X: Floats, absent: Flags) -> Floats:
    out = np.empty((len(X), params.n_components))
    missing_kernels.joint_observed(X, absent, *group(X), *params.covariance_lanes, out)
    return out


def _stack(params: MixtureParameters) -> Floats:
    return params.covariances if params.covariance_type == "full" else params.covariances[None]


def _variances(params: MixtureParameters) -> Floats:
    if params.covariance_type == "diag":
        return params.covariances
    return np.ascontiguousarray(np.broadcast_to(params.covariances[:, None], params.means.shape))
