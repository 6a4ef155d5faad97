# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""One fused E-step: responsibilities and centred statistics of a block of samples at a time, nothing else kept."""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.kernels import LOWEST, ROWS, block_size, greatest, joint_block, padded, subtract, transpose
from streamgmm.mixture.simd_kernels import WIDTH, add, device, div, fma, kernel, load, mul, splat, store, sub, total

# A share of a row so small that no sum of moments would show it: 1e4 times below the rounding of one row.
NEGLIGIBLE = 1e-20

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]


@device
def _weigh(lp, block, rows, used, K, weights, start, weighted):
    """Turn lp (K, block) into responsibilities times weights, zero beyond the rows; return Σ weight · log p(x)."""
    sums = splat(0.0)
    logs = simd.scratch(WIDTH)
    for c in range(0, used, WIDTH):
        m = greatest(lp, block, c, K)
        s = splat(0.0)
        for k in range(K):
            e = simd.exp(sub(load(lp, k * block + c), m))
            store(lp, k * block + c, e)
            s = add(s, e)
        s = simd.maximum(s, splat(1e-300))
        density = add(m, simd.log(s))
        w = splat(1.0)
        if weighted or c + WIDTH > rows:
            for p in range(WIDTH):
                logs[p] = 0.0
                if c + p < rows:
                    logs[p] = weights[start + c + p] if weighted else 1.0
            w = load(logs, 0)
        sums = fma(w, density, sums)
        w = div(w, s)
        for k in range(K):
            store(lp, k * block + c, mul(load(lp, k * block + c), w))
    return total(sums)


@device
def _log_sum(lp, block, p, K):
    m = LOWEST
    for k in range(K):
        m = max(m, lp[k * block + p])
    s = 0.0
    for k in range(K):
        s += math.exp(lp[k * block + p] - m)
    return m + math.log(max(s, 1e-300))


@device
def _sum_lanes(values, o, used):
    s = splat(0.0)
    for c in range(0, used, WIDTH):
        s = add(s, load(values, o + c))
    return total(s)


@device
def _outer_tile(r, x, block, used, i, j, second):
    """Add Σ r_i x_j of a 4 × 4 tile of features to second."""
    a00 = a01 = a02 = a03 = a10 = a11 = a12 = a13 = splat(0.0)
    a20 = a21 = a22 = a23 = a30 = a31 = a32 = a33 = splat(0.0)
    for c in range(0, used, WIDTH):
        x0, x1 = load(x, j * block + c), load(x, (j + 1) * block + c)
        x2, x3 = load(x, (j + 2) * block + c), load(x, (j + 3) * block + c)
        y = load(r, i * block + c)
        a00, a01, a02, a03 = fma(y, x0, a00), fma(y, x1, a01), fma(y, x2, a02), fma(y, x3, a03)
        y = load(r, (i + 1) * block + c)
        a10, a11, a12, a13 = fma(y, x0, a10), fma(y, x1, a11), fma(y, x2, a12), fma(y, x3, a13)
        y = load(r, (i + 2) * block + c)
        a20, a21, a22, a23 = fma(y, x0, a20), fma(y, x1, a21), fma(y, x2, a22), fma(y, x3, a23)
        y = load(r, (i + 3) * block + c)
        a30, a31, a32, a33 = fma(y, x0, a30), fma(y, x1, a31), fma(y, x2, a32), fma(y, x3, a33)
    _add_row(second, i, j, a00, a01, a02, a03)
    _add_row(second, i + 1, j, a10, a11, a12, a13)
    _add_row(second, i + 2, j, a20, a21, a22, a23)
    _add_row(second, i + 3, j, a30, a31, a32, a33)


@device
def _add_row(second, i, j, v0, v1, v2, v3):
    second[i, j] += total(v0)
    second[i, j + 1] += total(v1)
    second[i, j + 2] += total(v2)
    second[i, j + 3] += total(v3)


