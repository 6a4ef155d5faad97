# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Rows brought together by the features they miss (NaN), and scored by the marginal mixture of the others.

Full and tied covariances. The marginal of each pattern is packed once, and its rows are gathered straight into the
block of samples that `kernels.joint_block` reads.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types

from streamgmm.mixture.factor_kernels import pack_rows, precision_cholesky
from streamgmm.mixture.kernels import FULL, LOWEST, ROWS, block_size, joint_block, log_sums, padded
from streamgmm.mixture.simd_kernels import device, kernel

_1D, _2D, _3D = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_INTS = types.intp[::1]
# Many more than few patterns need: a search that meets another pattern is a branch mispredicted.
_FIRST_SLOTS = 1024


@device
def _slot(words, g, slots):
    """Return where the search for a pattern begins."""
    code = np.uint64(0)
    for j in range(words.shape[1]):
        code = (code ^ words[g, j]) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(32)
    return np.intp(code & np.uint64(slots - 1))


@device
def _table(words, groups, slots):
    """Return an open-addressing table of patterns."""
    table = np.full(slots, -1, np.intp)
    for g in range(groups):
        slot = _slot(words, g, slots)
        while table[slot] >= 0:
            slot = (slot + 1) & (slots - 1)
        table[slot] = g
    return table


@device
def _mask(flat, first, d, words, g):
    """Write which of d values are missing as the pattern of group g."""
    for j in range(words.shape[1]):
        word = np.uint64(0)
        for i in range(64 * j, min(d, 64 * j + 64)):
            word |= np.uint64(math.isnan(flat[np.uintp(first + i)])) << np.uint64(i - 64 * j)
        words[g, j] = word


@device
def _same(words, g, h):
    for j in range(words.shape[1]):  # noqa: SIM110  # numba compiles no generator
        if words[g, j] != words[h, j]:
            return False
    return True


@device
def _label(flat, d, rows, p, words, groups, table, label, size):
    """Find the groups of rows from p on until the table is half full; return the next row and the number of groups."""
    slots = table.size
    while p < rows.size and 2 * groups < slots:
        _mask(flat, rows[p] * d, d, words, groups)
        slot = _slot(words, groups, slots)
        g = table[slot]
        while g >= 0 and not _same(words, g, groups):
            slot = (slot + 1) & (slots - 1)
            g = table[slot]
        if g < 0:
            g = table[slot] = groups
            groups += 1
        label[p] = g
        size[g] += 1
        p += 1
    return p, groups


