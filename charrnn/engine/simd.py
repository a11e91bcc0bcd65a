"""SIMD vectors with Python operators, and the elementary functions of recurrent cells on them.

Equations written with ordinary operators on `Vector` objects append LLVM vector instructions to the
kernel that is being built. The same source serves float32 training and float64 gradient checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

from charrnn import runtime

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOAT, DOUBLE, VOID = ir.FloatType(), ir.DoubleType(), ir.VoidType()
W = 32  # columns of a panel, see panels.py
LOG2_E = 1.0 / math.log(2.0)
LN2_HIGH = 0.693145751953125  # 16 significant bits: n * LN2_HIGH is exact for |n| < 256
LN2_LOW = 1.428606820309417232121458e-6  # ln 2 - LN2_HIGH, to more digits than ln 2 has in float64


def host_vector_bits() -> int:
    """Width in bits of the widest vector registers of this CPU: 512, 256 or 128."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 512
    return 256 if features.get("avx2") else 128


VECTOR_BITS = min(runtime.vector_bits() or 512, host_vector_bits())
TRIPLE = binding.get_process_triple()
ON_X86, ON_ARM = TRIPLE.startswith(("x86_64", "i386", "i686")), TRIPLE.startswith(("aarch64", "arm64"))
REGISTERS = 32 if VECTOR_BITS == 512 or ON_ARM else 16


def lanes_of(scalar: ir.Type) -> int:
    """How many values of an LLVM float type one vector register holds."""
    return VECTOR_BITS // (32 if scalar == FLOAT else 64)


class Vector:
    """A register of values in the kernel under construction; operators append instructions.

    Args:
        builder: LLVM IR builder, positioned where the instructions go.
        value: LLVM value of vector type.
    """

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value
        self.scalar: ir.Type = value.type.element
        self.lanes: int = value.type.count

    def constant(self, number: float) -> Vector:
        """A vector of this shape with the same number in every lane."""
        value = float(np.float32(number)) if self.scalar == FLOAT else float(number)
        return self.make(ir.Constant(self.value.type, [ir.Constant(self.scalar, value)] * self.lanes))

    def make(self, value: ir.Value) -> Vector:
        return Vector(self.builder, value)

    def _lift(self, other: Vector | float) -> Vector:
        return other if isinstance(other, Vector) else self.constant(other)

    def _binary(self, name: str, other: Vector | float) -> Vector:
        append = getattr(self.builder, name)
        return self.make(append(self.value, self._lift(other).value, flags=["contract"]))

    def __add__(self, other: Vector | float) -> Vector:
        return self._binary("fadd", other)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._binary("fsub", other)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._binary("fmul", other)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._binary("fdiv", other)

    def __radd__(self, other: float) -> Vector:
        return self._lift(other) + self

    def __rsub__(self, other: float) -> Vector:
        return self._lift(other) - self

    def __rmul__(self, other: float) -> Vector:
        return self._lift(other) * self

    def __rtruediv__(self, other: float) -> Vector:
        return self._lift(other) / self

    def __neg__(self) -> Vector:
        return self.make(self.builder.fneg(self.value))

    def less(self, other: Vector | float) -> ir.Value:
        """The condition `self < other`, false for NaN."""
        return self.builder.fcmp_ordered("<", self.value, self._lift(other).value)


def where(condition: ir.Value, yes: Vector | float, no: Vector | float) -> Vector:
    """Lane by lane `yes` where the condition holds, else `no`; one of the two is a Vector."""
    shape = yes if isinstance(yes, Vector) else no
    assert isinstance(shape, Vector)
    a, b = shape._lift(yes).value, shape._lift(no).value
    return shape.make(shape.builder.select(condition, a, b))


def positive(x: Vector) -> ir.Value:
    """The condition `x > 0`; true for NaN, so that a NaN is passed on and not hidden."""
    return x.builder.fcmp_unordered(">", x.value, x.constant(0.0).value)


def maximum(x: Vector, other: Vector | float) -> Vector:
    """The larger of the two; a NaN in `x` is kept. In this form it is one instruction."""
    return where(x.less(other), other, x)


def minimum(x: Vector, other: Vector | float) -> Vector:
    """The smaller of the two; a NaN in `x` is kept. In this form it is one instruction."""
    return where(x._lift(other).less(x), other, x)


def clip(x: Vector, low: float, high: float) -> Vector:
    """`x` limited to [low, high]; a NaN is kept."""
    return maximum(minimum(x, high), low)


