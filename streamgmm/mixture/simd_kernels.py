# mypy: disable-error-code="misc, no-untyped-call"
# ruff: noqa: ANN401
# LLVM builders and numba types carry no types of their own.
"""Short vectors for kernels: LLVM vector types as a numba type, and the few operations kernels are made of.

LLVM lowers these to whatever the machine has (AVX-512, AVX2, NEON …); only `WIDTH` looks at the target.
Products are marked `contract`, so they fuse where the machine can; nothing is ever reassociated but the sum over lanes.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]  # llvmlite ships no types
from numba import config
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from streamgmm.cache_kernels import njit, widen_stamp

if TYPE_CHECKING:
    from collections.abc import Callable


def _has_wide_registers() -> bool:
    """Return whether the machine that numba compiles for (NUMBA_CPU_FEATURES, else this one) has AVX-512."""
    asked: str | None = vars(config)["CPU_FEATURES"]  # numba sets it as it is imported
    if asked:
        return "+avx512f" in asked.split(",")
    return bool(binding.get_host_cpu_features().get("avx512f", False))


# Wider than the machine's registers spills (measured: AVX2 loses a factor two at width 8).
WIDTH = 8 if _has_wide_registers() else 4

_DOUBLE, _LONG = ir.DoubleType(), ir.IntType(64)
_DOUBLES, _LONGS = ir.VectorType(_DOUBLE, WIDTH), ir.VectorType(_LONG, WIDTH)
_FUSED = ("contract",)

# 1.5 · 2^52: adding it to a small number leaves the nearest integer in the low bits.
_ROUNDING = 6755399441055744.0
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_EXP_COEFFICIENTS = [1.0 / math.factorial(i) for i in range(13, -1, -1)]
# log(m) = 2 artanh(s), s = (m − 1)/(m + 1), |s| < 0.172
_LOG_COEFFICIENTS = [2.0 / (2 * i + 1) for i in range(11, -1, -1)]


def kernel(*signatures: Any, contract: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Compile for exactly these signatures, cached; the cache knows the helper files too.

    numba's own cache looks only at the file a function stands in, and would serve machine code made with
    yesterday's helpers (tests/unit/mixture/test_kernels.py watches this).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        fastmath: Any = {"contract"} if contract else False
        dispatcher: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath=fastmath)(function)
        widen_stamp(dispatcher, _helpers_stamp())
        for signature in signatures:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return decorate


def device(function: Callable[..., Any]) -> Any:
    """Compile a helper that only kernels call."""
    return njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)


@device
def scratch(n: Any) -> Any:
    """Return n floats of working memory that start where a vector may: across two lines of the cache, loads cost twice.

    Measured, one fit in two lost a quarter of its time to numba's own alignment of 32 bytes.
    """
    memory = np.empty(n + WIDTH - 1)
    first = (WIDTH - memory.ctypes.data // 8 % WIDTH) % WIDTH
    return memory[first : first + n]


@device
def zeros(n: Any) -> Any:
    """Return what `scratch` does, all zero."""
    memory = scratch(n)
    memory[:] = 0.0
    return memory


def _helpers_stamp() -> str:
    files = sorted(Path(__file__).parent.glob("*kernels.py"))
    return hashlib.blake2b(b"".join(f.read_bytes() for f in files)).hexdigest()


class VectorType(types.Type):
    """`WIDTH` float64 side by side."""

    def __init__(self) -> None:
        super().__init__(name=f"float64x{WIDTH}")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """Tell numba that a vector is an LLVM vector."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _DOUBLES)


VECTOR = VectorType()


def _constant(builder: Any, value: float) -> Any:
    del builder
    return ir.Constant(_DOUBLES, [value] * WIDTH)


def _spread(builder: Any, scalar: Any, kind: Any = _DOUBLES) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    )


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=_FUSED), c, flags=_FUSED)


def _horner(builder: Any, x: Any, coefficients: list[float]) -> Any:
    p = _constant(builder, coefficients[0])
    for c in coefficients[1:]:
        p = _fma(builder, p, x, _constant(builder, c))
    return p


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), _DOUBLES.as_pointer())


