# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# What is inlined into kernels has the types of its kernel.
"""Lines of CSV into rows, in one pass over a block of records.

As with JSON, a record is read in full or left as it is, for the careful reading of `csv`.
"""

from __future__ import annotations

import numpy as np

from streamgmm.codecs.string_kernels import (
    HASH_WORDS,
    MEMO_COLUMNS,
    MEMO_ROWS,
    past_character,
    remembered_code,
)
from streamgmm.codecs.text_kernels import (
    BYTES,
    INTS,
    NEWLINE,
    QUOTE,
    RETURN,
    SPACE,
    device,
    inlined,
    kernel,
    load8,
    plain_number,
)

# Python's csv refuses cells of more than 131072 bytes; lines of so many are left to it.
_MOST_BYTES = 131_072


@inlined
def _byte(p, end):
    """Return the byte at p; at the end -1, which is none."""
    return load8(p) if p < end else np.int64(-1)


@inlined
def _is_nan(p, end):
    return (
        end - p >= 3 and load8(p) | 32 == ord("n") and load8(p + 1) | 32 == ord("a") and load8(p + 2) | 32 == ord("n")
    )


@inlined
def _read_number(p, end, delimiter):
    """Return a cell's number (NaN where it is empty) and where the cell ends; 0 where that is not sure."""
    quoted = _byte(p, end) == QUOTE
    last = np.int64(QUOTE) if quoted else delimiter
    p += 1 if quoted else 0
    while _byte(p, end) == SPACE and last != SPACE:
        p += 1
    c = _byte(p, end)
    if c in (last, -1):
        value = np.nan
    elif _is_nan(p, end):
        value = np.nan
        p += 3
    else:
        value, p = plain_number(p, end)
        if p == 0:
            return np.nan, p
    while _byte(p, end) == SPACE and last != SPACE:
        p += 1
    if quoted:
        p = p + 1 if _byte(p, end) == QUOTE else np.int64(0)
    return value, p


@device
def _read_category(p, end, delimiter, words, memo):
    """Return the number of a cell's text (NaN where it is empty) and where the cell ends; 0 where that is not sure."""
    nowhere = np.int64(0)
    quoted = _byte(p, end) == QUOTE
    last = np.int64(QUOTE) if quoted else delimiter
    p += 1 if quoted else 0
    begin = p
    while p < end and load8(p) != last:
        c = load8(p)
        if c < SPACE or c == QUOTE:
            return np.nan, nowhere
        p = p + 1 if c < 0x80 else past_character(p, end)
        if p == 0:
            return np.nan, nowhere
    if quoted and p == end:
        return np.nan, nowhere
    after = p + 1 if quoted else p
    if p == begin:
        return np.nan, after
    # Blanks alone mean nothing: whoever reads those decides.
    if load8(begin) == SPACE:
        return np.nan, nowhere
    return remembered_code(begin, p - begin, words, memo), after


@kernel(f"void({BYTES}, {INTS}, {INTS}, Array(boolean, 1, 'C', readonly=True), int64, float64[:, ::1], boolean[::1])")
def decode_csv(buffer, start, length, is_category, delimiter, X, read):
    """Read records into the rows of X.

    Parameters
    ----------
    buffer, start, length
        n records as slices of one buffer.
    is_category : (n_fields,)
        Which cells are categories; the others are numbers.
    delimiter
        An ASCII character.
    X : (n, n_fields), read : (n,)
        Output. A record that is not `read` is for the careful reading; its row holds anything.
    """
    origin = np.int64(buffer.ctypes.data)
    words = np.empty(HASH_WORDS, np.uint64)
    memo = np.full((MEMO_ROWS, MEMO_COLUMNS), -1, np.int64)
    n_fields = X.shape[1]
    for i in range(start.shape[0]):
        read[i] = False
        if start[i] < 0 or length[i] > buffer.shape[0] - start[i] or not 0 < length[i] < _MOST_BYTES:
            continue
        p = origin + start[i]
        end = p + length[i]
        while end > p and load8(end - 1) in (NEWLINE, RETURN):
            end -= 1
        if p == end:
            continue
        for j in range(n_fields):
            if is_category[j]:
                value, p = _read_category(p, end, delimiter, words, memo)
            else:
                value, p = _read_number(p, end, delimiter)
            if p == 0:
                break
            X[i, j] = value
            if j == n_fields - 1:
                read[i] = p == end
            elif _byte(p, end) == delimiter:
                p += 1
            else:
                break
