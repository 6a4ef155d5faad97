# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202, PLR0911
# What is inlined into kernels has the types of its kernel; a grammar has many ways to end.
"""Strings of text formats: UTF-8 and escapes, the stable numbers of categories, times as RFC 3339 writes them."""

from __future__ import annotations

import numpy as np

from streamgmm.codecs.text_kernels import MINUS, POINT, QUOTE, SPACE, ZERO, device, inlined, load8, load64, same_bytes

BACKSLASH, LOWER_U = 92, 117
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


@inlined
def _plain_word(word):
    """Return whether eight bytes are ASCII without quotes, backslashes and control characters."""
    quotes = word ^ (_ONES * np.uint64(QUOTE))
    slashes = word ^ (_ONES * np.uint64(BACKSLASH))
    odd = (quotes - _ONES) & ~quotes
    odd |= (slashes - _ONES) & ~slashes
    odd |= (word - _ONES * np.uint64(SPACE)) & ~word
    return (odd | word) & _TOPS == np.uint64(0)


@device
def past_character(p, end):
    """Return where a character of several bytes ends; 0 where it is not UTF-8."""
    nowhere = np.int64(0)
    c = load8(p)
    if c < 0xC2 or c > 0xF4:
        return nowhere
    n = 1 if c < 0xE0 else 2 if c < 0xF0 else 3
    if end - p <= n:
        return nowhere
    second = load8(p + 1)
    low = 0xA0 if c == 0xE0 else 0x90 if c == 0xF0 else 0x80
    high = 0x9F if c == 0xED else 0x8F if c == 0xF4 else 0xBF
    if second < low or second > high:
        return nowhere
    for i in range(2, n + 1):
        if load8(p + i) & 0xC0 != 0x80:
            return nowhere
    return p + n + 1


@device
def _unit(p, end):
    """Return the number of an escape with u and four digits at p, or -1."""
    if end - p < 6 or load8(p) != BACKSLASH or load8(p + 1) != LOWER_U:
        return np.int64(-1)
    unit = np.int64(0)
    for i in range(2, 6):
        c = load8(p + i)
        letter = (c | 32) - 97
        if 0 <= c - ZERO <= 9:
            unit = unit * 16 + c - ZERO
        elif 0 <= letter <= 5:
            unit = unit * 16 + letter + 10
        else:
            return np.int64(-1)
    return unit


@device
def escaped(p, end):
    """Return the code point of an escape at p and where it ends; 0 where it is none, or half of a surrogate pair."""
    nowhere = np.int64(0)
    if end - p < 2:
        return nowhere, nowhere
    c = load8(p + 1)
    if c in (QUOTE, BACKSLASH, ord("/")):
        return c, p + 2
    if c == LOWER_U:
        unit = _unit(p, end)
        if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
            return nowhere, nowhere
        if unit < 0xD800 or unit > 0xDFFF:
            return unit, p + 6
        low = _unit(p + 6, end)
        if low < 0xDC00 or low > 0xDFFF:
            return nowhere, nowhere
        return 0x10000 + ((unit - 0xD800) << 10) + low - 0xDC00, p + 12
    code = 8 if c == ord("b") else 12 if c == ord("f") else 10 if c == ord("n") else 13 if c == ord("r") else 0
    if c == ord("t"):
        code = 9
    return np.int64(code), (p + 2 if code > 0 else nowhere)


@device
def past_string(p, end):
    """Return where a string ends (p is behind its opening quote; 0: not sound), and whether it has no escapes."""
    plain = True
    while p < end:
        if end - p >= 8 and _plain_word(load64(p)):
            p += 8
            continue
        c = load8(p)
        if c == QUOTE:
            return p + 1, plain
        if c == BACKSLASH:
            plain = False
            _, p = escaped(p, end)
        elif c >= 0x80:
            p = past_character(p, end)
        elif c >= SPACE:
            p += 1
        else:
            break
        if p == 0:
            break
    return np.int64(0), plain


@device
def unescape(p, end, out):
    """Write a sound string without its escapes; return its length, or -1 where `out` is too short."""
    n = np.int64(0)
    while p < end:
        if n + 4 > out.shape[0]:
            return np.int64(-1)
        c = load8(p)
        if c != BACKSLASH:
            out[n] = c
            n += 1
            p += 1
            continue
        code, p = escaped(p, end)
        if code < 0x80:
            out[n] = code
            n += 1
        elif code < 0x800:
            out[n] = 0xC0 | code >> 6
            out[n + 1] = 0x80 | code & 63
            n += 2
        elif code < 0x10000:
            out[n] = 0xE0 | code >> 12
            out[n + 1] = 0x80 | code >> 6 & 63
            out[n + 2] = 0x80 | code & 63
            n += 3
        else:
            out[n] = 0xF0 | code >> 18
            out[n + 1] = 0x80 | code >> 12 & 63
            out[n + 2] = 0x80 | code >> 6 & 63
            out[n + 3] = 0x80 | code & 63
            n += 4
    return n


_IV = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    dtype=np.int64,
)
# Columns, then diagonals of the state.
_QUARTERS = np.array(
    [
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 5, 10, 15],
        [1, 6, 11, 12],
        [2, 7, 8, 13],
        [3, 4, 9, 14],
    ],
    dtype=np.int64,
)
_IV.flags.writeable = _SIGMA.flags.writeable = _QUARTERS.flags.writeable = False
BLOCK, HASH_WORDS = 128, 40
# A table of categories that were met: address, length, and number.
MEMO_ROWS, MEMO_COLUMNS = 64, 3


