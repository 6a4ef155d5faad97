# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Rows with missing features: exact marginals and EM statistics, one pattern of missing features after another.

Rows come grouped by pattern (`order`, `starts`), so a pattern's Cholesky factors are made once per group. The observed
block Σ_oo is factored rather than the precision's missing block: two digits better at condition 1e8 and beyond.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.kernels import LOWEST, ROWS
from streamgmm.mixture.simd_kernels import WIDTH, add, device, div, fma, kernel, load, mul, splat, store, sub

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_INTS = types.intp[::1]
_FLAGS = types.Array(types.boolean, 2, "C", readonly=True)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@device
def _observed(missing, row, observed, absent):
    """List the observed and the absent features; return how many are observed."""
    m = a = 0
    for i in range(missing.shape[1]):
        if missing[row, i]:
            absent[a] = i
            a += 1
        else:
            observed[m] = i
            m += 1
    return m


@device
def _factor(covariance, observed, m, L):
    """Cholesky of the observed block; return half its log-determinant."""
    half = 0.0
    for a in range(m):
        for b in range(a + 1):
            s = covariance[observed[a], observed[b]]
            for t in range(b):
                s -= L[a, t] * L[b, t]
            if a == b:
                L[a, a] = math.sqrt(s)
                half += math.log(L[a, a])
            else:
                L[a, b] = s / L[b, b]
    return half


@device
def _solve(L, m, y):
    """Overwrite y with L⁻¹ y; return |L⁻¹ y|²."""
    q = 0.0
    for a in range(m):
        s = y[a]
        for t in range(a):
            s -= L[a, t] * y[t]
        y[a] = s / L[a, a]
        q += y[a] * y[a]
    return q


@kernel(types.void(ROWS, _FLAGS, _INTS, _INTS, _2D, _3D, _1D, _2D))
def joint_missing(X, missing, order, starts, means, covariances, log_weights, out):
    """Write log weight + log marginal density (n, K) of the rows in order; covariances (K or 1, d, d)."""
    K, d = means.shape
    L, y = np.empty((d, d)), np.empty(d)
    observed, absent = np.empty(d, np.intp), np.empty(d, np.intp)
    for g in range(starts.size - 1):
        m = _observed(missing, order[starts[g]], observed, absent)
        half = 0.0
        for k in range(K):
            if k == 0 or covariances.shape[0] > 1:
                half = _factor(covariances[k], observed, m, L)
            for s in range(starts[g], starts[g + 1]):
                row = order[s]
                for a in range(m):
                    y[a] = X[row, observed[a]] - means[k, observed[a]]
                out[row, k] = log_weights[k] - m * _HALF_LOG_2PI - half - 0.5 * _solve(L, m, y)


@kernel(types.void(ROWS, _FLAGS, _INTS, _INTS, _1D, _1D, _1D, _2D))
def joint_missing_lanes(X, missing, order, starts, means, covariances, log_weights, out):
    """As `joint_missing` for full covariances, a vector of components at a time.

    means (d, padded), covariances (d (d + 1) / 2, padded) and log_weights (padded,) are flat, padded to whole vectors.
    """
    d, K = X.shape[1], out.shape[1]
    padded = log_weights.size
    L, y, lanes = np.empty(d * (d + 1) // 2 * WIDTH), np.empty(d * WIDTH), np.empty(WIDTH)
    observed, absent = np.empty(d, np.intp), np.empty(d, np.intp)
    for g in range(starts.size - 1):
        m = _observed(missing, order[starts[g]], observed, absent)
        for k in range(0, padded, WIDTH):
            twice = splat(0.0)
            for a in range(m):
                i, row = observed[a], a * (a + 1) // 2
                for b in range(a + 1):
                    column = b * (b + 1) // 2
                    s = load(covariances, (i * (i + 1) // 2 + observed[b]) * padded + k)
                    for t in range(b):
                        s = sub(s, mul(load(L, (row + t) * WIDTH), load(L, (column + t) * WIDTH)))
                    if a == b:
                        twice = add(twice, simd.log(s))
                        # The reciprocal: everything that follows divides by it.
                        store(L, (row + a) * WIDTH, div(splat(1.0), simd.sqrt(s)))
                    else:
                        store(L, (row + b) * WIDTH, mul(s, load(L, (column + b) * WIDTH)))
            constant = sub(load(log_weights, k), mul(splat(0.5), twice))
            for p in range(starts[g], starts[g + 1]):
                q = splat(0.0)
                for a in range(m):
                    i, row = observed[a], a * (a + 1) // 2
                    s = sub(splat(X[order[p], i]), load(means, i * padded + k))
                    for t in range(a):
                        s = sub(s, mul(load(L, (row + t) * WIDTH), load(y, t * WIDTH)))
                    s = mul(s, load(L, (row + a) * WIDTH))
                    store(y, a * WIDTH, s)
                    q = fma(s, s, q)
                store(lanes, 0, fma(splat(-0.5), q, constant))
                for c in range(min(WIDTH, K - k)):
                    out[order[p], k + c] = lanes[c] - m * _HALF_LOG_2PI


@kernel(types.void(ROWS, _FLAGS, _INTS, _2D, _2D, _1D, _2D))
def joint_missing_axes(X, missing, order, means, variances, log_weights, out):
    """As `joint_missing` for diag and spherical: variances (K, d)."""
    K, d = means.shape
    for k in range(K):
        for row in order:
            l = log_weights[k]
            for i in range(d):
                if not missing[row, i]:
                    e = X[row, i] - means[k, i]
                    l -= 0.5 * (e * e / variances[k, i] + math.log(variances[k, i])) + _HALF_LOG_2PI
            out[row, k] = l


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
        m = _observed(missing, order[starts[g]], observed, absent)
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


@kernel(types.void(_2D, _1D))
def log_sums(lp, out):
    """Write log Σ_k exp of each row; a row of −inf gives −inf."""
    n, K = lp.shape
    for p in range(n):
        m = LOWEST
        for k in range(K):
            m = max(m, lp[p, k])
        s = 0.0
        for k in range(K):
            s += math.exp(lp[p, k] - m)
        out[p] = m + math.log(s) if s > 0.0 else -np.inf