def call(b: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Call a function by its name: an intrinsic of LLVM, or a tile of tile.py."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


def _intrinsic(module: ir.Module, name: str, scalar: ir.Type, arguments: int) -> ir.Function:
    """A function of LLVM on whole registers of a float type."""
    vector = ir.VectorType(scalar, lanes_of(scalar))
    kind = ir.FunctionType(vector, [vector] * arguments)
    whole = f"llvm.{name}.v{vector.count}f{32 if scalar == FLOAT else 64}"
    return cgutils.get_or_insert_function(module, kind, whole)


def multiply_add(module: ir.Module, scalar: ir.Type) -> ir.Function:
    """LLVM's x * y + z on a register of this float type, fused where the CPU can."""
    return _intrinsic(module, "fmuladd", scalar, 3)


def sqrt(x: Vector) -> Vector:
    """Square root, correctly rounded."""
    return x.make(x.builder.call(_intrinsic(x.builder.module, "sqrt", x.scalar, 1), [x.value]))


def _reduce_by_powers_of_two(x: Vector) -> tuple[Vector, ir.Value]:
    """Write x = n ln 2 + r with |r| <= ln 2 / 2; return (expm1(r), n as integers).

    n is read from the low bits of x / ln 2 + 1.5 * 2^mantissa, which is defined for NaN too. The Taylor
    series of expm1 needs no table: on this interval its terms fall below half a unit in the last place
    after r^7 (float32) or r^14 (float64).
    """
    single = x.scalar == FLOAT
    magic = x.constant(1.5 * 2.0 ** (23 if single else 52))
    integers = ir.VectorType(I32 if single else I64, x.lanes)
    shifted = x * LOG2_E + magic
    b = x.builder
    n = b.sub(b.bitcast(shifted.value, integers), b.bitcast(magic.value, integers))
    whole = shifted - magic
    r = x - whole * LN2_HIGH - whole * LN2_LOW
    terms = range(7 if single else 14, 1, -1)
    series = x.constant(1.0 / math.factorial(terms[0]))
    for k in terms[1:]:
        series = series * r + 1.0 / math.factorial(k)
    return r + r * r * series, n


def _power_of_two(x: Vector, n: ir.Value) -> Vector:
    """2^n in x's type, for integers n within the normal exponents."""
    single = x.scalar == FLOAT
    exponent = ir.Constant(n.type, [127 if single else 1023] * x.lanes)
    shift = ir.Constant(n.type, [23 if single else 52] * x.lanes)
    bits = x.builder.shl(x.builder.add(n, exponent), shift)
    return x.make(x.builder.bitcast(bits, x.value.type))


def exp(x: Vector) -> Vector:
    """e^x; exactly 0 where e^x is about the smallest normal number or less (so exp(-inf) = 0), inf above the range."""
    single = x.scalar == FLOAT
    p, n = _reduce_by_powers_of_two(clip(x, -105.0, 89.0) if single else clip(x, -746.0, 710.0))
    # 2^n = 2 * 2^(n - 1), because 2^n may be too large where p * 2^n is not. Exponent 0 stands for the number 0.
    b = x.builder
    exponent = b.add(n, ir.Constant(n.type, [126 if single else 1022] * x.lanes))
    zero = ir.Constant(n.type, [0] * x.lanes)
    exponent = b.select(b.icmp_signed(">", exponent, zero), exponent, zero)
    bits = b.shl(exponent, ir.Constant(n.type, [23 if single else 52] * x.lanes))
    return (2.0 + (p + p)) * x.make(b.bitcast(bits, x.value.type))


def tanh(x: Vector) -> Vector:
    """Hyperbolic tangent as m / (m + 2) with m = expm1(2 x), accurate near 0 as well."""
    bound = 20.0 if x.scalar == FLOAT else 40.0
    p, n = _reduce_by_powers_of_two(clip(x + x, -bound, bound))
    scale = _power_of_two(x, n)
    m = scale * p + (scale - 1.0)
    return m / (m + 2.0)


def sigmoid(x: Vector) -> Vector:
    """Logistic function 1 / (1 + e^-x); small values keep their precision, since e^-x does."""
    return 1.0 / (1.0 + exp(-x))


Equations = Callable[..., Any]


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A vector with one run-time scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


ALIGNMENT = {FLOAT: 4, DOUBLE: 8, I8: 1, I16: 2, I32: 2, I64: 8}  # of elements, in bytes; I32 may be a pair of I16


def load(builder: ir.IRBuilder, pointer: ir.Value, lanes: int) -> ir.Value:
    """Load one vector from memory that is aligned only to the element size."""
    scalar = pointer.type.pointee
    value = builder.load(builder.bitcast(pointer, ir.VectorType(scalar, lanes).as_pointer()))
    value.align = ALIGNMENT[scalar]
    return value


def store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    """Store one vector in memory that is aligned only to the element size. For bfloat16 memory, float32 is rounded."""
    if pointer.type.pointee == I16 and value.type.element == FLOAT:
        value = round_to_bfloat16(builder, value)
    instruction = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    instruction.align = ALIGNMENT[value.type.element]


def round_to_bfloat16(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """The upper half of float32 numbers, rounded to nearest, ties to even; NaN stays NaN, subnormals stay.

    Args:
        x: vector of float32.
    Returns:
        Vector of int16, the bits of bfloat16 numbers.
    """
    integers = ir.VectorType(I32, x.type.count)

    def constant(number: int) -> ir.Value:
        return ir.Constant(integers, [number] * x.type.count)

    bits = b.bitcast(x, integers)
    upper = b.lshr(bits, constant(16))
    is_odd = b.and_(upper, constant(1))
    rounded = b.lshr(b.add(bits, b.add(is_odd, constant(0x7FFF))), constant(16))
    quiet = b.or_(upper, constant(0x40))
    return b.trunc(b.select(b.fcmp_unordered("uno", x, x), quiet, rounded), ir.VectorType(I16, x.type.count))
