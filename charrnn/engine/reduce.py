"""Maximum and sum of one row of a panel array, a vector at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charrnn.engine.simd import I32, I64, Vector, lanes_of, load, maximum
from charrnn.engine.tile import W, counted_loop

Combine = Callable[[Vector, Vector], Vector]


def _halve(x: Vector, combine: Combine) -> Vector:
    """Combine the lower with the upper half of the lanes."""
    half = x.lanes // 2
    parts = []
    for start in (0, half):
        indices = ir.Constant(ir.VectorType(I32, half), list(range(start, start + half)))
        undefined = ir.Constant(x.value.type, ir.Undefined)
        parts.append(x.make(x.builder.shuffle_vector(x.value, undefined, indices)))
    return combine(*parts)


def _row_reduction(combine: Combine) -> Any:
    """A callable for numba kernels: `reduce(a, r)` combines all numbers of row r of a [panels, rows, W].

    The order is fixed: lane by lane over the panels, then the lanes in halves.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        array = context.make_array(signature.args[0])(context, b, arguments[0])
        panels, rows = (b.extract_value(array.shape, axis) for axis in range(2))
        first = b.gep(array.data, [b.mul(arguments[1], I64(W))])
        lanes = lanes_of(first.type.pointee)
        columns = range(0, W, lanes)
        start = [load(b, b.gep(first, [I64(c)]), lanes) for c in columns]
        # The first panel is combined with itself by a maximum; a sum starts from zero.
        start = start if combine is maximum else [ir.Constant(v.type, [0.0] * lanes) for v in start]
        panel, values, close = counted_loop(b, panels, start)
        here = b.gep(first, [b.mul(panel, b.mul(rows, I64(W)))])
        loaded = [Vector(b, load(b, b.gep(here, [I64(c)]), lanes)) for c in columns]
        updated = [combine(Vector(b, v), x) for v, x in zip(values, loaded, strict=True)]
        close([x.value for x in updated])
        total = updated[0]
        for x in updated[1:]:
            total = combine(total, x)
        while total.lanes > 1:
            total = _halve(total, combine)
        return b.extract_element(total.value, I32(0))

    @intrinsic
    def reduce(typing, a, r):  # type: ignore[no-untyped-def]
        return a.dtype(a, types.intp), codegen

    return reduce


row_maximum = _row_reduction(maximum)
row_sum = _row_reduction(lambda x, y: x + y)
