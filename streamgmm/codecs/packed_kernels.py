# mypy: disable-error-code="no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Packed vectors into rows, and a look at rows that finds what is unusual about any of them."""

from __future__ import annotations

import numpy as np

from streamgmm.codecs.text_kernels import BYTES, INTS, kernel, load_float32, load_float64


@kernel(f"void({BYTES}, {INTS}, {INTS}, int64, float64[:, ::1], int64[::1], int64[::1])")
def unpack(buffer, start, length, size, X, record, row):
    """Write the vectors of all records that are whole numbers of them into the rows of X.

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
    n = 0
    for i in range(start.shape[0]):
        if length[i] % width != 0 or start[i] < 0 or length[i] > buffer.shape[0] - start[i]:
            continue
        p = origin + start[i]
        for j in range(length[i] // width):
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


@kernel("boolean(float64[:, ::1], float64)")
def all_usual(X, most_missing):
    """Return whether no row holds an infinity, is missing as a whole, or misses more than `most_missing` values."""
    most = min(np.int64(most_missing), X.shape[1] - 1)
    for i in range(X.shape[0]):
        infinite, missing = 0, 0
        for c in range(X.shape[1]):
            infinite += np.abs(X[i, c]) == np.inf
            missing += X[i, c] != X[i, c]
        if infinite > 0 or missing > most:
            return False
    return True
