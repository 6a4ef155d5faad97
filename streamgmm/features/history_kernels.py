"""A ring of the last known values per slot, as a bare loop."""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit


@njit(
    "void(float64[:, ::1], int64[::1], bool_[::1], float64[:, :, ::1], int64[::1], float64[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def lagged(X, slot, fresh, ring, at, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write into out (n, d) each row's values `steps` rows ago in its slot, its own where nothing is known.

    `ring` (slots, steps, d) holds the last rows with gaps filled, NaN before anything is known; `at` (slots,) is where
    the oldest of them stands. A fresh row voids its slot first.
    """
    steps = ring.shape[1]
    for i in range(X.shape[0]):
        s = slot[i]
        if fresh[i]:
            ring[s] = np.nan
            at[s] = 0
        oldest = at[s]
        newest = oldest - 1 if oldest > 0 else steps - 1
        for j in range(X.shape[1]):
            x, last, before = X[i, j], ring[s, newest, j], ring[s, oldest, j]
            out[i, j] = x if np.isnan(before) else before
            ring[s, oldest, j] = last if np.isnan(x) else x
        at[s] = oldest + 1 if oldest + 1 < steps else 0
