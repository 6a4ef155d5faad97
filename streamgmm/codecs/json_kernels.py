# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202, PLR0911
# What is inlined into kernels has the types of its kernel; a grammar has many ways to end.
"""JSON documents into rows, in one pass over a block of records.

A record is either read in full, and its grammar checked to the last byte, or left as it is: whatever is in any way
unusual is for the careful reading of `json`, which decides alone. So both give the same row, or the same reject.
"""

from __future__ import annotations

import numpy as np

from streamgmm.codecs._framing import FRAME_BYTES
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
    MASK,
    MOST_LEVELS,
    NUMBER,
    OBJECT,
    PREDICTED,
    SIZE,
    TARGET,
    TIME,
    UNKNOWN,
    WORD,
    cell,
    find_key,
)
from streamgmm.codecs.string_kernels import (
    HASH_WORDS,
    MEMO_COLUMNS,
    MEMO_ROWS,
    category_code,
    past_string,
    remembered_code,
    rfc3339,
    unescape,
)
from streamgmm.codecs.text_kernels import (
    BYTES,
    COMMA,
    INTS,
    LOWER_E,
    MINUS,
    NEWLINE,
    POINT,
    QUOTE,
    RETURN,
    SPACE,
    TAB,
    ZERO,
    any_number,
    device,
    inlined,
    kernel,
    load8,
    load32,
    load64,
    plain_number,
    same_bytes,
    scaled,
)

_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY, _COLON = 123, 125, 91, 93, 58
_NULL, _TRUE, _ALSE = 0x6C6C756E, 0x65757274, 0x65736C61
_N, _A = ord("N"), ord("a")
_MOST_DEPTH = 60


@inlined
def past_blanks(p, end):
    """Return where white space ends."""
    while p < end:
        c = load8(p)
        if c > SPACE or c not in (SPACE, NEWLINE, RETURN, TAB):
            break
        p += 1
    return p


@inlined
def _byte(p, end):
    """Return the byte at p; at the end a zero, which no JSON text has."""
    return load8(p) if p < end else np.int64(0)


@inlined
def _is_null(p, end):
    return end - p >= 4 and load32(p) == _NULL


@inlined
def _is_nan(p, end):
    """Return whether here is the NaN of Python's own writer, which its reader takes as well."""
    return end - p >= 3 and load8(p) == _N and load8(p + 1) == _A and load8(p + 2) == _N


@device
def past_literal(p, end):
    """Return where null, true, false or NaN ends; 0 where it is none of them."""
    if _is_nan(p, end):
        return p + 3
    if end - p >= 4 and (load32(p) == _NULL or load32(p) == _TRUE):
        return p + 4
    if end - p >= 5 and load8(p) == ord("f") and load32(p + 1) == _ALSE:
        return p + 5
    return np.int64(0)


@device
def past_number(p, end):
    """Return where a number ends, whatever its value; 0 where it is none."""
    nowhere = np.int64(0)
    p += _byte(p, end) == MINUS
    begin = p
    while 0 <= _byte(p, end) - ZERO <= 9:
        p += 1
    if p == begin or (p > begin + 1 and load8(begin) == ZERO):
        return nowhere
    if _byte(p, end) == POINT:
        begin = p + 1
        p = begin
        while 0 <= _byte(p, end) - ZERO <= 9:
            p += 1
        if p == begin:
            return nowhere
    if _byte(p, end) | 32 == LOWER_E:
        p += 1
        p += _byte(p, end) in (MINUS, ord("+"))
        begin = p
        while 0 <= _byte(p, end) - ZERO <= 9:
            p += 1
        if p == begin:
            return nowhere
    return p


@device
def past_value(p, end):
    """Return where a value ends that nobody asked for; 0 where it is not sound, or nested too deeply for here."""
    nowhere = np.int64(0)
    objects = np.int64(0)  # a bit for each level: whether it is an object
    depth = 0
    while True:
        c = _byte(p, end)
        opened = c in (_OPEN_OBJECT, _OPEN_ARRAY)
        if opened:
            if depth == _MOST_DEPTH:
                return nowhere
            objects = objects << 1 | (c == _OPEN_OBJECT)
            depth += 1
            p = past_blanks(p + 1, end)
            opened = _byte(p, end) != (_CLOSE_OBJECT if objects & 1 else _CLOSE_ARRAY)
        elif c == QUOTE:
            p, _ = past_string(p + 1, end)
        elif c == MINUS or 0 <= c - ZERO <= 9:
            p = past_number(p, end)
        else:
            p = past_literal(p, end)
        if p == 0:
            return nowhere
        while not opened:
            if depth == 0:
                return p
            p = past_blanks(p, end)
            c = _byte(p, end)
            if c == COMMA:
                p = past_blanks(p + 1, end)
                break
            if c != (_CLOSE_OBJECT if objects & 1 else _CLOSE_ARRAY):
                return nowhere
            p += 1
            depth -= 1
            objects >>= 1
        if objects & 1:
            if _byte(p, end) != QUOTE:
                return nowhere
            p, _ = past_string(p + 1, end)
            if p == 0:
                return nowhere
            p = past_blanks(p, end)
            if _byte(p, end) != _COLON:
                return nowhere
            p = past_blanks(p + 1, end)


