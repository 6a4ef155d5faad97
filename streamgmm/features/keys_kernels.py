"""A bounded table from keys to slots, least recently used leaving first: one pass over a column of byte strings.

Open addressing with linear probing; a key is its 128-bit hash. Order of use is a doubly linked list over the slots.
"""

from __future__ import annotations

import numpy as np
from numba import types

from streamgmm.cache_kernels import njit

NEWEST, OLDEST, USED = 0, 1, 2
_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_8, _29, _33 = np.uint64(8), np.uint64(29), np.uint64(33)
# A slice of a fetch buffer cannot be written; a writable array is taken as well.
_BYTES = types.Array(types.uint8, 1, "C", readonly=True)


@njit(nogil=True, error_model="numpy")
def key_hash(buffer, start, length):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - inlined into kernels
    """Return two 64-bit hashes of buffer[start : start + length]; a length of -1 (null) is a key of its own."""
    a, b = _A ^ np.uint64(length), _B
    word = np.uint64(0)
    for i in range(max(length, 0) + 1):
        if i % 8 == 7 or i == length:
            last = i == length
            word = word if last else (word << _8) | np.uint64(buffer[start + i])
            a = (a ^ word) * _M1
            a ^= a >> _33
            b = (b + word + a) * _M2
            b ^= b >> _29
            word = np.uint64(0)
        elif i < length:
            word = (word << _8) | np.uint64(buffer[start + i])
    a = (a ^ b) * _M2
    return a ^ (a >> _33), b


@njit(nogil=True, error_model="numpy")
def unlink(s, newer, older, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - inlined into kernels
    """Take slot s out of the order of use."""
    if newer[s] >= 0:
        older[newer[s]] = older[s]
    else:
        ends[NEWEST] = older[s]
    if older[s] >= 0:
        newer[older[s]] = newer[s]
    else:
        ends[OLDEST] = newer[s]


@njit(nogil=True, error_model="numpy")
def put_first(s, newer, older, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - inlined into kernels
    """Make slot s the most recently used one."""
    newer[s], older[s] = -1, ends[NEWEST]
    if ends[NEWEST] >= 0:
        newer[ends[NEWEST]] = s
    else:
        ends[OLDEST] = s
    ends[NEWEST] = s


@njit(nogil=True, error_model="numpy")
def remove(s, table, hashes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - inlined into kernels
    """Take slot s out of the table, moving up what was pushed past it: tombstones would fill the table in time."""
    mask = np.int64(len(table) - 1)
    hole = np.int64(hashes[s, 0]) & mask
    while table[hole] != s + 1:
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        if table[at] == 0:
            break
        home = np.int64(hashes[table[at] - 1, 0]) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            table[hole] = table[at]
            hole = at
    table[hole] = 0


@njit(nogil=True, error_model="numpy")
def insert(s, table, hashes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - inlined into kernels
    """Put slot s into the table under the hash that it has."""
    mask = np.int64(len(table) - 1)
    at = np.int64(hashes[s, 0]) & mask
    while table[at] != 0:
        at = (at + 1) & mask
    table[at] = s + 1


@njit(
    types.void(
        _BYTES,
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.uint64[:, ::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.bool_[::1],
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def assign(buffer, start, length, table, hashes, newer, older, ends, slot, fresh):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the slot (n,) of every key, and whether it had none before: a full table gives away the oldest slot.

    `table` (a power of two, above the capacity) holds slot + 1, 0 where nothing is; `hashes` (capacity, 2), `newer`
    and `older` (capacity,) are by slot; `ends` is the newest and the oldest slot (−1: none), and how many are in use.
    """
    mask = np.int64(len(table) - 1)
    for i in range(len(start)):
        a, b = key_hash(buffer, start[i], length[i])
        at = np.int64(a) & mask
        s = np.int64(-1)
        while table[at] != 0:
            other = table[at] - 1
            if hashes[other, 0] == a and hashes[other, 1] == b:
                s = other
                break
            at = (at + 1) & mask
        fresh[i] = s < 0
        if s >= 0:
            if ends[NEWEST] != s:
                unlink(s, newer, older, ends)
                put_first(s, newer, older, ends)
        else:
            if ends[USED] < len(newer):
                s = ends[USED]
                ends[USED] += 1
            else:
                s = ends[OLDEST]
                unlink(s, newer, older, ends)
                remove(s, table, hashes)
            hashes[s, 0], hashes[s, 1] = a, b
            insert(s, table, hashes)
            put_first(s, newer, older, ends)
        slot[i] = s


@njit(
    "void(int64[::1], int64[::1], uint64[:, ::1], int64[::1], int64[::1], int64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def rebuild(order, table, hashes, newer, older, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Fill an empty table with slots whose hashes are there, in their order of use, oldest first."""
    for s in order:
        insert(s, table, hashes)
        put_first(s, newer, older, ends)
    ends[USED] = len(order)


@njit("void(int64[::1], int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def by_use(older, ends, order):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Write the slots in use (n,) in their order of use, oldest first."""
    s = ends[NEWEST]
    for i in range(len(order) - 1, -1, -1):
        order[i] = s
        s = older[s]
