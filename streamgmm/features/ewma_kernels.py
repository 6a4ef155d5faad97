"""Exponentially weighted means as bare loops: their recursion has no exact form in whole-array steps.

A mean must not be spoilt by a reading that cannot be a measurement: it would look back on it for hundreds of rows. So a
step beyond so many times the largest step of late counts as that many, and the next one may be as many times larger:
one wild reading moves the mean by little, and what lasts is followed within a few rows.
"""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit

# Squares of what is larger overflow in what follows: the past goes on as if it had not been.
LARGEST = 1e150
MOST = np.finfo(np.float64).max
REACH = 10.0
# The largest step is forgotten by half in a thousand rows.
FORGETTING = 0.5 ** (1.0 / 1000.0)


@njit("UniTuple(float64, 2)(float64, float64)", nogil=True, cache=True, error_model="numpy")
def bounded(step, reach):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Return the step that counts, and the largest step of late after it; 0 stands for none so far."""
    most = REACH * reach
    if reach > 0.0 and abs(step) > most:
        return (most if step > 0.0 else -most), most
    return step, max(FORGETTING * reach, abs(step))


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64, float64[:, :, ::1], float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def deviations(X, slot, fresh, weight, past, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write x − mean of the rows before into out (n, d), and move the mean on by weight · (x − mean).

    `past` (slots, 2, d) holds the mean and the largest step of late. NaN in X gives NaN and leaves the mean; NaN in the
    mean stands for no row so far, which a fresh row of a slot restores.
    """
    for i in range(X.shape[0]):
        now = past[slot[i]]
        if fresh[i]:
            now[:] = np.nan
        for j in range(X.shape[1]):
            x = X[i, j]
            if np.isnan(x):
                out[i, j] = np.nan
            elif np.isnan(now[0, j]):
                out[i, j] = 0.0
                if abs(x) <= LARGEST:
                    now[0, j], now[1, j] = x, 0.0
            else:
                deviation = min(max(x - now[0, j], -MOST), MOST)
                out[i, j] = deviation
                if abs(x) <= LARGEST:
                    step, now[1, j] = bounded(deviation, now[1, j])
                    now[0, j] += weight * step


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64, float64[:, :, ::1], int64, float64, float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def levels_and_activities(X, slot, fresh, weight, past, first, unknown, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the weighted means of x, then of |change|, this row's included, to out (n, first + 2 d) from `first` on.

    `past` (slots, 4, d) holds the last value, both means and the largest step of late; NaN and fresh rows as in
    `deviations`. A value beyond the reach counts as at its end, for the change after it as well. The first row of a
    slot has no change yet, and counts in no mean: its second one is `unknown`.
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
            if abs(x) > LARGEST:
                out[i, first + j] = x if np.isnan(now[1, j]) else now[1, j]
                out[i, first + d + j] = unknown if np.isnan(now[2, j]) else now[2, j]
                continue
            if np.isnan(now[0, j]):
                now[1, j], now[3, j] = x, 0.0
            else:
                step, now[3, j] = bounded(x - now[1, j], now[3, j])
                x = now[1, j] + step
                now[1, j] += weight * step
                change = abs(x - now[0, j])
                now[2, j] = change if np.isnan(now[2, j]) else now[2, j] + weight * (change - now[2, j])
            now[0, j] = x
            out[i, first + j] = now[1, j]
            out[i, first + d + j] = unknown if np.isnan(now[2, j]) else now[2, j]