def _operation(n: int, emit: Callable[..., Any], result: Any = VECTOR) -> Any:
    """Make an intrinsic of n vectors from what emits its instructions."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        return emit(builder, *args)

    if n == 1:
        return intrinsic(lambda _context, _a: (result(VECTOR), codegen))
    if n == 2:
        return intrinsic(lambda _context, _a, _b: (result(VECTOR, VECTOR), codegen))
    return intrinsic(lambda _context, _a, _b, _c: (result(VECTOR, VECTOR, VECTOR), codegen))


def _emit_max(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _emit_clipped(builder: Any, v: Any, least: Any, most: Any) -> Any:
    v = builder.select(builder.fcmp_ordered(">", v, most), most, v)
    return builder.select(builder.fcmp_ordered("<", v, least), least, v)


def _emit_known(builder: Any, v: Any) -> Any:
    present = builder.fcmp_ordered("ord", v, v)
    return builder.select(present, _constant(builder, 1.0), _constant(builder, 0.0))


def _emit_zeroed(builder: Any, v: Any) -> Any:
    return builder.select(builder.fcmp_ordered("ord", v, v), v, _constant(builder, 0.0))


def _emit_where_known(builder: Any, v: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("ord", v, v), a, b)


def _emit_exp(builder: Any, x: Any) -> Any:
    """exp(x) for x ≤ 0 by Cody-Waite reduction; 0 below −708. NaN gives 0: callers keep NaN out."""
    t = _fma(builder, x, _constant(builder, 1.0 / math.log(2.0)), _constant(builder, _ROUNDING))
    k = builder.fsub(t, _constant(builder, _ROUNDING))
    r = _fma(builder, k, _constant(builder, -_LN2_HIGH), x)
    r = _fma(builder, k, _constant(builder, -_LN2_LOW), r)
    p = builder.bitcast(_horner(builder, r, _EXP_COEFFICIENTS), _LONGS)
    exponent = builder.shl(builder.bitcast(t, _LONGS), ir.Constant(_LONGS, [52] * WIDTH))
    value = builder.bitcast(builder.add(p, exponent), _DOUBLES)
    return builder.select(builder.fcmp_ordered(">", x, _constant(builder, -708.0)), value, _constant(builder, 0.0))


def _emit_log(builder: Any, x: Any) -> Any:
    """log(x) for normal positive x."""
    bits = builder.bitcast(x, _LONGS)
    # Centred so that the mantissa lies in [√½, √2).
    shifted = builder.sub(bits, ir.Constant(_LONGS, [0x3FE6A09E667F3BCD] * WIDTH))
    exponent = builder.ashr(shifted, ir.Constant(_LONGS, [52] * WIDTH))
    mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, ir.Constant(_LONGS, [52] * WIDTH))), _DOUBLES)
    # int → double through the bits of 1.5 · 2^52 + e: AVX2 has no such conversion.
    magic = ir.Constant(_LONGS, [0x4338000000000000] * WIDTH)
    e = builder.fsub(builder.bitcast(builder.add(exponent, magic), _DOUBLES), _constant(builder, _ROUNDING))
    one = _constant(builder, 1.0)
    s = builder.fdiv(builder.fsub(mantissa, one), builder.fadd(mantissa, one))
    log_m = builder.fmul(s, _horner(builder, builder.fmul(s, s), _LOG_COEFFICIENTS))
    low = _fma(builder, e, _constant(builder, _LN2_LOW), log_m)
    return _fma(builder, e, _constant(builder, _LN2_HIGH), low)


def _emit_total(builder: Any, v: Any) -> Any:
    kind = ir.FunctionType(_DOUBLE, [_DOUBLE, _DOUBLES])
    reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{WIDTH}f64")
    return builder.call(reduce, [ir.Constant(_DOUBLE, -0.0), v], fastmath=("reassoc",))


def _emit_sqrt(builder: Any, v: Any) -> Any:
    root = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_DOUBLES, [_DOUBLES]), f"llvm.sqrt.v{WIDTH}f64"
    )
    return builder.call(root, [v])


add = _operation(2, lambda b, x, y: b.fadd(x, y, flags=_FUSED))
sub = _operation(2, lambda b, x, y: b.fsub(x, y, flags=_FUSED))
mul = _operation(2, lambda b, x, y: b.fmul(x, y, flags=_FUSED))
div = _operation(2, lambda b, x, y: b.fdiv(x, y))
fma = _operation(3, _fma)
maximum = _operation(2, _emit_max)
# Between two bounds, NaN as it is; 1 where there is a number and 0 where there is none; the number, or 0; the second
# where the first is a number, the third where it is none.
clipped = _operation(3, _emit_clipped)
known = _operation(1, _emit_known)
zeroed = _operation(1, _emit_zeroed)
where_known = _operation(3, _emit_where_known)
exp = _operation(1, _emit_exp)
log = _operation(1, _emit_log)
sqrt = _operation(1, _emit_sqrt)
total = _operation(1, _emit_total, types.float64)


@intrinsic
def splat(_context: Any, _scalar: Any) -> Any:
    """Return one number in every lane."""

    def codegen(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        return _spread(builder, args[0])

    return VECTOR(types.float64), codegen


@intrinsic
def load(_context: Any, array: Any, _index: Any) -> Any:
    """Return `WIDTH` numbers from a flat array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], args[0], args[1]), align=8)

    return VECTOR(array, types.intp), codegen


@intrinsic
def store(_context: Any, array: Any, _index: Any, _value: Any) -> Any:
    """Put `WIDTH` numbers into a flat array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), codegen


def _interleave(builder: Any, a: Any, b: Any, start: int) -> Any:
    half = range(start, start + WIDTH // 2)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [lane for i in half for lane in (i, i + WIDTH)])
    return builder.shuffle_vector(a, b, mask)


@intrinsic
def transpose_tile(_context: Any, source: Any, _from: Any, _row: Any, target: Any, _to: Any, _column: Any) -> Any:
    """Copy a square tile of `WIDTH` rows, transposed; return Σ (v − v): zero, or NaN in a lane that is not finite.

    Interleaving row i with row i + WIDTH/2 again and again transposes a square.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, index, row, out, place, column = args

        def at(start: Any, step: Any, i: int) -> Any:
            return builder.add(start, builder.mul(step, ir.Constant(step.type, i)))

        rows = [
            builder.load(_pointer(context, builder, signature.args[0], array, at(index, row, i)), align=8)
            for i in range(WIDTH)
        ]
        check = _constant(builder, 0.0)
        for v in rows:
            check = builder.fadd(check, builder.fsub(v, v))
        half = WIDTH // 2
        for _ in range(WIDTH.bit_length() - 1):
            rows = [_interleave(builder, rows[i // 2], rows[i // 2 + half], half * (i % 2)) for i in range(WIDTH)]
        for i, v in enumerate(rows):
            builder.store(v, _pointer(context, builder, signature.args[3], out, at(place, column, i)), align=8)
        return check

    return VECTOR(source, types.intp, types.intp, target, types.intp, types.intp), codegen
