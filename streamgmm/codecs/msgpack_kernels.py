# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202, PLR0911
# What is inlined into kernels has the types of its kernel; a format has many kinds.
"""MessagePack documents into rows, in one pass over a block of records.

As with JSON (whose tables of keys, levels and positions it follows), a record is read in full or left as it is.
"""

from __future__ import annotations

import numpy as np

from streamgmm.codecs.keys_kernels import (
    ARRAY,
    AT,
    BELOW,
    CATEGORY,
    COUNT,
    EARLIEST,
    FIRST,
    ISO,
    KIND,
    LATEST,
    LEVEL,
    MOST_LEVELS,
    NUMBER,
    OBJECT,
    PREDICTED,
    SIZE,
    TARGET,
    TIME,
    UNKNOWN,
    cell,
    find_key,
)
from streamgmm.codecs.string_kernels import (
    HASH_WORDS,
    MEMO_COLUMNS,
    MEMO_ROWS,
    past_character,
    remembered_code,
    rfc3339,
)
from streamgmm.codecs.text_kernels import (
    BYTES,
    INTS,
    bits_as_float,
    device,
    inlined,
    kernel,
    load8,
    same_bytes,
    scaled,
    single_as_float,
)

# Kinds of items; STRING and BYTES come with their size, ITEMS and PAIRS with their number.
_NIL, _TRUTH, _NATURAL, _INTEGER, _SINGLE, _FLOAT, _STRING, _BYTES, _ITEMS, _PAIRS, _ODD = range(11)
# By the first byte less 0xC4: the kind, and the bytes of its number. Extensions, and what is reserved, are odd.
_KINDS = np.array(
    [_BYTES] * 3 + [_ODD] * 3 + [_SINGLE, _FLOAT] + [_NATURAL] * 4 + [_INTEGER] * 4 + [_ODD] * 5 + [_STRING] * 3
    + [_ITEMS] * 2 + [_PAIRS] * 2,
    dtype=np.int64,
)  # fmt: skip
_WIDTHS = np.array([1, 2, 4, 0, 0, 0, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4], dtype=np.int64)
_KINDS.flags.writeable = _WIDTHS.flags.writeable = False
_MOST_DEPTH = 60


@inlined
def _head(p, end):
    """Return an item's kind, its bits or how much follows, and where its head ends; 0 where it is cut off or odd."""
    zero, nowhere = np.uint64(0), np.int64(0)
    if p >= end:
        return _ODD, zero, nowhere
    c = load8(p)
    p += 1
    if c < 0x80:
        return _NATURAL, np.uint64(c), p
    if c < 0xA0:
        return (_PAIRS if c < 0x90 else _ITEMS), np.uint64(c & 15), p
    if c < 0xC0:
        return _STRING, np.uint64(c & 31), p
    if c >= 0xE0:
        return _INTEGER, np.uint64(c - 256), p
    if c < 0xC4:
        return (_NIL if c == 0xC0 else _TRUTH), np.uint64(c & 1), (p if c != 0xC1 else nowhere)
    kind, n = _KINDS[c - 0xC4], _WIDTHS[c - 0xC4]
    if kind == _ODD or n > end - p:
        return _ODD, zero, nowhere
    bits = zero
    for i in range(n):
        bits = bits << np.uint64(8) | np.uint64(load8(p + i))
    if kind == _INTEGER and n < 8:
        # The sign is that of the highest bit.
        bits -= (bits >> np.uint64(8 * n - 1)) << np.uint64(8 * n)
    return kind, bits, p + n


@inlined
def _float_of(kind, bits):
    """Return a number as float64 (nil: NaN), and whether it is one."""
    if kind == _FLOAT:
        return bits_as_float(bits), True
    if kind == _SINGLE:
        return single_as_float(bits), True
    if kind == _NATURAL:
        return np.float64(bits), True
    if kind == _INTEGER:
        return np.float64(np.int64(bits)), True
    return np.nan, kind == _NIL


