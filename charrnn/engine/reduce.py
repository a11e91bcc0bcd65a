"""Maximum, sum and inner product of rows of panel arrays and of whole arrays, a vector at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import DOUBLE, I32, I64, Vector, W, lanes_of, load, maximum, splat

Combine = Callable[[Vector, Vector], Vector]


def _add(x: Vector, y: Vector) -> Vector:
    return x + y


def _halve(x: Vector, combine: Combine) -> Vector:
    """Combine the lower with the upper half of the lanes."""
    half = x.lanes // 2
    parts = []
    for start in (0, half):
        indices = ir.Constant(ir.VectorType(I32, half), list(range(start, start + half)))
        undefined = ir.Constant(x.value.type, ir.Undefined)
        parts.append(x.make(x.builder.shuffle_vector(x.value, undefined, indices)))
    return combine(*parts)


def _reduce(b: ir.IRBuilder, first: list[ir.Value], panels: ir.Value, step: ir.Value, combine: Combine) -> ir.Value:
    """Combine the W numbers at the address `first`, at `first + step`, and so on; or the products of those at two.

    The order is fixed, and is the same for vectors of any width: column by column over the panels, then each column
    with the one that is half as many columns away.
    """
    lanes = lanes_of(first[0].type.pointee)
    columns = range(0, W, lanes)
    # A maximum starts from the first panel, which it then combines with itself. A sum starts from zero.
    start = [load(b, b.gep(first[0], [I64(c)]), lanes) for c in columns]
    start = start if combine is maximum else [ir.Constant(v.type, [0.0] * lanes) for v in start]
    panel, values, close = counted_loop(b, panels, start)
    offset = b.mul(panel, step)
    updated = []
    for value, c in zip(values, columns, strict=True):
        x, *others = (Vector(b, load(b, b.gep(at, [b.add(offset, I64(c))]), lanes)) for at in first)
        updated.append(combine(Vector(b, value), x * others[0] if others else x))
    close([x.value for x in updated])
    while len(updated) > 1:
        half = len(updated) // 2
        updated = [combine(x, y) for x, y in zip(updated[:half], updated[half:], strict=True)]
    total = updated[0]
    while total.lanes > 1:
        total = _halve(total, combine)
    return b.extract_element(total.value, I32(0))


def _reduce_row(context: Any, b: ir.IRBuilder, kinds: Any, arguments: Any, combine: Combine) -> ir.Value:
    """Combine row r of a [panels, rows, W], or of the product of a and b; arguments are the arrays, then r."""
    arrays = [context.make_array(kind)(context, b, value) for kind, value in zip(kinds, arguments[:-1], strict=True)]
    panels, rows = (b.extract_value(arrays[0].shape, axis) for axis in range(2))
    first = [b.gep(array.data, [b.mul(arguments[-1], I64(W))]) for array in arrays]
    return _reduce(b, first, panels, b.mul(rows, I64(W)), combine)


def _row_reduction(combine: Combine) -> Any:
    """A callable for numba kernels: `reduce(a, r)` combines all numbers of row r of a [panels, rows, W]."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return _reduce_row(context, b, signature.args[:-1], arguments, combine)

    @intrinsic
    def reduce(typing, a, r):  # type: ignore[no-untyped-def]
        return a.dtype(a, types.intp), codegen

    return reduce


row_maximum = _row_reduction(maximum)
row_sum = _row_reduction(_add)


@intrinsic
def row_dot(typing, a, b, r):  # type: ignore[no-untyped-def]
    """The inner product of row r of a with row r of b, both [panels, rows, W]."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return _reduce_row(context, builder, signature.args[:-1], arguments, _add)

    return a.dtype(a, b, types.intp), codegen


def _reduce_all(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    """The sum of all numbers of an array in the order of memory, or of the products of two arrays."""
    kinds = zip(signature.args, arguments, strict=True)
    arrays = [context.make_array(kind)(context, b, value) for kind, value in kinds]
    panels = b.sdiv(arrays[0].nitems, I64(W))
    return _reduce(b, [array.data for array in arrays], panels, I64(W), _add)


@intrinsic
def total(typing, a):  # type: ignore[no-untyped-def]
    """The sum of all numbers of a contiguous array; their number is a multiple of W, and not 0."""
    return a.dtype(a), _reduce_all


@intrinsic
def inner_product(typing, a, b):  # type: ignore[no-untyped-def]
    """The sum of the products of all numbers of two contiguous arrays, see `total`."""
    return a.dtype(a, b), _reduce_all


CHOSEN_LANES = 16  # sums of `sum_of_chosen`, whatever the width of the registers


@intrinsic
def sum_of_chosen(typing, numbers, order, least):  # type: ignore[no-untyped-def]
    """The sum in float64 of those numbers whose place in the order is `least` or above.

    Args:
        numbers, order: (n,) floats and integers of the same size. Their memory goes on to a multiple of CHOSEN_LANES.
        least: an integer.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        kinds = zip(signature.args[:2], arguments[:2], strict=True)
        numbers, order = (context.make_array(kind)(context, b, value) for kind, value in kinds)
        lanes, place = CHOSEN_LANES, order.data.type.pointee
        zeros = ir.Constant(ir.VectorType(DOUBLE, lanes), [0.0] * lanes)
        steps = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
        least, count = splat(b, b.trunc(arguments[2], place), lanes), splat(b, numbers.nitems, lanes)
        blocks = b.sdiv(b.add(numbers.nitems, I64(lanes - 1)), I64(lanes))
        block, (sums,), close = counted_loop(b, blocks, [zeros])
        at = b.mul(block, I64(lanes))
        x, places = (load(b, b.gep(array.data, [at]), lanes) for array in (numbers, order))
        if x.type.element != DOUBLE:
            x = b.fpext(x, zeros.type)
        inside = b.icmp_signed("<", b.add(splat(b, at, lanes), steps), count)
        chosen = b.and_(inside, b.icmp_signed(">=", places, least))
        updated = b.fadd(sums, b.select(chosen, x, zeros))
        close([updated])
        found = Vector(b, updated)
        while found.lanes > 1:
            found = _halve(found, _add)
        return b.extract_element(found.value, I32(0))

    return types.float64(numbers, order, types.int64), codegen