@device
def _read_time(p, end, decimals):
    """Return a time in seconds (NaN where it is null) and where it ends; 0 where that is not sure.

    As Python divides: integers exactly, and rounded once; a number with a fraction is rounded before as well.
    """
    nowhere = np.int64(0)
    if _is_null(p, end):
        return np.nan, p + 4
    if decimals == ISO:
        if _byte(p, end) != QUOTE:
            return np.nan, nowhere
        q, plain = past_string(p + 1, end)
        if q == 0 or not plain:
            return np.nan, nowhere
        time, sure = rfc3339(p + 1, q - 1)
        return time, (q if sure else nowhere)
    m = np.uint64(0)
    q = p
    while q < p + 19 and 0 <= _byte(q, end) - ZERO <= 9:
        m = m * np.uint64(10) + np.uint64(load8(q) - ZERO)
        q += 1
    c = _byte(q, end)
    if q == p or c == POINT or c | 32 == LOWER_E or 0 <= c - ZERO <= 9 or (load8(p) == ZERO and q > p + 1):
        value, q = any_number(p, end)
        sure = q > 0 and np.abs(value) < 2.0**53
        time = value / 10.0**decimals
    else:
        time, sure = scaled(m, -decimals)
    return time, (q if sure and EARLIEST < time < LATEST else nowhere)


@device
def _read_category(p, end, words, memo, scratch):
    """Return the number of a category (NaN where it is null) and where it ends; 0 where that is not sure."""
    nowhere = np.int64(0)
    c = _byte(p, end)
    if c == QUOTE:
        q, plain = past_string(p + 1, end)
        if q == 0:
            return np.nan, nowhere
        if plain:
            return remembered_code(p + 1, q - p - 2, words, memo), q
        size = unescape(p + 1, q - 1, scratch)
        if size < 0:
            return np.nan, nowhere
        return category_code(np.int64(scratch.ctypes.data), size, words), q
    if c == MINUS or 0 <= c - ZERO <= 9:
        # The text of an integer is what stands there; other numbers have many spellings.
        q = past_number(p, end)
        for at in range(p + (c == MINUS), q):
            if not 0 <= load8(at) - ZERO <= 9:
                return np.nan, nowhere
        if q - p > 18 or (c == MINUS and _byte(p + 1, end) == ZERO):
            return np.nan, nowhere
        return (remembered_code(p, q - p, words, memo), q) if q > 0 else (np.nan, nowhere)
    q = past_literal(p, end)
    if q == 0 or c in (ord("n"), ord("N")):
        return np.nan, q
    return remembered_code(p, q - p, words, memo), q


@device
def _read_any_key(p, end, level, keys, names, slots, n_slots, scratch):
    """Return the row of a key (UNKNOWN: none of ours) and where it ends; p is behind its opening quote."""
    q, plain = past_string(p, end)
    if q == 0:
        return np.int64(UNKNOWN), q
    if plain:
        return find_key(p, q - 1 - p, level, keys, names, slots, n_slots), q
    size = unescape(p, q - 1, scratch)
    if size < 0:
        return np.int64(UNKNOWN), q
    return find_key(np.int64(scratch.ctypes.data), size, level, keys, names, slots, n_slots), q


@inlined
def _past_guess(p, end, stop, level, guess, keys, names):
    """Return where the guessed key ends, or 0 where it is another.

    The guess is right in streams whose producer writes its keys in one order.
    """
    if guess >= 0 and p + 8 <= stop and cell(keys, guess, LEVEL) == level:
        word = load64(p) & np.uint64(cell(keys, guess, MASK))
        size = cell(keys, guess, SIZE)
        same = word == np.uint64(cell(keys, guess, WORD)) and p + size <= end
        if same and (size <= 8 or same_bytes(p + 8, names + cell(keys, guess, AT) + 8, size - 8)):
            return p + size
    return np.int64(0)


