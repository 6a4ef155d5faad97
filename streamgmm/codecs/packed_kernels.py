# mypy: disable-error-code="no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Packed vectors into rows, and a look at rows that finds what is unusual about any of them."""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit
from streamgmm.codecs.text_kernels import BYTES, INTS, kernel, load_float32, load_float64

# How rows look: some must go, some cells are missing, nothing is missing.
UNUSUAL, USUAL, COMPLETE = 0, 1, 2


# Rows that are looked at together, while they are still in the cache.
CACHED_ROWS = 64


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def odd_values(flat, begin, end):
    """Return how many values of a slice are infinite or NaN."""
    odd = 0
    for i in range(begin, end):
        odd += not np.abs(flat[i]) < np.inf
    return odd


@kernel(f"boolean({BYTES}, {INTS}, {INTS}, int64, float64[:, ::1], int64[::1], int64[::1])")
def unpack(buffer, start, length, size, X, record, row):
    """Write the vectors of all records that are whole numbers of them into the rows of X; return whether all is finite.

    Parameters
    ----------
    buffer, start, length
        Records as slices of one buffer; those of another length are passed over.
    size
        Bytes of a number: 4 or 8, little-endian as every machine that runs this.
    X : (n, n_fields), record, row : (n,)
        Output: as many rows as there are vectors; the record of each, and its number within.
    """
    origin = np.int64(buffer.ctypes.data)
    n_fields = X.shape[1]
    width = n_fields * size
    flat = X.reshape(-1)
    n, looked, odd = 0, 0, 0
    for i in range(start.shape[0]):
        vectors = 1 if length[i] == width else length[i] // width
        if length[i] != vectors * width or start[i] < 0 or length[i] > buffer.shape[0] - start[i]:
            continue
        p = origin + start[i]
        for j in range(vectors):
            if size == 4:
                for c in range(n_fields):
                    X[n, c] = load_float32(p + 4 * c)
            else:
                for c in range(n_fields):
                    X[n, c] = load_float64(p + 8 * c)
            p += width
            record[n] = i
            row[n] = j
            n += 1
        if n - looked >= CACHED_ROWS:
            odd += odd_values(flat, looked * n_fields, n * n_fields)
            looked = n
    return odd + odd_values(flat, looked * n_fields, n * n_fields) == 0


@kernel("int64(float64[:, ::1], float64)")
def look(X, most_missing):
    """Return UNUSUAL where any row holds an infinity, is missing as a whole, or misses more than `most_missing` values.

    Otherwise USUAL, or COMPLETE where not one value is missing.
    """
    most = min(np.int64(most_missing), X.shape[1] - 1)
    found = COMPLETE
    for i in range(X.shape[0]):
        odd = odd_values(X[i], 0, X.shape[1])
        if odd == 0:
            continue
        missing = 0
        for c in range(X.shape[1]):
            missing += X[i, c] != X[i, c]
        if missing < odd or missing > most:
            return UNUSUAL
        found = USUAL
    return found
