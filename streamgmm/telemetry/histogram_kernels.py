"""Counts of a block of values per bucket, in one pass."""

from __future__ import annotations

from streamgmm.cache_kernels import njit


@njit("float64(float64[::1], float64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def count_up_to(values, bounds, below):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write how many values (n,) are ≤ each bound (b,), and behind these how many there are but NaN; return their sum.

    One loop over the values for each bound: the compiler takes several values at a time.
    """
    for k in range(len(bounds)):
        bound, n = bounds[k], 0
        for i in range(len(values)):
            n += values[i] <= bound
        below[k] = n
    total, n = 0.0, 0
    for i in range(len(values)):
        number = values[i] == values[i]
        n += number
        total += values[i] if number else 0.0
    below[len(bounds)] = n
    return total
