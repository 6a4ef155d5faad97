# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201
# What is inlined into kernels has the types of its kernel.
"""What readers of documents are asked for, as tables: keys, levels, and the positions of arrays."""

from __future__ import annotations

import numpy as np

from streamgmm.codecs.text_kernels import BYTES, device, inlined, kernel, load8, load_int64, same_bytes

# Columns of a table of keys: its bytes with the closing quote (in TEXT), the first eight of them and which of those
# count, what stands behind it (KIND) and for whom (TARGET: a column, or a level), and the level it belongs to.
AT, SIZE, WORD, MASK, KIND, TARGET, LEVEL = range(7)
KEY_COLUMNS = 7
NUMBER, CATEGORY, TIME, BELOW, NEVER = range(5)
# Columns of a table of levels: where its positions begin in the table of positions, and how many there are (-1: an
# array at this level is not read here).
FIRST, COUNT = range(2)
# Level 0 is a payload that is an object; level 1 one that is an array.
OBJECT, ARRAY = range(2)
MOST_LEVELS = 32
ISO = -1
# Keys that are remembered by their place in a document, so that the next one's can be guessed.
PREDICTED = 256
UNKNOWN = -1
# Seconds since the epoch, well within the years 1 to 9999.
EARLIEST, LATEST = -6e10, 2.5e11


@inlined
def cell(keys, g, column):
    """Return a cell of the table of keys, by address: an array would be counted as referenced at every call."""
    return load_int64(keys + (g * KEY_COLUMNS + column) * 8)


@device
def key_hash(p, size, level):
    """Return a number of a key's bytes (FNV-1a)."""
    h = np.uint64(0xCBF29CE484222325) ^ np.uint64(level)
    for i in range(size):
        h = (h ^ np.uint64(load8(p + i))) * np.uint64(0x100000001B3)
    return np.int64(h ^ h >> np.uint64(32)) & 0x7FFFFFFF


@device
def find_key(p, size, level, keys, names, slots, n_slots):
    """Return the row of a key in the table of keys, or UNKNOWN."""
    slot = key_hash(p, size, level) & (n_slots - 1)
    g = load_int64(slots + 8 * slot)
    while g >= 0:
        alike = cell(keys, g, LEVEL) == level and cell(keys, g, SIZE) == size + 1
        if alike and same_bytes(p, names + cell(keys, g, AT), size):
            return g
        slot = (slot + 1) & (n_slots - 1)
        g = load_int64(slots + 8 * slot)
    return np.int64(UNKNOWN)


@kernel(f"void({BYTES}, int64[:, ::1], int64[::1])")
def fill_slots(text, keys, slots):
    """Enter every row of the table of keys into `slots`: all -1, a power of two, more than there are keys."""
    names = np.int64(text.ctypes.data)
    last = slots.shape[0] - 1
    for g in range(keys.shape[0]):
        slot = key_hash(names + keys[g, AT], keys[g, SIZE] - 1, keys[g, LEVEL]) & last
        while slots[slot] >= 0:
            slot = (slot + 1) & last
        slots[slot] = g
