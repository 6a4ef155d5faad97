# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Columns to features: scaling and clipping in one pass, values counted, counted values looked up."""

from __future__ import annotations

import numpy as np
from numba.core import types

from streamgmm.mixture.kernels import ROWS
from streamgmm.mixture.simd_kernels import kernel

_1D, _2D = types.float64[::1], types.float64[:, ::1]
_INTS = types.intp[::1]


@kernel(types.void(ROWS, _1D, _1D, types.float64, _2D))
def scale_and_clip(X, location, scale, clip, z):
    """Write (x − location) / scale, at most ±clip; NaN stays NaN."""
    n, d = X.shape
    for i in range(n):
        for j in range(d):
            v = (X[i, j] - location[j]) / scale[j]
            # Comparisons that a NaN fails leave it as it is; min and max would not.
            v = clip if v > clip else v  # noqa: FURB136  # as above
            z[i, j] = -clip if v < -clip else v  # noqa: FURB136  # as above


@kernel(types.void(ROWS, _2D, _2D, _INTS))
def count_values(X, values, counts, found):
    """Collect the distinct values (n_features, most) of each column and how often they occur.

    `found` is how many there are; beyond `most` it stops counting, at most + 1. NaN is no value.
    """
    n, d = X.shape
    most = values.shape[1]
    for j in range(d):
        seen = 0
        for i in range(n):
            x = X[i, j]
            if np.isnan(x):
                continue
            k = 0
            while k < seen and values[j, k] != x:
                k += 1
            if k == seen:
                seen += 1
                if seen > most:
                    break
                values[j, k] = x
                counts[j, k] = 0.0
            counts[j, k] += 1.0
        found[j] = seen


@kernel(types.void(ROWS, _INTS, _INTS, _1D, _1D, _1D, _1D, _1D, types.float64, _2D))
def surprise_of_values(X, columns, starts, codes, surprise, unseen, centres, widths, clip, out):
    """Write the surprise of the value in each counted column (n, n_tables), nats; 0 where it is missing.

    Codes of table t are `codes[starts[t]:starts[t + 1]]`, ascending. A value that is not among them costs `unseen`, and
    half its squared distance from the centre, in widths and clipped; infinite widths make all unseen values alike.
    """
    for i in range(len(X)):
        for t in range(len(columns)):
            x = X[i, columns[t]]
            if np.isnan(x):
                out[i, t] = 0.0
                continue
            low, high = starts[t], starts[t + 1]
            while low < high:
                middle = (low + high) // 2
                if codes[middle] < x:
                    low = middle + 1
                else:
                    high = middle
            if low < starts[t + 1] and codes[low] == x:
                out[i, t] = surprise[low]
            else:
                away = min(abs(x - centres[t]) / widths[t], clip)
                out[i, t] = unseen[t] + 0.5 * away * away