@device
def _outer(r, x, block, used, d, second):
    """Add the lower triangle of Σ r_i x_j (whole tiles, so a little above the diagonal too)."""
    whole = d // 4
    for i in range(whole):
        for j in range(i + 1):
            _outer_tile(r, x, block, used, 4 * i, 4 * j, second)
    for i in range(4 * whole, d):
        for j in range(i + 1):
            s = splat(0.0)
            for c in range(0, used, WIDTH):
                s = fma(load(r, i * block + c), load(x, j * block + c), s)
            second[i, j] += total(s)


@device
def _first_full(lp, o, delta, scaled, block, used, d, first):
    """Leave r·δ in scaled; add its sums to first."""
    for i in range(d):
        s = splat(0.0)
        for c in range(0, used, WIDTH):
            y = mul(load(lp, o + c), load(delta, i * block + c))
            store(scaled, i * block + c, y)
            s = add(s, y)
        first[i] += total(s)


@device
def _places(lp, o, used, places):
    """Write which samples a component has a share in; return how many."""
    count = 0
    for p in range(used):
        places[count] = p
        count += lp[o + p] > NEGLIGIBLE
    return count


@device
def _gather(lp, o, xt, block, d, means, offset, places, count, some, apart, filled):
    """Put a component's shares and its x − μ of a few samples behind those gathered already."""
    for q in range(count):
        some[filled + q] = lp[o + places[q]]
    for i in range(d):
        to, m = i * block + filled, means[offset + i]
        for q in range(count):
            apart[to + q] = xt[i * block + places[q]] - m


@device
def _spend(some, apart, block, d, filled, scaled, first, second):
    """Add the moments of what was gathered."""
    used = (filled + WIDTH - 1) // WIDTH * WIDTH
    for q in range(filled, used):
        some[q] = 0.0
        for i in range(d):
            apart[i * block + q] = 0.0
    _first_full(some, 0, apart, scaled, block, used, d, first)
    _outer(scaled, apart, block, used, d, second)


@kernel(types.float64(types.intp, ROWS, _1D, types.boolean, _1D, _1D, _1D, _1D, _2D, _3D))
def moments_full(kind, X, weights, weighted, means, factors, constants, weight, first, second):
    """One E-step and its statistics about the current means, full covariances; return Σ weight · log p(x) or NaN.

    Adds to weight (K,), first (K, d) and second (K, d, d), which is symmetric.
    """
    n, d = X.shape
    K, block = constants.size, block_size(d)
    xt, delta, scaled, lp = (
        simd.zeros(d * block),
        simd.scratch(d * block),
        simd.scratch(d * block),
        simd.scratch(K * block),
    )
    # Where components lie apart, most of the moments would be sums of nothing: what is something is gathered first.
    some, apart = simd.scratch(K * block).reshape((K, block)), simd.scratch(K * d * block).reshape((K, d * block))
    places, filled = np.empty(block, np.intp), np.zeros(K, np.intp)
    likelihood = 0.0
    for start in range(0, n, block):
        rows = min(block, n - start)
        likelihood += transpose(X, start, rows, d, block, xt)
        used = padded(rows)
        joint_block(kind, xt, block, used, d, K, means, factors, constants, delta, scaled, lp)
        likelihood += _weigh(lp, block, rows, used, K, weights, start, weighted)
        for k in range(K):
            o = k * block
            weight[k] += _sum_lanes(lp, o, used)
            # Weights have no scale, so nothing is negligible.
            count = used if weighted else _places(lp, o, used, places)
            if 2 * count <= used:
                if filled[k] + count > block:
                    _spend(some[k], apart[k], block, d, filled[k], scaled, first[k], second[k])
                    filled[k] = 0
                _gather(lp, o, xt, block, d, means, k * d, places, count, some[k], apart[k], filled[k])
                filled[k] += count
                continue
            subtract(xt, block, used, d, means, k * d, delta)
            _first_full(lp, o, delta, scaled, block, used, d, first[k])
            _outer(scaled, delta, block, used, d, second[k])
    for k in range(K):
        _spend(some[k], apart[k], block, d, filled[k], scaled, first[k], second[k])
        for i in range(d):
            for j in range(i):
                second[k, j, i] = second[k, i, j]
    return likelihood


