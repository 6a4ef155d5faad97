# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Sums of one-dimensional mixtures, one per feature: scoring and the E-step, SIMD over rows; a NaN cell drops out.

The logarithm of a sum of exponentials is taken once for many features: the sums, each between 1 and n_components, are
multiplied up first.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.kernels import LOWEST, ROWS, block_size, padded, transpose
from streamgmm.mixture.simd_kernels import WIDTH, add, device, div, fma, kernel, load, mul, splat, store, sub, total

_1D, _2D = types.float64[::1], types.float64[:, ::1]

# Factors that are multiplied before a logarithm is taken: 256^64 < 1e154 is far from overflowing.
FACTORS = 64
# A row so far away that its log-density overflows is reported as −inf (as in `kernels`).
FARTHEST = 0.99 * LOWEST


@device
def _columns(X, start, rows, d, block, xt):
    """Copy rows to columns; beyond them there is nothing but NaN."""
    transpose(X, start, rows, d, block, xt)
    for i in range(d):
        for p in range(rows, padded(rows)):
            xt[i * block + p] = np.nan


@device
def _joint(x, j, K, means, precisions, constants, o, lp):
    """Leave log weight + log density of each component of feature j in lp (K, WIDTH at o); return the greatest."""
    m = splat(LOWEST)
    for k in range(K):
        e = sub(x, splat(means[j, k]))
        l = fma(mul(e, e), splat(-0.5 * precisions[j, k]), splat(constants[j, k]))
        store(lp, k * WIDTH + o, l)
        m = simd.maximum(l, m)
    return m


@kernel(types.void(ROWS, _2D, _2D, _2D, _1D))
def score(X, means, precisions, constants, out):
    """Write Σ_j log p(x_j) of every row; parameters are (n_features, n_components).

    `constants` are log weight − ½ log 2πσ².
    """
    n, d = X.shape
    K, block = means.shape[1], block_size(d)
    xt, logs, lp = simd.scratch(d * block), simd.scratch(block), simd.scratch(K * WIDTH)
    for start in range(0, n, block):
        rows = min(block, n - start)
        _columns(X, start, rows, d, block, xt)
        for c in range(0, rows, WIDTH):
            sums, product = splat(0.0), splat(1.0)
            for j in range(d):
                x = load(xt, j * block + c)
                known = simd.known(x)
                m = _joint(simd.zeroed(x), j, K, means, precisions, constants, 0, lp)
                s = splat(0.0)
                for k in range(K):
                    s = add(s, simd.exp(sub(load(lp, k * WIDTH), m)))
                sums = fma(known, m, sums)
                # 1 where the cell is missing: its factor drops out.
                product = mul(product, fma(known, sub(s, splat(1.0)), splat(1.0)))
                if j % FACTORS == FACTORS - 1:
                    sums = add(sums, simd.log(simd.maximum(product, splat(1e-300))))
                    product = splat(1.0)
            store(logs, c, add(sums, simd.log(simd.maximum(product, splat(1e-300)))))
        for p in range(rows):
            out[start + p] = logs[p] if logs[p] > FARTHEST else -np.inf


@kernel(types.void(ROWS, _2D, _2D, _2D, _2D))
def score_each(X, means, precisions, constants, out):
    """Write log p(x_j) of every cell (n, n_features), 0 where it is missing."""
    n, d = X.shape
    K, block = means.shape[1], block_size(d)
    xt, logs, lp = simd.scratch(d * block), simd.scratch(WIDTH), simd.scratch(K * WIDTH)
    for start in range(0, n, block):
        rows = min(block, n - start)
        _columns(X, start, rows, d, block, xt)
        for c in range(0, rows, WIDTH):
            for j in range(d):
                x = load(xt, j * block + c)
                m = _joint(simd.zeroed(x), j, K, means, precisions, constants, 0, lp)
                s = splat(0.0)
                for k in range(K):
                    s = add(s, simd.exp(sub(load(lp, k * WIDTH), m)))
                log_density = add(m, simd.log(simd.maximum(s, splat(1e-300))))
                store(logs, 0, mul(simd.known(x), log_density))
                for p in range(min(WIDTH, rows - c)):
                    out[start + c + p, j] = logs[p]


@kernel(types.float64(ROWS, _2D, _2D, _2D, _2D, _2D, _2D))
def moments(X, means, precisions, constants, weight, first, second):
    """Add the E-step's statistics about the means, each (n_features, n_components); return Σ log p(x)."""
    n, d = X.shape
    K, block = means.shape[1], block_size(d)
    xt, lp, scale = simd.scratch(d * block), simd.scratch(K * block), simd.scratch(block)
    tops, products = simd.scratch(block), simd.scratch(block)
    likelihood = splat(0.0)
    for start in range(0, n, block):
        rows = min(block, n - start)
        used = (rows + WIDTH - 1) // WIDTH * WIDTH
        _columns(X, start, rows, d, block, xt)
        for c in range(0, used, WIDTH):
            store(tops, c, splat(0.0))
            store(products, c, splat(1.0))
        for j in range(d):
            for c in range(0, used, WIDTH):
                x = load(xt, j * block + c)
                known = simd.known(x)
                m = _joint(simd.zeroed(x), j, K, means, precisions, constants, c * K, lp)
                s = splat(0.0)
                for k in range(K):
                    e = simd.exp(sub(load(lp, k * WIDTH + c * K), m))
                    store(lp, k * WIDTH + c * K, e)
                    s = add(s, e)
                store(scale, c, div(known, simd.maximum(s, splat(1e-300))))
                store(tops, c, fma(known, m, load(tops, c)))
                product = mul(load(products, c), fma(known, sub(s, splat(1.0)), splat(1.0)))
                if j % FACTORS == FACTORS - 1:
                    likelihood = add(likelihood, simd.log(simd.maximum(product, splat(1e-300))))
                    product = splat(1.0)
                store(products, c, product)
            for k in range(K):
                a0 = a1 = a2 = splat(0.0)
                centre = splat(means[j, k])
                for c in range(0, used, WIDTH):
                    r = mul(load(lp, k * WIDTH + c * K), load(scale, c))
                    e = sub(simd.zeroed(load(xt, j * block + c)), centre)
                    y = mul(r, e)
                    a0, a1, a2 = add(a0, r), add(a1, y), fma(y, e, a2)
                weight[j, k] += total(a0)
                first[j, k] += total(a1)
                second[j, k] += total(a2)
        for c in range(0, used, WIDTH):
            likelihood = add(likelihood, add(load(tops, c), simd.log(simd.maximum(load(products, c), splat(1e-300)))))
    return total(likelihood)
