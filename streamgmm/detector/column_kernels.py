# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Columns to features: scaling and clipping in one pass, values counted, counted values looked up."""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture import simd_kernels as simd
from streamgmm.mixture.kernels import ROWS
from streamgmm.mixture.simd_kernels import WIDTH, add, div, fma, kernel, load, mul, splat, store, sub

_1D, _2D = types.float64[::1], types.float64[:, ::1]
_INTS, _PLACES = types.intp[::1], types.intp[:, ::1]
# Rows that are taken through all columns before the next ones, while they are in the cache.
CACHED_ROWS = 128


@kernel(types.void(ROWS, _1D, _1D, types.float64, _2D))
def scale_and_clip(X, location, scale, clip, z):
    """Write (x − location) / scale, at most ±clip; NaN stays NaN."""
    n, d = X.shape
    flat, out = X.reshape(-1), z.reshape(-1)
    most, least, whole = splat(clip), splat(-clip), d - d % WIDTH
    for first in range(0, n, CACHED_ROWS):
        begin, end = first * d, min(first + CACHED_ROWS, n) * d
        for j in range(0, whole, WIDTH):
            centre, per_scale = load(location, j), div(splat(1.0), load(scale, j))
            for i in range(begin + j, end, d):
                store(out, i, simd.clipped(mul(sub(load(flat, i), centre), per_scale), least, most))
        for j in range(whole, d):
            per_scale_j = 1.0 / scale[j]
            for i in range(begin + j, end, d):
                v = (flat[i] - location[j]) * per_scale_j
                # Comparisons that a NaN fails leave it as it is; min and max would not.
                v = clip if v > clip else v  # noqa: FURB136  # as above
                out[i] = -clip if v < -clip else v  # noqa: FURB136  # as above


@kernel(types.void(ROWS, _1D, _1D, _1D, _1D))
def moments(X, mean, deviation, low, high):
    """Write mean, standard deviation, least and greatest value of each column; NaN is no value, of none all are 0.

    Squares are summed about a first mean, and the rest of that mean taken off: offsets cost no digits.
    """
    n, d = X.shape
    flat, whole = X.reshape(-1), d - d % WIDTH
    for j in range(0, whole, WIDTH):
        count = s = rest = squares = splat(0.0)
        top = bottom = splat(-np.inf)
        for i in range(j, n * d, d):
            x = load(flat, i)
            count, s = add(count, simd.known(x)), add(s, simd.zeroed(x))
            top, bottom = simd.maximum(x, top), simd.maximum(sub(splat(0.0), x), bottom)
        count = simd.maximum(count, splat(1.0))
        centre = div(s, count)
        for i in range(j, n * d, d):
            x = load(flat, i)
            delta = mul(simd.known(x), sub(simd.zeroed(x), centre))
            rest, squares = add(rest, delta), fma(delta, delta, squares)
        rest = div(rest, count)
        store(mean, j, add(centre, rest))
        store(deviation, j, sub(div(squares, count), mul(rest, rest)))
        store(low, j, sub(splat(0.0), bottom))
        store(high, j, top)
    for j in range(whole, d):
        count1, s1, rest1, squares1, low[j], high[j] = 0.0, 0.0, 0.0, 0.0, np.inf, -np.inf
        for i in range(j, n * d, d):
            if not np.isnan(flat[i]):
                count1, s1 = count1 + 1.0, s1 + flat[i]
                low[j], high[j] = min(low[j], flat[i]), max(high[j], flat[i])
        count1 = max(count1, 1.0)
        centre1 = s1 / count1
        for i in range(j, n * d, d):
            delta1 = 0.0 if np.isnan(flat[i]) else flat[i] - centre1
            rest1, squares1 = rest1 + delta1, squares1 + delta1 * delta1
        rest1 /= count1
        mean[j], deviation[j] = centre1 + rest1, squares1 / count1 - rest1 * rest1
    for j in range(d):
        # NaN stays: the fit is refused then.
        deviation[j] = 0.0 if deviation[j] < 0.0 else math.sqrt(deviation[j])
        if low[j] > high[j]:
            low[j] = high[j] = 0.0


@kernel(types.intp(_1D, _1D, _1D, _1D, _1D, types.float64, types.float64, _1D))
def remember(known, before, spread, low, high, clip, forgetting, out):
    """Write the larger of the scale known, slowly forgotten, and of the spread now, of columns without wild cells.

    `before` are the locations that `known` goes with. Of other columns (wild, or known as still) only the former is
    written; return how many of them have spread beyond it.
    """
    left = 0
    for j in range(len(known)):
        faded = forgetting * known[j]
        tame = known[j] > 0.0 and high[j] - before[j] <= clip * known[j] and before[j] - low[j] <= clip * known[j]
        beyond = not spread[j] <= faded  # of NaN as well: the fit is refused then
        out[j] = spread[j] if tame and beyond else faded
        left += beyond and not tame
    return left