@kernel(
    f"void({BYTES}, {INTS}, {INTS}, {BYTES}, int64[:, ::1], int64[:, ::1], int64[::1], int64[::1], int64,"
    " float64[:, ::1], float64[::1], boolean[::1])"
)
def decode_json(buffer, start, length, text, keys, levels, positions, slots, decimals, X, time, read):
    """Read records into the rows of X, and their times (s; NaN where there is none).

    Parameters
    ----------
    buffer, start, length
        n records as slices of one buffer.
    text, keys, levels, positions, slots
        What is asked for: see the columns of the tables; positions are rows of `keys`, or -1.
    decimals
        The timestamp's unit: 0, 3, 6, 9 for s, ms, us, ns; ISO.
    X : (n, n_fields), time : (n,), read : (n,)
        Output. A record that is not `read` is for the careful reading; its row holds anything.
    """
    origin, names = np.int64(buffer.ctypes.data), np.int64(text.ctypes.data)
    table, entries = np.int64(keys.ctypes.data), np.int64(slots.ctypes.data)
    stop = origin + buffer.shape[0]
    predicted = np.full(PREDICTED, UNKNOWN, np.int64)
    seen = np.full(levels.shape[0], -1, np.int64)
    outer, outer_index = np.empty(MOST_LEVELS, np.int64), np.empty(MOST_LEVELS, np.int64)
    scratch = np.empty(1024, np.uint8)
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
        if length[i] > FRAME_BYTES and load8(p) == 0:
            p += FRAME_BYTES
        p = past_blanks(p, end)
        c = _byte(p, end)
        if c not in (_OPEN_OBJECT, _OPEN_ARRAY):
            continue
        # Where we are: the level, and the next position in it where it is an array.
        level, index = (np.int64(OBJECT), np.int64(-1)) if c == _OPEN_OBJECT else (np.int64(ARRAY), np.int64(0))
        depth, n_keys = 0, 0
        p = past_blanks(p + 1, end)
        opened = True
        while p > 0:
            if opened and _byte(p, end) == (_CLOSE_OBJECT if index < 0 else _CLOSE_ARRAY):
                opened = False
            else:
                opened = False
                # --- a key, or the next position
                if index < 0:
                    if _byte(p, end) != QUOTE:
                        break
                    slot = n_keys & (PREDICTED - 1)
                    n_keys += 1
                    g = predicted[slot]
                    q = _past_guess(p + 1, end, stop, level, g, table, names)
                    if q == 0:
                        g, q = _read_any_key(p + 1, end, level, table, names, entries, slots.shape[0], scratch)
                        predicted[slot] = g
                        if q == 0:
                            break
                    p = q
                    if _byte(p, end) != _COLON:
                        p = past_blanks(p, end)
                        if _byte(p, end) != _COLON:
                            break
                    p = past_blanks(p + 1, end)
                else:
                    g = positions[levels[level, FIRST] + index] if index < levels[level, COUNT] else np.int64(UNKNOWN)
                    index += 1
                # --- its value
                kind = cell(table, g, KIND) if g >= 0 else np.int64(UNKNOWN)
                if kind == NUMBER:
                    value, q = plain_number(p, end)
                    if q == 0:
                        value = np.nan
                        q = p + 4 if _is_null(p, end) else p + 3 if _is_nan(p, end) else q
                    X[i, cell(table, g, TARGET)] = value
                    p = q
                elif kind == UNKNOWN:
                    p = past_value(p, end)
                elif kind == BELOW:
                    # A level that comes twice replaces the first one, also what the second does not have.
                    below = cell(table, g, TARGET)
                    if seen[below] == i:
                        break
                    seen[below] = i
                    c = _byte(p, end)
                    if c == _OPEN_OBJECT or (c == _OPEN_ARRAY and levels[below, COUNT] >= 0):
                        outer[depth], outer_index[depth] = level, index
                        depth += 1
                        level, index = below, np.int64(-1 if c == _OPEN_OBJECT else 0)
                        p = past_blanks(p + 1, end)
                        opened = True
                        continue
                    # Nothing that was asked for is in anything else.
                    p = past_value(p, end) if c != _OPEN_ARRAY else np.int64(0)
                elif kind == CATEGORY:
                    value, p = _read_category(p, end, words, memo, scratch)
                    X[i, cell(table, g, TARGET)] = value
                elif kind == TIME:
                    time[i], p = _read_time(p, end, decimals)
                else:
                    break
                if p == 0:
                    break
            # --- what follows it
            done = False
            while True:
                p = past_blanks(p, end)
                c = _byte(p, end)
                if c == COMMA:
                    p = past_blanks(p + 1, end)
                    break
                if c != (_CLOSE_OBJECT if index < 0 else _CLOSE_ARRAY):
                    p = np.int64(0)
                    break
                p += 1
                if depth == 0:
                    done = True
                    break
                depth -= 1
                level, index = outer[depth], outer_index[depth]
            if done:
                read[i] = past_blanks(p, end) == end and (index < 0 or index == X.shape[1])
                break
