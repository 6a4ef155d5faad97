# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""A block of samples under diag and spherical covariances where features may be missing (NaN).

A missing feature adds nothing to the distance, and its part of the constant is given back: exactly 0 for a complete
row, which so keeps the bits that `kernels.joint_block` gives it.
"""

from __future__ import annotations

import math

import numpy as np

from streamgmm.mixture.simd_kernels import WIDTH, add, device, fma, load, mul, splat, store, sub, where_known, zeroed


@device
def half_logs(precisions):
    """Return ½ log 2π σ² of each: what the constant of a density loses with a feature."""
    out = np.empty(precisions.size)
    for i in range(precisions.size):
        out[i] = 0.5 * (math.log(2.0 * math.pi) - math.log(precisions[i]))
    return out


@device
def joint_diag_masked(xt, block, used, d, K, means, precisions, constants, halves, lp):
    """Fill lp (K, block) with log weight + log marginal density of each component."""
    half = splat(-0.5)
    for k in range(K):
        for c in range(0, used, 2 * WIDTH):
            q0 = q1 = h0 = h1 = splat(0.0)
            for i in range(d):
                s, j = i * block + c, k * d + i
                m, w, h = splat(means[j]), splat(precisions[j]), splat(halves[j])
                v0, v1 = load(xt, s), load(xt, s + WIDTH)
                e0, e1 = zeroed(sub(v0, m)), zeroed(sub(v1, m))
                q0, q1 = fma(mul(e0, e0), w, q0), fma(mul(e1, e1), w, q1)
                h0, h1 = where_known(v0, h0, add(h0, h)), where_known(v1, h1, add(h1, h))
            store(lp, k * block + c, add(fma(half, q0, splat(constants[k])), h0))
            store(lp, k * block + c + WIDTH, add(fma(half, q1, splat(constants[k])), h1))


@device
def joint_spherical_masked(xt, block, used, d, K, means, precisions, constants, halves, missing, lp):
    """As `joint_diag_masked`; missing (block,) is room for how many features are missing."""
    one = splat(1.0)
    for c in range(0, used, WIDTH):
        n = splat(0.0)
        for i in range(d):
            n = where_known(load(xt, i * block + c), n, add(n, one))
        store(missing, c, n)
    for k in range(K):
        half, constant, h = splat(-0.5 * precisions[k]), splat(constants[k]), splat(halves[k])
        for c in range(0, used, 2 * WIDTH):
            q0 = q1 = splat(0.0)
            for i in range(d):
                s, m = i * block + c, splat(means[k * d + i])
                e0, e1 = zeroed(sub(load(xt, s), m)), zeroed(sub(load(xt, s + WIDTH), m))
                q0, q1 = fma(e0, e0, q0), fma(e1, e1, q1)
            store(lp, k * block + c, fma(load(missing, c), h, fma(half, q0, constant)))
            store(lp, k * block + c + WIDTH, fma(load(missing, c + WIDTH), h, fma(half, q1, constant)))


@device
def joint_axes_masked(by_feature, xt, block, used, d, K, means, precisions, constants, halves, scratch, lp):
    """As `kernels.joint_block`, diag (by feature) or spherical."""
    if by_feature:
        joint_diag_masked(xt, block, used, d, K, means, precisions, constants, halves, lp)
    else:
        joint_spherical_masked(xt, block, used, d, K, means, precisions, constants, halves, scratch, lp)
