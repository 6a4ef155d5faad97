"""Exponentially weighted means as bare loops: their recursion has no exact form in whole-array steps."""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit

LARGEST = np.finfo(np.float64).max
# A value that lies FAR times the peak of the mean step away may be no measurement, and would bend the means for
# hundreds of rows. So the means leave out up to HELD such values in a row, and follow the next one.
FAR, HELD = 1000.0, 10.0
# The first values of a column are all followed: its mean step is not known yet.
SETTLING = 10.0
# The peak of the mean step decays by this factor with each row: a column that rests keeps the measure of its movement.
KEPT = 0.9999
# The square of a larger number may overflow: no mean ever follows it.
BEYOND = 1e150


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64, float64[:, :, ::1], float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def deviations(X, slot, fresh, weight, past, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write x − mean of the rows before into out (n, d), and move the mean on by weight · (x − mean).

    `past` (slots, 4, d) holds the mean, the mean step |x − mean|, the peak of the mean step, and a counter: from
    -SETTLING up to 0 it counts the first rows of a column, from 0 up to HELD the values left out in a row. NaN in X
    gives NaN and leaves the mean. A mean of NaN stands for no row so far, and a fresh row of a slot sets it. Values
    that overflow are cut to the largest float: an infinity would stay in the mean for good.
    """
    for i in range(X.shape[0]):
        now = past[slot[i]]
        if fresh[i]:
            now[:] = np.nan
        for j in range(X.shape[1]):
            x = X[i, j]
            if np.isnan(x):
                out[i, j] = np.nan
                continue
            if np.isnan(now[0, j]):
                out[i, j] = 0.0
                if abs(x) <= BEYOND:
                    now[0, j], now[3, j] = x, -SETTLING
                continue
            deviation = min(max(x - now[0, j], -LARGEST), LARGEST)
            out[i, j], size = deviation, abs(deviation)
            if abs(x) > BEYOND or (0.0 <= now[3, j] < HELD and size > FAR * now[2, j] > 0.0):
                now[3, j] += 1.0
                continue
            now[0, j] += weight * deviation
            now[1, j] = size if np.isnan(now[1, j]) else now[1, j] + weight * (size - now[1, j])
            now[2, j] = max(now[1, j], KEPT * now[2, j])
            now[3, j] = min(now[3, j] + 1.0, 0.0)


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64, float64[:, :, ::1], int64, float64, float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def levels_and_activities(X, slot, fresh, weight, past, first, unknown, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the weighted means of x, then of |change|, this row's included, to out (n, first + 2 d) from `first` on.

    `past` (slots, 5, d) holds the last value that was followed, both means, the peak of the second one and a counter.
    The counter, NaN, overflow and fresh rows are as in `deviations`. The first row of a slot has no change yet, and
    counts in no mean: its second one is `unknown`.
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
                out[i, first + j], out[i, first + d + j] = x, unknown
                if abs(x) <= BEYOND:
                    now[0, j], now[1, j], now[4, j] = x, x, -SETTLING
                continue
            level = now[1, j] + weight * min(max(x - now[1, j], -LARGEST), LARGEST)
            change = min(abs(x - now[0, j]), LARGEST)
            activity = change if np.isnan(now[2, j]) else now[2, j] + weight * (change - now[2, j])
            out[i, first + j], out[i, first + d + j] = level, activity
            if abs(x) > BEYOND or (0.0 <= now[4, j] < HELD and change > FAR * now[3, j] > 0.0):
                now[4, j] += 1.0
                continue
            now[0, j], now[1, j], now[2, j] = x, level, activity
            now[3, j] = max(activity, KEPT * now[3, j])
            now[4, j] = min(now[4, j] + 1.0, 0.0)
