# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""EM statistics of rows with missing features, one pattern of missing features after another.

Rows come grouped by pattern (`order`, `starts`), so a pattern's Cholesky factors are made once per group.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture.kernels import ROWS
from streamgmm.mixture.missing_kernels import observed_and_absent
from streamgmm.mixture.simd_kernels import device, kernel

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_INTS = types.intp[::1]
_FLAGS = types.Array(types.boolean, 2, "C", readonly=True)


@device
def _factor(covariance, observed, m, L):
    """Cholesky of the observed block."""
    for a in range(m):
        for b in range(a + 1):
            s = covariance[observed[a], observed[b]]
            for t in range(b):
                s -= L[a, t] * L[b, t]
            if a == b:
                L[a, a] = math.sqrt(s)
            else:
                L[a, b] = s / L[b, b]


@device
def _conditional(covariance, observed, absent, m, rest, L, B, V):
    """Regress absent on observed features: x̂ = μ + B (x_o − μ_o), V = covariance of what B leaves open."""
    for a in range(rest):
        for b in range(m):
            B[a, b] = covariance[absent[a], observed[b]]
            for t in range(b):
                B[a, b] -= L[b, t] * B[a, t]
            B[a, b] /= L[b, b]
    for a in range(rest):
        for b in range(a + 1):
            v = covariance[absent[a], absent[b]]
            for t in range(m):
                v -= B[a, t] * B[b, t]
            V[a, b] = V[b, a] = v
    # From L⁻¹ Σ_om to Σ_oo⁻¹ Σ_om by back substitution, now that V has used the former.
    for a in range(rest):
        for b in range(m - 1, -1, -1):
            for t in range(b + 1, m):
                B[a, b] -= L[t, b] * B[a, t]
            B[a, b] /= L[b, b]


@kernel(types.void(ROWS, _FLAGS, _INTS, _INTS, _2D, _2D, _3D, _1D, _2D, _3D))
def moments_missing(X, missing, order, starts, resp, means, covariances, weight, first, second):
    """Add the expected statistics about the current means (Ghahramani & Jordan 1994).

    resp (n, K) holds responsibilities times row weights; covariances (K or 1, d, d). second is summed over the leading
    axis when it has length one (tied).
    """
    K, d = means.shape
    L, B, V = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    y = np.empty(d)
    observed, absent = np.empty(d, np.intp), np.empty(d, np.intp)
    for g in range(starts.size - 1):
        m = observed_and_absent(missing, order[starts[g]], observed, absent)
        rest = d - m
        for k in range(K):
            c = k if covariances.shape[0] > 1 else 0
            if k == 0 or covariances.shape[0] > 1:
                _factor(covariances[c], observed, m, L)
                _conditional(covariances[c], observed, absent, m, rest, L, B, V)
            S = second[k if second.shape[0] > 1 else 0]
            mass = 0.0
            for s in range(starts[g], starts[g + 1]):
                row = order[s]
                r = resp[row, k]
                if r == 0.0:
                    continue
                mass += r
                for a in range(m):
                    y[observed[a]] = X[row, observed[a]] - means[k, observed[a]]
                for a in range(rest):
                    v = 0.0
                    for b in range(m):
                        v += B[a, b] * y[observed[b]]
                    y[absent[a]] = v
                for i in range(d):
                    first[k, i] += r * y[i]
                    for j in range(i + 1):
                        S[i, j] += r * y[i] * y[j]
            weight[k] += mass
            for a in range(rest):
                for b in range(a + 1):
                    S[absent[a], absent[b]] += mass * V[a, b]


@kernel(types.void(ROWS, _FLAGS, _INTS, _2D, _2D, _2D, _1D, _2D, _2D))
def moments_missing_axes(X, missing, order, resp, means, variances, weight, first, second):
    """As `moments_missing` for diag and spherical: second (K, d)."""
    K, d = means.shape
    for k in range(K):
        for row in order:
            r = resp[row, k]
            weight[k] += r
            for i in range(d):
                if missing[row, i]:
                    second[k, i] += r * variances[k, i]
                else:
                    e = X[row, i] - means[k, i]
                    first[k, i] += r * e
                    second[k, i] += r * e * e
