"""Why a row is improbable: each feature's surprise given the others, in closed form, under the whole mixture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture import missing
from streamgmm.mixture.parameters import LOG_2PI
from streamgmm.mixture.scoring import as_rows, weighted_log_density

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]

# Rows at once: bounds the (rows, n_components, n_features) scratch.
_BLOCK = 1024


@dataclass(frozen=True, eq=False, slots=True)
class Attribution:
    """Closed-form explanations of n rows.

    Attributes
    ----------
    surprise
        (n, n_features): −log p(x_j | the other features) under the whole mixture, nats. 0 where x_j is missing.
    expected, stddev
        (n, n_features): conditional mean and standard deviation of x_j given the other features.
    share
        (n, n_features): split of distance2; sums to it, may be negative. 0 where x_j is missing.
    distance2
        (n,): squared Mahalanobis distance to the nearest component.
    component
        (n,): the component of highest responsibility.
    responsibilities
        (n, n_components).
    """

    surprise: Floats
    expected: Floats
    stddev: Floats
    share: Floats
    distance2: Floats
    component: NDArray[np.intp]
    responsibilities: Floats


def attribute(params: MixtureParameters, X: Floats) -> Attribution:
    """Attribute rows (n, n_features) to features, under all four covariance types; NaN is a missing feature.

    Notes
    -----
    With v = Λ (x − μ), z_j² = v_j²/Λ_jj is the drop of the squared distance when feature j is integrated out, so that
    log w N(x_-j) = log w N(x) + ½ log(2π/Λ_jj) + ½ z_j²; conditional mean and variance are x_j − v_j/Λ_jj and 1/Λ_jj.
    """
    X = as_rows(params, X)
    n, d = X.shape
    out = _empty(n, d, params.n_components)
    absent = np.isnan(X)
    order, starts = missing.group(X)
    for start, end in pairwise(starts):
        pattern = absent[order[start]]
        part = params.marginal(np.flatnonzero(~pattern)) if pattern.any() and not pattern.all() else params
        for first in range(start, end, _BLOCK):
            rows = order[first : min(first + _BLOCK, end)]
            if not pattern.all():
                _attribute_observed(part, X, rows, np.flatnonzero(~pattern), out)
            if pattern.any():
                _attribute_absent(params, X, rows, pattern, out)
    return out


def _empty(n: int, d: int, n_components: int) -> Attribution:
    return Attribution(
        surprise=np.zeros((n, d)),
        expected=np.zeros((n, d)),
        stddev=np.zeros((n, d)),
        share=np.zeros((n, d)),
        distance2=np.zeros(n),
        component=np.zeros(n, dtype=np.intp),
        responsibilities=np.zeros((n, n_components)),
    )


def _attribute_observed(
    params: MixtureParameters, X: Floats, rows: NDArray[np.intp], features: NDArray[np.intp], out: Attribution
) -> None:
    """Fill in the features that are observed in every one of the rows."""
    x = np.ascontiguousarray(X[rows][:, features])
    joint = weighted_log_density(params, x)
    density = _log_sum(joint, 1)
    delta = x[:, None, :] - params.means
    v, diagonal = _precision_times(params, delta)
    without = joint[:, :, None] + 0.5 * (LOG_2PI - np.log(diagonal) + v * v / diagonal)
    total = _log_sum(without, 1)
    means = x[:, None, :] - v / diagonal
    expected, variances = _blend(np.exp(without - total[:, None, :]), means, 1.0 / diagonal)
    place = np.ix_(rows, features)
    out.surprise[place] = total - density[:, None]
    out.expected[place], out.stddev[place] = expected, np.sqrt(variances)
    out.responsibilities[rows] = np.exp(joint - density[:, None])
    nearest = joint.argmax(axis=1)
    share = (delta * v)[np.arange(len(rows)), nearest]
    out.component[rows], out.share[place], out.distance2[rows] = nearest, share, share.sum(axis=1)


def _attribute_absent(
    params: MixtureParameters, X: Floats, rows: NDArray[np.intp], absent: NDArray[np.bool_], out: Attribution
) -> None:
    """Fill in what the features that are missing in every one of the rows may be expected to be."""
    o, m = np.flatnonzero(~absent), np.flatnonzero(absent)
    if not o.size:
        out.responsibilities[rows], out.component[rows] = params.weights, int(np.argmax(params.weights))
    covariances = params.full_covariances()
    regression = np.linalg.solve(covariances[:, o][:, :, o], covariances[:, o][:, :, m])
    variances = np.einsum("kmm->km", covariances[:, m][:, :, m])
    variances = variances - np.einsum("kom,kom->km", covariances[:, o][:, :, m], regression)
    delta = X[rows][:, None, o] - params.means[:, o]
    means = params.means[:, m] + np.einsum("nko,kom->nkm", delta, regression)
    expected, spread = _blend(out.responsibilities[rows][:, :, None], means, variances)
    place = np.ix_(rows, m)
    out.expected[place], out.stddev[place] = expected, np.sqrt(spread)


def _precision_times(params: MixtureParameters, delta: Floats) -> tuple[Floats, Floats]:
    """Return Λ δ (n, n_components, n_features) and the diagonal of Λ (n_components, n_features)."""
    U = params.precisions_cholesky
    if params.covariance_type == "full":
        y = np.einsum("nkd,kde->nke", delta, U)
        return np.einsum("nke,kde->nkd", y, U), np.einsum("kde,kde->kd", U, U)
    if params.covariance_type == "tied":
        y = np.einsum("nkd,de->nke", delta, U)
        diagonal = np.einsum("de,de->d", U, U)
        return np.einsum("nke,de->nkd", y, U), np.broadcast_to(diagonal, params.means.shape)
    diagonal = np.square(U if params.covariance_type == "diag" else U[:, None])
    return delta * diagonal, np.broadcast_to(diagonal, params.means.shape)


def _blend(weights: Floats, means: Floats, variances: Floats) -> tuple[Floats, Floats]:
    """Return mean and variance (n, features) of mixtures (n, n_components, features)."""
    mean = (weights * means).sum(axis=1)
    return mean, (weights * (variances + np.square(means - mean[:, None]))).sum(axis=1)


def _log_sum(values: Floats, axis: int) -> Floats:
    greatest = np.maximum(values.max(axis=axis, keepdims=True), -1e308)
    return np.asarray(np.log(np.exp(values - greatest).sum(axis=axis)) + greatest.squeeze(axis))
