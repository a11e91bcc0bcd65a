"""Transposing a square block of numbers in vector registers.

A block of 2h rows and columns is four quarters of h. Two of them change places, for h from half the block down to 1.
Lane by lane a step takes numbers from two rows, which is one or two instructions:

    a b      a c
    c d  ->  b d
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import FLOAT, I32, I64, W, lanes_of, load, store


def _turned(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """The transpose of as many rows as they have lanes."""
    size, rows = len(rows), list(rows)

    def chosen(one: ir.Value, other: ir.Value, lanes: list[int]) -> ir.Value:
        return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, size), lanes))

    half = size // 2
    while half:
        for i in (i for i in range(size) if not i & half):
            one, other = rows[i], rows[i + half]
            rows[i] = chosen(one, other, [k + size - half if k & half else k for k in range(size)])
            rows[i + half] = chosen(one, other, [k + size if k & half else k + half for k in range(size)])
        half //= 2
    return rows


@intrinsic
def transpose_block(typing, x, x_at, x_stride, out, out_at, out_stride):  # type: ignore[no-untyped-def]
    """For numba kernels: out[j, i] = x[i, j] for i, j < W.

    The blocks begin at the element offsets `*_at` of the arrays. Their rows are `*_stride` elements apart.
    """
    size = lanes_of(FLOAT)  # so many rows of any type have room in the registers
    parts = W // size

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        def rows_at(k: int, row: ir.Value, column: ir.Value) -> list[ir.Value]:
            data = context.make_array(signature.args[k])(context, b, arguments[k]).data
            at, stride = arguments[k + 1], arguments[k + 2]
            first = b.gep(data, [b.add(at, b.add(b.mul(row, stride), column))])
            return [b.gep(first, [b.mul(stride, I64(i))]) for i in range(size)]

        number, _, close = counted_loop(b, I64(parts**2), [])
        row, column = b.mul(b.udiv(number, I64(parts)), I64(size)), b.mul(b.urem(number, I64(parts)), I64(size))
        turned = _turned(b, [load(b, place, size) for place in rows_at(0, row, column)])
        for values, place in zip(turned, rows_at(3, column, row), strict=True):
            store(b, values, place)
        close([])
        return context.get_dummy_value()

    n = types.intp
    return types.void(x, n, n, out, n, n), codegen
