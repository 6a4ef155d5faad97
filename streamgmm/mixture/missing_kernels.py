# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Exact marginal densities of rows with missing features.

Two routes for full covariances, both SIMD. Where few features are missing, the density of all of them is taken with
x − μ = 0 at the missing ones (`joint_masked`, as fast as complete rows), and corrected by the precision's missing block
(`marginalise`). Where many are, or features are nearly dependent, the observed block Σ_oo of the covariance is
factored (`joint_observed`): two digits better at condition 1e8 and beyond.
Rows come grouped by pattern (`order`, `starts`), so a pattern's Cholesky factors are made once per group.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.kernels import LOWEST, ROWS, TILE, block_size, padded, store_joint, transpose, triangular_tile
from streamgmm.mixture.simd_kernels import WIDTH, add, device, div, fma, kernel, load, mul, splat, store, sub, total

_1D, _2D = types.float64[::1], types.float64[:, ::1]
_INTS = types.intp[::1]
_FLAGS = types.Array(types.boolean, 2, "C", readonly=True)
_BOOLS = types.boolean[:, ::1]
# Pivots that are multiplied before a logarithm is taken.
PIVOTS = 4
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@device
def observed_and_absent(missing, row, observed, absent):
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
def _mask(xt, block, used, d, known):
    """Write 1 into known where there is a number and 0 where there is none; there xt becomes 0."""
    for i in range(d):
        for s in range(i * block, i * block + used, WIDTH):
            v = load(xt, s)
            store(known, s, simd.known(v))
            store(xt, s, simd.zeroed(v))


@kernel(types.void(ROWS, _1D, _1D, _1D, _2D))
def joint_masked(X, means, factors, constants, out):
    """Write log weight + log density (n, K), full covariances, of rows whose missing features equal the mean."""
    n, d = X.shape
    K, block = constants.size, block_size(d)
    size = factors.size // K
    xt, known, delta, lp = np.zeros(d * block), np.empty(d * block), np.empty(d * block), np.empty(K * block)
    for start in range(0, n, block):
        rows = min(block, n - start)
        used = padded(rows)
        transpose(X, start, rows, d, block, xt)
        _mask(xt, block, used, d, known)
        for k in range(K):
            for i in range(d):
                m = splat(means[k * d + i])
                for s in range(i * block, i * block + used, WIDTH):
                    store(delta, s, mul(sub(load(xt, s), m), load(known, s)))
            for c in range(0, used, TILE):
                q0, q1, q2, q3 = triangular_tile(factors, k * size, delta, block, c, d, delta, False)
                store_joint(lp, k * block + c, constants[k], -0.5, q0, q1, q2, q3)
        for p in range(rows):
            for k in range(K):
                out[start + p, k] = lp[k * block + p]


@device
def _factor(matrices, at, d, chosen, m, L, scratch):
    """Factor a block of symmetric matrices as L D Lᵀ, with D⁻¹ on the diagonal of L; return log |D|."""
    logs, product = splat(0.0), splat(1.0)
    for a in range(m):
        row, source = a * (a + 1) // 2, at + chosen[a] * d * WIDTH
        for b in range(a + 1):
            column = b * (b + 1) // 2
            s = load(matrices, source + chosen[b] * WIDTH)
            for t in range(b):
                s = sub(s, mul(load(scratch, t * WIDTH), load(L, (column + t) * WIDTH)))
            if a == b:
                product = mul(product, s)
                store(L, (row + a) * WIDTH, div(splat(1.0), s))
            else:
                store(scratch, b * WIDTH, s)
                store(L, (row + b) * WIDTH, mul(s, load(L, (column + b) * WIDTH)))
        if a % PIVOTS == PIVOTS - 1:
            logs, product = add(logs, simd.log(product)), splat(1.0)
    return add(logs, simd.log(product))


@device
def _solve(L, a, s, y):
    """Leave row a of y = L⁻¹ s in y; return its square over D."""
    row = a * (a + 1) // 2
    for t in range(a):
        s = sub(s, mul(load(L, (row + t) * WIDTH), load(y, t * WIDTH)))
    store(y, a * WIDTH, s)
    return mul(mul(s, s), load(L, (row + a) * WIDTH))