@device
def past_text(p, end, size):
    """Return where a text of so many bytes ends; 0 where it is cut off, or not UTF-8."""
    if size > np.uint64(end - p):
        return np.int64(0)
    end = p + np.int64(size)
    while p < end:
        p = p + 1 if load8(p) < 0x80 else past_character(p, end)
        if p == 0:
            break
    return p


@device
def past_item(p, end, left):
    """Return where an item ends that nobody asked for; 0 where it is not sound, odd, or nested too deeply for here.

    `left`, of _MOST_DEPTH, is room for how many items are left at each level.
    """
    nowhere = np.int64(0)
    maps = np.int64(0)  # a bit for each level: whether it is a map
    depth = 0
    left[0] = 1
    while True:
        while left[depth] == 0:
            if depth == 0:
                return p
            depth -= 1
            maps >>= 1
        is_key = maps & 1 == 1 and left[depth] & 1 == 0
        left[depth] -= 1
        kind, bits, p = _head(p, end)
        if p == 0 or (is_key and kind != _STRING):
            return nowhere
        if kind == _STRING:
            p = past_text(p, end, bits)
        elif kind == _BYTES:
            p = p + np.int64(bits) if bits <= np.uint64(end - p) else nowhere
        elif kind in (_ITEMS, _PAIRS):
            if depth == _MOST_DEPTH - 1:
                return nowhere
            depth += 1
            maps = maps << 1 | (kind == _PAIRS)
            left[depth] = np.int64(bits) * 2 if kind == _PAIRS else np.int64(bits)
        if p == 0:
            return nowhere


@device
def _read_time(p, end, decimals):
    """Return a time in seconds (NaN where it is nil) and where it ends; 0 where that is not sure."""
    nowhere = np.int64(0)
    kind, bits, p = _head(p, end)
    if p == 0 or kind == _NIL:
        return np.nan, p
    if decimals == ISO:
        q = past_text(p, end, bits) if kind == _STRING else nowhere
        if q == 0:
            return np.nan, nowhere
        time, sure = rfc3339(p, q)
        return time, (q if sure else nowhere)
    if kind == _NATURAL:
        time, sure = scaled(bits, -decimals)
    else:
        value, sure = _float_of(kind, bits)
        sure = sure and (kind != _INTEGER or np.abs(value) < 2.0**53)
        time = value / 10.0**decimals
    return time, (p if sure and EARLIEST < time < LATEST else nowhere)


@device
def _read_category(p, end, words, memo):
    """Return the number of a category (NaN where it is nil) and where it ends; 0 where that is not sure."""
    nowhere = np.int64(0)
    kind, bits, p = _head(p, end)
    if p == 0 or kind == _NIL:
        return np.nan, p
    q = past_text(p, end, bits) if kind == _STRING else nowhere
    if q == 0:
        return np.nan, nowhere
    return remembered_code(p, q - p, words, memo), q


@device
def _read_any_key(p, end, level, keys, names, slots, n_slots):
    """Return the row of a key (UNKNOWN: none of ours) and where it ends; 0 where it is no text."""
    kind, bits, p = _head(p, end)
    q = past_text(p, end, bits) if p > 0 and kind == _STRING else np.int64(0)
    if q == 0:
        return np.int64(UNKNOWN), q
    return find_key(p, q - p, level, keys, names, slots, n_slots), q


@inlined
def _past_guess(p, end, level, guess, keys, names):
    """Return where the guessed key ends, or 0 where it is another (or a long one)."""
    if guess >= 0 and p < end and cell(keys, guess, LEVEL) == level:
        size = cell(keys, guess, SIZE) - 1
        fits = size < 32 and size < end - p and load8(p) == 0xA0 | size
        if fits and same_bytes(p + 1, names + cell(keys, guess, AT), size):
            return p + 1 + size
    return np.int64(0)


