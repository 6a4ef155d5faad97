"""Log-densities and responsibilities of rows under a mixture; NaN is a missing feature and is integrated out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.errors import DetectorError
from streamgmm.mixture import few_kernels, kernels, missing
from streamgmm.mixture.parts import PART_ROWS, each_part, over_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]

# Below this many rows a vector of components (of features) beats a vector of samples (measured crossover: 4 to 8).
FEW_ROWS = 6


def log_density(params: MixtureParameters, X: Floats, *, invariant: bool = False, n_threads: int = 1) -> Floats:
    """Return log p(x) of each row, nats: (n, n_features) → (n,).

    A NaN is a missing feature: the row's exact marginal density is returned (a density of fewer features; a row
    without any gives 0). A row with ±Inf gives −inf.

    `invariant` gives a row the same bits whatever rows stand beside it; a handful of rows then costs a little more.
    Results do not depend on the number of threads.
    """
    X = as_rows(params, X)
    out = np.empty(len(X))
    if len(X) < FEW_ROWS and not invariant and np.isfinite(X).all():
        _score_few(params, X, out)
        return out
    packed = params.packed

    def of_part(rows: slice) -> float:
        return float(kernels.score(packed.kind, X[rows], *packed[1:], out[rows]))

    whole = len(X) <= PART_ROWS
    checks = [of_part(slice(None))] if whole else list(each_part(of_part, len(X), n_threads))
    if any(map(math.isnan, checks)):
        # Blocks with a row that is not finite were left out.
        left = np.flatnonzero(np.isnan(out))
        missing.log_density(params, X, left, out, invariant=invariant, n_threads=n_threads)
    return out


def _score_few(params: MixtureParameters, X: Floats, out: Floats) -> None:
    if params.covariance_type == "full":
        few_kernels.score_lanes(X, params.lanes, out)
    elif params.covariance_type == "tied":
        few_kernels.score_few_tied(X, params.precisions_cholesky, *params.packed[2:], out)
    else:
        few_kernels.score_few(params.packed.kind, X, *params.packed[1:], out)


def weighted_log_density(params: MixtureParameters, X: Floats, *, n_threads: int = 1) -> Floats:
    """Return log weight plus log density of each component, nats: (n, n_features) → (n, n_components)."""
    X = as_rows(params, X)
    out = np.empty((len(X), params.n_components))
    over_parts(lambda rows: _joint(params, X[rows], out[rows]), len(X), n_threads)
    return out


def _joint(params: MixtureParameters, X: Floats, out: Floats) -> None:
    check = kernels.joint(params.packed.kind, X, *params.packed[1:], out)
    if check != check:  # noqa: PLR0124  # the quickest test for NaN
        rows = np.flatnonzero(~np.isfinite(X).all(axis=1))
        out[rows] = missing.joint(params, X[rows])


def responsibilities(params: MixtureParameters, X: Floats) -> Floats:
    """Return the posterior of each component given each row: (n, n_features) → (n, n_components), rows sum to one."""
    return density_and_responsibilities(params, X)[1]


def density_and_responsibilities(params: MixtureParameters, X: Floats, *, n_threads: int = 1) -> tuple[Floats, Floats]:
    """Return `log_density` (n,) and `responsibilities` (n, n_components) for the price of one."""
    joint = weighted_log_density(params, X, n_threads=n_threads)
    densities = np.empty(len(joint))
    over_parts(lambda rows: kernels.normalise(joint[rows], densities[rows]), len(joint), n_threads)
    return densities, joint


def as_rows(params: MixtureParameters, X: Floats) -> Floats:
    """Return X as C-contiguous float64 (n, n_features).

    Raises
    ------
    DetectorError
        Another number of features.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != params.n_features:
        raise DetectorError(f"expected rows of {params.n_features} features, got an array of shape {X.shape}")
    return X
