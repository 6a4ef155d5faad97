# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Scoring and EM for complete rows: blocked over samples, SIMD over samples, fused log-sum-exp.

Everything is flat: a block of samples is transposed to (n_features, block), so that every inner loop has unit stride.
Deltas x − μ are formed first and multiplied by the triangular precision factor afterwards: x·U − μ·U cancels on data
far from the origin (tests/unit/mixture/test_accuracy.py). No BLAS: a triangular product needs half of its flops, and
its threads spin on a busy machine.

`kind` says how a component measures distance: full (0), tied (1), diag (2), spherical (3); `factors` holds

- full: per component, tiles of four rows of L = Uᵀ in the order they are read (`factor_kernels.pack_rows`);
- tied: the same for the one L, then L·(μ_k − centre); the last n_features numbers are the centre;
- diag: precisions (K·d); spherical: precisions (K).
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.axes_kernels import half_logs, joint_axes_masked
from streamgmm.mixture.simd_kernels import WIDTH, add, device, fma, kernel, load, mul, splat, store, sub, total

FULL, TIED, DIAG, SPHERICAL = 0, 1, 2, 3

# Samples per block (64 to 256 differ by 5 %); a tile is four vectors of samples.
BLOCK = 128
WIDE = 32
TILE = 4 * WIDTH
# A row so far away that its log-density overflows keeps a finite maximum here and is reported as −inf.
LOWEST = -1e308

_1D, _2D = types.float64[::1], types.float64[:, ::1]
ROWS = types.Array(types.float64, 2, "C", readonly=True)


@device
def block_size(d):
    """Return the samples per block: half as many where a block of that many features would leave the first cache."""
    return BLOCK if d <= WIDE else BLOCK // 2


@device
def transpose(X, start, rows, d, block, xt):
    """Copy rows to columns; return 0.0, or NaN when a value is not finite."""
    flat = X.reshape(-1)
    check = splat(0.0)
    whole_rows, whole = rows - rows % WIDTH, d - d % WIDTH
    for first in range(0, whole, WIDTH):
        for p in range(0, whole_rows, WIDTH):
            source = (start + p) * d + first
            check = add(check, simd.transpose_tile(flat, source, d, xt, first * block + p, block))
    rest = 0.0
    for p in range(rows):
        for i in range(whole if p < whole_rows else 0, d):
            v = X[start + p, i]
            rest += v - v
            xt[i * block + p] = v
    return rest + total(check)


@device
def subtract(xt, block, used, d, centres, offset, delta):
    """Write x − centre of a block."""
    for i in range(d):
        m = splat(centres[offset + i])
        for c in range(0, used, WIDTH):
            store(delta, i * block + c, sub(load(xt, i * block + c), m))


@device
def triangular_tile(L, o, delta, block, c, d, z, keep):
    """Return |L δ|² of four vectors of samples; where asked, leave L δ in z."""
    q0 = q1 = q2 = q3 = splat(0.0)
    whole = d // 4
    for j in range(whole):
        a00 = a01 = a02 = a03 = splat(0.0)
        a10 = a11 = a12 = a13 = splat(0.0)
        a20 = a21 = a22 = a23 = splat(0.0)
        a30 = a31 = a32 = a33 = splat(0.0)
        for i in range(4 * j + 4):
            s = i * block + c
            d0, d1 = load(delta, s), load(delta, s + WIDTH)
            d2, d3 = load(delta, s + 2 * WIDTH), load(delta, s + 3 * WIDTH)
            u = splat(L[o])
            a00, a01, a02, a03 = fma(u, d0, a00), fma(u, d1, a01), fma(u, d2, a02), fma(u, d3, a03)
            u = splat(L[o + 1])
            a10, a11, a12, a13 = fma(u, d0, a10), fma(u, d1, a11), fma(u, d2, a12), fma(u, d3, a13)
            u = splat(L[o + 2])
            a20, a21, a22, a23 = fma(u, d0, a20), fma(u, d1, a21), fma(u, d2, a22), fma(u, d3, a23)
            u = splat(L[o + 3])
            a30, a31, a32, a33 = fma(u, d0, a30), fma(u, d1, a31), fma(u, d2, a32), fma(u, d3, a33)
            o += 4
        q0 = fma(a30, a30, fma(a20, a20, fma(a10, a10, fma(a00, a00, q0))))
        q1 = fma(a31, a31, fma(a21, a21, fma(a11, a11, fma(a01, a01, q1))))
        q2 = fma(a32, a32, fma(a22, a22, fma(a12, a12, fma(a02, a02, q2))))
        q3 = fma(a33, a33, fma(a23, a23, fma(a13, a13, fma(a03, a03, q3))))
        if keep:
            _store_row(z, (4 * j) * block + c, a00, a01, a02, a03)
            _store_row(z, (4 * j + 1) * block + c, a10, a11, a12, a13)
            _store_row(z, (4 * j + 2) * block + c, a20, a21, a22, a23)
            _store_row(z, (4 * j + 3) * block + c, a30, a31, a32, a33)
    for j in range(4 * whole, d):
        a00 = a01 = a02 = a03 = splat(0.0)
        for i in range(j + 1):
            u = splat(L[o])
            s = i * block + c
            a00, a01 = fma(u, load(delta, s), a00), fma(u, load(delta, s + WIDTH), a01)
            a02, a03 = fma(u, load(delta, s + 2 * WIDTH), a02), fma(u, load(delta, s + 3 * WIDTH), a03)
            o += 1
        q0, q1, q2, q3 = fma(a00, a00, q0), fma(a01, a01, q1), fma(a02, a02, q2), fma(a03, a03, q3)
        if keep:
            _store_row(z, j * block + c, a00, a01, a02, a03)
    return q0, q1, q2, q3


