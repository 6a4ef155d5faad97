"""Whether a fast stream's row is learnt, by its hash; and what a step's times tell, without numpy's price for a few."""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit

# numba's own names, read by numba.
HASHES, INTS = "Array(uint64, 1, 'C', readonly=True)", "Array(int64, 1, 'C', readonly=True)"


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def split_mix(h):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - inlined, with the types of its kernel
    """Return the next output of SplitMix64 (Steele, Lea & Flood 2014) from state h."""
    h += np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@njit(f"void({HASHES}, {INTS}, {INTS}, {INTS}, uint64[::1])", nogil=True, cache=True, error_model="numpy")
def hash_rows(stream, offset, record, row, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the hash of each row's stream, offset and row number into out (n,); `record` (n,) says whose they are."""
    for i in range(len(out)):
        of_row = split_mix(np.uint64(row[i]))
        out[i] = split_mix(stream[record[i]] ^ split_mix(np.uint64(offset[record[i]]) ^ of_row))


@njit("float64(float64[::1])", nogil=True, cache=True, error_model="numpy")
def median(t):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Return the median of t (n,), n ≥ 1, no NaN."""
    ordered = np.sort(t)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


@njit("boolean(float64[::1], int64)", nogil=True, cache=True, error_model="numpy")
def has_ticks(t, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Return whether t (n,), no NaN, holds at least so many different times."""
    seen = np.empty(max(number, 1))
    count = 0
    for i in range(len(t)):
        k = 0
        while k < count and seen[k] != t[i]:
            k += 1
        if k == count:
            if count + 1 >= number:
                return True
            seen[count] = t[i]
            count += 1
    return count >= number