@kernel(types.intp(ROWS, _INTS, _INTS, _INTS))
def group(X, rows, order, starts):
    """Bring those of the rows that miss the same features together in order; return how many groups there are.

    Groups come by first sight, rows within as they were. starts (rows + 1,) gets where each group starts, and the end.
    """
    n, d = rows.size, X.shape[1]
    words = np.empty((n + 1, (d + 63) // 64), np.uint64)
    label, size = np.empty(n, np.intp), np.zeros(n, np.intp)
    p, groups, slots = 0, 0, _FIRST_SLOTS
    while p < n:
        table = _table(words, groups, slots)
        p, groups = _label(X.reshape(-1), d, rows, p, words, groups, table, label, size)
        slots *= 2
    starts[0] = 0
    for g in range(groups):
        starts[g + 1] = starts[g] + size[g]
        size[g] = starts[g]
    for p in range(n):
        order[size[label[p]]] = rows[p]
        size[label[p]] += 1
    return groups


@device
def _observed(X, row, observed):
    """List the observed features of a row; return how many there are."""
    m = 0
    for i in range(X.shape[1]):
        if not math.isnan(X[row, i]):
            observed[m] = i
            m += 1
    return m


@kernel(types.intp(types.intp, ROWS, _INTS, _INTS, _2D, _3D, _1D, _1D, _1D))
def pack_marginals(kind, X, examples, offsets, means, covariances, log_weights, centre, packs):
    """Write the marginal mixture of what each example row observes at its offset: means, factors, constants.

    covariances (K or 1, d, d). Laid out as `kernels` reads them. Return the first component that is not positive
    definite, or −1.
    """
    K, d = means.shape
    observed = np.empty(d, np.intp)
    for g in range(examples.size):
        m = _observed(X, examples[g], observed)
        # Of nothing observed there is no density, and of complete rows the mixture is there already.
        if m in (0, d):
            continue
        at = offsets[g]
        factors, constants = at + K * m, offsets[g + 1] - K
        length = (constants - factors - (0 if kind == FULL else K * m + m)) // covariances.shape[0]
        block, U, pivots = np.empty((1, m, m)), np.empty((1, m, m)), np.empty((1, m))
        half = 0.0
        for k in range(K):
            for a in range(m):
                packs[at + k * m + a] = means[k, observed[a]]
            if k < covariances.shape[0]:
                for a in range(m):
                    for b in range(m):
                        block[0, a, b] = covariances[k, observed[a], observed[b]]
                if precision_cholesky(block, U, pivots) >= 0:
                    return k
                pack_rows(U, packs[factors + k * length : factors + (k + 1) * length].reshape((1, length)))
                half = 0.0
                for a in range(m):
                    half += math.log(U[0, a, a])
            packs[constants + k] = log_weights[k] + half - 0.5 * m * math.log(2.0 * math.pi)
            if kind != FULL:
                for b in range(m):
                    s = 0.0
                    for a in range(b + 1):
                        s += (means[k, observed[a]] - centre[observed[a]]) * U[0, a, b]
                    packs[factors + length + k * m + b] = s
        if kind != FULL:
            for a in range(m):
                packs[constants - m + a] = centre[observed[a]]
    return -1


@device
def _gather(flat, d, order, start, rows, observed, m, places, block, xt):
    """Copy the observed features of some rows to columns; places (block,) is room for where the rows begin."""
    for p in range(rows):
        places[p] = order[start + p] * d
    for i in range(m):
        feature, column = observed[i], i * block
        for p in range(rows):
            xt[column + p] = flat[np.uintp(places[p] + feature)]


@kernel(types.void(types.intp, ROWS, _INTS, _INTS, _INTS, _INTS, _1D, _1D, _1D, _1D, _1D))
def score_groups(kind, X, order, starts, part, offsets, packs, means, factors, constants, out):
    """Write log p of the rows order[part[0]:part[1]], which stand by what they miss, at their places in out.

    starts holds where each group starts in order, offsets where its marginal starts in packs; the mixture itself
    (means, factors, constants) serves complete rows, 0 those without any feature. ±Inf gives −inf.
    """
    d, K, block = X.shape[1], constants.size, block_size(X.shape[1])
    xt, delta, z = np.zeros(d * block), np.empty(d * block), np.empty(d * block)
    lp, logs = np.empty(K * block), np.empty(block)
    observed, places, flat = np.empty(d, np.intp), np.empty(block, np.intp), X.reshape(-1)
    for g in range(starts.size - 1):
        begin, end = max(starts[g], part[0]), min(starts[g + 1], part[1])
        if begin >= end:
            continue
        m = _observed(X, order[begin], observed)
        if m == 0:
            for p in range(begin, end):
                out[order[p]] = 0.0
            continue
        mu, L, const = means, factors, constants
        if m < d:
            at, last = offsets[g], offsets[g + 1] - K
            mu, L, const = packs[at : at + K * m], packs[at + K * m : last], packs[last : last + K]
        for start in range(begin, end, block):
            rows = min(block, end - start)
            _gather(flat, d, order, start, rows, observed, m, places, block, xt)
            joint_block(kind, xt, block, padded(rows), m, K, mu, L, const, delta, z, lp)
            log_sums(lp, block, padded(rows), K, logs)
            for p in range(rows):
                out[order[start + p]] = logs[p] if logs[p] > 0.99 * LOWEST else -np.inf