@device
def _store_row(z, o, v0, v1, v2, v3):
    store(z, o, v0)
    store(z, o + WIDTH, v1)
    store(z, o + 2 * WIDTH, v2)
    store(z, o + 3 * WIDTH, v3)


@device
def store_joint(lp, o, constant, scale, q0, q1, q2, q3):
    """Store constant + scale·q."""
    c, s = splat(constant), splat(scale)
    store(lp, o, fma(s, q0, c))
    store(lp, o + WIDTH, fma(s, q1, c))
    store(lp, o + 2 * WIDTH, fma(s, q2, c))
    store(lp, o + 3 * WIDTH, fma(s, q3, c))


@device
def _squares(xt, block, c, d, centres, offset):
    """Return |x − centre|² of four vectors of samples."""
    q0 = q1 = q2 = q3 = splat(0.0)
    for i in range(d):
        s = i * block + c
        m = splat(centres[offset + i])
        e0, e1 = sub(load(xt, s), m), sub(load(xt, s + WIDTH), m)
        e2, e3 = sub(load(xt, s + 2 * WIDTH), m), sub(load(xt, s + 3 * WIDTH), m)
        q0, q1, q2, q3 = fma(e0, e0, q0), fma(e1, e1, q1), fma(e2, e2, q2), fma(e3, e3, q3)
    return q0, q1, q2, q3


@device
def _weighted_squares(xt, block, c, d, centres, precisions, offset):
    """Return Σ (x − centre)² · precision of four vectors of samples."""
    q0 = q1 = q2 = q3 = splat(0.0)
    for i in range(d):
        s = i * block + c
        m, w = splat(centres[offset + i]), splat(precisions[offset + i])
        e0, e1 = sub(load(xt, s), m), sub(load(xt, s + WIDTH), m)
        e2, e3 = sub(load(xt, s + 2 * WIDTH), m), sub(load(xt, s + 3 * WIDTH), m)
        q0, q1 = fma(mul(e0, e0), w, q0), fma(mul(e1, e1), w, q1)
        q2, q3 = fma(mul(e2, e2), w, q2), fma(mul(e3, e3), w, q3)
    return q0, q1, q2, q3


@device
def joint_block(kind, xt, block, used, d, K, means, factors, constants, delta, z, lp):
    """Fill lp (K, block) with log weight + log density of each component."""
    if kind == FULL:
        size = factors.size // K
        for k in range(K):
            subtract(xt, block, used, d, means, k * d, delta)
            for c in range(0, used, TILE):
                q0, q1, q2, q3 = triangular_tile(factors, k * size, delta, block, c, d, z, kind == TIED)
                store_joint(lp, k * block + c, constants[k], -0.5, q0, q1, q2, q3)
    elif kind == TIED:
        subtract(xt, block, used, d, factors, factors.size - d, delta)
        projected = factors.size - d - K * d
        for c in range(0, used, TILE):
            triangular_tile(factors, 0, delta, block, c, d, z, kind == TIED)
            for k in range(K):
                q0, q1, q2, q3 = _squares(z, block, c, d, factors, projected + k * d)
                store_joint(lp, k * block + c, constants[k], -0.5, q0, q1, q2, q3)
    elif kind == DIAG:
        for k in range(K):
            for c in range(0, used, TILE):
                q0, q1, q2, q3 = _weighted_squares(xt, block, c, d, means, factors, k * d)
                store_joint(lp, k * block + c, constants[k], -0.5, q0, q1, q2, q3)
    else:
        for k in range(K):
            for c in range(0, used, TILE):
                q0, q1, q2, q3 = _squares(xt, block, c, d, means, k * d)
                store_joint(lp, k * block + c, constants[k], -0.5 * factors[k], q0, q1, q2, q3)