@kernel(types.void(ROWS, _FLAGS, _INTS, _INTS, _1D, _1D, _2D))
def marginalise(X, missing, order, starts, means, precisions, out):
    """Turn what `joint_masked` wrote into log weight + log marginal density.

    With δ = 0 at the missing features m, v = Λ_mo δ_o and G = Λ_mm: δ_oᵀ Σ_oo⁻¹ δ_o = δᵀ Λ δ − vᵀ G⁻¹ v, and
    log |Σ_oo| = log |Σ| + log |G|. Lanes as in `MixtureParameters.precision_lanes`.
    """
    d, K = X.shape[1], out.shape[1]
    size = d * (d + 1) // 2 * WIDTH
    G, v, delta, scratch = np.empty(size), np.empty(d * WIDTH), np.empty(d * WIDTH), np.empty(d * WIDTH)
    observed, absent, lanes = np.empty(d, np.intp), np.empty(d, np.intp), np.empty(WIDTH)
    for k in range(0, K, WIDTH):
        at, mean = k * d * d, k * d
        for g in range(starts.size - 1):
            rest = d - observed_and_absent(missing, order[starts[g]], observed, absent)
            log_determinant = _factor(precisions, at, d, absent, rest, G, scratch)
            constant = fma(splat(-0.5), log_determinant, splat(rest * _HALF_LOG_2PI))
            for p in range(starts[g], starts[g + 1]):
                n = order[p]
                for i in range(d):
                    # Without a branch, which random patterns would mispredict.
                    x = splat(X[n, i])
                    e = sub(simd.zeroed(x), load(means, mean + i * WIDTH))
                    store(delta, i * WIDTH, mul(simd.known(x), e))
                q = splat(0.0)
                for a in range(0, rest - 1, 2):
                    o0, o1 = at + absent[a] * d * WIDTH, at + absent[a + 1] * d * WIDTH
                    s0 = s1 = splat(0.0)
                    for i in range(0, d * WIDTH, WIDTH):
                        e = load(delta, i)
                        s0, s1 = fma(load(precisions, o0 + i), e, s0), fma(load(precisions, o1 + i), e, s1)
                    q = add(q, _solve(G, a, s0, v))
                    q = add(q, _solve(G, a + 1, s1, v))
                if rest % 2:
                    o0, s0 = at + absent[rest - 1] * d * WIDTH, splat(0.0)
                    for i in range(0, d * WIDTH, WIDTH):
                        s0 = fma(load(precisions, o0 + i), load(delta, i), s0)
                    q = add(q, _solve(G, rest - 1, s0, v))
                store(lanes, 0, fma(splat(0.5), q, constant))
                for c in range(min(WIDTH, K - k)):
                    l = out[n, k + c] + lanes[c]
                    # Both squares may overflow.
                    out[n, k + c] = -np.inf if math.isnan(l) else l


@kernel(types.void(ROWS, _FLAGS, _INTS, _INTS, _1D, _1D, _1D, _2D))
def joint_observed(X, missing, order, starts, means, covariances, log_weights, out):
    """Write log weight + log marginal density (n, K) of the rows in order, from factors of the observed block Σ_oo.

    Lanes as in `MixtureParameters.covariance_lanes`.
    """
    d, K = X.shape[1], out.shape[1]
    size = d * (d + 1) // 2 * WIDTH
    L, y, scratch, lanes = np.empty(size), np.empty(d * WIDTH), np.empty(d * WIDTH), np.empty(WIDTH)
    observed, absent = np.empty(d, np.intp), np.empty(d, np.intp)
    for k in range(0, K, WIDTH):
        at, mean = k * d * d, k * d
        for g in range(starts.size - 1):
            m = observed_and_absent(missing, order[starts[g]], observed, absent)
            log_determinant = _factor(covariances, at, d, observed, m, L, scratch)
            constant = fma(splat(-0.5), log_determinant, sub(load(log_weights, k), splat(m * _HALF_LOG_2PI)))
            for p in range(starts[g], starts[g + 1]):
                n = order[p]
                q = splat(0.0)
                for a in range(m):
                    i = observed[a]
                    q = add(q, _solve(L, a, sub(splat(X[n, i]), load(means, mean + i * WIDTH)), y))
                store(lanes, 0, fma(splat(-0.5), q, constant))
                for c in range(min(WIDTH, K - k)):
                    out[n, k + c] = lanes[c]


@kernel(types.void(_2D, _1D))
def log_density(joint, out):
    """Write log Σ_k exp of each row; a row of −inf gives −inf."""
    n, K = joint.shape
    lp = np.full((K + WIDTH - 1) // WIDTH * WIDTH, -np.inf)
    for p in range(n):
        top = LOWEST
        for k in range(K):
            lp[k] = joint[p, k]
            top = max(top, lp[k])
        s = splat(0.0)
        for k in range(0, K, WIDTH):
            s = add(s, simd.exp(sub(load(lp, k), splat(top))))
        s1 = total(s)
        out[p] = top + math.log(s1) if s1 > 0.0 else -np.inf


@kernel(types.intp(ROWS, _BOOLS, _INTS))
def observe(X, absent, counts):
    """Write which features are missing, and how many of each row; return how many rows hold ±Inf: theirs is −1."""
    n, d = X.shape
    infinite = 0
    for p in range(n):
        m, check = 0, 0.0
        for i in range(d):
            v = X[p, i]
            gone = math.isnan(v)
            absent[p, i] = gone
            m += gone
            check += 0.0 if gone else v - v
        counts[p] = m
        if math.isnan(check):
            counts[p] = -1
            infinite += 1
    return infinite
