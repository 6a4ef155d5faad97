"""Exponentially weighted means as bare loops: their recursion has no exact form in whole-array steps."""

from __future__ import annotations

import numpy as np
from numba import njit

LARGEST = np.finfo(np.float64).max


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64, float64[:, ::1], float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def deviations(X, slot, fresh, weight, mean, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write x − mean of the rows before into out (n, d), and move mean (slots, d) on by weight · (x − mean).

    NaN in X gives NaN and leaves the mean; NaN in the mean stands for no row so far, which a
    fresh row of a slot restores. Values that overflow are cut to
    the largest float before they can turn the mean into an infinity that nothing would ever heal.
    """
    for i in range(X.shape[0]):
        s = slot[i]
        if fresh[i]:
            mean[s] = np.nan
        for j in range(X.shape[1]):
            x = X[i, j]
            if np.isnan(x):
                out[i, j] = np.nan
            elif np.isnan(mean[s, j]):
                out[i, j] = 0.0
                mean[s, j] = x
            else:
                deviation = min(max(x - mean[s, j], -LARGEST), LARGEST)
                out[i, j] = deviation
                mean[s, j] += weight * deviation


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64, float64[:, :, ::1], int64, float64, float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def levels_and_activities(X, slot, fresh, weight, past, first, unknown, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the weighted means of x, then of |change|, this row's included, to out (n, first + 2 d) from `first` on.

    `past` (slots, 3, d) holds the last value known and both means; NaN, overflow and fresh rows as in `deviations`.
    The first row of a slot has no change yet, and counts in no mean: its second one is `unknown`.
    """
    d = X.shape[1]
    for i in range(X.shape[0]):
        now = past[slot[i]]
        if fresh[i]:
            now[:] = np.nan
        for j in range(d):
            x = X[i, j]
            if np.isnan(x):
                out[i, first + j] = out[i, first + d + j] = np.nan
                continue
            if np.isnan(now[0, j]):
                now[1, j] = x
            else:
                now[1, j] += weight * min(max(x - now[1, j], -LARGEST), LARGEST)
                change = min(abs(x - now[0, j]), LARGEST)
                now[2, j] = change if np.isnan(now[2, j]) else now[2, j] + weight * (change - now[2, j])
            now[0, j] = x
            out[i, first + j] = now[1, j]
            out[i, first + d + j] = unknown if np.isnan(now[2, j]) else now[2, j]