@device
def greatest(lp, block, c, K):
    """Return the largest lp over components of a vector of samples."""
    m = splat(LOWEST)
    for k in range(K):
        m = simd.maximum(load(lp, k * block + c), m)
    return m


@device
def log_sums(lp, block, used, K, logs):
    """Write log Σ_k exp lp of a block."""
    for c in range(0, used, WIDTH):
        m = greatest(lp, block, c, K)
        s = splat(0.0)
        for k in range(K):
            s = add(s, simd.exp(sub(load(lp, k * block + c), m)))
        store(logs, c, add(m, simd.log(simd.maximum(s, splat(1e-300)))))


@device
def padded(rows):
    """Return rows rounded up to whole tiles."""
    return (rows + TILE - 1) // TILE * TILE


@kernel(types.float64(types.intp, ROWS, _1D, _1D, _1D, _1D))
def score(kind, X, means, factors, constants, out):
    """Write log p(x) of every row, full and tied: but NaN for a whole block in which some value is not finite.

    Return NaN where there is such a block, else 0.0. Under diag and spherical every row gets its marginal density.
    """
    n, d = X.shape
    K, block = constants.size, block_size(d)
    xt, delta, z = simd.zeros(d * block), simd.scratch(d * block), simd.scratch(d * block)
    lp, logs = simd.scratch(K * block), simd.scratch(block)
    check, masked, halves = 0.0, False, delta
    for start in range(0, n, block):
        rows = min(block, n - start)
        used = padded(rows)
        finite = transpose(X, start, rows, d, block, xt)
        if not math.isnan(finite):
            joint_block(kind, xt, block, used, d, K, means, factors, constants, delta, z, lp)
        elif kind >= DIAG:
            if not masked:
                masked, halves = True, half_logs(factors)
            joint_axes_masked(kind == DIAG, xt, block, used, d, K, means, factors, constants, halves, z, lp)
        else:
            check = finite
            out[start : start + rows] = np.nan
            continue
        log_sums(lp, block, used, K, logs)
        for p in range(rows):
            out[start + p] = logs[p] if logs[p] > 0.99 * LOWEST else -np.inf
    return check


@kernel(types.float64(types.intp, ROWS, _1D, _1D, _1D, _2D))
def joint(kind, X, means, factors, constants, out):
    """Write log weight + log density (n, K); return as `score` does, but rows of full and tied are not to be used."""
    n, d = X.shape
    K, block = constants.size, block_size(d)
    xt, delta, z, lp = simd.zeros(d * block), simd.scratch(d * block), simd.scratch(d * block), simd.scratch(K * block)
    check, masked, halves = 0.0, False, delta
    for start in range(0, n, block):
        rows = min(block, n - start)
        finite = transpose(X, start, rows, d, block, xt)
        if math.isnan(finite) and kind >= DIAG:
            if not masked:
                masked, halves = True, half_logs(factors)
            joint_axes_masked(kind == DIAG, xt, block, padded(rows), d, K, means, factors, constants, halves, z, lp)
        else:
            check += finite
            joint_block(kind, xt, block, padded(rows), d, K, means, factors, constants, delta, z, lp)
        for p in range(rows):
            for k in range(K):
                out[start + p, k] = lp[k * block + p]
    return check


@kernel(types.void(_2D, _1D))
def normalise(lp, out):
    """Turn rows of log weight + log density into responsibilities in place; write log p(x)."""
    n, K = lp.shape
    for p in range(n):
        m = LOWEST
        for k in range(K):
            m = max(m, lp[p, k])
        s = 0.0
        for k in range(K):
            e = math.exp(lp[p, k] - m)
            lp[p, k] = e
            s += e
        if s > 0.0:
            out[p] = m + math.log(s)
            for k in range(K):
                lp[p, k] /= s
        else:
            out[p] = -np.inf
            for k in range(K):
                lp[p, k] = 1.0 / K
