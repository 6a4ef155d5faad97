# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""The M-step of full covariances, and their change of units: matrices too small for numpy's cost per call."""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture.factor_kernels import pack_full, precision_cholesky
from streamgmm.mixture.simd_kernels import kernel

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]


@kernel(types.float64(_1D, _2D, _3D, _2D, types.float64, types.float64, _2D, _3D), contract=False)
def full_covariances(weight, first, second, centre, force, reg_covar, means, covariances):
    """Write means and covariances of statistics about centre; return NaN where a number is not finite, else 0.0.

    Covariances are drawn towards the pooled one, itself drawn to its diagonal, with the force of so many rows.
    """
    K, d = first.shape
    pooled, shift, total, check = np.zeros((d, d)), np.empty(d), 0.0, 0.0
    for k in range(K):
        total += weight[k]
        for i in range(d):
            shift[i] = first[k, i] / weight[k]
            means[k, i] = centre[k, i] + shift[i]
            check += means[k, i] - means[k, i]
        for i in range(d):
            for j in range(d):
                covariances[k, i, j] = second[k, i, j] - first[k, i] * shift[j]
                pooled[i, j] += covariances[k, i, j]
    for i in range(d):
        for j in range(d):
            share = pooled[i, j] / total
            drawn = share * total + (share * force if i == j else 0.0)
            pooled[i, j] = drawn / (total + force)
    for k in range(K):
        for i in range(d):
            for j in range(d):
                c = (covariances[k, i, j] + force * pooled[i, j]) / (weight[k] + force)
                check += c - c
                covariances[k, i, j] = c
            covariances[k, i, i] += reg_covar
    return check


@kernel(types.intp(_1D, _2D, _3D, _2D, types.float64, types.float64, _1D, _2D, _3D, _3D, _1D, _1D))
def maximise_full(
    weight, first, second, centre, force, reg_covar, weights, means, covariances, factors, packed, constants
):
    """Write what `full_covariances` does, weights, precision factors, and these as kernels read them (`pack_full`).

    With force, weights are drawn towards each other by a row. Return −1, −2 where a number is not finite, or the first
    component that is not positive definite.
    """
    K, d = first.shape
    check = full_covariances(weight, first, second, centre, force, reg_covar, means, covariances)
    if math.isnan(check):
        return -2
    total, more = 0.0, 1.0 if force > 0.0 else 0.0
    for k in range(K):
        total += weight[k] + more
    for k in range(K):
        weights[k] = (weight[k] + more) / total
    bad = precision_cholesky(covariances, factors, np.empty((K, d)))
    if bad < 0:
        pack_full(weights, factors, packed, constants)
    return bad


@kernel(types.void(_1D, _2D, _3D, _3D, _1D, _1D, _2D, _3D, _3D, _1D, _1D), contract=False)
def move_full(
    weights, means, covariances, factors, ratio, shift, to_means, to_covariances, to_factors, packed, constants
):
    """Write the mixture of ratio · x + shift. A factor of the precision scales by rows: nothing is factorised again."""
    K, d = means.shape
    for k in range(K):
        for i in range(d):
            to_means[k, i] = means[k, i] * ratio[i] + shift[i]
            for j in range(d):
                to_covariances[k, i, j] = covariances[k, i, j] * (ratio[i] * ratio[j])
                to_factors[k, i, j] = factors[k, i, j] / ratio[i]
    pack_full(weights, to_factors, packed, constants)


@kernel(types.float64(_3D, _3D))
def condition_bound(covariances, factors):
    """Return the greatest |Σ|·|U|² over components, in the norm of Frobenius: no condition number is larger."""
    K, d, _ = covariances.shape
    greatest = 0.0
    for k in range(K):
        size, inverse = 0.0, 0.0
        for i in range(d):
            for j in range(d):
                size += covariances[k, i, j] * covariances[k, i, j]
                inverse += factors[k, i, j] * factors[k, i, j]
        bound = math.sqrt(size) * inverse
        # Not max(): a bound that is no number must not pass.
        greatest = greatest if bound <= greatest else bound  # noqa: FURB136  # as above
    return greatest
