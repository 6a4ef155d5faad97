# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201, ANN202, ANN401
# LLVM builders carry no types, and what is inlined into kernels has the types of its kernel.
"""What the kernels of text formats share: raw loads, and decimal numbers exactly as Python's `float` reads them.

Bytes are named by their address, which spares array bounds and wrapped indices. Every load stands behind a test against
the end of its record or, for whole words, of the buffer (tests/property/test_codec_fuzz.py places both before an
unreadable page).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no types
from numba.core import cgutils, types
from numba.extending import intrinsic

from streamgmm.cache_kernels import njit, widen_stamp

if TYPE_CHECKING:
    from collections.abc import Callable

# numba's own names, read by numba.
BYTES, INTS = "Array(uint8, 1, 'C', readonly=True)", "Array(int64, 1, 'C', readonly=True)"

SPACE, TAB, NEWLINE, RETURN, QUOTE, COMMA, MINUS, POINT, ZERO, LOWER_E = 32, 9, 10, 13, 34, 44, 45, 46, 48, 101


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile for exactly this signature, cached; the cache knows the helper files too.

    numba's own cache looks only at the file a function stands in, and would serve machine code made with yesterday's
    helpers (tests/unit/codecs/test_kernels.py watches this).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher: Any = njit(nogil=True, cache=True, error_model="numpy")(function)
        widen_stamp(dispatcher, _helpers_stamp())
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return decorate


def device(function: Callable[..., Any]) -> Any:
    """Compile a helper that kernels call."""
    return njit(nogil=True, error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a helper that becomes part of its kernel."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)


def _helpers_stamp() -> str:
    files = sorted(Path(__file__).parent.glob("*kernels.py"))
    return hashlib.blake2b(b"".join(f.read_bytes() for f in files)).hexdigest()


_LONG, _DOUBLE, _WIDE = ir.IntType(64), ir.DoubleType(), ir.IntType(128)


def _unary(argument: Any, result: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """Make an intrinsic of what emits its instructions."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return emit(builder, args[0])

    return intrinsic(lambda _context, _x: (result(argument), codegen))


def _load(kind: Any, result: Any, finish: Callable[[Any, Any], Any]) -> Any:
    """Make the load of a value from any address, aligned or not."""

    def emit(builder: Any, address: Any) -> Any:
        loaded = builder.load(builder.inttoptr(address, kind.as_pointer()), typ=kind)
        loaded.align = 1
        return finish(builder, loaded)

    return _unary(types.int64, result, emit)


load8 = _load(ir.IntType(8), types.int64, lambda builder, x: builder.zext(x, _LONG))
load32 = _load(ir.IntType(32), types.int64, lambda builder, x: builder.zext(x, _LONG))
load64 = _load(_LONG, types.uint64, lambda _, x: x)
load_int64 = _load(_LONG, types.int64, lambda _, x: x)
load_float32 = _load(ir.FloatType(), types.float64, lambda builder, x: builder.fpext(x, _DOUBLE))
load_float64 = _load(_DOUBLE, types.float64, lambda _, x: x)


# Of a number that is not 0.
leading_zeros = _unary(types.uint64, types.uint64, lambda builder, x: builder.ctlz(x, cgutils.true_bit))
bits_as_float = _unary(types.uint64, types.float64, lambda builder, x: builder.bitcast(x, _DOUBLE))
single_as_float = _unary(
    types.uint64,
    types.float64,
    lambda builder, x: builder.fpext(builder.bitcast(builder.trunc(x, ir.IntType(32)), ir.FloatType()), _DOUBLE),
)


@inlined
def same_bytes(p, q, size):
    """Return whether `size` bytes are the same."""
    at = np.int64(0)
    while at + 8 <= size:
        if load64(p + at) != load64(q + at):
            return False
        at += 8
    while at < size:
        if load8(p + at) != load8(q + at):
            return False
        at += 1
    return True


