# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Cholesky factors of covariances, and the order in which kernels read them."""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture.simd_kernels import kernel

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]


@kernel(types.void(_3D, _2D))
def pack_rows(U, out):
    """Pack upper factors (K, d, d) as `kernels.triangular_tile` reads them."""
    K, d, _ = U.shape
    whole = d // 4
    for k in range(K):
        o = 0
        for j in range(whole):
            for i in range(4 * j + 4):
                for r in range(4):
                    out[k, o + r] = U[k, i, 4 * j + r] if i <= 4 * j + r else 0.0
                o += 4
        for j in range(4 * whole, d):
            for i in range(j + 1):
                out[k, o] = U[k, i, j]
                o += 1


@kernel(types.void(_1D, _3D, _1D, _1D), contract=False)
def pack_full(weights, U, factors, constants):
    """Pack upper factors (K, d, d), and write log weight plus log of the density at the mean.

    Without contraction: the bits are the same in whatever kernel it is inlined.
    """
    K, d, _ = U.shape
    pack_rows(U, factors.reshape((K, factors.size // K)))
    for k in range(K):
        constants[k] = math.log(weights[k]) - 0.5 * d * math.log(2.0 * math.pi)
        for i in range(d):
            constants[k] += math.log(U[k, i, i])


@kernel(types.intp(_3D, _3D, _2D))
def precision_cholesky(covariances, U, pivots):
    """Write the upper U with Σ⁻¹ = U Uᵀ, and Cholesky's pivots (conditional variances).

    Return the first component that is not positive definite, or −1. Written out because LAPACK's threads spin: 8 ms
    where this takes 7 µs.
    """
    K, d, _ = covariances.shape
    L = np.empty((d, d))
    for k in range(K):
        for i in range(d):
            for j in range(i + 1):
                s = covariances[k, i, j]
                for t in range(j):
                    s -= L[i, t] * L[j, t]
                if i == j:
                    pivots[k, i] = s
                    if not s > 0.0:
                        return k
                    L[i, i] = math.sqrt(s)
                else:
                    L[i, j] = s / L[j, j]
        for j in range(d):
            # Column j of L⁻¹ by forward substitution: row j of U.
            for i in range(j):
                U[k, j, i] = 0.0
            U[k, j, j] = 1.0 / L[j, j]
            for i in range(j + 1, d):
                s = 0.0
                for t in range(j, i):
                    s -= L[i, t] * U[k, j, t]
                U[k, j, i] = s / L[i, i]
    return -1
