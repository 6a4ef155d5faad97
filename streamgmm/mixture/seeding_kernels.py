# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""k-means++ distances and Lloyd's step."""

from __future__ import annotations

import numpy as np
from numba.core import types

from streamgmm.mixture.kernels import ROWS
from streamgmm.mixture.simd_kernels import kernel

_1D, _2D = types.float64[::1], types.float64[:, ::1]


@kernel(types.float64(ROWS, types.intp, _1D, _1D, _1D))
def nearer(X, candidate, nearest, weights, out):
    """Write each row's squared distance to its nearest centre once a row becomes one; return their weighted sum."""
    n, d = X.shape
    potential = 0.0
    for p in range(n):
        s = 0.0
        for i in range(d):
            e = X[p, i] - X[candidate, i]
            s += e * e
        s = min(s, nearest[p])
        out[p] = s
        potential += weights[p] * s
    return potential


@kernel(types.intp(ROWS, _1D, _2D, types.intp[::1]))
def lloyd(X, weights, centres, labels):
    """Assign rows to their nearest centres and move these; return how many rows changed. A lonely centre stays."""
    n, d = X.shape
    K = centres.shape[0]
    sums, mass = np.zeros((K, d)), np.zeros(K)
    changed = 0
    for p in range(n):
        best, least = 0, np.inf
        for k in range(K):
            s = 0.0
            for i in range(d):
                e = X[p, i] - centres[k, i]
                s += e * e
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