def _high_product() -> Any:
    """Make the upper 64 bits of a product."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a, b = (builder.zext(x, _WIDE) for x in args)
        return builder.trunc(builder.lshr(builder.mul(a, b), ir.Constant(_WIDE, 64)), _LONG)

    return intrinsic(lambda _context, _a, _b: (types.uint64(types.uint64, types.uint64), codegen))


high_product = _high_product()

LEAST_POWER, MOST_POWER = -342, 308
EXACT = np.uint64(2**53)


def _powers_of_ten() -> Any:
    """Return the first 128 bits of the powers of ten, rounded down, as pairs (high, low)."""
    pairs = []
    for exponent in range(LEAST_POWER, MOST_POWER + 1):
        power = 10 ** abs(exponent)
        size = power.bit_length()
        # A power of ten is never a power of two, but 1 is: its inverse is not needed.
        whole = (1 << (size + 127)) // power if exponent < 0 else power << 128 >> size
        pairs.append((whole >> 64, whole & (2**64 - 1)))
    table = np.array(pairs, dtype=np.uint64)
    table.flags.writeable = False
    return table


_POWERS = _powers_of_ten()
_TENS = np.array([10.0**k for k in range(23)])
_TENS.flags.writeable = False


@device
def eisel_lemire(m, exponent):
    """Return m · 10^exponent, correctly rounded, and whether that is sure (m > 0).

    Lemire, Number Parsing at a Gigabyte per Second, Software: Practice and Experience 51 (2021), section 5; subnormal
    and overflowing numbers and exact ties are left to Python.
    """
    if exponent < LEAST_POWER or exponent > MOST_POWER:
        return 0.0, False
    shift = leading_zeros(m)
    m <<= shift
    power = np.uint64((217706 * exponent >> 16) + 64 + 1023) - shift
    row = exponent - LEAST_POWER
    high = high_product(m, _POWERS[row, 0])
    low = m * _POWERS[row, 0]
    last = np.uint64(0x1FF)
    if high & last == last and low + m < m:
        finer = high_product(m, _POWERS[row, 1])
        finest = m * _POWERS[row, 1]
        merged = low + finer
        carried = high + np.uint64(1) if merged < low else high
        if carried & last == last and merged + np.uint64(1) == np.uint64(0) and finest + m < m:
            return 0.0, False
        high, low = carried, merged
    top = high >> np.uint64(63)
    mantissa = high >> (top + np.uint64(9))
    power -= np.uint64(1) ^ top
    if low == np.uint64(0) and high & last == np.uint64(0) and mantissa & np.uint64(3) == np.uint64(1):
        return 0.0, False
    mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
    if mantissa >> np.uint64(53) > np.uint64(0):
        mantissa >>= np.uint64(1)
        power += np.uint64(1)
    if power - np.uint64(1) >= np.uint64(0x7FE):
        return 0.0, False
    return bits_as_float(power << np.uint64(52) | mantissa & np.uint64(2**52 - 1)), True


@inlined
def scaled(m, exponent):
    """Return m · 10^exponent, correctly rounded, and whether that is sure."""
    if m <= EXACT and -22 <= exponent <= 22:
        value = np.float64(np.int64(m))
        return (value * _TENS[exponent] if exponent >= 0 else value / _TENS[-exponent]), True
    if m == np.uint64(0):
        return 0.0, True
    return eisel_lemire(m, exponent)


@device
def any_number(p, end):
    """Return a JSON number and where it ends; 0 where it is none, or none that can be said for sure."""
    nowhere = np.int64(0)
    negative = p < end and load8(p) == MINUS
    if negative:
        p += 1
    m = np.uint64(0)
    digits, exponent = 0, 0
    cut, integer = False, True
    begin = p
    while p < end:
        d = load8(p) - ZERO
        if d < 0 or d > 9:
            break
        if digits < 19:
            m = m * np.uint64(10) + np.uint64(d)
            digits += 1 if m > np.uint64(0) else 0
        else:
            exponent += 1
            cut |= d > 0
        p += 1
    if p == begin or (p > begin + 1 and load8(begin) == ZERO):
        return 0.0, nowhere
    if p < end and load8(p) == POINT:
        integer = False
        p += 1
        begin = p
        while p < end:
            d = load8(p) - ZERO
            if d < 0 or d > 9:
                break
            if digits < 19:
                m = m * np.uint64(10) + np.uint64(d)
                digits += 1 if m > np.uint64(0) else 0
                exponent -= 1
            else:
                cut |= d > 0
            p += 1
        if p == begin:
            return 0.0, nowhere
    if p < end and load8(p) | 32 == LOWER_E:
        integer = False
        power, p = _power(p + 1, end)
        if p == 0:
            return 0.0, nowhere
        exponent += power
    # An integer -0 has no sign where integers are not floats: whoever reads those decides.
    if negative and integer and m == np.uint64(0):
        return 0.0, nowhere
    value, sure = scaled(m, exponent)
    if cut and sure:
        above, sure = scaled(m + np.uint64(1), exponent)
        sure = sure and above == value
    return (-value if negative else value), (p if sure else nowhere)


@device
def _power(p, end):
    """Return the number behind an e and where it ends; 0 where there is none."""
    negative = p < end and load8(p) == MINUS
    if p < end and (load8(p) == MINUS or load8(p) == ord("+")):
        p += 1
    begin = p
    power = 0
    while p < end:
        d = load8(p) - ZERO
        if d < 0 or d > 9:
            break
        # Beyond this there is nothing to tell apart.
        power = min(power * 10 + d, 1_000_000)
        p += 1
    return (-power if negative else power), (p if p > begin else np.int64(0))


@inlined
def plain_number(p, end):
    """Return a JSON number and where it ends; 0 where it is none, or none that can be said for sure."""
    begin = p
    negative = p < end and load8(p) == MINUS
    if negative:
        p += 1
    m = np.uint64(0)
    first = p
    while p < end:
        d = load8(p) - ZERO
        if d < 0 or d > 9:
            break
        m = m * np.uint64(10) + np.uint64(d)
        p += 1
    count = p - first
    fraction = np.int64(0)
    c = load8(p) if p < end else np.int64(0)
    if c == POINT:
        p += 1
        point = p
        while p < end:
            d = load8(p) - ZERO
            if d < 0 or d > 9:
                break
            m = m * np.uint64(10) + np.uint64(d)
            p += 1
        fraction = p - point
        c = load8(p) if p < end else np.int64(0)
        plain = fraction > 0
    else:
        plain = not (negative and m == np.uint64(0))
    # Nineteen digits cannot overflow; a leading zero stands alone.
    plain = plain and 0 < count < 20 - fraction and (count == 1 or load8(first) != ZERO)
    if plain and c | 32 != LOWER_E:
        sure = True
        if m <= EXACT:
            value = np.float64(np.int64(m))
            if fraction > 0:
                value /= _TENS[fraction]
        else:
            value, sure = eisel_lemire(m, -fraction)
        if sure:
            return (-value if negative else value), p
    return any_number(begin, end)
