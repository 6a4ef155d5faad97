"""Ranks of many values in one sorted buffer: a plain binary search would miss the cache at every step of every row."""

from __future__ import annotations

import math

import numpy as np

from streamgmm.cache_kernels import njit

# So few scores are counted one by one: a search that halves costs a mispredicted branch at every step.
FEW = 8
TINY = float(np.finfo(np.float64).tiny)


@njit(
    "void(float64[::1], int32[::1], float64, float64, float64[::1], int64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def rank(ordered, starts, low, scale, values, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write how many of `ordered` (m,), ascending and finite, are ≤ each value (n,) into out (n,); m for NaN.

    `starts` (buckets + 1,) tells where each bucket of width 1 / scale from `low` on begins; what lies below the first
    is searched as a whole. Values and buffer fall into buckets by the same arithmetic, which is monotone, so a
    bucket's bounds hold exactly. A place that is not a number counts as the last bucket: nothing is read outside.
    """
    m, buckets = len(ordered), len(starts) - 1
    for i in range(len(values)):
        value = values[i]
        if np.isnan(value) or value >= ordered[m - 1]:
            out[i] = m
            continue
        begin, end = np.int64(0), np.int64(m)
        if value >= low:
            place = (value - low) * scale
            b = int(place) if 0.0 <= place < buckets else buckets - 1
            begin, end = np.int64(starts[b]), np.int64(starts[b + 1])
        while end - begin > FEW:
            middle = (begin + end) >> 1
            if ordered[middle] <= value:
                begin = middle + 1
            else:
                end = middle
        smaller = 0
        for k in range(begin, end):
            smaller += ordered[k] <= value
        out[i] = begin + smaller


@njit("void(float64[::1], float64, float64, int32[::1])", nogil=True, cache=True, error_model="numpy")
def bucket_starts(ordered, low, scale, starts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write, for each bucket of `rank`, how many of `ordered` (m,) lie before it; m behind the last one."""
    last = len(starts) - 2
    filled = 0
    for i in range(len(ordered)):
        if not ordered[i] >= low:
            continue
        place = (ordered[i] - low) * scale
        bucket = int(place) if place < last else last
        while filled <= bucket:
            starts[filled] = i
            filled += 1
    while filled < len(starts):
        starts[filled] = len(ordered)
        filled += 1


@njit(
    "void(int64[::1], float64[::1], int64, int64, float64, float64, float64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def share_of_rank(ranks, values, m, least, anchor, scale, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the p-value of each value (n,) by its rank among m scores; below `anchor` by an exponential tail.

    There the rank would be less than `least`; a p-value is positive even where the tail underflows.
    """
    for i in range(len(values)):
        if values[i] < anchor:
            tail = (1.0 + least) / (m + 1.0) * math.exp((values[i] - anchor) / scale)
            out[i] = max(tail, TINY)
        else:
            out[i] = (1.0 + ranks[i]) / (m + 1.0)


@njit("void(float64[::1], float64[::1], float64[::1], float64[::1])", nogil=True, cache=True, error_model="numpy")
def exchange(ordered, leaving, entering, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write `ordered` (m,) without the values `leaving` and with those `entering` (each ascending, no NaN) to out.

    Every value that leaves is in `ordered`; were it not, the last ones would be cut off. What lies between two changes
    is copied as a whole.
    """
    m, i, gone, come, at = len(ordered), 0, 0, 0, 0
    while gone < len(leaving) or come < len(entering):
        leaves = gone < len(leaving) and (come == len(entering) or leaving[gone] <= entering[come])
        value = leaving[gone] if leaves else entering[come]
        low, high = i, m
        while low < high:
            middle = (low + high) >> 1
            if ordered[middle] < value:
                low = middle + 1
            else:
                high = middle
        for k in range(i, min(low, i + len(out) - at)):
            out[at + k - i] = ordered[k]
        at, i = at + low - i, low
        if leaves:
            gone, i = gone + 1, i + 1
        else:
            if at < len(out):
                out[at] = value
            come, at = come + 1, at + 1
    for k in range(i, min(m, i + len(out) - at)):
        out[at + k - i] = ordered[k]


@njit(
    "int64(float64[::1], int64, float64[::1], boolean[::1], int64[::1], int64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def rank_earlier(known, n_known, values, counts, ranks, sizes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Add to `ranks` (n,) how many rows of the step before each value are ≤ it, and write how many there were.

    `known` (capacity,) holds the first n_known of them, ascending; values that count are inserted while there is room.
    Returns how many there are in the end.
    """
    for i in range(len(values)):
        value = values[i]
        low, high = 0, n_known
        while low < high:
            middle = (low + high) >> 1
            if known[middle] <= value:
                low = middle + 1
            else:
                high = middle
        ranks[i] += low
        sizes[i] = n_known
        if counts[i] and n_known < len(known):
            for j in range(n_known, low, -1):
                known[j] = known[j - 1]
            known[low] = value
            n_known += 1
    return n_known


@njit(
    "float64(float64[::1], boolean[::1], float64, float64, float64, float64, float64, float64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def follow_level(p, counts, target, gain, bound, most, log_gain, level):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the level (n,) by which each row is flagged, and return log_gain after the last one.

    Each row that counts moves it by gain · (1 − flag / target), within ±bound; rows without a p-value (NaN) do not.
    """
    now = min(most, target * np.exp(log_gain))
    for i in range(len(p)):
        level[i] = now
        if counts[i] and not np.isnan(p[i]):
            flagged = 1.0 if p[i] <= now else 0.0
            log_gain = max(-bound, min(bound, log_gain + gain * (1.0 - flagged / target)))
            now = min(most, target * np.exp(log_gain))
    return log_gain