@kernel(types.void(_1D, _1D, _1D, types.float64, types.float64, _1D))
def floored(spread, remembered, location, share, constant, scale):
    """Write the scales: spread, no less than a share of what is remembered; of constant columns their size, or 1."""
    for j in range(len(spread)):
        least, magnitude = share * remembered[j], abs(location[j])
        # Not max(): NaN is to stay, and gets the magnitude.
        wide = least if spread[j] <= least else spread[j]  # noqa: FURB136  # as above
        scale[j] = wide if wide > constant * magnitude else (magnitude if magnitude > 0.0 else 1.0)


@kernel(types.intp(ROWS, _1D, _1D, *4 * (types.float64,), *6 * (_1D,)))
def follow(X, before, known, clip, forgetting, share, constant, location, spread, low, high, remembered, scale):
    """Write what `moments`, `remember` and `floored` do, one after the other; return what `remember` does."""
    moments(X, location, spread, low, high)
    left = remember(known, before, spread, low, high, clip, forgetting, remembered)
    floored(spread, remembered, location, share, constant, scale)
    return left


@kernel(types.void(ROWS, _1D, _1D, *4 * (types.float64,), types.boolean[::1]))
def suspects(X, location, scale, near, ratio, share, largest, out):
    """Write whether a column (n_features,) has a cell farther out than `near` scales and than nearly all the others.

    That is: no more than a share of its cells lie beyond a ratio of the greatest distance. Cells beyond `largest` are
    suspect in any company.
    """
    n, d = X.shape
    farthest, most = np.zeros(d), max(1.0, share * n)
    for i in range(n):
        for j in range(d):
            away = abs(X[i, j] - location[j])
            farthest[j] = away if away > farthest[j] else farthest[j]  # noqa: FURB136  # NaN is no distance
    for j in range(d):
        out[j] = farthest[j] > 0.5 * largest
        if out[j] or not farthest[j] > near * scale[j]:
            continue
        beyond, limit = 0.0, ratio * farthest[j]
        for i in range(n):
            if abs(X[i, j] - location[j]) > limit:
                beyond += 1.0
                if beyond > most:
                    break
        out[j] = beyond <= most


@kernel(types.void(ROWS, _2D, _2D, _INTS))
def count_values(X, values, counts, found):
    """Collect the distinct values (n_features, most) of each column and how often they occur.

    `found` is how many there are; beyond `most` it stops counting, at most + 1. NaN is no value.
    """
    n, d = X.shape
    most = values.shape[1]
    for j in range(d):
        seen = 0
        for i in range(n):
            x = X[i, j]
            if np.isnan(x):
                continue
            k = 0
            while k < seen and values[j, k] != x:
                k += 1
            if k == seen:
                seen += 1
                if seen > most:
                    break
                values[j, k] = x
                counts[j, k] = 0.0
            counts[j, k] += 1.0
        found[j] = seen


@kernel(types.intp(_1D, types.intp, types.intp, types.float64))
def position(codes, low, high, x):
    """Return where x is in `codes[low:high]`, ascending; -1 where it is not."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if codes[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low if low < end and codes[low] == x else -1


@kernel(types.void(ROWS, _INTS, _INTS, _1D, _1D, _1D, _1D, _1D, types.float64, _2D))
def surprise_of_values(X, columns, starts, codes, surprise, unseen, centres, widths, clip, out):
    """Write the surprise of the value in each counted column (n, n_tables), nats; 0 where it is missing.

    Codes of table t are `codes[starts[t]:starts[t + 1]]`, ascending. A value that is not among them costs `unseen`, and
    half its squared distance from the centre, in widths and clipped; infinite widths make all unseen values alike.
    """
    for i in range(len(X)):
        for t in range(len(columns)):
            x = X[i, columns[t]]
            if np.isnan(x):
                out[i, t] = 0.0
                continue
            at = position(codes, starts[t], starts[t + 1], x)
            if at >= 0:
                out[i, t] = surprise[at]
            else:
                away = min(abs(x - centres[t]) / widths[t], clip)
                out[i, t] = unseen[t] + 0.5 * away * away


@kernel(types.void(ROWS, _INTS, _INTS, _1D, _PLACES))
def positions(X, columns, starts, codes, out):
    """Write the position (n, n_tables) of each value in the codes of its table; −1 where it is missing or not there."""
    for i in range(len(X)):
        for t in range(len(columns)):
            at = position(codes, starts[t], starts[t + 1], X[i, columns[t]])
            out[i, t] = at - starts[t] if at >= 0 else -1


@kernel(types.void(_PLACES, _INTS, _INTS, types.float64[:, :, ::1], _1D))
def excess_of_pairs(place, first, second, excess, out):
    """Write the excess of each row (n,), nats: its pairs' sum over the root of their number; −1 is no position."""
    for i in range(len(place)):
        total, pairs = 0.0, 0.0
        for p in range(len(first)):
            a, b = place[i, first[p]], place[i, second[p]]
            if a >= 0 and b >= 0 and excess[p, a, b] > 0.0:
                total, pairs = total + excess[p, a, b], pairs + 1.0
        out[i] = total / math.sqrt(pairs) if pairs > 0.0 else 0.0