@inlined
def _turned(x, by):
    return x >> np.uint64(by) | x << np.uint64(64 - by)


@device
def category_code(p, length, words):
    """Return the stable number of a category: the first 52 bits of its BLAKE2b hash of 8 bytes (RFC 7693).

    `words` is room for HASH_WORDS uint64.
    """
    h, v, m = words[:8], words[8:24], words[24:40]
    h[:] = _IV
    h[0] ^= np.uint64(0x01010008)
    done = np.int64(0)
    while True:
        size = min(length - done, BLOCK)
        m[:] = np.uint64(0)
        for i in range(size):
            m[i >> 3] |= np.uint64(load8(p + done + i)) << np.uint64(8 * (i & 7))
        done += size
        v[:8] = h
        v[8:] = _IV
        v[12] ^= np.uint64(done)
        if done == length:
            v[14] = ~v[14]
        for turn in range(12):
            order = _SIGMA[turn % 10]
            for quarter in range(8):
                a, b, c, d = _QUARTERS[quarter]
                v[a] += v[b] + m[order[2 * quarter]]
                v[d] = _turned(v[d] ^ v[a], 32)
                v[c] += v[d]
                v[b] = _turned(v[b] ^ v[c], 24)
                v[a] += v[b] + m[order[2 * quarter + 1]]
                v[d] = _turned(v[d] ^ v[a], 16)
                v[c] += v[d]
                v[b] = _turned(v[b] ^ v[c], 63)
        for i in range(8):
            h[i] ^= v[i] ^ v[i + 8]
        if done == length:
            break
    value = np.uint64(0)
    for i in range(8):
        value = value << np.uint64(8) | (h[0] >> np.uint64(8 * i) & np.uint64(0xFF))
    return np.float64(np.int64(value >> np.uint64(12)))


@device
def remembered_code(p, length, words, memo):
    """Return the stable number of a category, from the table of those met before where it is there.

    `memo`, (MEMO_ROWS, MEMO_COLUMNS) filled with -1, lives no longer than the bytes that p is in.
    """
    if length == 0:
        return category_code(p, length, words)
    slot = (length * 31 + load8(p) * 7 + load8(p + length // 2) * 3 + load8(p + length - 1)) & (MEMO_ROWS - 1)
    if memo[slot, 1] != length or not same_bytes(p, memo[slot, 0], length):
        memo[slot, 0], memo[slot, 1] = p, length
        memo[slot, 2] = np.int64(category_code(p, length, words))
    return np.float64(memo[slot, 2])


@inlined
def _two(p):
    """Return the number of two digits, or -1."""
    a, b = load8(p) - ZERO, load8(p + 1) - ZERO
    return a * 10 + b if 0 <= a <= 9 and 0 <= b <= 9 else np.int64(-1)


@device
def rfc3339(p, end):
    """Return the seconds since the epoch of a time such as 2024-05-01T12:30:00.25+02:00, and whether it is one.

    Only what is plain is taken: years 1970 to 2199, T or a blank between date and time, up to nine digits of a
    fraction (as Python does, microseconds count), Z, an offset, or neither (UTC).
    """
    if end - p < 19 or load8(p + 4) != MINUS or load8(p + 7) != MINUS:
        return 0.0, False
    between = load8(p + 10)
    if between not in (ord("T"), SPACE) or load8(p + 13) != ord(":") or load8(p + 16) != ord(":"):
        return 0.0, False
    century, years, month, day = _two(p), _two(p + 2), _two(p + 5), _two(p + 8)
    hour, minute, second = _two(p + 11), _two(p + 14), _two(p + 17)
    year = century * 100 + years
    if years < 0 or not (1970 <= year < 2200 and 1 <= month <= 12 and 1 <= day <= _days_in(year, month)):
        return 0.0, False
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return 0.0, False
    micros, p = _micros(p + 19, end)
    offset, sure = _offset(p, end)
    total = (_days_since_epoch(year, month, day) * 24 + hour) * 3600 + minute * 60 + second - offset
    return np.float64(total * 1_000_000 + micros) / 1e6, sure


@device
def _micros(p, end):
    """Return the microseconds of a fraction and where it ends; 0 where there is a point without digits."""
    micros = np.int64(0)
    if p >= end or load8(p) != POINT:
        return micros, p
    begin = p + 1
    p = begin
    unit = np.int64(100_000)
    while p < end and p < begin + 9 and 0 <= load8(p) - ZERO <= 9:
        micros += unit * (load8(p) - ZERO)
        unit //= 10
        p += 1
    return micros, (p if p > begin else np.int64(0))


@device
def _offset(p, end):
    """Return the seconds of an offset that ends the text, and whether it does."""
    nothing = np.int64(0)
    if p == 0:
        return nothing, False
    if p == end or (end - p == 1 and load8(p) == ord("Z")):
        return nothing, True
    if end - p not in (5, 6) or load8(p) not in (MINUS, ord("+")) or (end - p == 6 and load8(p + 3) != ord(":")):
        return nothing, False
    hours, minutes = _two(p + 1), _two(end - 2)
    seconds = (hours * 60 + minutes) * 60
    return (-seconds if load8(p) == MINUS else seconds), 0 <= hours < 24 and 0 <= minutes < 60


@device
def _days_in(year, month):
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@device
def _days_since_epoch(year, month, day):
    """Return the number of a day; years begin in March, so that the odd day is their last."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
