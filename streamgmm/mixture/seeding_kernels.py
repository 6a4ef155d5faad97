# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""k-means++ distances, Lloyd's step, and the moments of clusters."""

from __future__ import annotations

import numpy as np
from numba.core import types

from streamgmm.mixture.kernels import ROWS
from streamgmm.mixture.simd_kernels import WIDTH, device, fma, kernel, load, splat, sub, total

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]


@device
def _distance2(a, p, b, k, d):
    """Return the squared distance of row p of a and row k of b, both flat."""
    s, whole = splat(0.0), d - d % WIDTH
    for i in range(0, whole, WIDTH):
        e = sub(load(a, p * d + i), load(b, k * d + i))
        s = fma(e, e, s)
    rest = 0.0
    for i in range(whole, d):
        e1 = a[p * d + i] - b[k * d + i]
        rest += e1 * e1
    return total(s) + rest


@kernel(types.float64(ROWS, types.intp, _1D, _1D, _1D))
def nearer(X, candidate, nearest, weights, out):
    """Write each row's squared distance to its nearest centre once a row becomes one; return their weighted sum."""
    n, d = X.shape
    flat, potential = X.reshape(-1), 0.0
    for p in range(n):
        s = min(_distance2(flat, p, flat, candidate, d), nearest[p])
        out[p] = s
        potential += weights[p] * s
    return potential


@kernel(types.intp(ROWS, _1D, _2D, types.intp[::1]))
def lloyd(X, weights, centres, labels):
    """Assign rows to their nearest centres and move these; return how many rows changed. A lonely centre stays."""
    n, d = X.shape
    K = centres.shape[0]
    sums, mass = np.zeros((K, d)), np.zeros(K)
    flat, goals, changed = X.reshape(-1), centres.reshape(-1), 0
    for p in range(n):
        best, least = 0, np.inf
        for k in range(K):
            s = _distance2(flat, p, goals, k, d)
            if s < least:
                best, least = k, s
        if labels[p] != best:
            changed += 1
            labels[p] = best
        w = weights[p]
        mass[best] += w
        for i in range(d):
            # About the centre, so that large offsets cost no digits.
            sums[best, i] += w * (X[p, i] - centres[best, i])
    for k in range(K):
        if mass[k] > 0.0:
            for i in range(d):
                centres[k, i] += sums[k, i] / mass[k]
    return changed


@kernel(types.void(ROWS, types.intp[::1], _1D, _1D, _2D, _2D, _3D))
def moments_of_labels(X, labels, weights, mass, centre, first, second):
    """Add the weight of each cluster, write its mean to centre, and add its moments about that; all come as zeros."""
    n, d = X.shape
    delta = np.empty(d)
    for p in range(n):
        k, w = labels[p], weights[p]
        mass[k] += w
        for i in range(d):
            # About any row: the moments must not see a far-off origin.
            centre[k, i] += w * (X[p, i] - X[0, i])
    for k in range(mass.size):
        for i in range(d):
            centre[k, i] = X[0, i] + centre[k, i] / max(mass[k], 1e-300)
    for p in range(n):
        k, w = labels[p], weights[p]
        for i in range(d):
            delta[i] = X[p, i] - centre[k, i]
        for i in range(d):
            e = w * delta[i]
            first[k, i] += e
            for j in range(d):
                second[k, i, j] += e * delta[j]
