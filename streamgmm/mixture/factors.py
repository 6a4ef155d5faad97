"""Factors of covariances and precisions, and the flat layouts in which kernels read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from streamgmm.errors import FitError
from streamgmm.mixture import factor_kernels
from streamgmm.mixture.simd_kernels import WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    # One or many.
    Size = TypeVar("Size", int, Ints)


def factors_of_precisions(precisions: Floats, covariance_type: str) -> tuple[Floats, Floats]:
    """Return upper U with precision = U Uᵀ, and the covariances, of positive definite precisions of a type."""
    if covariance_type in {"diag", "spherical"}:
        return np.sqrt(precisions), 1.0 / precisions
    # The lower factor of the matrix read backwards, read backwards, is the upper one.
    U = np.ascontiguousarray(np.linalg.cholesky(precisions[..., ::-1, ::-1])[..., ::-1, ::-1])
    covariances = np.linalg.inv(precisions)
    return U, np.ascontiguousarray((covariances + np.swapaxes(covariances, -1, -2)) / 2.0)


def precision_factors(covariances: Floats, covariance_type: str) -> Floats:
    """Return U with precision = U Uᵀ for covariances of a type.

    Raises
    ------
    FitError
        A covariance is not positive definite.
    """
    if covariance_type in {"diag", "spherical"}:
        bad = np.flatnonzero(~(covariances > 0.0).reshape(len(covariances), -1).all(axis=1))
        if bad.size:
            raise not_positive_definite(int(bad[0]))
        return np.asarray(1.0 / np.sqrt(covariances))
    stack = np.ascontiguousarray(covariances if covariance_type == "full" else covariances[None])
    U, pivots = np.empty_like(stack), np.empty(stack.shape[:2])
    bad_component = factor_kernels.precision_cholesky(stack, U, pivots)
    if bad_component >= 0:
        raise not_positive_definite(int(bad_component))
    return U if covariance_type == "full" else U[0]


def not_positive_definite(component: int) -> FitError:
    """Return the error for a collapsed component."""
    return FitError(
        "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
        "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
        f"scale the input data. Component {component} is not positive definite.",
        reason="not_positive_definite",
    )


def lanes(values: Floats, padding: Floats | float) -> Floats:
    """Return (n_components, m) as flat (vectors, m, WIDTH); padding where a vector holds no component."""
    K, m = values.shape
    out = np.empty((-(-K // WIDTH) * WIDTH, m))
    out[:K], out[K:] = values, padding
    return np.ascontiguousarray(out.reshape(-1, WIDTH, m).transpose(0, 2, 1)).ravel()


def matrix_lanes(matrices: Floats) -> Floats:
    """Return matrices (n_components, d, d) as flat (vectors, d, d, WIDTH); the identity where there is none."""
    return lanes(matrices.reshape(len(matrices), -1), np.eye(matrices.shape[1]).ravel())


def packed_size(d: Size) -> Size:
    """Return how many numbers each packed triangle of d rows has."""
    whole, rest = d // 4, d % 4
    size: Size = 8 * whole * (whole + 1) + rest * 4 * whole + rest * (rest + 1) // 2
    return size


def pack(U: Floats) -> Floats:
    """Return upper factors (n_components, d, d) as `kernels.triangular_tile` reads them, flat."""
    K, d, _ = U.shape
    out = np.empty((K, packed_size(d)))
    factor_kernels.pack_rows(np.ascontiguousarray(U), out)
    return out.ravel()
