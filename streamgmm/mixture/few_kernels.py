# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Log-densities of fewer rows than a block is worth: SIMD over components, or over features."""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.kernels import DIAG, LOWEST, ROWS
from streamgmm.mixture.simd_kernels import WIDTH, add, device, fma, kernel, load, mul, splat, store, sub, total

_1D, _2D = types.float64[::1], types.float64[:, ::1]


@device
def _log_sum(lp, top):
    s = 0.0
    for l in lp:
        s += math.exp(l - top)
    return top + math.log(s) if s > 0.0 else -np.inf


@kernel(types.void(ROWS, _1D, _1D))
def score_lanes(X, lanes, out):
    """Write log p(x), full covariances, SIMD over components: for fewer rows than a block is worth.

    `lanes` holds, each over components padded to whole vectors: means (d), lower factors row by row, constants.
    """
    n, d = X.shape
    padded = lanes.size // (d + d * (d + 1) // 2 + 1)
    delta, lp = np.empty(d * WIDTH), np.empty(padded)
    for p in range(n):
        m = splat(LOWEST)
        for k in range(0, padded, WIDTH):
            for i in range(d):
                store(delta, i * WIDTH, sub(splat(X[p, i]), load(lanes, i * padded + k)))
            o = d * padded + k
            q = splat(0.0)
            for j in range(d):
                a = b = splat(0.0)
                for i in range(0, j, 2):
                    a = fma(load(lanes, o), load(delta, i * WIDTH), a)
                    b = fma(load(lanes, o + padded), load(delta, (i + 1) * WIDTH), b)
                    o += 2 * padded
                if j % 2 == 0:
                    a = fma(load(lanes, o), load(delta, j * WIDTH), a)
                    o += padded
                a = add(a, b)
                q = fma(a, a, q)
            l = fma(splat(-0.5), q, load(lanes, o))
            store(lp, k, l)
            m = simd.maximum(l, m)
        top = LOWEST
        store(delta, 0, m)
        for i in range(WIDTH):
            top = max(top, delta[i])
        s = splat(0.0)
        for k in range(0, padded, WIDTH):
            s = add(s, simd.exp(sub(load(lp, k), splat(top))))
        s1 = total(s)
        out[p] = top + math.log(s1) if s1 > 0.0 else -np.inf


@kernel(types.void(types.intp, ROWS, _1D, _1D, _1D, _1D))
def score_few(kind, X, means, factors, constants, out):
    """Write log p(x), diag and spherical, SIMD over features: for fewer rows than a block is worth."""
    n, d = X.shape
    K = constants.size
    flat, lp, whole = X.reshape(-1), np.empty(K), d - d % WIDTH
    for p in range(n):
        top = LOWEST
        for k in range(K):
            q = splat(0.0)
            rest = 0.0
            for i in range(0, whole, WIDTH):
                e = sub(load(flat, p * d + i), load(means, k * d + i))
                w = load(factors, k * d + i) if kind == DIAG else splat(factors[k])
                q = fma(mul(e, e), w, q)
            for i in range(whole, d):
                e1 = X[p, i] - means[k * d + i]
                rest += e1 * e1 * (factors[k * d + i] if kind == DIAG else factors[k])
            lp[k] = constants[k] - 0.5 * (total(q) + rest)
            top = max(top, lp[k])
        out[p] = _log_sum(lp, top)


@kernel(types.void(ROWS, _2D, _1D, _1D, _1D))
def score_few_tied(X, U, factors, constants, out):
    """Write log p(x), tied covariance, SIMD over features: for fewer rows than a block is worth.

    U (d, d) is the precision's upper factor, `factors` what `kernels` reads.
    """
    n, d = X.shape
    K, whole = constants.size, d - d % WIDTH
    rows, z, lp = U.reshape(-1), np.empty(d), np.empty(K)
    centre = factors.size - d
    projected = centre - K * d
    for p in range(n):
        z[:] = 0.0
        for i in range(d):
            e = X[p, i] - factors[centre + i]
            # Row i of U is zero before the diagonal.
            for j in range(i - i % WIDTH, whole, WIDTH):
                store(z, j, fma(splat(e), load(rows, i * d + j), load(z, j)))
            for j in range(max(i, whole), d):
                z[j] += e * U[i, j]
        top = LOWEST
        for k in range(K):
            q = splat(0.0)
            rest = 0.0
            for j in range(0, whole, WIDTH):
                y = sub(load(z, j), load(factors, projected + k * d + j))
                q = fma(y, y, q)
            for j in range(whole, d):
                y1 = z[j] - factors[projected + k * d + j]
                rest += y1 * y1
            lp[k] = constants[k] - 0.5 * (total(q) + rest)
            top = max(top, lp[k])
        out[p] = _log_sum(lp, top)