@kernel(
    f"void({BYTES}, {INTS}, {INTS}, {BYTES}, int64[:, ::1], int64[:, ::1], int64[::1], int64[::1], int64,"
    " float64[:, ::1], float64[::1], boolean[::1])"
)
def decode_msgpack(buffer, start, length, text, keys, levels, positions, slots, decimals, X, time, read):
    """Read records into the rows of X, and their times; see `json_kernels.decode_json`."""
    origin, names = np.int64(buffer.ctypes.data), np.int64(text.ctypes.data)
    table, entries = np.int64(keys.ctypes.data), np.int64(slots.ctypes.data)
    predicted = np.full(PREDICTED, UNKNOWN, np.int64)
    seen = np.full(levels.shape[0], -1, np.int64)
    outer, outer_index = np.empty(MOST_LEVELS, np.int64), np.empty(MOST_LEVELS, np.int64)
    outer_left, left = np.empty(MOST_LEVELS, np.int64), np.empty(_MOST_DEPTH, np.int64)
    words = np.empty(HASH_WORDS, np.uint64)
    memo = np.full((MEMO_ROWS, MEMO_COLUMNS), -1, np.int64)
    for i in range(start.shape[0]):
        read[i] = False
        time[i] = np.nan
        for j in range(X.shape[1]):
            X[i, j] = np.nan
        if start[i] < 0 or length[i] < 0 or length[i] > buffer.shape[0] - start[i]:
            continue
        p = origin + start[i]
        end = p + length[i]
        kind, bits, p = _head(p, end)
        if p == 0 or kind not in (_ITEMS, _PAIRS) or (kind == _ITEMS and bits != np.uint64(X.shape[1])):
            continue
        # Where we are: the level, the next position in it where it is an array, and how much of it is left.
        level, index = (np.int64(OBJECT), np.int64(-1)) if kind == _PAIRS else (np.int64(ARRAY), np.int64(0))
        rest = np.int64(bits)
        depth, n_keys = 0, 0
        while p > 0:
            if rest == 0:
                if depth == 0:
                    read[i] = p == end
                    break
                depth -= 1
                level, index, rest = outer[depth], outer_index[depth], outer_left[depth]
                continue
            rest -= 1
            # --- a key, or the next position
            if index < 0:
                slot = n_keys & (PREDICTED - 1)
                n_keys += 1
                g = predicted[slot]
                q = _past_guess(p, end, level, g, table, names)
                if q == 0:
                    g, q = _read_any_key(p, end, level, table, names, entries, slots.shape[0])
                    predicted[slot] = g
                    if q == 0:
                        break
                p = q
            else:
                g = positions[levels[level, FIRST] + index] if index < levels[level, COUNT] else np.int64(UNKNOWN)
                index += 1
            # --- its value
            target = cell(table, g, TARGET) if g >= 0 else np.int64(0)
            what = cell(table, g, KIND) if g >= 0 else np.int64(UNKNOWN)
            if what == NUMBER:
                kind, bits, p = _head(p, end)
                value, sure = _float_of(kind, bits)
                if not sure:
                    break
                X[i, target] = value
            elif what == UNKNOWN:
                p = past_item(p, end, left)
            elif what == BELOW:
                # A level that comes twice replaces the first one, also what the second does not have.
                if seen[target] == i:
                    break
                seen[target] = i
                kind, bits, q = _head(p, end)
                if q > 0 and (kind == _PAIRS or (kind == _ITEMS and levels[target, COUNT] >= 0)):
                    outer[depth], outer_index[depth], outer_left[depth] = level, index, rest
                    depth += 1
                    level, index, rest = target, np.int64(-1 if kind == _PAIRS else 0), np.int64(bits)
                    p = q
                else:
                    # Nothing that was asked for is in anything else.
                    p = past_item(p, end, left) if kind != _ITEMS else np.int64(0)
            elif what == CATEGORY:
                value, p = _read_category(p, end, words, memo)
                X[i, target] = value
            elif what == TIME:
                time[i], p = _read_time(p, end, decimals)
            else:
                break