@kernel(types.float64(types.intp, ROWS, _1D, types.boolean, _1D, _1D, _1D, _1D, _2D, _2D))
def moments_axes(kind, X, weights, weighted, means, factors, constants, weight, first, second):
    """As `moments_full` for diag and spherical: second (K, d) = Σ r (x − μ)² per feature."""
    n, d = X.shape
    K, block = constants.size, block_size(d)
    xt, lp, unused = simd.zeros(d * block), simd.scratch(K * block), np.empty(0)
    likelihood = 0.0
    for start in range(0, n, block):
        rows = min(block, n - start)
        likelihood += transpose(X, start, rows, d, block, xt)
        used = padded(rows)
        joint_block(kind, xt, block, used, d, K, means, factors, constants, unused, unused, lp)
        likelihood += _weigh(lp, block, rows, used, K, weights, start, weighted)
        for k in range(K):
            o = k * block
            weight[k] += _sum_lanes(lp, o, used)
            for i in range(d):
                m = splat(means[k * d + i])
                s1, s2 = splat(0.0), splat(0.0)
                t1, t2 = splat(0.0), splat(0.0)
                for c in range(0, used, 2 * WIDTH):
                    x = sub(load(xt, i * block + c), m)
                    y = mul(x, load(lp, o + c))
                    s1, s2 = add(s1, y), fma(x, y, s2)
                    x = sub(load(xt, i * block + c + WIDTH), m)
                    y = mul(x, load(lp, o + c + WIDTH))
                    t1, t2 = add(t1, y), fma(x, y, t2)
                first[k, i] += total(add(s1, t1))
                second[k, i] += total(add(s2, t2))
    return likelihood


@kernel(types.float64(types.intp, ROWS, _1D, types.boolean, _1D, _1D, _1D, _1D, _2D, _2D, _2D))
def moments_tied(kind, X, weights, weighted, means, factors, constants, weight, first, second, pairs):
    """As `moments_full` for a tied covariance, at the cost of one component.

    Per sample Σ r_k δ_k δ_kᵀ = ē ēᵀ + Σ_{k<l} r_k r_l (μ_k − μ_l)(μ_k − μ_l)ᵀ with ē = Σ r_k δ_k (law of total
    variance): every term is a square, so nothing cancels. second (d, d) gets the lower triangle of Σ ē ēᵀ, pairs
    (K, K) the lower triangle of Σ r_k r_l; the caller adds the distances of the means.
    """
    n, d = X.shape
    K, block = constants.size, block_size(d)
    xt, delta, z, lp = simd.zeros(d * block), simd.scratch(d * block), simd.scratch(d * block), simd.scratch(K * block)
    mean, scaled, weighted_lp = simd.scratch(d * block), simd.scratch(d * block), simd.scratch(K * block)
    row_weights = np.ones(block)
    likelihood = 0.0
    for start in range(0, n, block):
        rows = min(block, n - start)
        likelihood += transpose(X, start, rows, d, block, xt)
        used = padded(rows)
        joint_block(kind, xt, block, used, d, K, means, factors, constants, delta, z, lp)
        if weighted:
            for p in range(rows):
                likelihood += (weights[start + p] - 1.0) * _log_sum(lp, block, p, K)
                row_weights[p] = weights[start + p]
        likelihood += _weigh(lp, block, rows, used, K, weights, start, False)
        for c in range(0, d * block, WIDTH):
            store(mean, c, splat(0.0))
        for k in range(K):
            o = k * block
            for c in range(0, used, WIDTH):
                store(weighted_lp, o + c, mul(load(lp, o + c), load(row_weights, c)))
            weight[k] += _sum_lanes(weighted_lp, o, used)
            for i in range(d):
                m = splat(means[k * d + i])
                s = splat(0.0)
                for c in range(0, used, WIDTH):
                    x = mul(sub(load(xt, i * block + c), m), load(lp, o + c))
                    store(mean, i * block + c, add(load(mean, i * block + c), x))
                    s = fma(x, load(row_weights, c), s)
                first[k, i] += total(s)
        for i in range(d):
            for c in range(0, used, WIDTH):
                store(scaled, i * block + c, mul(load(mean, i * block + c), load(row_weights, c)))
        _outer(scaled, mean, block, used, d, second)
        _outer(weighted_lp, lp, block, used, K, pairs)
    return likelihood
